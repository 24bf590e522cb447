"""Time what an update costs more when several processes share its batch (inception2_module/hosts.py).

    python3 -m wi2_paper.benchmarks.hosts    # two processes of this machine, five minutes on one core

Writes results/benchmark_hosts.json. With the variables of a training on several hosts, in each of them, it measures
those. An update is that of the recipe `fewdata` for x4 with two tiles a process, without drawing the batch. Two ways
take turns: each process for itself, and together, with all gradients summed; the difference is the communication. At
last process 0 does the whole batch alone. Medians; seconds of the clock say little where processes share a core.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import util
from inception2_module import hosts

N_WARM_UP, N_UPDATES, N_TILES, N_EACH = 3, 20, 16, 2


def main():
    if os.environ.get("JAX_COORDINATOR_ADDRESS"):
        with hosts.joined():
            measure()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    command = [sys.executable, "-m", "wi2_paper.benchmarks.hosts"]
    started = [subprocess.Popen(command, env=environment | {"JAX_PROCESS_ID": str(i)}) for i in range(2)]
    try:
        statuses = [process.wait() for process in started]
    finally:
        for process in started:
            process.terminate()
    if any(statuses):
        raise util.UserError("a process has failed, see above")


def measure():
    from inception2_module import backend, batches, training
    from inception2_module.backend import keras
    from inception2_module.experiments import RECIPES, with_recipe
    from inception2_module.tileset import Tiles

    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    n_processes = hosts.part()[1]
    recipe, experiment = RECIPES["fewdata"], with_recipe("fewdata", batch_size=N_EACH * n_processes)
    pixels = np.random.default_rng(0).integers(0, 256, (N_TILES, 128, 128, 3), np.uint8)
    tiles, distributed, models = Tiles(pixels, pixels), training.distributed, {}
    for way in ("alone", "apart", "together"):
        training.distributed = distributed if way == "together" else lambda model, batch_size: model
        models[way] = training.build(experiment, tiles), keras.distribution.distribution()
    seconds = {way: [] for way in models}

    def learn(way, update):
        model, distribution = models[way]
        keras.distribution.set_distribution(distribution)
        target, degraded = batches.draw_batch(tiles, update, experiment, recipe, (0, 1) if way == "alone" else
                                              hosts.part())
        clock, cpu = time.perf_counter(), time.process_time()
        float(model.train_on_batch(degraded, target))
        seconds[way].append((time.perf_counter() - clock, time.process_time() - cpu))

    for update in range(N_WARM_UP + N_UPDATES):
        for way in ("apart", "together"):
            learn(way, update)
    if not hosts.is_first():
        return
    for update in range(N_WARM_UP + N_UPDATES):
        learn("alone", update)
    medians = {way: 1000 * np.median(times[N_WARM_UP:], axis=0) for way, times in seconds.items()}
    for way, (clock, cpu) in medians.items():
        print(f"{way:<12}{clock:>8.1f} ms an update, {cpu:.1f} of the processor", flush=True)
    n_parameters = models["alone"][0].count_params()
    util.write_json(Path("results") / "benchmark_hosts.json", {
        "n_processes": n_processes, "on_one_machine": os.environ["JAX_COORDINATOR_ADDRESS"].startswith("127.0.0.1"),
        "batch": [experiment.batch_size, recipe.crop, recipe.crop, 3], "n_updates": N_UPDATES,
        "megabytes_of_gradients": round(4 * n_parameters / 1e6, 2),
        "milliseconds_an_update": {way: round(float(clock), 1) for way, (clock, _) in medians.items()},
        "cpu_milliseconds_an_update": {way: round(float(cpu), 1) for way, (_, cpu) in medians.items()},
        "load_average_before": load, **backend.describe(),
    })


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
