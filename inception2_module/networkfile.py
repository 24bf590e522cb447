"""A network on disk: find it, load it, save it, run it on tiles."""

import json
import math
import os
import zipfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import util
from download_module import unpack
from download_module.degrade import task_of
from inception2_module import scores, symmetries
from inception2_module.known import read_known
from inception2_module.scores import EIGHT_BIT

# Four strides of 2: the sides of an input must be multiples of this.
SIZE_MULTIPLE = 16
WEIGHTS = Path(__file__).parents[1] / "weights"
RUNS = Path("runs")  # where trainings are written, below the current folder


def find_weights(name):
    """Return the .keras file of a network and what is known of it: (path, dict with dataset, task, ...; or empty).

    Parameters
    ----------
    name : str or path; a name in the folder weights/, whose file is checked against its card, the name or folder of a
        training in runs/, or a .keras file

    Raises
    ------
    util.UserError
        When there is no such network, a file of weights/ is not the one of its card, or a training has not ended.
    """
    name, path = str(name), Path(name)
    card_path = WEIGHTS / f"{name}.json"
    if util.is_plain_name(name) and card_path.exists():
        card, path = read_known(card_path, "restore it with git checkout weights"), WEIGHTS / f"{name}.keras"
        if not path.is_file() or util.sha256_of(path) != card.get("sha256"):
            raise util.UserError(f"{path} is missing or not the file of its card: restore it with git checkout weights")
        return path, card
    # The name of a training holds that of its set, its task and its network.
    if not path.exists() and util.is_plain_name(name, longest=255) and (RUNS / name).is_dir():
        path = RUNS / name
    if path.is_dir():
        run_dir, path = path, path / "model.keras"
        if not path.is_file():
            raise util.UserError(f"{run_dir} holds no model.keras: its training has not ended, run the same command "
                                 "again")
    if not path.is_file():
        cards = " ".join(sorted(card.stem for card in WEIGHTS.glob("*.json"))) or "none"
        runs = len(list(RUNS.glob("*/model.keras")))
        raise util.UserError(f"there is no network {name}: give one of these names: {cards}; or a training in {RUNS}/ "
                             f"({runs} there), or the path of a .keras file")
    return path, read_known(path.resolve().with_name("config.json"), "remove it, or train again")


def scale_of(known):
    """By how much a network's small images are enlarged before it sees them, at least 2; None where they are not.

    That is the scale of super-resolution or, of pairs, that of all their inputs to their targets.

    known : dict, see `find_weights`
    """
    scale = known.get("input_scale", 1)
    return scale if scale > 1 else task_of(known["task"]).scale if known.get("task") else None


PREDICT_BATCH = 8
LARGEST_CONFIG = 10_000_000  # bytes; that of the paper's network has 30,000
LARGEST_LAYER = 1 << 26  # values of a layer for an image of 16x16; the paper's network has 16,384


def save_model(model, path):
    """Write the network without its optimizer as a .keras file, all of it or nothing."""
    from inception2_module.backend import keras

    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with util.replacing(path) as temporary:
        bare.save(temporary)


def load_model(path):
    """Load a .keras file in Keras's safe mode, refusing what is not an image-to-image network.

    Nothing of the size that the file declares is allocated before its configuration and its weights were compared.
    Raises `util.UserError` for a missing or broken file, one that would run code or fill the memory, a network with a
    weight that is not finite, or one that does not give an RGB image of the size of its input.
    """
    from inception2_module.backend import keras

    path = Path(path)
    if path.suffix != ".keras" or not path.is_file():  # of another name Keras would read other, older formats
        raise util.UserError(f"{path} is not a .keras file: train first, or give the path of a .keras file")
    n_held, config = _read_declared(path)
    try:
        _check_declared(path, config, n_held)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except util.UserError:
        raise
    except Exception as error:  # Keras raises whatever the broken part raised
        raise util.UserError(f"{path} cannot be loaded as a Keras model ({util.first_line(error)})") from error
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise util.UserError(f"{path} holds weights that are not finite numbers: train again, or give another file")
    for height, width in ((16, 16), (32, 48)):
        images = np.zeros((1, height, width, 3), np.float32)
        try:
            output = np.shape(model.predict_on_batch(images))
        except Exception as error:
            reason = util.first_line(error)
            raise util.UserError(f"{path} is another architecture, for other inputs ({reason})") from error
        if output != images.shape:
            raise util.UserError(f"{path} is another architecture: it makes {output} of an image {images.shape}")
    return model


def _read_declared(path):
    """Return (number of weights that a .keras file really holds, its configuration), at no more than its own size."""
    import h5py

    broken = util.UserError(f"{path} is broken or not a .keras file: train again, or give another file")
    try:
        with zipfile.ZipFile(path) as archive:
            unpack.check_members(path, archive.infolist())
            if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
                raise broken
            config = json.loads(archive.read("config.json"))
            with archive.open("model.weights.h5") as file, h5py.File(file, "r") as weights:
                return _count_held(path, weights), config
    except (*unpack.BAD_ZIP, OSError, KeyError, RuntimeError, RecursionError) as error:
        raise broken from error


