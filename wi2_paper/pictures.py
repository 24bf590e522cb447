"""Draw the pictures of the READMEs: the same tiles or whole images by several networks, with the gain of each.

    python3 -m wi2_paper.pictures       # after download.py --dataset mars and reproduce.py; two minutes

Writes into assets/: mars-whole.png and mars-whole-rows.png (the network of weights/ on whole images, restored through
the command line's own path: 33.03 dB for the first, 29.12 dB before), mars-SR_X4-rows.png for each task and
mars-predecessor.png. A picture whose networks or images are missing stays as it is, and a line says what makes them.
"""

import sys
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np

import util
from download_module import tilefile
from download_module.degrade import downscale, upscale
from inception2_module import classical, drawing, evaluation, networkfile, provenance
from inception2_module.experiments import Experiment
from inception2_module.tileset import TileSet
from wi2_paper.matrix import BETTER, OTHER_TASKS, matrix

TILES = (0, 1)  # of the test set, which no result has chosen
COLUMNS = (  # recipe, network, tiles, head
    ("paper", Experiment.model, 100, "paper\nn = 100"),
    ("paper", Experiment.model, 10_000, "paper\nn = 10,000"),
    ("fewdata", Experiment.model, 10, "fewdata\nn = 10"),
    ("fewdata", Experiment.model, 100, "fewdata\nn = 100"),
    ("fewdata", BETTER, 100, "fewdata, halved\nn = 100"),
)
WEIGHTS, SCALE, SIZE, N_IMAGES = "mars_sr_x4", 4, (192, 256), 3  # of the whole images
SOURCE = Path("datasets") / "_sources" / "msl-images"


def main():
    for name, draw in PICTURES.items():
        path = Path("assets") / f"{name}.png"
        try:
            picture = draw()
        except util.UserError as error:
            util.say(f"{path} stays as it is: {error}")
            continue
        with util.replacing(path) as temporary:
            picture.save(temporary, optimize=True)
        print(f"written: {path}")


def draw_rows(task, experiments=COLUMNS):
    """Draw two test tiles as several experiments restore them, beside the best classical method."""
    target, degraded = read_tiles(task)
    result = result_of(find(task, *experiments[-1][:3]))
    data = TileSet("datasets", "mars", task)
    restored_best = classical.restore_as(result, data.read_seen(100, 0), data.read_test(max(TILES) + 1).take(TILES))
    columns = {"input": degraded, result["best_without_network"]: restored_best}
    columns |= {head: restored(find(task, *key), degraded) for *key, head in experiments}
    return draw_tiles(columns, target)


def draw_predecessor():
    """Draw two test tiles in the predecessor's form, HR | LR | 10,000 | 1,000 | 100 tiles, with the paper's recipe."""
    target, degraded = read_tiles("sr_x4")
    columns = {"LR": degraded} | {
        f"{n:,}": restored(find("sr_x4", "paper", Experiment.model, n), degraded) for n in (10_000, 1_000, 100)
    }
    scores = {head: evaluation.score(target, images) for head, images in columns.items()}
    return drawing.draw_grid("", [("", 0), ("", 1)], {"HR": target} | columns, scores, base="LR")


def draw_whole(n_images):
    """Draw the first whole images of the archive's test list, beside their restoration."""
    target, *images = (array[:n_images] for array in whole_images())
    return draw_tiles(dict(zip(("input", "lanczos", "network"), images, strict=True)), target)


@cache
def whole_images():
    """Shrink the first whole images of the archive's test list by 4, and restore them as a user would.

    Writes results/before_after.json, unless that says the same already.

    Returns
    -------
    target, input, by Lanczos, by the network : uint8 (N_IMAGES, H, W, 3)
    """
    list_path = SOURCE / "test-calibrated-shuffled.txt"
    if not list_path.is_file():
        raise util.UserError(f"{list_path} is missing: run python3 download.py --dataset mars first")
    originals = {}
    for line in list_path.read_text(encoding="utf-8").splitlines():
        image = tilefile.read_image(SOURCE / line.split()[0])
        if image.shape[:2] == SIZE:
            originals[Path(line.split()[0]).stem] = image
        if len(originals) == N_IMAGES:
            break
    target = np.stack(list(originals.values()))
    small = [downscale(image, SCALE) for image in target]
    degraded = np.stack([upscale(image, SCALE) for image in small])
    lanczos = np.stack([classical.lanczos(image, SCALE) for image in target])
    network = restore_files(originals, small)
    path = Path("results") / "before_after.json"
    methods = {"input": evaluation.score(target, degraded), "restored": evaluation.score(target, network)}
    if not path.exists() or util.read_json(path)["methods"] != methods:
        util.write_json(path, {
            "weights": WEIGHTS, "images": list(originals), "git_commit": provenance.git_commit(),
            "versions": provenance.versions(), "protocol": evaluation.PROTOCOL, "methods": methods,
        })
    return target, degraded, lanczos, network


def draw_tiles(columns, target):
    """Draw all images of the columns, the target last, at their own size."""
    scores = {head: evaluation.score(target, images) for head, images in columns.items()}
    return drawing.draw_grid("", [("", i) for i in range(len(target))], columns | {"target": target}, scores, zoom=1)


def restore_files(originals, small):
    """Restore the shrunk images, each a file of its own, through the code of the command line."""
    from restore_module import files

    path, card = networkfile.find_weights(WEIGHTS)
    load = partial(networkfile.load_predict, path, card)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{name}.png" for name in originals]
        for image_path, image in zip(paths, small, strict=True):
            tilefile.write_image(image_path, image)
        out = Path(directory) / "out"
        options = files.Options(enlarge=True, scale=networkfile.scale_of(card))
        files.restore_files(paths, out, load, card["task"], options, card.get("reach"))
        return np.stack([tilefile.read_image(out / image_path.name) for image_path in paths])


def read_tiles(task):
    """Read the test tiles that are drawn: (target, degraded), uint8 (2, H, W, 3)."""
    tiles = TileSet("datasets", "mars", task).read_test(max(TILES) + 1)
    return tiles.target[list(TILES)], tiles.degraded[list(TILES)]


def find(task, recipe, model, n_train):
    """Return the experiment of the matrix on Mars, draw 0."""
    return find_seeds(task, recipe, model, n_train)[0]


def find_seeds(task, recipe, model, n_train):
    """Return the experiments of the matrix on Mars that differ in their seeds alone, draw 0."""
    wanted = ("mars", task, recipe, model, n_train, 0)
    return [e for e in matrix() if (e.dataset, e.task, e.recipe, e.model, e.n_train, e.draw) == wanted]


def result_of(experiment):
    return util.read_json(_made(Path("results") / f"{experiment.name}.json", experiment))


def restored(experiment, degraded):
    path = _made(Path("runs") / experiment.name / "model.keras", experiment)
    return networkfile.restore_tiles(networkfile.load_model(path), degraded)


def _made(path, experiment):
    if not path.is_file():
        raise util.UserError(f"{path} is missing: python3 -m wi2_paper.reproduce --only {experiment.name} makes it")
    return path


PICTURES = {
    "mars-whole": partial(draw_whole, 1), "mars-whole-rows": partial(draw_whole, N_IMAGES),
    **{f"mars-{task}-rows": partial(draw_rows, task) for task in ("sr_x4", "sr_x8", "noise_s64")},
    **{f"mars-{task}-rows": partial(draw_rows, task, COLUMNS[-1:]) for task in OTHER_TASKS},
    "mars-predecessor": draw_predecessor,
}


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
