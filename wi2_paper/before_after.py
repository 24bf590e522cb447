"""Restore whole Mars images through the command line's own path, for the README.

    python3 before_after.py         # after download.py --dataset mars; seconds

Takes the first three test images of 256x192 pixels in the order of the archive's list, shrinks them by 4, restores the
files with `restore --enlarge --weights mars_sr_x4`, and writes assets/mars-before-after.png and
results/before_after.json.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import util
from download_module.degrade import downscale, upscale
from inception2_module import drawing, evaluation, networkfile, provenance

WEIGHTS, SCALE, SIZE, N_IMAGES = "mars_sr_x4", 4, (192, 256), 3
SOURCE = Path("datasets") / "_sources" / "msl-images"


def main():
    list_path = SOURCE / "test-calibrated-shuffled.txt"
    if not list_path.is_file():
        raise util.UserError(f"{list_path} is missing: run python3 download.py --dataset mars first")
    names = [line.split()[0] for line in list_path.read_text(encoding="utf-8").splitlines()]
    originals = {}
    for name in names:
        image = util.read_image(SOURCE / name)
        if image.shape[:2] == SIZE:
            originals[Path(name).stem] = image
        if len(originals) == N_IMAGES:
            break
    target = np.stack(list(originals.values()))
    small = [downscale(image, SCALE) for image in target]
    images = {"input": np.stack([upscale(image, SCALE) for image in small]), "restored": restore(originals, small)}
    methods = {name: evaluation.score(target, image) for name, image in images.items()}
    rows = [(f"image {i + 1}", i) for i in range(N_IMAGES)]
    title = f"whole images of the test list, 64x48 enlarged to 256x192 with the weights {WEIGHTS}"
    with util.replacing(Path("assets") / "mars-before-after.png") as temporary:
        drawing.draw_samples(title, rows, images, methods, target).save(temporary, optimize=True)
    util.write_json(Path("results") / "before_after.json", {
        "weights": WEIGHTS, "images": list(originals), "git_commit": provenance.git_commit(),
        "versions": provenance.versions(), "protocol": evaluation.PROTOCOL, "methods": methods,
    })
    print(evaluation.table(methods))


def restore(originals, small):
    """Restore the shrunk images, each a file of its own, as a user would."""
    from restore_module import files

    path, card = networkfile.find_weights(WEIGHTS)
    model = networkfile.load_model(path)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{name}.png" for name in originals]
        for image_path, image in zip(paths, small, strict=True):
            util.write_image(image_path, image)
        out = Path(directory) / "out"
        files.restore_files(paths, out, model.predict_on_batch, card["task"], files.Options(enlarge=True))
        return np.stack([util.read_image(out / image_path.name) for image_path in paths])


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
