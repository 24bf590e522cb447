"""Pictures of test tiles side by side, with the scores under each. No Keras in here."""

import shutil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import util

ZOOM = 2  # nearest neighbour: what is judged is pixels
MARGIN, LABEL_HEIGHT, ROW_LABEL_WIDTH = 8, 22, 96
N_FIXED = 2  # of the first test tiles, which no result has chosen (a third makes noisy pictures larger than 1 MB)


def choose_rows(gains, n_fixed=N_FIXED):
    """Choose the tiles to show: the first ones, then the best, median and worst gain.

    Parameters
    ----------
    gains : float (N,), PSNR of the restored tile minus that of the input, in dB

    Returns
    -------
    list of (label, index), without repeats
    """
    order = np.argsort(gains)
    named = [("", i) for i in range(min(n_fixed, len(gains)))]
    named += [("best gain\n", order[-1]), ("median gain\n", order[len(order) // 2]), ("worst gain\n", order[0])]
    rows, seen = [], set()
    for label, index in named:
        if int(index) not in seen:
            rows.append((f"{label}tile {index}", int(index)))
            seen.add(int(index))
    return rows


def draw_grid(title, rows, columns, methods, base="input", zoom=ZOOM):
    """Draw images in rows and columns: below each its PSNR, how much that is above the input's, and its SSIM.

    Data have the root of their mean squared error in the place of the SSIM.

    Parameters
    ----------
    title : str, says what is shown and how it was trained; or empty
    rows : list of (label, index), see `choose_rows`; without labels for all ""
    columns : {head: uint8 (N, H, W, 3)}; a head may have several lines
    methods : {head: entry of a result's `methods`}; a column without one, like the target, has no scores
    base : the head of the input
    zoom : int, how many times as large each pixel is drawn

    Returns
    -------
    PIL.Image, RGB
    """
    height, width = (side * zoom for side in next(iter(columns.values())).shape[1:3])
    font, small = (ImageFont.load_default(size) for size in (16 if zoom > 1 else 13, 13))
    label_width = ROW_LABEL_WIDTH if any(label for label, _ in rows) else 0
    above = LABEL_HEIGHT * bool(title)
    below = above + (LABEL_HEIGHT - 4) * max(head.count("\n") + 1 for head in columns) + 4
    row_height = height + LABEL_HEIGHT + MARGIN
    size = label_width + len(columns) * (width + MARGIN) + MARGIN, below + len(rows) * row_height
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, 3), title, "black", font)
    for row, (label, index) in enumerate(rows):
        draw.text((MARGIN, below + row * row_height), label, "black", small)
        for column, (head, images) in enumerate(columns.items()):
            left, top = label_width + MARGIN + column * (width + MARGIN), below + row * row_height
            draw.text((left, above), head.replace("_", " "), "black", font)
            tile = Image.fromarray(images[index]).resize((width, height), Image.Resampling.NEAREST)
            picture.paste(tile, (left, top))
            if head in methods:
                psnr, ssim = (methods[head][key][index] for key in ("psnr_tiles", "ssim_tiles"))
                text = f"{psnr:.2f} dB"
                if head != base:
                    text += f" ({psnr - methods[base]['psnr_tiles'][index]:+.2f})"
                if "rmse" in methods[head]:
                    error = methods[head]["rmse"] * 10 ** ((methods[head]["psnr_of_mean_mse"] - psnr) / 20)
                    last = f", error {error:.3g}"
                else:
                    last = f" / {ssim:.3f}"
                draw.text((left, top + height + 3), text + last * (width > 200), "black", small)
    return picture


def save_samples(path, title, images, result, test, restore_best):
    """Draw and write the samples of one result: the input, the best method without a network, the network, the target.

    Parameters
    ----------
    path : where the picture goes
    title : str
    images : {"input", "restored": tiles of the kind of `test`, (N, H, W, C)}
    result : dict, see evaluation.evaluate
    test : tileset.Tiles
    restore_best : function, (target, degraded) -> restored tiles: the best method without a network
    """
    target, degraded = test.target, test.degraded
    best, methods = result["best_without_network"], result["methods"]
    rows = choose_rows(np.subtract(methods["restored"]["psnr_tiles"], methods["input"]["psnr_tiles"]))
    columns = {"input": images["input"]}
    if best != "input":
        columns[best], shown = images["input"].copy(), [i for _, i in rows]
        columns[best][shown] = restore_best(target[shown], degraded[shown])  # the others are not shown
    columns["restored"] = images["restored"]
    columns["target"] = target
    columns = {name: test.kind.view(tiles, target) for name, tiles in columns.items()}
    if test.kind.is_data:
        black, white = test.kind.spread(target).reshape(2, -1)
        rows = [(f"{label}\n{black[i]:.5g} to\n{white[i]:.5g}", i) for label, i in rows]
    picture = draw_grid(title, rows, columns, methods)
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
