"""Restore generated images of 1 to 100 megapixels and measure memory and speed, beside two other ways.

    python3 -m wi2_paper.benchmarks.restoring         # ten minutes on one CPU core

Ways: `restore`, as the command does it; `before`, by Keras in blocks of 384 pixels of which the last is laid over the
one before it, what the command did until there were ONNX graphs; `whole`, which pads the image and gives it to Keras at
once. Not every way is measured on every size. Each measurement is a process of its own, on one core of the machine;
the ways take turns, and of several measurements the one with the least CPU seconds counts: other programs, of which the
load average tells, disturb these less than seconds. Writes results/benchmark_restoring.json; expect `restore` to be
twice as fast as `before`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import util
from download_module import tilefile
from inception2_module import networkfile, provenance
from restore_module import blocks, files

ROOT = Path(__file__).parents[2]
SIDES = {  # of an image: the ways, and how many times each
    1_000: (("restore", "before", "whole"), 2), 2_000: (("restore", "before", "whole"), 2),
    5_000: (("restore", "before"), 1), 10_000: (("restore",), 1),
}


def main():
    parser = util.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="mars_sr_x4", help="a network of weights/ (default %(default)s)")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "IMAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.weights)))
        return
    runs, load = [], round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as directory:
        for side, (ways, n_rounds) in SIDES.items():
            path = Path(directory) / f"{side}.png"
            generate(path, side)
            rounds = [[_in_a_process(way, path, options.weights) for way in ways] for _ in range(n_rounds)]
            for way, measured in zip(ways, zip(*rounds, strict=True), strict=True):
                least = min(measured, key=lambda one: one["cpu_seconds"])
                runs.append({"way": way, "megapixels": side**2 / 1e6, **least})
                print(runs[-1], flush=True)
            write(runs, options.weights, load)


def write(runs, weights, load):
    """Write what was measured so far: an hour on a busy machine may be interrupted."""
    speed = {(run["way"], run["megapixels"]): run["megapixels_per_cpu_second"] for run in runs}
    ratios = {f"{size:g}": round(speed["restore", size] / value, 2)
              for (way, size), value in speed.items() if way == "before"}
    print(f"restore / before, by megapixels: {ratios}", flush=True)
    util.write_json(Path("results") / "benchmark_restoring.json", {
        "weights": weights, "cpu": provenance.cpu(), "load_average_before": load,
        "versions": provenance.versions(("numpy", "keras", "tensorflow", "onnxruntime")),
        "git_commit": provenance.git_commit(), "runs": runs, "ratio_restore_to_before": ratios,
    })


def _in_a_process(way, path, weights):
    command = [sys.executable, "-m", "wi2_paper.benchmarks.restoring", "--weights", weights, "--measure", way, path]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def generate(path, side, seed=0):
    """Write a square RGB image of smooth patches with grain, in strips: it need not be pretty, only large."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (side // 50, side // 50, 3), dtype=np.uint8))
    image = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).copy()
    grain = rng.integers(-10, 11, (256, side, 1), dtype=np.int16)
    for top in range(0, side, 256):
        strip = image[top : top + 256]
        strip[...] = np.clip(strip + grain[: len(strip)], 0, 255)
    Image.fromarray(image).save(path, compress_level=1)


def measure(way, path, weights):
    """Restore one image in this process: seconds, megapixels a second and the peak of the memory in MB."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model_path, card = networkfile.find_weights(weights)
    if way == "restore":
        predict = networkfile.load_predict(model_path, card)
    else:
        predict = partial(networkfile.predict, networkfile.load_model(model_path))
    if way == "before":
        blocks.BLOCK, blocks.plan_blocks = BLOCK_BEFORE, plan_blocks_before
    Image.MAX_IMAGE_PIXELS = None
    began, began_cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        if way == "whole":
            image = tilefile.read_image(path)
            height, width = (-(-side // networkfile.SIZE_MULTIPLE) * networkfile.SIZE_MULTIPLE
                             for side in image.shape[:2])
            padding = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
            restored = predict(np.pad(image, padding, "symmetric")[None].astype(np.float32) / 255)[0]
            restored = restored[: image.shape[0], : image.shape[1]]
            tilefile.write_image(Path(out) / "a.png", np.rint(255 * restored.clip(0, 1)).astype(np.uint8))
        else:
            files.restore_files([path], out, lambda: predict, "sr_x4", files.Options(allow_large=True),
                                card["reach"] if way == "restore" else None)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    with Image.open(path) as image:
        megapixels = image.width * image.height / 1e6
    return {
        "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1),
        "megapixels_per_cpu_second": round(megapixels / cpu_seconds, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }


BLOCK_BEFORE = 384


def plan_blocks_before(length, reach, block=BLOCK_BEFORE):
    """Return what `blocks.plan_blocks` did: blocks of one size at a fixed step, the last one wherever it ends."""
    block = BLOCK_BEFORE
    if length <= block:
        return [(0, np.ones(length, np.float32))]
    starts = [*range(0, length - block, block - 2 * reach - blocks.BLEND), length - block]
    places = np.arange(length)
    ramps = [np.clip((places - (right + left + block) / 2 + blocks.BLEND / 2 + 1) / (blocks.BLEND + 1), 0, 1)
             for left, right in pairwise(starts)]
    weights = [up - down for up, down in pairwise([np.ones(length), *ramps, np.zeros(length)])]
    return [(start, weight[start : start + block].astype(np.float32))
            for start, weight in zip(starts, weights, strict=True)]


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
