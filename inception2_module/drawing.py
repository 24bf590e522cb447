"""Pictures of test tiles side by side, with the scores under each. No Keras in here."""

import shutil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import util
from inception2_module import classical

ZOOM = 2  # nearest neighbour: what is judged is pixels
MARGIN, LABEL_HEIGHT, ROW_LABEL_WIDTH = 8, 22, 96
N_FIXED = 2  # of the first test tiles, which no result has chosen (a third makes noisy pictures larger than 1 MB)


def choose_rows(gains):
    """Choose the tiles to show: the first two, then the best, median and worst gain.

    Parameters
    ----------
    gains : float (N,), PSNR of the restored tile minus that of the input, in dB

    Returns
    -------
    list of (label, index), without repeats
    """
    order = np.argsort(gains)
    named = [(f"tile {i}", i) for i in range(min(N_FIXED, len(gains)))]
    named += [("best gain", order[-1]), ("median gain", order[len(order) // 2]), ("worst gain", order[0])]
    rows, seen = [], set()
    for label, index in named:
        if int(index) not in seen:
            rows.append((label, int(index)))
            seen.add(int(index))
    return rows


def draw_samples(title, rows, columns, methods, target):
    """Draw rows of tiles with one column a method and the target last.

    Parameters
    ----------
    title : str, says what is shown and how it was trained
    rows : list of (label, index), from `choose_rows`
    columns : {method: uint8 (N, H, W, 3)}
    methods : the result's `methods`, for the scores under the tiles
    target : uint8 (N, H, W, 3)

    Returns
    -------
    PIL.Image, RGB
    """
    height, width = (side * ZOOM for side in target.shape[1:3])
    font, small = (ImageFont.load_default(size) for size in (16, 13))
    n_columns = len(columns) + 1
    size = (
        ROW_LABEL_WIDTH + n_columns * (width + MARGIN) + MARGIN,
        2 * LABEL_HEIGHT + MARGIN + len(rows) * (height + LABEL_HEIGHT + MARGIN),
    )
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, 3), title, "black", font)
    images = columns | {"target": target}
    for column, (name, image) in enumerate(images.items()):
        left = ROW_LABEL_WIDTH + MARGIN + column * (width + MARGIN)
        draw.text((left, LABEL_HEIGHT), name.replace("_", " "), "black", font)
        for row, (label, index) in enumerate(rows):
            top = 2 * LABEL_HEIGHT + row * (height + LABEL_HEIGHT + MARGIN)
            tile = Image.fromarray(image[index]).resize((width, height), Image.Resampling.NEAREST)
            picture.paste(tile, (left, top))
            if column == 0:
                draw.text((MARGIN, top), label, "black", small)
                draw.text((MARGIN, top + 18), f"no. {index}", "gray", small)
            if name in methods:
                psnr, ssim = (methods[name][key][index] for key in ("psnr_tiles", "ssim_tiles"))
                draw.text((left, top + height + 3), f"{psnr:.2f} dB / {ssim:.3f}", "black", small)
    return picture


def save_samples(path, title, images, result, test):
    """Draw and write the samples of one result: the input, the best classical method, the network, the target.

    Parameters
    ----------
    path : where the picture goes
    title : str
    images : {"input", "restored": uint8 (N, H, W, 3)}
    result : dict, see evaluation.evaluate
    test : tileset.Tiles
    """
    target, degraded = test.target, test.degraded
    best, methods = result["best_without_network"], result["methods"]
    rows = choose_rows(np.subtract(methods["restored"]["psnr_tiles"], methods["input"]["psnr_tiles"]))
    columns = {"input": images["input"]}
    if best != "input":
        columns[best] = images["input"].copy()
        for _, i in rows:  # the others are not shown
            columns[best][i] = classical.METHODS[best](target[i], degraded[i], result["classical_settings"][best])
    columns["restored"] = images["restored"]
    picture = draw_samples(title, rows, columns, methods, target)
    with util.replacing(path) as temporary:
        picture.save(temporary, optimize=True)



def draw_diagram(model, path):
    """Draw the layers of a network, once; without graphviz's `dot` say in a line how to get it.

    A picture is no reason to lose a training: where `dot` fails, a line says so. (It does on long chains of residual
    blocks: an assertion of its own about right-angled lines.)
    """
    if not shutil.which("dot"):
        print(f"{path} is not drawn: that needs graphviz's dot (apt install graphviz, or brew install graphviz)")
        return
    if path.exists():
        return
    from inception2_module.backend import keras

    try:
        with util.replacing(path) as temporary:
            keras.utils.plot_model(model, str(temporary), show_layer_names=True, show_layer_activations=True, dpi=60)
    except AssertionError:  # what pydot raises when dot fails
        print(f"{path} is not drawn: graphviz's dot failed on this network")
