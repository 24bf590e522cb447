"""A result is what a measurement wrote: its name fits, its means and intervals follow from its values per tile.

    python3 -m wi2_paper.checking     # all of results/, ten seconds
"""

import re
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

import util
from inception2_module import evaluation, experiments, scores

TOLERANCE = 2e-5  # values and means are rounded, to five decimals or more
# Settings that the oldest results do not have, and their values then.
LATER = {"start": None, "precision": experiments.PRECISIONS[0]}
TOLERANCE_OF_MSE = 1e-4  # dB; a mean of squared errors that come from rounded values


def main():
    paths = sorted(Path("results").glob("[!.]*.json"))
    for path in paths:
        check_result(path, util.read_json(path))
    print(f"{len(paths)} results follow from their values per tile")


def check_result(path, result):
    """Refuse a result that was edited by hand.

    Whatever a file of results/ holds, its texts must be harmless in a Markdown table. One that holds `methods` is
    checked in full; of the others (sweeps, benchmarks) each gain must be the mean of its tiles.

    Parameters
    ----------
    path : path, where it was read
    result : what `util.read_json` returned

    Raises
    ------
    util.UserError
        It names the file and what does not fit.
    """
    path = Path(path)
    try:
        _check_texts(result)
        if not isinstance(result, dict):
            raise _WrongError("it is no object")
        if "methods" in result:
            if "name" in result:
                _check_name(path.stem, result)
            _check_methods(result)
        for entry in result.values():
            if isinstance(entry, dict) and "gain_tiles" in entry:
                _check_difference("gain", entry["gain"], entry["gain_tiles"], entry["scenes"])
    except _WrongError as error:
        raise util.UserError(f"{path} was changed by hand or is damaged, {error}: measure it again or restore it with "
                             "git checkout results") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        raise util.UserError(f"{path} was changed by hand or is damaged ({error!r}): measure it again or restore it "
                             "with git checkout results") from error


def check_card(path, card):
    """Refuse a card of weights/ whose scores are not those of its result: `util.UserError`.

    path : path, where it was read
    card : what `util.read_json` returned
    """
    try:
        _check_texts(card)
        result = util.read_json(card["result"])
        for name, psnr in card["psnr"].items():
            _check_number(name, psnr, result["methods"][name]["psnr"], 0)
        for key in ("n_test", *(field.name for field in fields(experiments.Experiment))):
            if card.get(key) != result.get(key):  # the oldest ones have none of `LATER`
                raise _WrongError(f"its {key} is {card.get(key)!r}")
    except (_WrongError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
        raise util.UserError(f"{path} was changed by hand or is older than its result ({error}): make it again with "
                             "python3 -m wi2_paper.publish") from error


class _WrongError(Exception):
    """What does not fit, as the middle of a sentence."""


def _check_texts(value):
    """No text may hold what a terminal or a README would obey: control characters, HTML, the bar of a table."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_texts(key)
            _check_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner)
    elif isinstance(value, str) and (re.search("[<>|`]", value) or util.terminal_text(value) != value):
        raise _WrongError(f"a text in it is {value!r}")


def _check_name(stem, result):
    """The name is a function of the settings, and the file has that name."""
    if result["name"] != stem:
        raise _WrongError(f"it is called {result['name']}")
    for key in ("dataset", "task"):
        if not isinstance(result[key], str) or not util.is_plain_name(result[key]):
            raise _WrongError(f"its {key} is {result[key]!r}")
    here = {key: result[key] for key in ("dataset", "task")}
    trained_on = result.get("trained_on") or here
    settings = {field.name: result[field.name] for field in fields(experiments.Experiment) if field.name not in LATER}
    settings |= trained_on | {name: result.get(name) or default for name, default in LATER.items()}
    if None in [value for name, value in settings.items() if name != "start"]:  # of a .keras file of unknown origin
        return
    for field in fields(experiments.Experiment):
        if not isinstance(settings[field.name], (field.type, int) if field.type is float else field.type):
            raise _WrongError(f"its {field.name} is {settings[field.name]!r}")
    name = experiments.Experiment(**settings).name
    if trained_on != here:
        name += f"-on-{result['dataset']}-{result['task']}"
    if stem not in (name, f"{name}-test{result['n_test']}") and stem != f"{name}-test{len(result['scenes'])}":
        raise _WrongError(f"its settings are those of {name}")


def _check_methods(result):
    methods, n_test = result["methods"], result.get("n_test")
    for name, entry in methods.items():
        tiles = {key: _numbers(f"{key} of {name}", entry[key]) for key in ("psnr_tiles", "ssim_tiles")}
        if len({len(tiles["psnr_tiles"]), len(tiles["ssim_tiles"]), n_test or len(tiles["psnr_tiles"])}) > 1:
            raise _WrongError(f"{name} has not as many values as there are tiles")
        if tiles["psnr_tiles"].max() > scores.PSNR_OF_EQUAL or np.abs(tiles["ssim_tiles"]).max() > 1:
            raise _WrongError(f"a value of {name} is above the largest that there is")
        squared = np.where(tiles["psnr_tiles"] == scores.PSNR_OF_EQUAL, 0, 10 ** (-tiles["psnr_tiles"] / 10))
        expected = {
            "psnr": (tiles["psnr_tiles"].mean(), TOLERANCE), "ssim": (tiles["ssim_tiles"].mean(), TOLERANCE),
            "psnr_of_mean_mse": (scores.psnr_of_mse(scores.DATA_RANGE**2 * squared.mean()), TOLERANCE_OF_MSE),
        }
        if "rmse" in entry:
            rmse = result["protocol"]["data_range"] * np.sqrt(squared.mean())
            expected["rmse"] = rmse, TOLERANCE + TOLERANCE_OF_MSE * rmse
        for key, (value, tolerance) in expected.items():
            _check_number(f"{key} of {name}", entry[key], value, tolerance)
    for name, difference in result.get("differences", {}).items():
        ours, _, other = name.partition(" - ")
        values, others = (methods[method]["psnr_tiles"] for method in (ours, other))
        _check_difference(name, difference, np.subtract(values, others), result["scenes"])
    if "best_without_network" in result:
        others = [name for name in methods if not name.startswith("restored")]
        if result["best_without_network"] != max(others, key=lambda name: methods[name]["psnr"]):
            raise _WrongError("another method is the best without a network")


def _check_difference(name, difference, values, scenes):
    values = _numbers(name, list(values))
    if len(scenes) != len(values) or not all(isinstance(scene, int) for scene in scenes):
        raise _WrongError("its scenes are not those of its tiles")
    for key, value in evaluation.paired_difference(values, np.zeros(len(values)), scenes).items():
        _check_number(f"{key} of {name}", difference[key], value, TOLERANCE)


def _numbers(name, values):
    if not isinstance(values, list) or not values or not all(_is_number(value) for value in values):
        raise _WrongError(f"{name} holds something else than numbers")
    return np.array(values, np.float64)


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _check_number(name, stored, value, tolerance):
    if not _is_number(stored) or abs(stored - value) > tolerance:
        raise _WrongError(f"{name} is {stored!r} and follows to be {value:.6f}")


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
