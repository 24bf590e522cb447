"""Measure experiments on training tiles of images that they have not seen, where settings may be chosen."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

import util
from inception2_module import networkfile
from inception2_module.experiments import recipe_of
from inception2_module.tileset import TileSet

N_UNSEEN = 200  # tiles


def measure_all(experiments, path):
    """Measure those experiments that have no entry yet in the JSON file `path`: {name: entry of `measure`}."""
    done = util.read_json(path) if path.exists() else {}
    for number, experiment in enumerate(experiments, 1):
        print(f"[{number}/{len(experiments)}] {experiment.name}", flush=True)
        if experiment.name not in done:
            done[experiment.name] = measure(experiment)
            util.write_json(path, done)


def measure(experiment):
    """Train one network in runs/NAME, or take the one that is there, and return its entry of the result.

    The entry has all settings and `gain`, the mean PSNR over that of the input in dB with its 95 % interval over the
    `n_unseen` tiles, whose gains are `gain_tiles` and whose scenes are `scenes`.
    """
    from inception2_module import evaluation, training

    data = TileSet("datasets", experiment.dataset, experiment.task)
    pairs = data.read_train(experiment.n_train, experiment.draw)
    unseen_pair, scenes = data.read_unseen(experiment.n_train, experiment.draw, N_UNSEEN)
    model = training.train(experiment, *pairs, Path("runs") / experiment.name, data.id)
    gains = networkfile.gains(model, unseen_pair)
    return asdict(experiment) | {
        "recipe_settings": asdict(recipe_of(experiment)), "n_unseen": len(gains),
        "gain": evaluation.paired_difference(gains, np.zeros_like(gains), scenes),
        "gain_tiles": [round(float(gain), 4) for gain in gains], "scenes": scenes, "data_id": data.id,
        **training.describe(),
    }
