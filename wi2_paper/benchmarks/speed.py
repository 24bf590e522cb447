"""Time one update of each network, so that the `pace` of experiments.NETWORKS gives all of them the same time.

    python3 -m wi2_paper.benchmarks.speed    # two minutes; the committed times: one core, the other one busy

Writes results/benchmark_speed.json. An update is that of the recipe `fewdata` for x4: 4 crops of 64x64 pixels are drawn
and degraded, the network is trained on them. Validation and checkpoints, every 500 updates, are not in it. The
committed times, with which the paces were chosen, are of before fasternetwork.learn_faster: updates.py has what that
gives.
"""

import sys
import time
from pathlib import Path

import numpy as np

import util

N_WARM_UP, N_UPDATES, N_TILES = 3, 20, 16


def main():
    from inception2_module import backend
    from inception2_module.experiments import NETWORKS, RECIPES

    recipe, milliseconds = RECIPES["fewdata"], {}
    for name in NETWORKS:
        milliseconds[name] = time_update(name, time.perf_counter)
        print(f"{name:<28}{milliseconds[name]:>8.1f} ms an update", flush=True)
    util.write_json(Path("results") / "benchmark_speed.json", {
        "batch": [recipe.batch_size, recipe.crop, recipe.crop, 3], "milliseconds_an_update": milliseconds,
        "n_updates": N_UPDATES, **backend.describe(),
    })


def time_update(name, clock):
    """Return the milliseconds of an update of a network, float, the median of `N_UPDATES`.

    clock : function without arguments that returns seconds, as time.perf_counter or time.process_time
    """
    from inception2_module import batches, training
    from inception2_module.experiments import RECIPES, with_recipe
    from inception2_module.tileset import Tiles

    tiles = np.random.default_rng(0).integers(0, 256, (N_TILES, 128, 128, 3), np.uint8)
    pairs, experiment, seconds = Tiles(tiles, tiles), with_recipe("fewdata", model=name), []
    model = training.build(experiment, pairs)
    for update in range(N_WARM_UP + N_UPDATES):
        began = clock()
        target, degraded = batches.draw_batch(pairs, update, experiment, RECIPES["fewdata"])
        model.train_on_batch(degraded, target)
        seconds.append(clock() - began)
    return round(1000 * float(np.median(seconds[N_WARM_UP:])), 1)


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
