"""Export a network for other programs, and prove that the copy does the same.

By Keras's own exporters but for ONNX, see onnxgraph.py. This is the one place that calls TensorFlow: to run what was
exported. Nothing else needs it.
"""

import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import util

TOLERANCE = 1e-4  # of outputs in 0..1: a fortieth of an 8-bit gray level


def export(model, path, kind):
    """Export `model` to `path` (a file, for savedmodel a folder) and check it on a random image of 48x64.

    Parameters
    ----------
    model : keras.Model, float32 (N, H, W, 3) -> float32 (N, H, W, 3)
    path : path, replaced only by a checked export
    kind : "onnx", "tflite" or "savedmodel"

    Returns
    -------
    float, the largest difference of an output value

    Raises
    ------
    util.UserError
        When a package that the export needs is not installed, the exporter fails, or the exported network gives
        other output.
    """
    path = Path(path)
    write, packages, run = _KINDS[kind]
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise util.UserError(f"export to {kind} needs packages that are not here: pip install {' '.join(missing)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".exporting.{path.name}")
    _remove(temporary)
    try:
        image = np.random.default_rng(0).random((1, 48, 64, 3), np.float32)
        try:
            write(model, temporary)
            exported = np.asarray(run(temporary, image))
        except Exception as error:  # exporters raise what they like
            reason = util.first_line(error)
            raise util.UserError(f"this network cannot be exported to {kind} here ({reason})") from error
        difference = float(np.abs(exported - np.asarray(model.predict_on_batch(image))).max())
        if not difference <= TOLERANCE:
            raise util.UserError(f"the export to {kind} gives other output (by {difference:.2g}): it is thrown away")
        _remove(path)
        temporary.rename(path)
    finally:
        _remove(temporary)
    return difference


def _write(model, path, form):
    model.export(str(path), format=form, verbose=False)


def _write_onnx(model, path):
    """Keras's own exporter needs tf2onnx, which few machines have: it is for layers that are not ours."""
    from inception2_module import onnxgraph

    try:
        path.write_bytes(onnxgraph.build(model).SerializeToString(deterministic=True))
    except onnxgraph.UnknownLayerError:
        _write(model, path, "onnx")


def _run_onnx(path, image):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def _run_tflite(path, image):
    import warnings

    import tensorflow

    with warnings.catch_warnings(action="ignore"):  # it recommends its successor, another package
        interpreter = tensorflow.lite.Interpreter(model_path=str(path))
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, image.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _run_savedmodel(path, image):
    import tensorflow

    loaded = tensorflow.saved_model.load(str(path))  # the variables live as long as this name
    return np.asarray(loaded.serve(image))


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Kind -> how to write the export, packages needed, how to run it.
_KINDS = {
    "onnx": (_write_onnx, ("onnx", "onnxruntime"), _run_onnx),
    "tflite": (partial(_write, form="litert"), ("tensorflow",), _run_tflite),
    "savedmodel": (partial(_write, form="tf_saved_model"), ("tensorflow",), _run_savedmodel),
}
SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite", "savedmodel": ""}
