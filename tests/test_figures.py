import json
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
import figures
import reproduce
import util

ROOT = Path(__file__).parents[1]


def result_of(experiment):
    def scores(psnr):
        return {"psnr": psnr, "ssim": 0.5}

    return {
        "dataset": experiment.dataset, "task": experiment.task, "seed": experiment.seed, "n_test": 1000,
        "warning": "it is worse",
        "methods": {"input": scores(20.0), "lanczos": scores(20.5), "restored": scores(21.25)},
        "differences": {
            "restored - input": {"mean": 1.25, "low": 1.0, "high": 1.5},
            "restored - lanczos": {"mean": 0.75, "low": -0.25, "high": 1.0},
        },
        "data": {
            "archives": [{"file": "a.zip", "verified": False}],
            "counts": {"train": {"made": 800, "n_images_used": 790}},
        },
    }


def committed(path):
    """Return a file as it is in git's index: `make run` may have written another result of its own."""
    return subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True, check=True, text=True).stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what is committed is known to git only")
@pytest.mark.parametrize("name", figures.TEXTS)
def test_the_readme_shows_what_results_say(name):
    """Run `make figures` and `git add` after a result has changed."""
    listed = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    results = {Path(path).stem: json.loads(committed(path)) for path in listed.split()}
    text = committed(name)
    block = figures.results_block(results, figures.TEXTS[name])
    assert figures.replace_block(text, block, name) == text


def test_a_missing_result_is_a_dash():
    block = figures.results_block({}, figures.TEXTS["README.md"])
    assert block.count("| — | — | — | — | — |") == len(experiments.MATRIX)


def test_a_result_is_shown_with_its_intervals_and_its_faults():
    experiment = experiments.MATRIX[0]
    block = figures.results_block({experiment.name: result_of(experiment)}, figures.TEXTS["README.md"])
    row = block.splitlines()[2]
    assert "20.00 / 0.500 | 20.50 / 0.500 (lanczos) | 21.25 / 0.500" in row
    assert "+1.25 [+1.00, +1.50] | +0.75 [-0.25, +1.00]" in row
    assert "not a published one: mars (a.zip)" in block
    assert "`paper` trains 100,000 updates; these runs are shortened" in block
    assert "mars sr_x4, seed 0: it is worse." in block


def test_a_readme_without_markers_is_not_written():
    with pytest.raises(util.UserError, match=r"README\.md needs the lines"):
        figures.replace_block("no markers", "block", "README.md")


def test_reproduce_skips_what_has_a_result_and_stops_at_a_failure(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    first, second = experiments.MATRIX[:2]
    (tmp_path / "results" / f"{first.name}.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, str(ROOT / "reproduce.py")], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{first.name}: has a result" in done.stdout
    assert "there is no data set mars" in done.stderr
    assert f"{second.name} failed" in done.stderr


def test_an_experiment_survives_the_command_line(monkeypatch):
    import inception2

    experiment = experiments.MATRIX[2]
    options = inception2.build_parser().parse_args(["train", *reproduce.arguments(experiment)])
    assert all(getattr(options, field) == value for field, value in vars(experiment).items())


def test_make_run_is_the_row_of_the_table():
    makefile = (ROOT / "Makefile").read_text()
    command = makefile.split("inception2.py ", 1)[1].splitlines()[0].split()
    import inception2

    options = inception2.build_parser().parse_args(["train", *command])
    assert inception2.experiment_of(options) == experiments.QUICK
