"""Train a network on tiles held in memory, so that a stop at any moment costs only the time since the last
checkpoint and changes no number.

Every random choice is a function of (seed, update) or is saved in the checkpoint: an interrupted and resumed
run ends with the same weights as an uninterrupted one on the same machine.
"""

import contextlib
import json
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
from tensorboard.summary import Writer
from tqdm import tqdm

import batches
import networks
import provenance
import util
from experiments import RECIPES

PREDICT_BATCH = 8


def build(experiment):
    """Build and compile the network of an experiment: seeded initial weights, Adam, the recipe's loss."""
    keras.utils.set_random_seed(experiment.seed)
    recipe = RECIPES[experiment.recipe]
    model = networks.build_model(experiment.model, experiment.width, experiment.dropout, recipe.start_at_identity)
    learning_rate = experiment.learning_rate
    if recipe.warmup:
        n_warmup = round(recipe.warmup * experiment.n_updates)
        learning_rate = keras.optimizers.schedules.CosineDecay(
            0.0, experiment.n_updates - n_warmup, warmup_target=learning_rate, warmup_steps=n_warmup
        )
    model.compile(loss=recipe.loss, optimizer=keras.optimizers.Adam(
        learning_rate, global_clipnorm=recipe.clip_norm,
        use_ema=recipe.averaging is not None, ema_momentum=recipe.averaging or 0.99,
    ))
    model.optimizer.build(model.trainable_variables)
    return model


def train(experiment, train_pair, validation_pair, run_dir, data_id, checkpoint_every=500):
    """Train to `experiment.n_updates` updates, from the last checkpoint in `run_dir` if there is one.

    Parameters
    ----------
    experiment : experiments.Experiment
    train_pair, validation_pair : (target, degraded), each uint8 (N, H, W, 3), 0..255
    run_dir : path
        Gets config.json, checkpoint.npz (weights, optimizer, random state), best.npz (where the recipe chooses
        by validation), log.jsonl (update, loss, validation psnr, seconds), tensorboard/ and, at the end,
        trained.json (seconds, machine, versions, commit) and model.keras.
    data_id : str, tells the data set's bytes apart; a checkpoint made with another one is refused
    checkpoint_every : int, updates between two checkpoints; each also validates and writes a log line

    Returns
    -------
    keras.Model with the weights that the recipe chooses

    Raises
    ------
    util.UserError
        When the loss or a weight is not finite (the last good checkpoint stays), or `run_dir` holds the
        checkpoint of another configuration.
    """
    run_dir = Path(run_dir)
    util.check_writable(run_dir)
    _claim(run_dir, asdict(experiment) | {"data_id": data_id})
    distribute(experiment.batch_size)
    model = build(experiment)
    checkpoint_path, log_path = run_dir / "checkpoint.npz", run_dir / "log.jsonl"
    start = load_checkpoint(checkpoint_path, model) if checkpoint_path.exists() else 0
    log = [line for line in _read_log(log_path) if line["update"] <= start]
    seconds_before, began = (log[-1]["seconds"] if log else 0.0), time.perf_counter()
    recipe, best_path = RECIPES[experiment.recipe], run_dir / "best.npz"
    best_psnr = _load_best(best_path)["psnr"] if start and recipe.averaging else -np.inf

    losses = []
    with (
        tqdm(total=experiment.n_updates, initial=start, unit="update", desc="train", dynamic_ncols=True,
             mininterval=util.bar_interval()) as bar,
        contextlib.closing(Writer(str(run_dir / "tensorboard"))) as writer,
    ):
        if log:
            bar.set_postfix(loss=f"{log[-1]['loss']:.5f}", val_psnr=f"{log[-1]['psnr']:.2f}", refresh=False)
        for update in range(start, experiment.n_updates):
            if recipe.averaging and not update:  # the untouched input, where the network starts at the identity
                best_psnr = _validate(model, validation_pair)
                _save_best(best_path, model, best_psnr, 0)
            target, degraded = batches.draw_batch(train_pair, update, experiment, recipe.augment, recipe.crop)
            loss = float(model.train_on_batch(degraded, target))
            if not np.isfinite(loss):
                raise _not_finite("the loss", update, experiment, log)
            losses.append(loss)
            bar.update()
            done = update + 1
            if done % checkpoint_every and done < experiment.n_updates:
                continue
            if not all(np.isfinite(value).all() for value in _state(model)):
                raise _not_finite("a weight", update, experiment, log)
            with _averaged(model):
                psnr = _validate(model, validation_pair)
                if recipe.averaging and psnr > best_psnr:
                    best_psnr = psnr
                    _save_best(best_path, model, psnr, done)
            seconds = seconds_before + time.perf_counter() - began
            log.append({"update": done, "loss": float(np.mean(losses)), "psnr": psnr, "seconds": seconds})
            losses = []
            # The log first: a line past the checkpoint is dropped at the next start, a missing one would stay lost.
            _write_log(log_path, log)
            save_checkpoint(checkpoint_path, model, done)
            for key in ("loss", "psnr"):
                writer.add_scalar(key, log[-1][key], done)
            writer.flush()
            bar.set_postfix(loss=f"{log[-1]['loss']:.5f}", val_psnr=f"{psnr:.2f}", refresh=False)
    chosen = experiment.n_updates
    if recipe.averaging:
        best = _load_best(best_path)
        chosen = int(best["update"])
        model.set_weights([best[f"w{i}"] for i in range(len(best.files) - 2)])
    if start < experiment.n_updates or not (run_dir / "trained.json").exists():
        trained = {"seconds_train": round(log[-1]["seconds"], 1), "chosen_update": chosen}
        util.write_json(run_dir / "trained.json", trained | describe())
        save_model(model, run_dir / "model.keras")
    return model


