"""Time an update with and without oneDNN, which backend.py asks TensorFlow for on every processor.

    python3 -m wi2_paper.benchmarks.library    # four minutes on one CPU core; writes results/benchmark_library.json

An update is that of updates.py. Each way has processes of its own, which take turns; CPU milliseconds, the median of a
process, the least of three processes. Expect 1.2 to 1.6 times the updates where the processor has AVX2 only; one with
AVX-512 VNNI, where TensorFlow uses oneDNN by itself, was not measured.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import util
from wi2_paper.benchmarks.updates import N_TILES, N_UPDATES, N_WARM_UP, NAMES

N_TURNS = 3
WAYS = {"without oneDNN": "0", "with oneDNN": "1"}


def main():
    times = {name: {way: [] for way in WAYS} for name in NAMES}
    for _ in range(N_TURNS):
        for name, ways in times.items():
            for way, setting in WAYS.items():
                code = f"from wi2_paper.benchmarks import library; library.report({name!r})"
                done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True,
                                      env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": setting})
                machine = json.loads(done.stdout)
                ways[way].append(machine.pop("milliseconds"))
    times = {name: {way: min(values) for way, values in ways.items()} for name, ways in times.items()}
    for name, ways in times.items():
        print(f"{name:<28}" + ", ".join(f"{value:.1f} ms {way}" for way, value in ways.items()))
    util.write_json(Path("results") / "benchmark_library.json", {"cpu_milliseconds": times, **machine})


def report(name):
    """Print the CPU milliseconds of an update of a network, and the machine, as JSON."""
    from inception2_module import backend, batches, training
    from inception2_module.experiments import RECIPES, with_recipe
    from inception2_module.tileset import Tiles

    tiles = np.random.default_rng(0).integers(0, 256, (N_TILES, 128, 128, 3), np.uint8)
    pairs, experiment, seconds = Tiles(tiles, tiles), with_recipe("fewdata", model=name), []
    model = training.build(experiment, pairs)
    for update in range(N_WARM_UP + N_UPDATES):
        target, degraded = batches.draw_batch(pairs, update, experiment, RECIPES["fewdata"])
        began = time.process_time()
        model.train_on_batch(degraded, target)
        seconds.append(time.process_time() - began)
    milliseconds = round(1000 * statistics.median(seconds[N_WARM_UP:]), 1)
    print(json.dumps({"milliseconds": milliseconds, **backend.describe()}))


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
