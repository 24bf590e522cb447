"""Measure what each ingredient of the recipe `fewdata` gives, on validation tiles: change one at a time.

    python3 ablation.py             # after download.py: about an hour on one CPU core

Networks of half the width, 100 tiles, 1,000 updates, one seed. The tiles of the measurement are training tiles of
images that the run has not seen; no test tile is looked at. Writes results/ablation.json after each run: stop it at
any moment, the same command goes on.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import backend
import util
from experiments import ABLATION, CELLS, with_recipe
from tileset import TileSet

N_TRAIN, N_UPDATES, WIDTH, N_UNSEEN = 100, 1_000, 32, 200
RESULT = Path("results") / "ablation.json"


def main():
    done = util.read_json(RESULT) if RESULT.exists() else {}
    experiments = [
        with_recipe(recipe, dataset=dataset, task=task, n_train=N_TRAIN, n_updates=N_UPDATES, width=WIDTH)
        for recipe, values in ABLATION.items() for dataset, task in CELLS if applies(values, task)
    ]
    backend.start_keras()
    for number, experiment in enumerate(experiments, 1):
        print(f"[{number}/{len(experiments)}] {experiment.name}", flush=True)
        if experiment.name not in done:
            done[experiment.name] = measure(experiment)
            util.write_json(RESULT, done)


def applies(recipe, task):
    """Whether a recipe differs from `fewdata` on this task: shrunk tiles do for super-resolution only."""
    return not recipe.shrunk or task != "noise_s64"


def measure(experiment):
    """Train one network and return its entry of the result: the mean gain over the input, in dB, and its interval."""
    import evaluation
    import training

    data = TileSet("datasets", experiment.dataset, experiment.task)
    pairs = data.read_train(experiment.n_train, experiment.draw)
    unseen_pair = data.read_unseen(experiment.n_train, experiment.draw, N_UNSEEN)
    model = training.train(experiment, *pairs, Path("runs") / experiment.name, data.id)
    gains = training.gains(model, unseen_pair)
    return asdict(experiment) | {
        "n_unseen": len(gains), "gain": evaluation.paired_difference(gains, np.zeros_like(gains)),
        "gain_tiles": [round(float(gain), 4) for gain in gains], "data_id": data.id,
        **training.describe(),
    }


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