def _count_held(path, group):
    """Count the numbers in an HDF5 file; raises `UserError` where they lie outside of it or are declared only."""
    import h5py

    n = 0
    for name in group:
        item = None
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            item = group[name]
        if isinstance(item, h5py.Group):
            n += _count_held(path, item)
        elif (not isinstance(item, h5py.Dataset) or item.external or item.is_virtual
              or item.id.get_storage_size() < item.nbytes):
            raise util.UserError(f"{path} holds {name!r}, weights that lie in another file or nowhere: do not use it")
        else:
            n += item.size
    return n


def _check_declared(path, config, n_held):
    """Refuse a configuration that declares more weights than the file holds, or outputs that fill the memory."""
    from inception2_module.backend import keras

    try:
        with keras.StatelessScope(initialize_variables=False):  # its variables have shapes and no values
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            small = keras.models.clone_model(model, input_tensors=keras.Input((SIZE_MULTIPLE, SIZE_MULTIPLE, 3)))
        outputs = keras.tree.flatten([layer.output for layer in small.layers])
        n_largest = max(math.prod(side or 1 for side in output.shape) for output in outputs)
        n_declared = sum(math.prod(variable.shape) for variable in model.weights)
        if n_declared > n_held or n_largest > LARGEST_LAYER:
            raise util.UserError(f"{path} is damaged or made to fill the memory: it declares {n_declared:,} weights, "
                                 f"holds {n_held:,}, and makes {n_largest:,} values of an image of 16x16: get it anew")
    except BaseException:
        keras.utils.clear_session()  # or the variables would get their values at the next opportunity
        raise


def load_predict(path, known, sha256=None):
    """Load a network to restore with, by ONNX Runtime where that is installed and weights/ has the graph, or by Keras.

    Parameters
    ----------
    path, known : see `find_weights`
    sha256 : str, of the file, where another machine has chosen it

    Returns
    -------
    function, float32 (N, H, W, 3) in 0..1 -> float32 (N, H, W, 3), the same to 1e-5 either way

    Raises
    ------
    util.UserError
        When the file is not that of `sha256`, the graph is not the one of the card, or as `load_model`. The function
        raises it for an output that is not a finite number.
    """
    if sha256 and (not path.is_file() or util.sha256_of(path) != sha256):
        raise util.UserError(f"a worker finds another network than was asked for in {path}: it needs the same files, "
                             "under the same path")
    if "onnx" not in known or find_spec("onnxruntime") is None:
        from inception2_module.fasternetwork import faster

        return partial(predict, faster(load_model(path)))
    with util.loading(2):
        import onnxruntime

    graph_path = path.with_suffix(".onnx")
    if not graph_path.is_file() or util.sha256_of(graph_path) != known["onnx"]["sha256"]:
        raise util.UserError(f"{graph_path} is missing or not the file of its card: restore it with "
                             "git checkout weights")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    options.enable_mem_pattern = False  # with it the memory of a block is taken twice
    session = onnxruntime.InferenceSession(str(graph_path), options, providers=["CPUExecutionProvider"])

    def run(images):
        return _finite(session.run(None, {session.get_inputs()[0].name: np.asarray(images, np.float32)})[0])

    return run


def predict(model, images):
    """Apply a network: float32 (N, H, W, 3) -> float32 (N, H, W, 3). What is not a finite number is a `UserError`."""
    return _finite(np.asarray(model.predict_on_batch(images)))


def _finite(output):
    if not np.isfinite(output).all():
        raise util.UserError("the network puts out values that are not finite numbers: train it again, or give another")
    return output


def restore_tiles(model, degraded, kind=EIGHT_BIT, ensemble=False):
    """Restore images of one size and kind: (N, H, W, C) -> the same, any H and W.

    Sides that the network cannot halve four times are padded by mirroring, and cropped again. With `ensemble` the
    output is the mean over the 8 symmetries of the square, see symmetries.with_symmetries. A network of 8-bit images
    sees data in the range that each image has by itself, as where a file is restored.
    """
    if kind.is_data and not is_evened(model):
        kinds = [kind.alone(image) for image in degraded]
        return np.concatenate([_restore(model, degraded[i : i + 1], kinds[i], ensemble) for i in range(len(kinds))])
    return _restore(model, degraded, kind, ensemble)


def is_evened(model):
    """Whether a network was built for data, see networks.even."""
    return any(layer.name == "level_rows" or is_evened(layer) for layer in getattr(model, "layers", ()))


def _restore(model, degraded, kind, ensemble):
    restore = symmetries.with_symmetries(partial(predict, model), ensemble, trust=False)
    height, width = degraded.shape[1:3]
    bottom, right = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
    restored = np.empty_like(degraded)
    for i in range(0, len(degraded), PREDICT_BATCH):
        batch = np.pad(degraded[i : i + PREDICT_BATCH], ((0, 0), (0, bottom), (0, right), (0, 0)), "symmetric")
        inputs = kind.to_network(batch)
        inside = np.clip(inputs, *kind.ends(degraded[i : i + PREDICT_BATCH]))
        output = restore(inside) + (inputs - inside)  # what is beyond the range passes by the network
        restored[i : i + PREDICT_BATCH] = kind.from_network(output[:, :height, :width])
    return restored


def gains(model, tiles):
    """Return the PSNR of each restored tile minus that of its input: `tileset.Tiles` -> float (N,), dB."""
    restored = restore_tiles(model, tiles.degraded, tiles.kind)
    return np.subtract(*(scores.psnr(tiles.target, image, tiles.kind) for image in (restored, tiles.degraded)))
