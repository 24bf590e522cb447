"""Measure what each ingredient of the recipe `fewdata` gives, on validation tiles: change one at a time.

    python3 ablation.py             # after download.py: about two hours and a half on one CPU core

Networks of half the width, 100 tiles, 1,000 updates, one seed. The tiles of the measurement are training tiles of
images that the run has not seen; no test tile is looked at. Writes results/ablation.json after each run, and at the
end results/ablation_longer.json: stop it at any moment, the same command goes on.
"""

import sys
from pathlib import Path

import util
from download_module.degrade import is_noisy
from inception2_module.experiments import ABLATION, RECIPES, with_recipe
from wi2_paper import unseen
from wi2_paper.matrix import BUDGET, CELLS

N_TRAIN, N_UPDATES, WIDTH = 100, 1_000, 32
RESULT, LONGER_RESULT = (Path("results") / f"{name}.json" for name in ("ablation", "ablation_longer"))
# Ingredients that the short runs speak against, again as long and as wide as the committed tables.
LONGER = [
    with_recipe(recipe, dataset=dataset, task=task, n_train=n, n_updates=round(BUDGET * RECIPES["fewdata"].n_updates))
    for dataset, task, n, changes in (
        ("mars", "noise_s64", 100, ("", "-no-channels", "-no-schedule", "-no-fresh-degradation")),
        ("mars", "sr_x4", 10, ("", "-no-channels")),
        ("div2k", "noise_s64", 100, ("", "-no-symmetries")),
    ) for recipe in (f"fewdata{change}" for change in changes)
]


def main():
    unseen.measure_all([
        with_recipe(recipe, dataset=dataset, task=task, n_train=N_TRAIN, n_updates=N_UPDATES, width=WIDTH)
        for recipe, values in ABLATION.items() for dataset, task in CELLS if applies(values, task)
    ], RESULT)
    unseen.measure_all(LONGER, LONGER_RESULT)


def applies(recipe, task):
    """Whether a recipe differs from `fewdata` on this task; some ingredients are for noise, or for all else."""
    if is_noisy(task):
        return not recipe.shrunk and recipe.standardise is not None
    return not recipe.standardise_noisy


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
