"""Time an update with and without oneDNN, which backend.py asks TensorFlow for on every processor.

    python3 -m wi2_paper.benchmarks.library    # six minutes on one CPU core; writes results/benchmark_library.json

An update is that of speed.py. Each way has processes of its own, which take turns; CPU milliseconds, the median of a
process, the least of three processes. Expect 1.0 to 1.7 times the updates where the processor has AVX2 only; one with
AVX-512 VNNI, where TensorFlow uses oneDNN by itself, was not measured.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import util
from wi2_paper.benchmarks import speed
from wi2_paper.benchmarks.updates import NAMES

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
    from inception2_module import backend

    print(json.dumps({"milliseconds": speed.time_update(name, time.process_time), **backend.describe()}))


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
