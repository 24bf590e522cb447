"""Measure settings where they may be chosen: on training tiles of images that a run has not seen, never on test tiles.

    python3 -m wi2_paper.unseen ablation    # what each ingredient of `fewdata` gives: three hours on one core
    python3 -m wi2_paper.unseen rates       # learning rates of the networks of the literature: twenty minutes
    python3 -m wi2_paper.unseen lengths     # how long, and at which rate: six hours

After download.py. An ablation changes one ingredient at a time: networks of half the width, 100 tiles, 1,000 updates,
one seed; then longer runs (see `LONGER`). Rates: Mars x4, 100 tiles, a fifth of the updates of the committed tables,
one seed; the best ones stand in experiments.NETWORKS. Lengths: the default network and recipe, Mars x4, 100 tiles, one
seed; and ten tiles of x8 and noise, where layers die, at the recipe's rate and at half of it. Writes
results/ablation.json and results/ablation_longer.json, results/rates.json or results/lengths.json, after each run: stop
it at any moment, the same command goes on. Expect Adam in the place of Muon to lose 0.1 dB in super-resolution and more
than 1 dB for noise.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import util
from download_module.degrade import task_of
from inception2_module import networkfile
from inception2_module.experiments import ABLATION, NETWORKS, recipe_of, with_recipe
from inception2_module.tileset import TileSet
from wi2_paper.matrix import CELLS, LENGTHS, equal_seconds, pace, updates_of

N_UNSEEN = 200  # tiles
RESULTS = Path("results")
RATES = (2e-3, 1e-3, 5e-4, 2.5e-4)
N_TRAIN, N_UPDATES, WIDTH = 100, 1_000, 32
# As long and as wide as the committed tables: ingredients that the short runs speak against, and Adam at several rates.
LONGER = [
    with_recipe(recipe, dataset=dataset, task=task, n_train=n, n_updates=updates_of("fewdata"),
                learning_rate=rate)
    for dataset, task, n, changes, rates in (
        ("mars", "noise_s64", 100, ("", "-no-averaging", "-no-identity", "-no-channels", "-no-schedule",
                                    "-no-fresh-degradation"), (None,)),
        ("mars", "noise_s64", 10, ("", "-no-channels"), (None,)),
        ("mars", "sr_x4", 10, ("", "-no-channels"), (None,)),
        ("div2k", "noise_s64", 100, ("", "-no-symmetries", "-no-channels"), (None,)),
        ("mars", "sr_x4", 100, ("",), (None,)),
        ("mars", "sr_x4", 100, ("-adam",), RATES),
        ("mars", "noise_s64", 100, ("-adam",), RATES),
    ) for recipe in (f"fewdata{change}" for change in changes) for rate in rates
]
N_UPDATES_OF_RATES = 600  # of the paper's network; the others train for the same time


def main(argv=None):
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASURED, help="what is measured")
    MEASURED[parser.parse_args(argv).what]()


def measure_ablation():
    measure_all([
        with_recipe(recipe, dataset=dataset, task=task, n_train=N_TRAIN, n_updates=N_UPDATES, width=WIDTH)
        for recipe, values in ABLATION.items() for dataset, task in CELLS if applies(values, task)
    ], RESULTS / "ablation.json")
    measure_all(LONGER, RESULTS / "ablation_longer.json")


def applies(recipe, task):
    """Whether a recipe differs from `fewdata` on this task; some are for noise at full size, some for all else."""
    if task_of(task).is_noisy_at_full_size:
        return not recipe.shrunk and recipe.standardise is not None
    return not recipe.standardise_noisy


def measure_rates():
    """Measure each rate for the networks of the literature; ours have the recipe's."""
    measure_all([
        with_recipe("fewdata", model=model, learning_rate=rate, n_updates=round(N_UPDATES_OF_RATES * pace(model)))
        for model in equal_seconds() if NETWORKS[model].learning_rate for rate in RATES
    ], RESULTS / "rates.json")


def measure_lengths():
    """Measure the default network after more updates, at several rates: at high ones ReLUs die in long trainings."""
    measure_all(LENGTHS, RESULTS / "lengths.json")


MEASURED = {"ablation": measure_ablation, "rates": measure_rates, "lengths": measure_lengths}


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
    `n_unseen` tiles, whose gains are `gain_tiles` and whose scenes are `scenes`; and what the training says of itself.
    """
    from inception2_module import evaluation, training

    data = TileSet("datasets", experiment.dataset, experiment.task)
    train_tiles, validation_tiles = data.read_train(experiment.n_train, experiment.draw)
    unseen = data.read_unseen(experiment.n_train, experiment.draw, N_UNSEEN)
    run_dir = Path("runs") / experiment.name
    model = training.train(experiment, train_tiles, validation_tiles, run_dir, data.id)
    gains = networkfile.gains(model, unseen)
    return asdict(experiment) | {
        "recipe_settings": asdict(recipe_of(experiment)), "n_unseen": len(gains),
        "gain": evaluation.paired_difference(gains, np.zeros_like(gains), unseen.scenes),
        "gain_tiles": [round(float(gain), 4) for gain in gains], "scenes": list(unseen.scenes), "data_id": data.id,
        **util.read_json(run_dir / "trained.json"),
    }


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
