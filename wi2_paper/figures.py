"""The figures of the paper as PDF: the curve, the paper's network drawn from its Keras model, test tiles with scores.

Each PDF says in its keywords a digest of what it shows (`digest`), so that a test can hold it against results/ without
drawing it again, and bears no date, so that the same content is the same file.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

import util
from download_module import tilefile
from inception2_module import networkfile, scores
from wi2_paper import pictures, tables
from wi2_paper.matrix import BETTER, BRANCHES, N_BRANCHES, PUBLISHED

FONT = {"font.size": 7, "font.family": "DejaVu Sans", "axes.linewidth": 0.6, "lines.linewidth": 1.0,
        "lines.markersize": 3.5}
COLUMN, PAGE = 3.3, 6.9  # inches: the widths of a column and of both
HEADS = {"sr_x4": "x4", "sr_x8": "x8", "noise_s64": "noise, $\\sigma$ = 64"}
BRANCH = {"srcnn535": "SRCNN535", "bypass": "the bypass"}
KEPT = Path("wi2_paper/generated/branches")
TOLERANCE = 0.05  # dB between a tile restored again, on another machine perhaps, and its result


def digest(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save(figure, path, content):
    """Write a figure as PDF with the digest of what it shows, and the names of that in its subject."""
    about = {"CreationDate": None, "Keywords": digest(content), "Subject": " ".join(map(str, content))}
    with util.replacing(path) as temporary:
        figure.savefig(temporary, format="pdf", metadata=about, bbox_inches="tight", pad_inches=0.01)


def draw_curve(results):
    """Draw the gain over the number of tiles at the width of a column.

    Returns
    -------
    (matplotlib.figure.Figure, content for `save`)
    """
    with rc_context(FONT):
        figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
        axes = figure.add_subplot()
        tables.draw_gains_by_tiles(axes, results)
    axes.set_title("")  # the caption says it
    if axes.get_legend():
        axes.get_legend().remove()
        handles, labels = axes.get_legend_handles_labels()
        whole, better = (f", {tables.NETWORKS[name].title}" for name in (tables.PAPER, BETTER))
        labels = [label.replace(whole, "").replace(better, ", halved") for label in labels]
        figure.legend(handles, labels, fontsize=6.5, loc="outside upper center", ncols=2)
    lines = [[np.asarray(values, float).tolist() for values in line.get_data()] for line in axes.lines]
    return figure, {f"line{i}": line for i, line in enumerate(lines)}


def draw_network():
    """Draw the layers of the paper's network: a row a resolution, a box a layer, a circle a sum.

    Returns
    -------
    (matplotlib.figure.Figure, content for `save`)
    """
    nodes = network_nodes()
    places = _places(nodes)
    right = max(x for x, _ in places.values())
    with rc_context(FONT):
        figure = Figure(figsize=(PAGE, 2.75))
        axes = figure.add_axes((0, 0, 1, 1))
        patches = {name: _draw_node(axes, places[name], node) for name, node in nodes.items()}
        for name, node in nodes.items():
            for source in node["inputs"]:
                _connect(axes, places[source], places[name], patches[source], patches[name], places.values())
        for depth in range(1, 5):
            axes.text(right + 0.9, -depth, f"H/{2**depth}", ha="center", va="center", color="gray")
        for text, y in (("bypass", 2.25), ("SRCNN535", 1.4), ("U-Net", 0.4)):
            axes.text(0.6, y, text, weight="bold", va="center")
        axes.set(xlim=(-0.6, right + 1.3), ylim=(-4.7, 2.55))
        axes.axis("off")
    return figure, nodes


@cache
def network_nodes():
    """Return the layers of the paper's network but for its dropout: {name: what is drawn of it}."""
    from inception2_module import networks

    model = networks.build_model(tables.PAPER)
    nodes, passed = {}, {}  # a dropout layer stands for the layer before it
    for layer in model.layers:
        parents = [passed.get(tensor._keras_history.operation.name, tensor._keras_history.operation.name)
                   for tensor in _inputs(layer)]
        kind = type(layer).__name__
        if kind == "Dropout":
            passed[layer.name] = parents[0]
            continue
        node = {"kind": kind, "inputs": parents, "branch": layer.name.split("_")[0]}
        if hasattr(layer, "kernel"):
            node |= {"kernel": list(layer.kernel_size), "filters": layer.filters, "stride": layer.strides[0]}
        nodes[layer.name] = node
    return nodes


def _inputs(layer):
    inputs = layer.input if type(layer).__name__ != "InputLayer" else []
    return inputs if isinstance(inputs, list) else [inputs]


