"""What is known of a network: its card in weights/, or what lies beside its training. Standard library only."""

import json
import math
from dataclasses import fields

import util
from inception2_module.experiments import Experiment

LONGEST_REACH = 256  # pixels that a network may see far: blocks.measure_reach finds no more


def read_known(path, mend):
    """Read a card or a configuration: {} where there is none.

    path : path of a JSON file
    mend : str, ends the sentence of the `util.UserError` that one which is damaged or was changed by hand raises
    """
    if not path.exists():
        return {}
    known = util.read_json(path)
    try:
        trouble = _find_trouble(known)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        trouble = f"it holds something else than it should ({error})"
    if trouble:
        raise util.UserError(f"{path} is damaged or was changed by hand, {trouble}: {mend}")
    return known


def read_log(path):
    """Read the log of a training, a list of {update, loss, psnr, seconds}: a missing one is empty.

    A broken one raises `util.UserError`.
    """
    if not path.exists():
        return []
    try:
        log = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{key: line[key] for key in ("update", "loss", "psnr", "seconds")} for line in log]
    except (ValueError, KeyError, TypeError) as error:
        raise util.UserError(f"{path} is broken ({error!r}): delete {path.parent} to train from the start") from error


def _find_trouble(known):
    """Return what is wrong, or None."""
    if not isinstance(known, dict) or not {"dataset", "task", "n_train"} <= known.keys():
        return "it is not what a training has written"
    for field in fields(Experiment):
        value, types = known.get(field.name), (int, float) if field.type is float else field.type
        if value is None:  # of a network of which that is not known
            continue
        if isinstance(value, bool) or not isinstance(value, types):
            return f"its {field.name} is {value!r}"
        if value < 0 if isinstance(value, int | float) else not util.is_plain_name(value, longest=255):
            return f"its {field.name} is {value!r}"
    if known["n_train"] == 0 or known.get("n_updates") == 0:
        return "it names no tiles or no updates"
    scale = known.get("input_scale", 1)
    if type(scale) is not int or scale < 1:
        return f"its input_scale is {scale!r}"
    if known.get("range") is not None:
        low, high = known["range"]
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            return f"its range is {known['range']!r}"
    settings = known.get("recipe_settings")
    if settings is not None and settings["n_updates"] < 1:
        return "its recipe has no updates"
    if "reach" in known and not 0 <= known["reach"] <= LONGEST_REACH:
        return f"its reach is {known['reach']!r}"
    if "onnx" in known and not isinstance(known["onnx"]["sha256"], str):
        return "it has no SHA-256 of its graph"
    return None
