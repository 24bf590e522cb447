"""Elevation maps, which no network has seen: cut them, train on ten and on a hundred tiles, draw what comes out.

    python3 -m wi2_paper.own_data DIR       # the folder of maps; ten minutes on two cores

Writes datasets/elevation, results/elevation-*.json (+1.6 dB over bicubic with ten tiles) and assets/elevation.png. The
maps are 40 TIFF files in metres, most of SRTM 3 and ETOPO5; `TEST` names those that are held out. A map of some
degrees holds two excerpts, so both of a place are on one side.
"""

import argparse
import sys
from pathlib import Path

import util
from download_module import build, datasets
from inception2_module.experiments import arguments, with_recipe
from wi2_paper import reproduce
from wi2_paper.matrix import BETTER

TEST = ("srtm3_N37E014", "srtm3_N37W004", "srtm3_N54W003", "srtm3_S33W071")  # Sicily, Granada, Cumbria, Aconcagua
EXPERIMENTS = [with_recipe("fewdata", dataset="elevation", task="sr_x4", model=BETTER, n_train=n, n_updates=2_000)
               for n in (10, 100)]


def main(argv=None):
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, metavar="DIR", help="folder of the maps, .tif")
    cut(parser.parse_args(argv).maps)
    reproduce.run_all([experiment for experiment in EXPERIMENTS if not reproduce.has_result(experiment)])


def cut(directory):
    """Make datasets/elevation: 300 and 100 tiles of 128x128."""
    maps = util.list_images(directory)
    test = [path for path in maps if path.name.startswith(TEST)]
    train = [path for path in maps if path not in test]
    if not train or len(test) != 2 * len(TEST):
        raise util.UserError(f"{directory} does not hold the maps: see the docstring of wi2_paper/own_data.py")
    sources = datasets.Sources(train, test, directory, directory,
                               licence="public domain (NASA, USGS, NOAA), MIT and matplotlib's",
                               citation="SRTM 3, NASA/USGS; ETOPO5, NOAA; Mount St. Helens, USGS")
    wish = build.Wish(n={"train": 300, "test": 100}, tasks=("sr_x4",))
    build.make_set(Path("datasets"), "elevation", sources, wish)


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
