"""Elevation maps, which no network has seen: cut them, train on ten and on a hundred tiles, draw what comes out.

    python3 -m wi2_paper.own_data DIR       # the folder of maps; ten minutes on two cores

Writes datasets/elevation, results/elevation-*.json (with ten tiles +1.6 dB over bicubic) and assets/elevation-rows.png.
The maps are 40 TIFF files in metres, most of SRTM 3 and ETOPO5; `TEST` names those that are held out, by their places:
a map of one degree has given two excerpts.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import util
from download_module import build, datasets
from inception2_module import classical, drawing, evaluation, networkfile
from inception2_module.tileset import TileSet
from wi2_paper import reproduce
from wi2_paper.matrix import ELEVATION

TEST = ("srtm3_N37E014", "srtm3_N37W004", "srtm3_N54W003", "srtm3_S33W071")  # Sicily, Granada, Cumbria, Aconcagua
N_TILES = {"train": 300, "test": 100}
PIXEL = 90  # metres: 3 seconds of arc
N_SHOWN = 3  # of the first test tiles, which no result has chosen


def main(argv=None):
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, metavar="DIR", help="folder of the maps")
    cut(parser.parse_args(argv).maps)
    reproduce.run_all([experiment for experiment in ELEVATION if not reproduce.has_result(experiment)])
    path = Path("assets") / "elevation-rows.png"
    with util.replacing(path) as temporary:
        draw().convert("L").save(temporary, optimize=True)
    print(f"written: {path}")


def cut(directory):
    """Make datasets/elevation of the maps in a folder, unless it is there."""
    maps = util.list_images(directory)
    test = [path for path in maps if path.name.startswith(TEST)]
    if len(test) != 2 * len(TEST) or len(test) == len(maps):
        raise util.UserError(f"{directory} does not hold the maps, two of each place in {' '.join(TEST)}, and others")
    sources = datasets.Sources([path for path in maps if path not in test], test, directory, directory,
                               licence="public domain (NASA, USGS, NOAA), MIT, matplotlib's",
                               citation="SRTM 3, NASA/USGS; ETOPO5, NOAA; Mount St. Helens, USGS")
    build.make_set(Path("datasets"), "elevation", sources, build.Wish(N_TILES, ("sr_x4",)))


def draw():
    """Draw the first test tiles as shaded relief: input, the learned linear filter, both networks, target."""
    data = TileSet("datasets", "elevation", "sr_x4")
    test, (few, *_) = data.read_test(N_SHOWN), (experiment.n_train for experiment in ELEVATION)
    linear = classical.learn("sr_x4", data.read_seen(few, 0))["linear"]
    columns = {"bicubic": test.degraded,
               f"linear filter\nn = {few}": classical.filter_tiles(linear, test.degraded, test.kind)}
    for experiment in ELEVATION:
        model = networkfile.load_model(networkfile.RUNS / experiment.name / "model.keras")
        columns[f"network\nn = {experiment.n_train}"] = networkfile.restore_tiles(model, test.degraded, test.kind)
    scores = {head: evaluation.score(test.target, tiles, test.kind) for head, tiles in columns.items()}
    columns = {head: shade(tiles) for head, tiles in (columns | {"target": test.target}).items()}
    return drawing.draw_grid("", [("", i) for i in range(N_SHOWN)], columns, scores, base="bicubic")


def shade(heights):
    """Light elevations in metres, float (N, H, W, 1), from the upper left at 45 degrees: uint8 (N, H, W, 3)."""
    down, right = np.gradient(heights[..., 0], PIXEL, axis=(1, 2))
    light = (1 + (down + right) / np.sqrt(2)) / np.sqrt(2 * (1 + down**2 + right**2))
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)[..., None].repeat(3, axis=-1)


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
