"""Data that are no photographs: cut them, train on them, draw what comes out.

    python3 -m wi2_paper.own_data elevation DIR       # the folder of maps; twenty minutes on two cores
    python3 -m wi2_paper.own_data heat_maps DIR       # two minutes, and so is microscopy

Writes datasets/NAME, results/NAME-*.json (elevation with ten tiles: +2.1 dB over bicubic) and assets/NAME-rows.png. The
files are not part of the repository: `SOURCES` says whose they are, and which are held out, by the beginnings of their
names.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import util
from download_module import build, datasets
from inception2_module import classical, drawing, evaluation, networkfile
from inception2_module.tileset import TileSet
from wi2_paper import reproduce
from wi2_paper.matrix import OWN

PIXEL = 90  # metres, of the elevations: 3 seconds of arc
N_SHOWN = 2  # of the first test tiles, which no result has chosen


@dataclass(frozen=True)
class Source:
    """What is special to a set: which files are held out, its tiles, who may use it, how it is shown."""

    test: tuple  # beginnings of file names
    size: int
    n_tiles: dict
    licence: str
    citation: str
    show: Callable  # (tiles (N, H, W, 1), kind, target) -> uint8 (N, H, W, 3)
    left_out: tuple = ()  # beginnings of file names


def shade(heights, *_):
    """Light elevations in metres, float (N, H, W, 1), from the upper left at 45 degrees: uint8 (N, H, W, 3)."""
    down, right = np.gradient(heights[..., 0], PIXEL, axis=(1, 2))
    light = (1 + (down + right) / np.sqrt(2)) / np.sqrt(2 * (1 + down**2 + right**2))
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)[..., None].repeat(3, axis=-1)


def paint(tiles, kind, target):
    """Show data in colours, from the 2nd to the 98th percentile of each target: uint8 (N, H, W, 3)."""
    from matplotlib import colormaps

    return colormaps["inferno"](kind.view(tiles, target)[..., 0], bytes=True)[..., :3]


SOURCES = {
    # Sicily, Granada, Cumbria, Aconcagua: two excerpts of each.
    "elevation": Source(("srtm3_N37E014", "srtm3_N37W004", "srtm3_N54W003", "srtm3_S33W071"), 128,
                        {"train": 300, "test": 100}, "public domain (NASA, USGS, NOAA), MIT, matplotlib's",
                        "SRTM 3, NASA/USGS; ETOPO5, NOAA; Mount St. Helens, USGS", shade),
    # Temperatures of the sea for the test; elevations have another range.
    "heat_maps": Source(("coads_sst", "levitus_temp", "tos_"), 64, {"train": 100, "test": 100},
                        "public domain (NOAA) and that of NCAR", "COADS and Levitus, NOAA; NCAR's sample data", paint,
                        ("eur11_surface", "trinidad")),
    "microscopy": Source(("dsb2018",), 128, {"train": 100, "test": 100}, "CC0",
                         "BBBC022v1, Gustafsdottir et al. 2013; BBBC038v1, Data Science Bowl 2018",
                         lambda tiles, kind, target: kind.view(tiles, target)),
}


def main(argv=None):
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SOURCES, help="which data")
    parser.add_argument("files", type=Path, metavar="DIR", help="folder of the files")
    options = parser.parse_args(argv)
    cut(options.name, options.files)
    experiments = OWN[options.name]
    reproduce.run_all([experiment for experiment in experiments if not reproduce.has_result(experiment)])
    path = Path("assets") / f"{options.name}-rows.png"
    with util.replacing(path) as temporary:
        first = [experiment for experiment in experiments if not experiment.draw]
        draw(first, SOURCES[options.name].show).save(temporary, optimize=True)
    print(f"written: {path}")


def cut(name, directory):
    """Make datasets/NAME of the files in a folder, unless it is there."""
    source = SOURCES[name]
    paths = [path for path in util.list_images(directory) if not path.name.startswith(source.left_out)]
    test = [path for path in paths if path.name.startswith(source.test)]
    train = [path for path in paths if path not in test]
    lacking = [start for start in source.test if not any(path.name.startswith(start) for path in test)]
    if lacking or not train:
        raise util.UserError(f"{directory} holds no file {''.join(lacking[:1])}*: give the folder of {name}")
    sources = datasets.Sources(train, test, directory, directory, licence=source.licence, citation=source.citation)
    build.make_set(Path("datasets"), name, sources, build.Wish(source.n_tiles, ("sr_x4",), size=source.size))


def draw(experiments, show):
    """Draw the first test tiles: input, the learned linear filter, the networks, target."""
    data = TileSet("datasets", experiments[0].dataset, "sr_x4")
    test, few = data.read_test(N_SHOWN), experiments[0].n_train
    linear = classical.learn("sr_x4", data.read_seen(few, 0))["linear"]
    columns = {"bicubic": test.degraded,
               f"linear filter\n{few} tiles": classical.filter_tiles(linear, test.degraded, test.kind)}
    for experiment in experiments:
        model = networkfile.load_model(networkfile.RUNS / experiment.name / "model.keras")
        columns[f"network\n{experiment.n_train} tiles"] = networkfile.restore_tiles(model, test.degraded, test.kind)
    scores = {head: evaluation.score(test.target, tiles, test.kind) for head, tiles in columns.items()}
    columns = {head: show(tiles, test.kind, test.target) for head, tiles in (columns | {"target": test.target}).items()}
    return drawing.draw_grid("", [("", i) for i in range(N_SHOWN)], columns, scores, "bicubic",
                             256 // test.target.shape[1])


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
