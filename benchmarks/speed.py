"""Time one update of each network, so that experiments.EQUAL_SECONDS can give all of them the same time.

    python3 -m benchmarks.speed     # a minute; the committed times: on one core, the other one busy, as for the tables

Writes results/benchmark_speed.json. Batches are those of the recipe `fewdata`: 4 crops of 64x64 pixels.
"""

import sys
import time
from pathlib import Path

import numpy as np

import backend
import util

N_WARM_UP, N_UPDATES = 3, 10


def main():
    backend.start_keras()
    import networks
    import training
    from experiments import RECIPES, Experiment

    recipe = RECIPES["fewdata"]
    tiles = np.random.default_rng(0).integers(0, 256, (recipe.batch_size, recipe.crop, recipe.crop, 3), np.uint8)
    batch = tiles.astype(np.float32) / util.DATA_RANGE
    milliseconds = {}
    for name in networks.MODELS:
        model = training.build(Experiment(model=name, recipe="fewdata", dropout=recipe.dropout), tiles)
        for _ in range(N_WARM_UP):
            model.train_on_batch(batch, batch)
        seconds = []
        for _ in range(N_UPDATES):
            began = time.perf_counter()
            model.train_on_batch(batch, batch)
            seconds.append(time.perf_counter() - began)
        milliseconds[name] = round(1000 * float(np.median(seconds)), 1)
        print(f"{name:<28}{milliseconds[name]:>8.1f} ms an update")
    util.write_json(Path("results") / "benchmark_speed.json", {
        "batch": [recipe.batch_size, recipe.crop, recipe.crop, 3], "milliseconds_an_update": milliseconds,
        "n_updates": N_UPDATES, **training.describe(),
    })


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