def restore_tiles(model, degraded):
    """Restore images of one size: uint8 (N, H, W, 3) -> uint8 (N, H, W, 3), any H and W.

    Sides that the network cannot halve four times are padded by mirroring, and cropped again.
    """
    height, width = degraded.shape[1:3]
    bottom, right = -height % networks.SIZE_MULTIPLE, -width % networks.SIZE_MULTIPLE
    restored = np.empty_like(degraded)
    for i in range(0, len(degraded), PREDICT_BATCH):
        batch = np.pad(degraded[i : i + PREDICT_BATCH], ((0, 0), (0, bottom), (0, right), (0, 0)), "symmetric")
        output = model.predict_on_batch(batch.astype(np.float32) / util.DATA_RANGE)
        restored[i : i + PREDICT_BATCH] = util.to_uint8(np.asarray(output)[:, :height, :width])
    return restored


def distribute(batch_size):
    """Spread each batch over all accelerators of this host, where Keras can (its JAX backend)."""
    if keras.backend.backend() != "jax":
        return
    devices = keras.distribution.list_devices()
    if len(devices) > 1:
        if batch_size % len(devices):
            print(f"one of {len(devices)} devices is used: a batch of {batch_size} cannot be shared evenly")
            return
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))


def save_checkpoint(path, model, update):
    """Write weights, optimizer and random state to one .npz, all of it or nothing.

    Keras's own file leaves the state of the dropout generators out, and then a resumed run differs.
    """
    with util.replacing(path) as temporary:
        np.savez(temporary, update=update, **{f"v{i}": value for i, value in enumerate(_state(model))})


def load_checkpoint(path, model):
    """Set the state of a model of the same build from `save_checkpoint`'s file; return its update count."""
    variables = model.variables + model.optimizer.variables
    try:
        with np.load(path) as stored:
            values = [stored[f"v{i}"] for i in range(len(stored.files) - 1)]
            update = int(stored["update"])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise util.UserError(f"{path} is broken ({error}): delete it to train from the start") from error
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise util.UserError(f"{path} is of another network: delete it to train from the start")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return update


def save_model(model, path):
    """Write the network without its optimizer as a .keras file, all of it or nothing."""
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with util.replacing(path) as temporary:
        bare.save(temporary)


def load_model(path):
    """Load a .keras file in Keras's safe mode, refusing what is not an image-to-image network.

    Raises `util.UserError` for a missing or broken file, one that would run code, or other inputs/outputs.
    """
    path = Path(path)
    if not path.is_file():
        raise util.UserError(f"{path} does not exist: train first, or give the path of a .keras file")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the broken part raised
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise util.UserError(f"{path} cannot be loaded as a Keras model ({reason[:200]})") from error
    shapes = [tuple(shape or ()) for shape in (model.input_shape, model.output_shape)]
    if any(len(shape) != 4 or shape[-1] != 3 for shape in shapes):
        raise util.UserError(f"{path} is another architecture ({shapes[0]} -> {shapes[1]}): images are needed")
    return model


def describe():
    """Describe the present machine and programs, see `provenance.describe`."""
    return provenance.describe(keras.backend.backend(), keras.distribution.list_devices())


@contextlib.contextmanager
def _averaged(model):
    """Put the averaged weights, where the optimizer keeps them, in the place of the present ones."""
    if not model.optimizer.use_ema:
        yield
        return
    present = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield
    model.set_weights(present)


def _validate(model, validation_pair):
    """Return the mean PSNR in dB over the validation tiles."""
    target, degraded = validation_pair
    return float(np.mean(util.psnr_of_mse(util.mse(target, restore_tiles(model, degraded)))))


def _save_best(path, model, psnr, update):
    # Before the checkpoint: if a kill comes between the two, the resumed run finds the same weights once more.
    with util.replacing(path) as temporary:
        np.savez(temporary, psnr=psnr, update=update, **{f"w{i}": w for i, w in enumerate(model.get_weights())})


def _load_best(path):
    try:
        return np.load(path)
    except (ValueError, EOFError, FileNotFoundError, zipfile.BadZipFile) as error:
        raise util.UserError(f"{path} is broken or missing: delete {path.parent} to train from the start") from error


def _claim(run_dir, config):
    """Save the configuration beside the weights; never mix two configurations in one folder."""
    config_path = run_dir / "config.json"
    if config_path.exists() and util.read_json(config_path) != config:
        raise util.UserError(f"{run_dir} holds a run of another configuration: move it away or delete it")
    util.write_json(config_path, config)


def _state(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables + model.optimizer.variables]


def _read_log(path):
    """Read the log; a missing one is empty."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write_log(path, log):
    with util.replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")


def _not_finite(what, update, experiment, log):
    kept = f"the checkpoint of update {log[-1]['update']} is kept" if log else "there is no checkpoint yet"
    return util.UserError(
        f"{what} is not finite after update {update + 1} of {experiment.name}; {kept}: "
        "lower the learning rate"
    )

