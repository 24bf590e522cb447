"""Time an update with the last layers as they are written, as fasternetwork.learn_faster computes them, in bfloat16.

    python3 -m wi2_paper.benchmarks.updates    # a minute on one CPU core; writes results/benchmark_updates.json

An update is that of the recipe `fewdata` for x4, as in speed.py, without drawing the batch. The ways take turns in one
run, on the same batches from the same weights; CPU seconds, the median. Expect 1.0 to 1.1 for the last layers of the
paper's network, 1.0 for the others; the largest difference of the losses shows that both learn the same. bfloat16
(`--precision`) is left out where the processor has none.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import util

NAMES = ("inception_unet_srcnn535", "inception_unet_halved", "edsr_baseline")
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
        ways = {"before": (lambda model: None, "float32"), "now": (learn_faster, "float32")}
        if backend.has_bfloat16():
            ways["bfloat16"] = (learn_faster, "bfloat16")
        for way, (change, precision) in ways.items():
            training.learn_faster = change
            models[way] = training.build(replace(experiment, precision=precision), Tiles(tiles, tiles))
        training.learn_faster = learn_faster
        seconds, losses = ({way: [] for way in models} for _ in range(2))
        for update in range(N_WARM_UP + N_UPDATES):
            target, degraded = batches.draw_batch(Tiles(tiles, tiles), update, experiment, recipe)
            for way, model in models.items():
                began = time.process_time()
                losses[way].append(float(model.train_on_batch(degraded, target)))
                seconds[way].append(time.process_time() - began)
        before, now, *rounded = (1000 * float(np.median(seconds[way][N_WARM_UP:])) for way in ways)
        difference = float(np.abs(np.subtract(losses["before"], losses["now"])).max())
        results[name] = {
            "cpu_milliseconds_before": round(before, 1), "cpu_milliseconds": round(now, 1),
            "ratio": round(before / now, 3), "largest_difference_of_loss": difference,
        }
        print(f"{name:<28}{before:>8.1f} ms before, {now:.1f} now: {before / now:.2f} times the updates", flush=True)
        for time_rounded in rounded:
            results[name] |= {"cpu_milliseconds_bfloat16": round(time_rounded, 1),
                              "ratio_bfloat16": round(now / time_rounded, 3)}
            print(f"{name:<28}{time_rounded:>8.1f} ms in bfloat16: {now / time_rounded:.2f} times the updates of now")
    util.write_json(Path("results") / "benchmark_updates.json", {
        "batch": [recipe.batch_size, recipe.crop, recipe.crop, 3], "n_updates": N_UPDATES, "networks": results,
        "load_average_before": load, **backend.describe(),
    })


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
