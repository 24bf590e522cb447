"""A page of one result, a file that needs nothing else: "did it work?" is answered by looking. No Keras in here.

    python3 inception2.py gallery NAME        # outputs/gallery.html; a minute

What comes from a file or a name goes through `html.escape`, and the page may load nothing from anywhere.
"""

import base64
import contextlib
import io
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image
from tqdm import tqdm

import util
from download_module import datasets
from download_module.degrade import degrade, task_of
from download_module.split import read_source
from download_module.tiles import in_form
from inception2_module import classical, drawing, evaluation, scores

TEMPLATE = Path(__file__).with_suffix(".html")
N_FIXED, N_WHOLE = 3, 3  # test tiles and whole images that no result has chosen
LONGEST = 768  # side of a whole image; of a larger one the middle is shown
LOSSLESS = 256 * 256  # pixels up to which a picture is stored as it is; larger ones as JPEG, or the page would be too
SAME = 0.05  # dB: as near are the outputs of one network on two machines
NAMES = {  # of what is shown: English, Japanese
    "input": ("input", "入力"), "restored": ("network", "ネットワーク"), "target": ("original", "原画像"),
    "restored_ensemble": ("network, mean of 8 turned runs", "ネットワーク（8 方向の平均）"),
    "best gain": ("best gain", "利得が最良"), "median gain": ("median gain", "利得が中央"),
    "worst gain": ("worst gain", "利得が最悪"),
}
PADDING = 34  # of a figure, left and right together, as in the template
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 260, 58, 24, 12, 30  # of a chart and its margins, in units of its own


def write(path, result, data, restore, logs, images_dir=None):
    """Write the page of a result.

    Parameters
    ----------
    path : where it goes
    result : dict, as a training or `evaluate` writes it
    data : tileset.TileSet of the result
    restore : function, degraded tiles (N, H, W, C) of the kind of the data -> restored ones, by the result's network
    logs : {name: list of {"update", "loss", "psnr"}} of the trainings of the network; may be empty
    images_dir : path, holds the images that were held out, under the names of the manifest; None: where `download.py`
        has put those of a known set

    Raises
    ------
    util.UserError
        When the result is damaged, or not one of these tiles and this network.
    """
    _check(result, data)
    methods, best, test = result["methods"], result["best_without_network"], data.read_test(result["n_test"])
    gains, over_best = (np.subtract(methods["restored"]["psnr_tiles"], methods[name]["psnr_tiles"])
                        for name in ("input", best))
    rows = drawing.choose_rows(gains, N_FIXED)
    shown = test.take(index for _, index in rows)
    columns = {"input": shown.degraded}
    if best in classical.methods_for(data.task):  # not the bare input, nor one whose package is gone
        seen = data.read_seen(result["n_train"], result["draw"])
        columns[best] = classical.restore_as(result, seen, shown)
    columns |= {"restored": restore(shown.degraded), "target": shown.target}
    for name in ("input", "restored"):
        there = [methods[name]["psnr_tiles"][index] for _, index in rows]
        if np.abs(scores.psnr(shown.target, columns[name], test.kind) - there).max() > SAME:
            raise _damaged(result, f"its scores of {name} are not those of the tiles and the network")
    wholes = _whole_images(data, test, restore, images_dir)
    sources = [tile["source"] for tile in data.manifest["tiles"]["test"][: len(test)]]
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=escape(result["name"]), title=_title(result), verdict=_verdict(result), warning=_warning(result),
        facts=_facts(result, gains), left=_choice("left", columns, "input"),
        right=_choice("right", columns, "restored"), tiles=_tiles(rows, columns, methods, test),
        wholes=_wholes(wholes, test.kind), about=_about(result), table=_table(result),
        gains=_gain_charts(gains, over_best, best), images=_images(sources, gains, over_best, best),
        of_images=_both(f"Gain of each of {len(set(sources)):,} images, the lowest first",
                        f"画像ごとの利得（{len(set(sources)):,} 枚、低い順）"),
        training=_training(logs, result), settings=_settings(result, data),
    )
    with util.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _damaged(result, trouble):
    return util.UserError(f"the result {result['name']} is damaged or of another network, {trouble}: measure it again "
                          "with inception2.py evaluate")


