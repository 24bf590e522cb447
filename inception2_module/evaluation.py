"""The protocol of measurement: every method on the same test tiles, values per tile, one JSON a run.

Output clipped and rounded to uint8, RGB, no border cut, data range 255; PSNR and SSIM per tile, then the
mean over the tiles. No Keras in here: the network comes as a function from degraded to restored tiles.
"""

import hashlib
import json
from dataclasses import asdict
from functools import cache, partial

import numpy as np
from scipy import stats
from tqdm import tqdm

import util
from inception2_module import classical, provenance, scores
from inception2_module.scores import EIGHT_BIT
from inception2_module.tileset import Tiles

PROTOCOL = {
    "channels": "RGB", "border": 0, "data_range": scores.DATA_RANGE,
    "output": "clipped and rounded to uint8", "mean": "over tiles", "psnr_of_equal_tiles": scores.PSNR_OF_EQUAL,
}
N_BOOTSTRAP = 10_000
PACKAGES = ("numpy", "pillow", "scikit-image", "pywavelets", "bm3d")  # that the other methods' scores depend on
COLLAPSED = "the network has collapsed: it returns its input, but for rounding"
N_AT_ONCE = 50  # tiles that a method restores between two entries of the cache


def protocol(kind):
    """Return how tiles of a kind are measured: `PROTOCOL`, and what differs from it where they are not 8-bit colour."""
    if kind == EIGHT_BIT:
        return PROTOCOL
    return PROTOCOL | {"channels": "RGB" if kind.channels == 3 else "one channel", "data_range": kind.data_range,
                       "output": f"of the type of the data, {kind.dtype}"}


def score(target, restored, kind=EIGHT_BIT):
    """Score one method: tiles of one kind (N, H, W, C) twice -> the fields of one entry of a result's `methods`."""
    return _summary(_measure(target, restored, kind), kind)


def evaluate(task, test, seen, restore, cache_dir, ensemble=None):
    """Measure the input, the methods that need no network, and the network on the same test tiles.

    Parameters
    ----------
    task : str, see `download_module.degrade.task_of`
    test, seen : tileset.Tiles; the other methods choose their settings and learn their filters on those seen only
    restore : function, degraded tiles (N, H, W, C) -> restored ones
    cache_dir : path, keeps what does not depend on the network, for the next one that is measured on the same tiles
    ensemble : function like `restore`, optional: the mean over turned and mirrored tiles, a method of its own

    Returns
    -------
    (fields, images, restore_best) : the result's fields `protocol`, `n_test`, `scenes`, where known `groups`,
        `classical_settings` and those of `compare`; {method: tiles (N, H, W, C)} of the input and the network;
        the best of the others, a function (target, degraded) -> restored
    """
    images = {"input": test.degraded, "restored": restore(test.degraded)}
    if ensemble:
        images["restored_ensemble"] = ensemble(test.degraded)
    settings, methods, restorers = without_network(task, test, seen, cache_dir)
    methods |= {name: score(test.target, image, test.kind) for name, image in images.items() if name != "input"}
    collapsed = scores.nearly_equal(images["restored"], test.degraded, test.kind)
    fields = {"protocol": protocol(test.kind), "n_test": len(test), **about_tiles(test), "classical_settings": settings,
              **compare(methods, test.scenes, collapsed)}
    return fields, images, restorers[fields["best_without_network"]]


def about_tiles(test):
    """Return what a result says of each test tile: its scene and, where the set knows it, its group."""
    return {"scenes": list(test.scenes)} | ({"groups": list(test.groups)} if test.groups else {})


def compare(methods, scenes, collapsed):
    """Compare the network's rows with all others.

    Parameters
    ----------
    methods : {name: row}, see `score`; those whose name begins with `restored` are the network's
    scenes : list of int, see `paired_difference`
    collapsed : bool, whether the network returns its input

    Returns
    -------
    dict, a result's fields `methods`, `differences`, `best_without_network` (the strongest of the others) and
        `warning` (a sentence where the network has collapsed or is worse than the strongest, else None)
    """
    ours = [name for name in methods if name.startswith("restored")]
    others = [name for name in methods if name not in ours]
    best = max(others, key=lambda name: methods[name]["psnr"])
    differences = {
        f"{our} - {name}": paired_difference(methods[our]["psnr_tiles"], methods[name]["psnr_tiles"], scenes)
        for our in ours for name in others
    }
    lost = -differences[f"restored - {best}"]["mean"]
    warning = None
    if collapsed:
        better = "" if best == "input" else f", and {best} is {lost:.2f} dB better"
        warning = f"{COLLAPSED}{better}"
    elif lost > 0:
        warning = f"the network is {lost:.2f} dB worse than {best} on the same tiles"
    return {"methods": methods, "differences": differences, "best_without_network": best, "warning": warning}


def has_collapsed(result):
    """Whether the network of a result returns its input."""
    return (result["warning"] or "").startswith(COLLAPSED)


