"""Time an update with the last layers computed as they are written and as fasternetwork.learn_faster does it.

    python3 -m wi2_paper.benchmarks.updates    # a minute on one CPU core; writes results/benchmark_updates.json

An update is that of the recipe `fewdata` for x4, as in speed.py, without drawing the batch. The two ways take turns in
one run, on the same batches from the same weights; CPU seconds, the median. Expect 1.4 without AVX-512 for the paper's
network and less with it; the largest difference of the losses shows that both learn the same.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

import util

NAMES = ("inception_unet_srcnn535", "edsr_baseline")  # whose last layers have stride 1
N_WARM_UP, N_UPDATES, N_TILES = 3, 20, 16


def main():
    from inception2_module import backend, batches, training
    from inception2_module.experiments import RECIPES, with_recipe
    from inception2_module.tileset import Tiles

    recipe = RECIPES["fewdata"]
    tiles = np.random.default_rng(0).integers(0, 256, (N_TILES, 128, 128, 3), np.uint8)
    load, results = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None, {}
    for name in NAMES:
        experiment = with_recipe("fewdata", model=name)
        learn_faster, models = training.learn_faster, {}
        for way, change in (("before", lambda model: None), ("now", learn_faster)):
            training.learn_faster = change
            models[way] = training.build(experiment, Tiles(tiles, tiles))
        training.learn_faster = learn_faster
        seconds, losses = ({way: [] for way in models} for _ in range(2))
        for update in range(N_WARM_UP + N_UPDATES):
            target, degraded = batches.draw_batch(Tiles(tiles, tiles), update, experiment, recipe)
            for way, model in models.items():
                began = time.process_time()
                losses[way].append(float(model.train_on_batch(degraded, target)))
                seconds[way].append(time.process_time() - began)
        before, now = (1000 * float(np.median(seconds[way][N_WARM_UP:])) for way in ("before", "now"))
        difference = float(np.abs(np.subtract(losses["before"], losses["now"])).max())
        results[name] = {
            "cpu_milliseconds_before": round(before, 1), "cpu_milliseconds": round(now, 1),
            "ratio": round(before / now, 3), "largest_difference_of_loss": difference,
        }
        print(f"{name:<28}{before:>8.1f} ms before, {now:.1f} now: {before / now:.2f} times the updates", flush=True)
    util.write_json(Path("results") / "benchmark_updates.json", {
        "batch": [recipe.batch_size, recipe.crop, recipe.crop, 3], "n_updates": N_UPDATES, "networks": results,
        "load_average_before": load, **backend.describe(),
    })


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
