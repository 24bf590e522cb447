"""The protocol of measurement: every method on the same test tiles, values per tile, one JSON a run.

Output clipped and rounded to uint8, RGB, no border cut, data range 255; PSNR and SSIM per tile, then the
mean over the tiles. No Keras in here: the network comes as a function from degraded to restored tiles.
"""

import hashlib
import json
from functools import cache

import numpy as np

import util
from inception2_module import classical, provenance, scores

PROTOCOL = {
    "channels": "RGB", "border": 0, "data_range": scores.DATA_RANGE,
    "output": "clipped and rounded to uint8", "mean": "over tiles", "psnr_of_equal_tiles": scores.PSNR_OF_EQUAL,
}
N_BOOTSTRAP = 10_000


def score(target, restored):
    """Score one method: uint8 (N, H, W, 3) twice -> the fields of one entry of a result's `methods`."""
    errors, ssims = scores.mse(target, restored), scores.ssim(target, restored)
    psnrs = scores.psnr_of_mse(errors)
    return {
        "psnr": _rounded(psnrs.mean()),
        "psnr_of_mean_mse": _rounded(scores.psnr_of_mse(errors.mean())),
        "ssim": _rounded(ssims.mean()),
        "psnr_tiles": [_rounded(value) for value in psnrs],
        "ssim_tiles": [_rounded(value) for value in ssims],
    }


def evaluate(task, test, validation, restore, cache_dir, ensemble=None):
    """Measure the input, the classical methods and the network on the same test tiles.

    Parameters
    ----------
    task : a task of `download_module.degrade.TASKS`
    test, validation : tileset.Tiles; settings of the classical methods are chosen on the validation tiles only
    restore : function, uint8 (N, H, W, 3) -> uint8 (N, H, W, 3)
    cache_dir : path, keeps what does not depend on the network, for the next one that is measured on the same tiles
    ensemble : function like `restore`, optional: the mean over turned and mirrored tiles, a method of its own

    Returns
    -------
    (fields, images) : the result's fields `protocol`, `n_test`, `scenes`, `classical_settings`, `methods`,
        `differences`, `best_without_network` and `warning`, and {method: uint8 (N, H, W, 3)} of the input and the
        network
    """
    target, degraded, scenes = test.target, test.degraded, list(test.scenes)
    images = {"input": degraded, "restored": restore(degraded)}
    if ensemble:
        images["restored_ensemble"] = ensemble(degraded)
    settings, methods = _without_network(task, test, validation, cache_dir)
    methods |= {name: score(target, image) for name, image in images.items() if name != "input"}
    others = [name for name in methods if name not in images or name == "input"]
    best = max(others, key=lambda name: methods[name]["psnr"])
    differences = {
        f"{ours} - {name}": paired_difference(methods[ours]["psnr_tiles"], methods[name]["psnr_tiles"], scenes)
        for ours in images if ours != "input" for name in others
    }
    lost = -differences[f"restored - {best}"]["mean"]
    warning = None
    if scores.nearly_equal(images["restored"], degraded):
        better = "" if best == "input" else f", and {best} is {lost:.2f} dB better"
        warning = f"the network has collapsed: it returns its input, but for rounding{better}"
    elif lost > 0:
        warning = f"the network is {lost:.2f} dB worse than {best} on the same tiles"
    fields = {
        "protocol": PROTOCOL, "n_test": len(target), "scenes": scenes, "classical_settings": settings,
        "methods": methods, "differences": differences, "best_without_network": best, "warning": warning,
    }
    return fields, images


def _without_network(task, test, validation, cache_dir):
    """Return ({classical method: setting}, {"input" or classical method: scores})."""
    target, degraded = test.target, test.degraded
    versions = provenance.versions(("numpy", "pillow", "scikit-image", "pywavelets"))
    tiles, chosen_on = (_fingerprint(part.target, part.degraded) for part in (test, validation))

    def cached(compute, **key):
        key |= {"task": task, "versions": versions}
        path = cache_dir / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]}.json"
        if not path.exists():
            util.write_json(path, {"key": key, "value": compute()})
        return util.read_json(path)["value"]

    def measure(name):
        return score(target, classical.restore(name, settings[name], target, degraded, pool, progress=True))

    with classical.workers() as pool:
        settings = cached(lambda: classical.choose_settings(task, validation, pool), validation=chosen_on,
                          choices=classical.settings_for(task))
        methods = {"input": cached(lambda: score(target, degraded), tiles=tiles, method="input")}
        for name, setting in settings.items():
            methods[name] = cached(lambda name=name: measure(name), tiles=tiles, method=name, setting=setting)
    return settings, methods


def _fingerprint(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def paired_difference(values, others, scenes):
    """Mean of the per-tile differences in dB and its 95 % percentile bootstrap interval (Efron, 1979).

    Tiles of one scene are not independent, so whole scenes are drawn: `scenes` has the number of each tile's. With a
    handful of scenes the interval is too narrow, with one it is the mean.
    """
    difference = np.subtract(values, others)
    _, places = np.unique(scenes, return_inverse=True)
    sums, counts = np.bincount(places, difference), np.bincount(places)
    drawn = _drawn(len(sums))
    low, high = np.percentile(drawn @ sums / (drawn @ counts), [2.5, 97.5])
    return {"mean": _rounded(difference.mean()), "low": _rounded(low), "high": _rounded(high)}


@cache
def _drawn(n):
    """How often each of n scenes is in each draw of the bootstrap: (N_BOOTSTRAP, n)."""
    rng = np.random.default_rng(0)
    return np.array([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(N_BOOTSTRAP)], np.float64)


def table(methods):
    """Lay out the scores of a result's `methods` as lines of text for the terminal."""
    base = methods["input"]["psnr"]
    lines = [f"{'method':<18}{'PSNR dB':>9}{'gain':>8}{'SSIM':>8}"]
    for name, entry in methods.items():
        gain = "" if name == "input" else f"{entry['psnr'] - base:+.2f}"
        lines.append(f"{name:<18}{entry['psnr']:>9.2f}{gain:>8}{entry['ssim']:>8.4f}")
    return "\n".join(lines)


def _rounded(value):
    """Six decimals: far below what any table shows, and short in the file."""
    return round(float(value), 6)
