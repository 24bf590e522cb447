"""Draw the same test tiles as several experiments restore them: input above, output below.

    python3 pictures.py             # after reproduce.py, which leaves the networks in runs/; a minute

Writes assets/mars-sr_x4-rows.png, mars-sr_x8-rows.png and mars-noise_s64-rows.png. An experiment without a result is
left out; where one has a result and runs/ lacks its network, the picture stays as it is.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import util
from inception2_module import networkfile
from inception2_module.experiments import Experiment, arguments
from inception2_module.tileset import TileSet
from wi2_paper.matrix import BETTER, matrix

TASKS = ("sr_x4", "sr_x8", "noise_s64")
TILES = (0, 1)  # of the test set, which no result has chosen
MARGIN, LABEL = 6, 34
COLUMNS = (  # recipe, network, tiles, title
    ("paper", Experiment.model, 100, "paper\nn = 100"),
    ("paper", Experiment.model, 10_000, "paper\nn = 10,000"),
    ("fewdata", Experiment.model, 10, "fewdata\nn = 10"),
    ("fewdata", Experiment.model, 100, "fewdata\nn = 100"),
    ("fewdata", BETTER, 100, "fewdata, halved\nn = 100"),
)


def main():
    for task in TASKS:
        path, wanted = Path("assets") / f"mars-{task}-rows.png", columns_of(task)
        lacking = [experiment for _, experiment in wanted if not network_of(experiment).exists()]
        if lacking or not wanted:
            why = f"python3 inception2.py {' '.join(arguments(lacking[0]))}" if lacking else "python3 reproduce.py"
            print(f"{path} stays as it is, its networks are not all in runs/: {why}")
            continue
        picture = draw(task, wanted)
        with util.replacing(path) as temporary:
            picture.save(temporary, optimize=True)
        print(f"written: {path}")


def columns_of(task):
    """Return [(title, experiment)] of those columns of a picture that have a result."""
    of_task = (e for e in matrix() if (e.dataset, e.task, e.draw) == ("mars", task, 0))
    experiments = {(e.recipe, e.model, e.n_train): e for e in of_task}
    found = [(title, experiments[tuple(key)]) for *key, title in COLUMNS]
    return [(title, experiment) for title, experiment in found if Path("results", f"{experiment.name}.json").exists()]


def network_of(experiment):
    return Path("runs") / experiment.name / "model.keras"


def draw(task, wanted):
    """Draw the columns, then the target: each tile in two rows, input above output.

    wanted : [(title, experiment)], see `columns_of`

    Returns
    -------
    PIL.Image, RGB
    """

    tiles = TileSet("datasets", "mars", task).read_test(max(TILES) + 1)
    target, degraded = tiles.target[list(TILES)], tiles.degraded[list(TILES)]
    columns = [(title, degraded, networkfile.restore_tiles(networkfile.load_model(network_of(experiment)), degraded))
               for title, experiment in wanted]
    columns.append(("target", target, target))
    height, width = target.shape[1:3]
    row = 2 * (height + LABEL // 2) + MARGIN
    picture = Image.new("RGB", (MARGIN + len(columns) * (width + MARGIN), LABEL + len(TILES) * row), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for column, (title, above, below) in enumerate(columns):
        left = MARGIN + column * (width + MARGIN)
        pen.text((left, 2), title, "black", font)
        for tile in range(len(TILES)):
            for place, image in enumerate((above, below)):
                top = LABEL + tile * row + place * (height + LABEL // 2)
                if place and title == "target":
                    continue
                picture.paste(Image.fromarray(image[tile]), (left, top))
                if title != "target":
                    psnr = util.psnr_of_mse(util.mse(target[tile : tile + 1], image[tile : tile + 1]))[0]
                    pen.text((left, top + height + 1), f"{psnr:.2f} dB", "black", font)
    return picture


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
