"""How long the commands take until they work: help, a missing image, the first restored one, 10,000 training pairs.

    python3 -m wi2_paper.benchmarks.starting    # five minutes on one CPU core; writes results/benchmark_starting.json

CPU seconds (user and system) of whole processes, the least of three; Keras stands beside ONNX Runtime in the same run.
Pairs: read from their 20,000 images as at the first start, and from the two files that it leaves for all later ones,
each beyond what it takes to open the set. Expect 0.2 s, 0.3 s, less than 1.5 s, and less than 1 s.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import util
from download_module import tilefile
from inception2_module import networkfile, provenance, tileset
from wi2_paper.benchmarks import restoring

ROOT = Path(__file__).parents[2]
WEIGHTS, N_PAIRS, N_RUNS = "mars_sr_x4", 10_000, 3


def main():
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        tilefile.write_image(place / "a.png", np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
        script = str(ROOT / "inception2.py")
        commands = {
            "help": [script, "--help"],
            "missing image": [script, "restore", "none.png", "--weights", WEIGHTS],
            "first image, ONNX Runtime": [script, "restore", "a.png", "--weights", WEIGHTS],
            # By its path a network has no card, and no graph.
            "first image, Keras": [script, "restore", "a.png", "--weights",
                                   str(networkfile.WEIGHTS / f"{WEIGHTS}.keras")],
        }
        seconds = {name: min(cpu_seconds(place, command) for _ in range(N_RUNS)) for name, command in commands.items()}
        seconds |= time_pairs(place)
    for name, value in seconds.items():
        print(f"{name:<40}{value:>8.2f} CPU seconds")
    util.write_json(Path("results") / "benchmark_starting.json", {
        "weights": WEIGHTS, "image": [256, 256, 3], "n_pairs": N_PAIRS, "cpu_seconds": seconds, "cpu": provenance.cpu(),
        "versions": provenance.versions(("numpy", "keras", "tensorflow", "onnxruntime", "pillow")),
        "git_commit": provenance.git_commit(),
    })


def cpu_seconds(place, arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=place, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def time_pairs(place):
    """Cut a set of 10,000 pairs and read them twice."""
    for i in range(20):
        path = place / "images" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        restoring.generate(path, 3_000, seed=i)
    subprocess.run([sys.executable, str(ROOT / "download.py"), "--images", "images", "--dataset", "many",
                    "--n-train", str(N_PAIRS), "--n-test", "10", "--tasks", "sr_x4"], cwd=place, check=True)
    seconds = {}
    for name in ("10,000 pairs, first reading", "10,000 pairs, later"):
        began = time.process_time()
        data = tileset.TileSet(place / "datasets", "many", "sr_x4")
        opened = time.process_time()
        train, _ = data.read_train(N_PAIRS, 0)
        seconds[name] = round(time.process_time() - opened, 2)
        seconds["opening the set"] = round(opened - began, 2)
        del train
    return seconds


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