def has_died(result):
    """Whether a layer of the network of a result is mostly dead, as far as the result says."""
    return (result.get("dead_channels") or 0) >= scores.DEAD


def without_network(task, test, seen, cache_dir):
    """Measure all that needs no network; arguments as those of `evaluate`.

    Parts that are in `cache_dir` are taken from there, so that whoever is interrupted goes on from the last part.

    Returns
    -------
    (settings, methods, restorers) : {method: setting}, {"input" or method: scores}, {"input" or method: function
        (target, degraded) -> restored}, tiles (N, H, W, C)
    """
    versions = provenance.versions(PACKAGES)
    kind_id = {} if test.kind == EIGHT_BIT else asdict(test.kind)
    choosing = Tiles(*(array[: classical.N_CHOOSING] for array in (seen.target, seen.degraded)), kind=seen.kind)
    seen_id, choosing_id = (_fingerprint(tiles.target, tiles.degraded) for tiles in (seen, choosing))
    parts = [tuple(array[i : i + N_AT_ONCE] for array in (test.target, test.degraded))
             for i in range(0, len(test), N_AT_ONCE)]
    part_ids = [_fingerprint(*part) for part in parts]
    learned = cache(lambda: classical.learn(task, seen))

    def cached(compute, **key):
        key |= {"task": task, "versions": versions} | kind_id
        path = cache_dir / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]}.json"
        if not path.exists():
            util.write_json(path, {"key": key, "value": compute()})
        return util.read_json(path)["value"]

    def measure(restore, **key):
        bar = tqdm(parts, unit="part", desc=key["method"], leave=False, mininterval=util.bar_interval())
        measured = [
            cached(lambda part=part: _measure(part[0], restore(*part), test.kind), tiles=part_id, **key)
            for part, part_id in zip(bar, part_ids, strict=True)
        ]
        together = {key: [value for part in measured for value in part[key]] for key in ("mse", "ssim")}
        return _summary(together, test.kind)

    settings, restorers = {}, {"input": lambda target, degraded: degraded}
    methods = {"input": measure(restorers["input"], method="input")}
    with classical.workers() as pool:
        for name in classical.methods_for(task):
            if name in classical.LEARNED:
                key = {"method": name, "seen": seen_id}
                settings[name] = cached(lambda name=name: learned()[name].settings, **key)
                restorers[name] = lambda target, degraded, pool=None, name=name: classical.filter_tiles(
                    learned()[name], degraded, test.kind)
            else:
                settings[name] = cached(partial(classical.choose_setting, name, task, choosing, pool), method=name,
                                        choices=classical.choices(name, task), chosen_on=choosing_id)
                key = {"method": name, "setting": settings[name]}
                restorers[name] = partial(classical.restore, name, task, settings[name], kind=test.kind)
            methods[name] = measure(partial(restorers[name], pool=pool), **key)
    return settings, methods, restorers


def _measure(target, restored, kind):
    """Mean squared error and SSIM of each tile."""
    return {"mse": scores.mse(target, restored).tolist(), "ssim": scores.ssim(target, restored, kind).tolist()}


def _summary(measured, kind):
    errors, ssims = np.array(measured["mse"]), np.array(measured["ssim"])
    psnrs = scores.psnr_of_mse(errors, kind.data_range)
    return ({"rmse": _rounded(np.sqrt(errors.mean()))} if kind.is_data else {}) | {
        "psnr": _rounded(psnrs.mean()),
        "psnr_of_mean_mse": _rounded(scores.psnr_of_mse(errors.mean(), kind.data_range)),
        "ssim": _rounded(ssims.mean()),
        "psnr_tiles": [_rounded(value) for value in psnrs],
        "ssim_tiles": [_rounded(value) for value in ssims],
    }


