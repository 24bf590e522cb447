"""Draw the same test tiles as several experiments restore them: input above, output below.

    python3 pictures.py             # after reproduce.py, which leaves the networks in runs/; a minute

Writes assets/mars-sr_x4-rows.png, mars-sr_x8-rows.png and mars-noise_s64-rows.png. An experiment without a network in
runs/ is left out.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import backend
import util
from experiments import BETTER, BUDGET, Experiment, matrix
from tileset import TileSet

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
    backend.start_keras()
    for task in TASKS:
        path, picture = Path("assets") / f"mars-{task}-rows.png", draw(task)
        if not picture:
            print(f"{path} stays as it is: runs/ has no network for mars {task}, python3 reproduce.py trains them")
            continue
        with util.replacing(path) as temporary:
            picture.save(temporary, optimize=True)
        print(f"written: {path}")


def draw(task):
    """Draw the columns that have a network, then the target: each tile in two rows, input above output.

    Returns
    -------
    PIL.Image, RGB, or None when there is no network
    """
    import training

    paths = {}
    for experiment in matrix(BUDGET):
        path = Path("runs") / experiment.name / "model.keras"
        if (experiment.dataset, experiment.task, experiment.draw) == ("mars", task, 0) and path.exists():
            paths[experiment.recipe, experiment.model, experiment.n_train] = path
    wanted = [(title, paths[tuple(key)]) for *key, title in COLUMNS if tuple(key) in paths]
    if not wanted:
        return None
    target, degraded = (array[list(TILES)] for array in TileSet("datasets", "mars", task).read_test(max(TILES) + 1))
    columns = [(title, degraded, training.restore_tiles(training.load_model(path), degraded)) for title, path in wanted]
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