def _places(nodes):
    """Where each layer is drawn, from left to right as it is computed: {name: (x, y)}; y of the U-Net is its depth."""
    depth, places, order = {}, {}, {}
    for name, node in nodes.items():
        above = [depth[source] for source in node["inputs"]]
        step = np.log2(node.get("stride", 1)) * (-1 if node["kind"] == "Conv2DTranspose" else 1)
        depth[name] = (above[0] if above else 0) + step
        order[name] = 1 + max((order[source] for source in node["inputs"]), default=-1)
    longest = max(order.values())
    for name, node in nodes.items():
        if node["branch"] == "srcnn":
            places[name] = order[name] * longest / 4, 1.1
        else:  # a layer that enlarges stands below the sum that it goes into
            places[name] = order[name], -float(depth[name]) - 0.5 * (node["kind"] == "Conv2DTranspose")
    return places


def _connect(axes, start, end, source, target, places):
    """Draw an arrow from one layer to another: with right angles past the U-Net, in a bow past a layer."""
    style = {"arrowstyle": "-|>", "mutation_scale": 6, "linewidth": 0.6, "color": "black", "shrinkA": 0, "shrinkB": 0}
    bypass = start[1] == end[1] == 0 and end[0] - start[0] > 2
    if bypass or start[1] != end[1] == 1.1 or start[1] == 1.1 != end[1]:
        above = 2 if bypass else 1.1
        bends = [(start[0], above), (end[0], above)] if bypass else \
            [(start[0], above) if end[1] == above else (end[0], above)]
        axes.plot(*zip(start, *bends, strict=True), color="black", linewidth=0.6, zorder=1)
        axes.add_patch(FancyArrowPatch(bends[-1], end, patchB=target, **style))
    else:
        between = any(start[0] < x < end[0] and y == start[1] == end[1] for x, y in places)
        bow = "arc3,rad=0.5" if between else "arc3"
        axes.add_patch(FancyArrowPatch(start, end, patchA=source, patchB=target, connectionstyle=bow, **style))


def _draw_node(axes, place, node):
    x, y = place
    colors = {"InputLayer": "white", "Conv2D": "#cfe3f5", "Conv2DTranspose": "#f9dcc0"}
    style = {"edgecolor": "black", "linewidth": 0.6, "zorder": 4}
    if node["kind"] == "Add":
        text, patch = "+", Circle(place, 0.2, facecolor="white", **style)
    else:
        patch = Rectangle((x - 0.42, y - 0.27), 0.84, 0.54, facecolor=colors[node["kind"]], **style)
        arrow = {"Conv2DTranspose": "↑2"}.get(node["kind"], {2: "↓2"}.get(node.get("stride"), ""))
        text = "{}×{}{}\n{}".format(*node["kernel"], arrow, node["filters"]) if "kernel" in node else "input"
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center_baseline" if text == "+" else "center", zorder=5, fontsize=5.9,
              linespacing=1.0)
    return patch


def draw_tiles(results):
    """Draw the first test tiles of Mars by the networks of weights/: the input above, the output below it, the target.

    Returns
    -------
    (matplotlib.figure.Figure, content for `save`)
    """
    content, columns = tiles_content(results), []
    for task in HEADS:
        target, degraded = pictures.read_tiles(task)
        path, _ = networkfile.find_weights(f"mars_{task}")
        restored = networkfile.restore_tiles(networkfile.load_model(path), degraded)
        _check(task, target, {"input": degraded, "restored": restored}, content[task])
        columns += [(HEADS[task], [degraded[i], restored[i], target[i]],
                     [content[task]["input"][i], content[task]["restored"][i], None]) for i in range(len(target))]
    return _grid(columns, ("input", "network", "target")), content


def tiles_content(results):
    return {task: tile_scores(results, PUBLISHED[f"mars_{task}"].name) for task in HEADS}