def _fingerprint(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def paired_difference(values, others, scenes):
    """Mean of the per-tile differences in dB and its 95 % percentile bootstrap interval (Efron, 1979).

    Tiles of one scene are not independent, so whole scenes are drawn: `scenes` has the number of each tile's. With a
    handful of scenes the interval is too narrow, with one it is the mean. It is an interval over scenes only: that of
    one training, see `cell_gain` for a cell of a table.
    """
    difference = np.subtract(values, others)
    sums, counts = _by_scene(difference, scenes)
    drawn = _drawn(len(sums))
    low, high = np.percentile(drawn @ sums / (drawn @ counts), [2.5, 97.5])
    return {"mean": _rounded(difference.mean()), "low": _rounded(low), "high": _rounded(high)}


@cache
def _drawn(n):
    """How often each of n scenes is in each draw of the bootstrap: (N_BOOTSTRAP, n)."""
    rng = np.random.default_rng(0)
    return np.array([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(N_BOOTSTRAP)], np.float64)


def cell_gain(results, other="input", method="restored", group=None):
    """Gain of a method over another in one cell of a table: the mean over its draws, an interval over draws and scenes.

    Parameters
    ----------
    results : list of results, the draws of one cell, measured on the same test tiles
    other, method : names in their `methods`
    group : str, optional: only the test tiles of this group of `groups`

    Returns
    -------
    dict with `mean`, `low`, `high` in dB, `n_draws` and `equal`: whether the interval holds 0, so that nothing is said
        of which is better. One draw knows no spread of draws: then `low`, `high` and `equal` are None.

    Raises
    ------
    UserError
        When the results are of other test tiles.

    References
    ----------
    The scenes by the bootstrap (Efron, Annals of Statistics 7(1), 1979); the draws, of which there are few, by the
    standard error of their means and Student's t: a bootstrap of three draws gives too narrow an interval.
    """
    differences = np.subtract(*([r["methods"][name]["psnr_tiles"] for r in results] for name in (method, other)))
    return _over_draws([differences], *_tiles_of(results, group))


def mean_of(row, result, group=None):
    """Mean PSNR in dB of a method's row of a result over the test tiles of a group, or over all."""
    if group is None:
        return row["psnr"]
    return float(np.mean(np.array(row["psnr_tiles"])[np.array(result["groups"]) == group]))


def cell_difference(results, others, method="restored", group=None):
    """Difference of two cells, as `cell_gain`: both are lists of results on the same test tiles.

    Where trainings of the two sides saw the same tiles with the same seed, only these are compared, pair by pair. Else
    the draws of the two sides are independent (Welch, Biometrika 34, 1947); `n_draws` is that of the side with fewer.
    """
    sides = [{(r.get("trained_on", r)["dataset"], r["n_train"], r["draw"], r["seed"]): r for r in side}
             for side in (results, others)]
    shared = sides[0].keys() & sides[1].keys()
    if shared:
        results, others = ([side[key] for key in sorted(shared)] for side in sides)
    ours, theirs = (np.array([r["methods"][method]["psnr_tiles"] for r in side]) for side in (results, others))
    return _over_draws([ours - theirs] if shared else [ours, -theirs], *_tiles_of([*results, *others], group))


def _tiles_of(results, group):
    """The scenes of the test tiles that all results share, and which of the tiles are of the group."""
    first, *rest = results
    for result in rest:
        inputs = [r["methods"]["input"]["psnr_tiles"] for r in (first, result)]
        if inputs[0] != inputs[1] or first["scenes"] != result["scenes"]:
            raise util.UserError(f"the results {first['name']} and {result['name']} are of other test tiles: measure "
                                 "both again with inception2.py evaluate")
    scenes = np.array(first["scenes"])
    return scenes, np.ones(len(scenes), bool) if group is None else np.array(first["groups"]) == group


def _over_draws(sides, scenes, chosen):
    """Interval of a sum of sides, each (draws, tiles): see `cell_gain`."""
    mean, n_draws = sum(side[:, chosen].mean() for side in sides), min(map(len, sides))
    if n_draws == 1:
        return {"mean": _rounded(mean), "low": None, "high": None, "n_draws": 1, "equal": None}
    sums, counts = _by_scene(sum(side.mean(0) for side in sides)[chosen], scenes[chosen])
    drawn = _drawn(len(sums))
    means = drawn @ sums / (drawn @ counts)
    parts = [(side[:, chosen].mean(1).var(ddof=1) / len(side), len(side) - 1) for side in sides]
    variance = sum(part for part, _ in parts)
    if variance > 0:
        freedom = variance**2 / sum(part**2 / n for part, n in parts)  # Welch and Satterthwaite
        deviations = stats.t.ppf((np.arange(N_BOOTSTRAP) + 0.5) / N_BOOTSTRAP, freedom)
        means += variance**0.5 * np.random.default_rng(1).permutation(deviations)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": _rounded(mean), "low": _rounded(low), "high": _rounded(high), "n_draws": n_draws,
            "equal": bool(low <= 0 <= high)}


def _by_scene(values, scenes):
    """Sum of the values and number of tiles of each scene."""
    _, places = np.unique(scenes, return_inverse=True)
    return np.bincount(places, values), np.bincount(places)


def table(methods):
    """Lay out the scores of a result's `methods` as lines of text for the terminal."""
    base = methods["input"]["psnr"]
    unit = "rmse" in methods["input"]  # the root of the mean squared error in the units of the data
    lines = [f"{'method':<18}{'PSNR dB':>9}{'gain':>8}{'SSIM':>8}" + f"{'RMSE':>12}" * unit]
    for name, row in methods.items():
        gain = "" if name == "input" else f"{row['psnr'] - base:+.2f}"
        rmse = f"{row['rmse']:>12.4g}" if unit else ""
        lines.append(f"{name:<18}{row['psnr']:>9.2f}{gain:>8}{row['ssim']:>8.4f}{rmse}")
    return "\n".join(lines)


def _rounded(value):
    """Six decimals: far below what any table shows, and short in the file."""
    return round(float(value), 6)
