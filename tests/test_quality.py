"""That training is still as good as it was: a fixed tiny run on `sample` against a bound set from five seeds."""

import subprocess
import sys
from pathlib import Path

import pytest

import util
from wi2_paper.benchmarks import quality

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_tiny_run_gains_what_it_should(tmp_path):
    recorded = util.read_json(ROOT / quality.RESULT)
    assert recorded["experiment"] == quality.EXPERIMENT.name, "run python3 -m wi2_paper.benchmarks.quality again"
    command = [sys.executable, ROOT / "download.py", "--dataset", "sample", "--out", tmp_path / "datasets"]
    subprocess.run(command, check=True, capture_output=True)
    assert recorded["bound"] > 0.1
    assert quality.gain(tmp_path / "datasets", tmp_path / "run", seed=0) > recorded["bound"]
