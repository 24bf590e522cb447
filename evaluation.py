"""The protocol of measurement: every method on the same test tiles, values per tile, one JSON a run.

Output clipped and rounded to uint8, RGB, no border cut, data range 255; PSNR and SSIM per tile, then the
mean over the tiles. No Keras in here: the network comes as a function from degraded to restored tiles.
"""

import numpy as np

import classical
import util

PROTOCOL = {
    "channels": "RGB", "border": 0, "data_range": util.DATA_RANGE,
    "output": "clipped and rounded to uint8", "mean": "over tiles", "psnr_of_equal_tiles": util.PSNR_OF_EQUAL,
}
N_BOOTSTRAP = 10_000


def score(target, restored):
    """Score one method: uint8 (N, H, W, 3) twice -> the fields of one entry of a result's `methods`."""
    errors, ssims = util.mse(target, restored), util.ssim(target, restored)
    psnrs = util.psnr_of_mse(errors)
    return {
        "psnr": _rounded(psnrs.mean()),
        "psnr_of_mean_mse": _rounded(util.psnr_of_mse(errors.mean())),
        "ssim": _rounded(ssims.mean()),
        "psnr_tiles": [_rounded(value) for value in psnrs],
        "ssim_tiles": [_rounded(value) for value in ssims],
    }


def evaluate(task, test_pair, validation_pair, restore):
    """Measure the input, the classical methods and the network on the same test tiles.

    Parameters
    ----------
    task : a task of `download_module.degrade.TASKS`
    test_pair, validation_pair : (target, degraded), uint8 (N, H, W, 3); settings of the classical methods
        are chosen on the validation tiles only
    restore : function, uint8 (N, H, W, 3) -> uint8 (N, H, W, 3)

    Returns
    -------
    (fields, images) : the result's fields `protocol`, `n_test`, `classical_settings`, `methods`, `differences`,
        `best_without_network` and `warning`, and {method: uint8 (N, H, W, 3)} in the order of `methods`
    """
    target, degraded = test_pair
    images = {"input": degraded}
    with classical.workers() as pool:
        settings = classical.choose_settings(task, validation_pair, pool)
        for name, setting in settings.items():
            images[name] = classical.restore(name, setting, target, degraded, pool, progress=True)
    images["restored"] = restore(degraded)
    methods = {name: score(target, image) for name, image in images.items()}
    best = max((name for name in methods if name != "restored"), key=lambda name: methods[name]["psnr"])
    differences = {
        f"restored - {name}": paired_difference(methods["restored"]["psnr_tiles"], methods[name]["psnr_tiles"])
        for name in methods if name != "restored"
    }
    lost = -differences[f"restored - {best}"]["mean"]
    warning = None
    if np.abs(images["restored"].astype(np.int16) - degraded).max() <= 1:
        better = "" if best == "input" else f", and {best} is {lost:.2f} dB better"
        warning = f"the network has collapsed: it returns its input, but for rounding{better}"
    elif lost > 0:
        warning = f"the network is {lost:.2f} dB worse than {best} on the same tiles"
    fields = {
        "protocol": PROTOCOL, "n_test": len(target), "classical_settings": settings, "methods": methods,
        "differences": differences, "best_without_network": best, "warning": warning,
    }
    return fields, images


def paired_difference(values, others):
    """Mean of the per-tile differences in dB and its 95 % percentile bootstrap interval (Efron, 1979)."""
    difference = np.subtract(values, others)
    rng = np.random.default_rng(0)
    means = [rng.choice(difference, len(difference)).mean() for _ in range(N_BOOTSTRAP)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": _rounded(difference.mean()), "low": _rounded(low), "high": _rounded(high)}


def table(methods):
    """Lay out the scores of a result's `methods` as lines of text for the terminal."""
    base = methods["input"]["psnr"]
    lines = [f"{'method':<18}{'PSNR dB':>9}{'gain':>8}{'SSIM':>8}"]
    for name, scores in methods.items():
        gain = "" if name == "input" else f"{scores['psnr'] - base:+.2f}"
        lines.append(f"{name:<18}{scores['psnr']:>9.2f}{gain:>8}{scores['ssim']:>8.4f}")
    return "\n".join(lines)


def _rounded(value):
    """Six decimals: far below what any table shows, and short in the file."""
    return round(float(value), 6)
