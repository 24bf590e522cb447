"""Train a small network for a few seconds with five seeds, and set the bound that the test suite holds it to.

    python3 -m wi2_paper.benchmarks.quality   # two minutes, after download.py --dataset sample

Writes results/quality.json: the gain over bicubic on the test tiles of `sample` for each seed, and a bound that a run
with any seed should pass: as far below the worst of them as the best is above it. tests/test_quality.py trains seed 0
again: a change that makes training worse fails it.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import util
from inception2_module import networkfile
from inception2_module.experiments import with_recipe
from inception2_module.tileset import TileSet

EXPERIMENT = with_recipe("fewdata", dataset="sample", width=32, n_updates=300)
RESULT = Path("results") / "quality.json"
N_SEEDS = 5


def main():
    from inception2_module import backend

    with tempfile.TemporaryDirectory() as directory:
        gains = [gain("datasets", Path(directory) / str(seed), seed) for seed in range(N_SEEDS)]
    util.write_json(RESULT, {
        "experiment": EXPERIMENT.name, "gains": gains, "bound": round(2 * min(gains) - max(gains), 4),
        **backend.describe(),
    })
    print(f"gains {gains} dB\nwritten: {RESULT}")


def gain(data_dir, run_dir, seed):
    """Train with one seed and return the mean gain over the input on all test tiles, in dB."""
    from inception2_module import training

    data = TileSet(data_dir, EXPERIMENT.dataset, EXPERIMENT.task)
    tiles = data.read_train(EXPERIMENT.n_train, EXPERIMENT.draw)
    model = training.train(replace(EXPERIMENT, seed=seed), *tiles, run_dir, data.id)
    return round(float(networkfile.gains(model, data.read_test(None)).mean()), 4)


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
