"""Restore a generated image of 100 megapixels and measure memory and speed, beside the naive way.

    python3 -m wi2_paper.benchmarks.restoring         # about ten minutes on two CPU cores

The naive way pads the image and gives it to the network whole; it is measured on 4 megapixels, blocks on both
sizes. Each measurement is a process of its own. Writes results/benchmark_restoring.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import util
from download_module import tilefile
from inception2_module import networkfile, provenance

ROOT = Path(__file__).parents[2]


def main():
    parser = util.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="mars_sr_x4", help="a network of weights/ (default %(default)s)")
    parser.add_argument("--side", type=int, default=10_000, help="pixels of the large square image")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "IMAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.weights)))
        return
    result = {"weights": options.weights, "cpu": provenance.cpu(), "versions": provenance.versions(),
              "git_commit": provenance.git_commit(), "runs": []}
    with tempfile.TemporaryDirectory() as directory:
        for side, ways in ((2_000, ("blocks", "whole")), (options.side, ("blocks",))):
            path = Path(directory) / f"{side}.png"
            generate(path, side)
            for way in ways:
                command = [sys.executable, "-m", "wi2_paper.benchmarks.restoring", "--weights", options.weights,
                           "--measure", way, str(path)]
                output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
                run = {"way": way, "megapixels": side**2 / 1e6, **json.loads(output.splitlines()[-1])}
                result["runs"].append(run)
                print(run)
    util.write_json(Path("results") / "benchmark_restoring.json", result)


def generate(path, side):
    """Write a square RGB image of smooth patches with grain, in strips: it need not be pretty, only large."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (side // 50, side // 50, 3), dtype=np.uint8))
    image = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).copy()
    grain = rng.integers(-10, 11, (256, side, 1), dtype=np.int16)
    for top in range(0, side, 256):
        strip = image[top : top + 256]
        strip[...] = np.clip(strip + grain[: len(strip)], 0, 255)
    Image.fromarray(image).save(path, compress_level=1)


def measure(way, path, weights):
    """Restore one image in this process: seconds, megapixels a second and the peak of the memory in MB."""
    from restore_module import files

    model = networkfile.load_model(networkfile.find_weights(weights)[0])
    Image.MAX_IMAGE_PIXELS = None
    began = time.perf_counter()
    if way == "blocks":
        with tempfile.TemporaryDirectory() as out:
            files.restore_files([path], out, model.predict_on_batch, "sr_x4", files.Options(allow_large=True))
    else:
        image = tilefile.read_image(path)
        tilefile.write_image(Path(path).with_name("whole.png"), networkfile.restore_tiles(model, image[None])[0])
    seconds = time.perf_counter() - began
    with Image.open(path) as image:
        megapixels = image.width * image.height / 1e6
    return {
        "seconds": round(seconds, 1), "megapixels_per_second": round(megapixels / seconds, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