def _check(result, data):
    """Refuse a result that was changed by hand, or is of another data set than this one."""
    try:
        rows, n = result["methods"], result["n_test"]
        per_tile = [row[key] for row in rows.values() for key in ("psnr_tiles", "ssim_tiles")]
        per_tile += [result["scenes"], range(n) if "groups" not in result else result["groups"]]
        _ = rows["input"], rows["restored"], rows[result["best_without_network"]], result["warning"]
        others = [result["differences"][f"restored - {name}"] for name in rows if not name.startswith("restored")]
        numbers = [result["n_train"], result["draw"]]
        numbers += [row[key] for row in rows.values() for key in ("psnr", "ssim")]
        numbers += [difference[key] for difference in others for key in ("mean", "low", "high")]
        if any(len(values) != n for values in per_tile) or not np.isfinite(np.array(numbers, float)).all():
            raise ValueError(f"not one score for each of {n} tiles")
        data_id = result["data"]["data_id"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(result, f"it lacks something ({error})") from error
    if data_id != data.id:
        raise util.UserError(f"{data.directory} is not the data set that {result['name']} was measured on: make it "
                             "again with the options of then")


def _whole_images(data, test, restore, images_dir):
    """Restore the first whole images that test tiles were cut from: list of (name, {column: image (H, W, C)}).

    Their inputs are made anew, so there are none of pairs. An image with holes is left out, and so is one that is not
    where the tile was cut from.
    """
    name, found = data.manifest["name"], []
    if task_of(data.task).is_pairs:
        return found
    if images_dir is None and name in datasets.DATASETS:
        with contextlib.suppress(util.UserError):  # no longer whole
            images_dir = datasets.test_root_of(name, data.directory.parent)
    if images_dir is None or not Path(images_dir).is_dir():
        util.say(f"the images that the test tiles of {name} were cut from are not shown whole: give their folder with "
                 "--images")
        return found
    tiles = data.manifest["tiles"]["test"][: len(test)]
    first_tiles = {tile["source"]: number for number, tile in reversed(list(enumerate(tiles)))}
    bar = tqdm(total=N_WHOLE, unit="image", desc="whole images", leave=False, mininterval=util.bar_interval())
    for source, number in sorted(first_tiles.items(), key=lambda item: item[1]):
        try:
            image, missing = read_source(Path(images_dir) / source)
        except util.ImageError as error:
            util.say(error)
            continue
        image = in_form(image, data.kind)
        place, size = tiles[number], test.target.shape[1]
        crop = image[place["y"] : place["y"] + size, place["x"] : place["x"] + size]
        if not np.array_equal(np.rot90(crop, place["rotation"] // 90), test.target[number]):
            util.say(f"{Path(images_dir) / source} is not the image that test tile {number} was cut from: not shown")
            continue
        if missing is not None and missing.any():
            continue
        middle = tuple(slice(max(side - LONGEST, 0) // 2, max(side - LONGEST, 0) // 2 + LONGEST)
                       for side in image.shape[:2])
        target = np.ascontiguousarray(image[middle])
        degraded = degrade(target, data.task, np.random.default_rng(0), data.kind.low, data.kind.high)
        part = "" if target.shape == image.shape else f", the middle of {image.shape[1]}x{image.shape[0]}"
        found.append((f"{source}{part}", {"input": degraded, "restored": restore(degraded[None])[0], "target": target}))
        bar.update()
        if len(found) == N_WHOLE:
            break
    bar.close()
    return found


def _both(english, japanese):
    """Two languages, of which the page shows one; both are HTML already."""
    return f'<span lang="en">{english}</span><span lang="ja">{japanese}</span>'


def _name(key):
    return _both(*NAMES[key]) if key in NAMES else escape(key.replace("_", " "))


def _choice(side, columns, chosen):
    """Buttons that choose what is shown on one side of all sliders."""
    return "".join(
        f'<label><input type="radio" name="{side}" value="{escape(name)}"{" checked" * (name == chosen)}> '
        f"<span>{_name(name)}</span></label>" for name in columns
    )


def _figure(pictures, caption, zoom):
    """A slider between pictures of one place, {column: uint8 (H, W, 3)}, at most `zoom` times as large as they are."""
    height, width = pictures["target"].shape[:2]
    sides, images = {"input": "left", "restored": "right"}, []
    for name, image in pictures.items():
        images.append(f'<img data-method="{escape(name)}" class="{sides.get(name, "")}" alt="{escape(name)}" '
                      f'src="{_data_uri(image)}">')
    return (f'<figure style="max-width:{zoom * width + PADDING}px">'
            f'<div class="pair{" zoomed" * (zoom > 1)}" style="aspect-ratio:{width}/{height}">{"".join(images)}'
            f'<input type="range" min="0" max="100" step="0.1" value="50" aria-label="left / right"><i></i>'
            f'<span class="l">{_name("input")}</span><span class="r">{_name("restored")}</span></div>'
            f"<figcaption>{caption}</figcaption></figure>")


def _data_uri(pixels):
    """uint8 (H, W, 3) -> a picture within the page."""
    file = io.BytesIO()
    if pixels.shape[0] * pixels.shape[1] <= LOSSLESS:
        kind, options = "png", {"optimize": True}
    else:
        kind, options = "jpeg", {"quality": 90, "subsampling": 0}
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _scores(psnrs):
    """What stands below a slider: {method: PSNR in dB} -> HTML."""
    parts = [f"{_name(name)} {psnr:.2f}" + f" ({psnr - psnrs['input']:+.2f})" * (name != "input")
             for name, psnr in psnrs.items()]
    return " · ".join(parts) + " dB"


def _values(kind, target):
    """Which values of data (H, W, C) are black and white, HTML; nothing of 8-bit images, where they are 0 and 255."""
    if not kind.is_data:
        return ""
    black, white = kind.spread(target[None]).ravel()
    return "<br>" + _both(f"black {black:.5g}, white {white:.5g}", f"黒 {black:.5g}、白 {white:.5g}")


def _tiles(rows, columns, methods, test):
    views = {name: test.kind.view(tiles, columns["target"]) for name, tiles in columns.items()}
    figures = []
    for place, (label, index) in enumerate(rows):
        *chosen, tile = label.split("\n")
        head = _both(tile, tile.replace("tile", "タイル")) + "".join(f", {_name(name)}" for name in chosen)
        psnrs = {name: methods[name]["psnr_tiles"][index] for name in columns if name in methods}
        caption = f"<b>{head}</b><br>{_scores(psnrs)}{_values(test.kind, columns['target'][place])}"
        figures.append(_figure({name: view[place] for name, view in views.items()}, caption, 4))
    return "\n".join(figures)


def _wholes(wholes, kind):
    """The section of whole images, empty without any."""
    figures = []
    for name, images in wholes:
        target = images["target"]
        psnrs = {column: float(scores.psnr(target[None], images[column][None], kind)[0])
                 for column in ("input", "restored")}
        views = {column: kind.view(image[None], target[None])[0] for column, image in images.items()}
        caption = f"<b>{escape(name)}</b><br>{_scores(psnrs)}{_values(kind, target)}"
        figures.append(_figure(views, caption, 2 if target.shape[1] <= LONGEST // 2 else 1))
    if not figures:
        return ""
    return (f"<h2>{_both('Whole test images', 'テスト画像の全体')}</h2>"
            f'<div class="wholes">{"".join(figures)}</div>')


def _title(result):
    return " · ".join(escape(str(result[key])) for key in ("dataset", "task", "model", "recipe") if result.get(key))


def _difference(result, name):
    return result["differences"][f"restored - {name}"]


def _verdict(result):
    """One sentence: is it worth it?"""
    best = result["best_without_network"]
    if evaluation.has_collapsed(result):
        return _both("The network has collapsed: it returns its input",
                     "ネットワークが縮退し、入力をそのまま返しています")
    what = _name(best)
    if _difference(result, best)["low"] > 0:
        return _both(f"The network is better than {what}, the best method without a network",
                     f"ネットワークは、ネットワークを使わない最良の方法（{what}）より良い結果です")
    if _difference(result, best)["high"] < 0:
        return _both(f"{what}, a method without a network, is better than the network",
                     f"ネットワークを使わない方法（{what}）のほうが良い結果です")
    return _both(f"The network and {what}, the best method without a network, cannot be told apart",
                 f"ネットワークと、使わない最良の方法（{what}）に差があるとは言えません")


def _warning(result):
    return f'<p class="warning">⚠ {escape(result["warning"])}</p>' if result["warning"] else ""


def _facts(result, gains):
    """The three numbers that are looked for first."""
    best, cells = result["best_without_network"], []
    for name in dict.fromkeys(("input", best)):
        gap = _difference(result, name)
        cells.append((f"{_lead(gap)} dB", _both(
            f"over {_name(name)}, 95 % interval {gap['low']:+.2f} to {gap['high']:+.2f}",
            f"{_name(name)}との差、95 % 区間 {gap['low']:+.2f}〜{gap['high']:+.2f}")))
    n_better = int((gains > 0).sum())
    cells.append((f"{n_better:,} / {len(gains):,}", _both("test tiles are better than their input",
                                                          "入力より良くなったテストタイル")))
    return "".join(f'<div><b>{number}</b><span class="soft">{text}</span></div>' for number, text in cells)


def _lead(gap):
    """A difference in dB, coloured where its interval does not hold 0."""
    colour = "good" if gap["low"] > 0 else "bad" if gap["high"] < 0 else ""
    return f'<span class="{colour}">{gap["mean"]:+.2f}</span>'


def _about(result):
    """How the numbers were made."""
    n, n_scenes, protocol = result["n_test"], len(set(result["scenes"])), result["protocol"]
    channels, data_range = escape(str(protocol["channels"])), escape(f"{protocol['data_range']:g}")
    return _both(
        f"PSNR in dB and SSIM, means over {n:,} test tiles of {n_scenes:,} scenes; {channels}, whole tiles, data range "
        f"{data_range}. Intervals: 95 %, over scenes, of this one training" + "; of so few scenes they are too narrow."
        * (n_scenes < 10) + "." * (n_scenes >= 10),
        f"PSNR（dB）と SSIM は {n_scenes:,} 場面のテストタイル {n:,} 枚の平均（{channels}、タイル全体、値の幅 "
        f"{data_range}）。区間は場面についての 95 % 区間で、学習 1 回分です。" + "場面が少ないため区間は狭すぎます。"
        * (n_scenes < 10),
    )


def _table(result):
    """The rows of all methods: PSNR, also of each group of tiles, SSIM, the error of data, and the network's lead."""
    rows, groups = result["methods"], sorted(set(result.get("groups", ())))
    has_error = "rmse" in rows["input"]
    heads = [_both("method", "方法"), "PSNR", *(f"PSNR, {escape(group)}" for group in groups), "SSIM",
             *["RMSE"] * has_error, _both("network is better by", "ネットワークの差")]
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["psnr"]):
        is_ours = name.startswith("restored")
        psnrs = [evaluation.mean_of(row, result, group) for group in (None, *groups)]
        cells = [_name(name), *(f"{psnr:.2f}" for psnr in psnrs), f"{row['ssim']:.4f}",
                 *[f"{row.get('rmse', 0):.4g}"] * has_error]
        gap = None if is_ours else _difference(result, name)
        cells.append("" if is_ours else f"{_lead(gap)} [{gap['low']:+.2f}, {gap['high']:+.2f}]")
        lines.append(f'<tr{" class=ours" * is_ours}>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join(lines)


def _gain_charts(gains, over_best, best):
    charts = []
    for name, values in {"input": gains, best: over_best}.items():
        n = int((values > 0).sum())
        charts.append(_chart(
            _both(f"<b>Network minus {_name(name)}, dB</b>; tiles sorted, {n:,} of {len(values):,} above 0",
                  f"<b>ネットワークと{_name(name)}の差（dB）</b>、昇順、{len(values):,} 枚中 {n:,} 枚が 0 より上"),
            {"": (np.arange(1, len(values) + 1), np.sort(values))}, bars=True))
    return "\n".join(charts)


def _images(sources, gains, over_best, best):
    """Rows of a table: the mean gains over the tiles of each image, the lowest first."""
    tiles = {}
    for number, source in enumerate(sources):
        tiles.setdefault(source, []).append(number)
    others = list(dict.fromkeys(("input", best)))
    heads = [_both("image", "画像"), _both("tiles", "タイル"),
             *(_both(f"over {_name(name)}, dB", f"{_name(name)}との差 (dB)") for name in others)]
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for source, numbers in sorted(tiles.items(), key=lambda item: gains[item[1]].mean()):
        means = [values[numbers].mean() for values in (gains, over_best)[: len(others)]]
        cells = [escape(source), f"{len(numbers):,}",
                 *(f'<span class="{"good" if mean > 0 else "bad"}">{mean:+.2f}</span>' for mean in means)]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join(lines)


def _training(logs, result):
    """The section of the curves, empty where there is no log."""
    if not any(logs.values()):
        return ""
    chosen = result.get("chosen_update")
    charts = []
    for key, title in {
        "loss": ("<b>Loss</b> on training tiles by update", "<b>損失</b>（学習タイル、更新回数ごと）"),
        "psnr": ("<b>PSNR of validation tiles</b>, dB, by update", "<b>検証タイルの PSNR</b>（dB、更新回数ごと）"),
    }.items():
        series = {name: tuple(np.array([line[field] for line in log]) for field in ("update", key))
                  for name, log in logs.items() if log}
        charts.append(_chart(_both(*title), series, mark=chosen))
    note = "" if not chosen else _both(f"The weights of update {chosen:,} are the result (dashed).",
                                       f"{chosen:,} 回目の更新の重みを結果としました（破線）。")
    return (f"<h2>{_both('Training', '学習曲線')}</h2>" + f'<p class="soft">{note}</p>' * bool(note)
            + f'<div class="charts">{"".join(charts)}</div>')


def _chart(caption, series, bars=False, mark=None):
    """Draw {name: (x, y)} as lines, or as bars from 0; `mark` is an x that gets a dashed line. HTML with inline SVG."""
    x_all, y_all = (np.concatenate([values[axis] for values in series.values()]).astype(float) for axis in (0, 1))
    y_ticks = _ticks(*((min(y_all.min(), 0), max(y_all.max(), 0)) if bars else (y_all.min(), y_all.max())))
    x_ticks = [x for x in _ticks(0, x_all.max()) if x <= x_all.max()]
    (x_low, x_high), (y_low, y_high) = (0.5 if bars else 0, x_all.max() + 0.5 * bars), (y_ticks[0], y_ticks[-1])

    def x_of(x):
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - x_low) / (x_high - x_low)

    def y_of(y):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (y - y_low) / (y_high - y_low)

    parts = []
    for tick in y_ticks:
        zero = ' class="zero"' * (bars and tick == 0)
        parts.append(f'<line{zero} x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}"/>'
                     f'<text x="{LEFT - 6}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts += [f'<text x="{x_of(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{tick:,g}</text>' for tick in x_ticks
              if tick > x_low or not bars]
    if mark:
        place = f"{x_of(mark):.1f}"
        parts.append(f'<line class="mark" x1="{place}" x2="{place}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for number, (x, y) in enumerate(series.values()):
        if bars:
            width = (0.8 if len(x) <= 100 else 1.05) * (x_of(2) - x_of(1))  # many touch
            for sign, colour in ((1, "good"), (-1, "bad")):
                steps = "".join(f"M{x_of(a):.1f} {y_of(0):.1f}V{y_of(b):.1f}"
                                for a, b in zip(x, y, strict=True) if sign * b > 0)
                parts.append(f'<path stroke="var(--{colour})" style="stroke-width:{width:.2f}" d="{steps}"/>')
        else:
            points = "L".join(f"{x_of(a):.1f} {y_of(b):.1f}" for a, b in zip(x, y, strict=True))
            parts.append(f'<path class="s{number % 2}" d="M{points}"/>')
    keys = "".join(f' <span class="key s{number % 2}">{escape(name)}</span>' for number, name in enumerate(series)
                   if len(series) > 1)
    return (f'<figure><figcaption>{caption}{keys}</figcaption><svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'role="img">{"".join(parts)}</svg></figure>')


def _ticks(low, high, n=5):
    """Round numbers from below `low` to above `high`, about n of them."""
    span = (high - low) or abs(high) or 1.0  # all values may be one
    unit = 10 ** np.floor(np.log10(span / n))
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= n)
    return [float(f"{i * step:.10g}") for i in range(int(np.floor(low / step)), int(np.ceil((low + span) / step)) + 1)]


def _settings(result, data):
    """What was run, and whose images these are: the rows of a definition list."""
    parts = {_both("name", "名前"): result["name"]}
    parts |= {_both(*names): result.get(key) for key, names in {
        "n_train": ("training tiles", "学習タイル"), "n_updates": ("updates", "更新回数"),
        "batch_size": ("batch size", "バッチサイズ"), "learning_rate": ("learning rate", "学習率"),
        "seed": ("seed", "乱数の種"), "draw": ("draw", "タイルの組"), "start": ("started from", "初期値"),
        "n_parameters": ("parameters", "パラメータ数"), "seconds_train": ("seconds of training", "学習時間（秒）"),
        "device": ("device", "計算機"), "git_commit": ("commit", "コミット"),
    }.items()}
    parts |= {_both("images", "画像"): data.manifest.get("citation"),
              _both("licence", "ライセンス"): data.manifest.get("licence")}
    return "".join(f"<dt>{key}</dt><dd>{escape(f'{value:,}' if type(value) is int else str(value))}</dd>"
                   for key, value in parts.items() if value not in (None, ""))