def draw_branches(results):
    """Draw a test tile by the paper's network with and without a branch, as far as the trainings are at hand.

    Of several seeds the first one at hand is drawn. Each tile is kept in generated/branches/, and taken from there
    where runs/ does not hold its training any more.

    Returns
    -------
    (matplotlib.figure.Figure, content for `save`)
    """
    columns, content, missing = [], {}, None
    for task, without in BRANCHES.items():
        target, degraded = pictures.read_tiles(task)
        for model in (tables.PAPER, without):
            for n in sorted(N_BRANCHES, reverse=True):
                head = f"{HEADS[task]}\nwith{'out' * (model == without)} {BRANCH[tables.left_out(without)]}\nn = {n:,}"
                column = head, [None, None], [None, None]
                for experiment in pictures.find_seeds(task, "paper", model, n):
                    try:
                        known = tile_scores(results, experiment.name)
                        restored = _first_restored(experiment, degraded)
                    except util.UserError as error:
                        missing = missing or error
                        continue
                    _check(task, target[:1], {"input": degraded[:1], "restored": restored[None]}, known)
                    _keep(restored, _kept_path(experiment))
                    content[experiment.name] = known
                    column = head, [degraded[0], restored], [known[method][0] for method in known]
                    break
                columns.append(column)
    if not any(f"-{model}-" in name for model in BRANCHES.values() for name in content):
        raise missing
    return _grid(columns, ("input", "network"), n_columns=6), content


def _first_restored(experiment, degraded):
    """Restore the first of tiles, uint8 (N, H, W, 3); without the training, take it as it was kept: uint8 (H, W, 3)."""
    try:
        return pictures.restored(experiment, degraded)[0]
    except util.UserError:
        if not _kept_path(experiment).is_file():
            raise
        return tilefile.read_image(_kept_path(experiment))


def _kept_path(experiment):
    return KEPT / f"{experiment.name}.png"


def _keep(tile, path):
    """Write a tile, but not the same pixels once more: another Pillow makes other bytes of them."""
    if not path.is_file() or not np.array_equal(tilefile.read_image(path), tile):
        path.parent.mkdir(parents=True, exist_ok=True)
        tilefile.write_image(path, tile)


def tile_scores(results, name):
    """PSNR and SSIM of the tiles that are drawn, from a result: {"input" or "restored": [[PSNR, SSIM], ...]}"""
    if name not in results:
        raise util.UserError(f"results/{name}.json is missing: python3 -m wi2_paper.reproduce --only {name} makes it")
    methods = results[name]["methods"]
    return {method: [[methods[method][key][i] for key in ("psnr_tiles", "ssim_tiles")]
                     for i in pictures.TILES] for method in ("input", "restored")}


def _check(task, target, images, known):
    """Refuse tiles or networks that are not those of the result whose scores are written below them."""
    for method, tiles in images.items():
        psnr = scores.psnr(target, tiles)
        expected = [value for value, _ in known[method]][:len(psnr)]
        if not np.allclose(psnr, expected, atol=TOLERANCE):
            raise util.UserError(f"{task}, {method}: the tiles have a PSNR of {psnr.round(2)}, their result says "
                                 f"{expected}: they are of another data set or network")


def _grid(columns, labels, n_columns=None):
    """Lay out columns of tiles, each with its scores below it.

    columns : list of (head, tiles (H, W, 3) or None from top to bottom, their (PSNR, SSIM) or None)
    labels : list of str, of the rows
    """
    n_columns = n_columns or len(columns)
    n_bands, n_rows = -(-len(columns) // n_columns), len(labels)
    left, below, gap = 0.28, 0.2, 0.04  # inches
    top = 0.06 + 0.12 * max(head.count("\n") + 1 for head, *_ in columns)
    side = (PAGE - left) / n_columns - gap
    height = n_bands * (top + n_rows * (side + below))
    figure = Figure(figsize=(PAGE, height))
    with rc_context(FONT):
        for number, (head, tiles, values) in enumerate(columns):
            band, column = divmod(number, n_columns)
            x = left + column * (side + gap)
            above = height - band * (top + n_rows * (side + below))
            figure.text((x + side / 2) / PAGE, (above - top + 0.04) / height, head, ha="center", va="bottom",
                        fontsize=7, linespacing=1.05)
            for row, (tile, value) in enumerate(zip(tiles, values, strict=True)):
                y = above - top - row * (side + below) - side
                axes = figure.add_axes((x / PAGE, y / height, side / PAGE, side / height))
                axes.axis("off")
                if tile is None:
                    axes.text(0.5, 0.5, "not at hand", transform=axes.transAxes, ha="center", va="center", color="gray")
                    continue
                axes.imshow(tile, interpolation="none")
                if value:
                    axes.text(0.5, -0.03, f"{value[0]:.2f} / {value[1]:.3f}", transform=axes.transAxes, ha="center",
                              va="top", fontsize=7)
                if column == 0:
                    figure.text(0.14 / PAGE, (y + side / 2) / height, labels[row], rotation=90, ha="center",
                                va="center", fontsize=7)
    return figure


FIGURES = {
    "curve": draw_curve, "network": lambda results: draw_network(), "tiles": draw_tiles, "branches": draw_branches,
}
