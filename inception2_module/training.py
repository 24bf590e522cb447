"""Train a network on tiles held in memory, so that a stop at any moment costs only the time since the last
checkpoint and changes no number.

Every random choice is a function of (seed, update) or is saved in the checkpoint: an interrupted and resumed
run ends with the same weights as an uninterrupted one on the same machine.
"""

import contextlib
import json
import shutil
import tempfile
import time
import zipfile
import zlib
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import numpy as np
from tensorboard.summary import Writer
from tqdm import tqdm

import util
from download_module.degrade import task_of
from download_module.disk import lock
from inception2_module import backend, batches, hosts, muon, networkfile, networks, scores
from inception2_module.backend import keras
from inception2_module.experiments import PRECISIONS, Recipe, recipe_of
from inception2_module.fasternetwork import in_precision, learn_faster
from inception2_module.known import read_log

# About 8 gray levels, the size of the errors of Mars x4. With less it comes near to the absolute error, whose gradient
# does not shrink with the error: with that the ReLUs died (in runs on validation tiles that are not committed).
CHARBONNIER = 0.03
N_SCALING = 100  # tiles of data that say in which unit their noise is seen


def build(experiment, tiles=None):
    """Build and compile the network of an experiment: seeded initial weights, the recipe's optimizer, all devices.

    Where the experiment has a start, it is that network, whatever it is made of.

    tiles : tileset.Tiles to train on; needed where the recipe standardises the layers, and for data
    """
    keras.utils.set_random_seed(experiment.seed)
    recipe, is_noisy = recipe_of(experiment), task_of(experiment.task).is_noisy_at_full_size
    evened, scale = tiles is not None and tiles.kind.is_data, scale_of(experiment.task, tiles)
    if experiment.start:
        model = load_start(experiment, tiles)
    else:
        model = networks.build_model(experiment.model, experiment.width, experiment.dropout, recipe.start_at_identity,
                                     evened, scale)
    if recipe.standardise and (recipe.standardise_noisy or not is_noisy):
        images = tiles.kind.seen(tiles.degraded[:networkfile.PREDICT_BATCH])
        networks.standardise(model, images, recipe.standardise)
    model = distributed(in_precision(model, experiment.precision), experiment.batch_size)
    learn_faster(model)
    learning_rate = experiment.learning_rate
    if recipe.warmup is not None:
        n_warmup = round(recipe.warmup * experiment.n_updates)
        learning_rate = keras.optimizers.schedules.CosineDecay(
            0.0, experiment.n_updates - n_warmup, warmup_target=learning_rate, warmup_steps=n_warmup
        )
    optimizer = {"adam": keras.optimizers.Adam, "muon": muon.Muon}[recipe.optimizer]
    loss = {"mse": "mse", "charbonnier": charbonnier}[recipe.loss]
    model.compile(loss=_in_units(loss, scale) if scale else loss, optimizer=optimizer(
        learning_rate, global_clipnorm=recipe.clip_norm,
        use_ema=recipe.averaging is not None, ema_momentum=recipe.averaging or 0.99,
    ))
    model.optimizer.build(model.trainable_variables)
    return model


def charbonnier(target, restored):
    """Mean of sqrt(e^2 + c^2) - c over the pixels: quadratic for errors e far below c = CHARBONNIER, linear above.

    Charbonnier et al., ICIP 1994. Tiles are judged by their mean PSNR: the few with the largest errors, which rule a
    mean squared error, should not rule the training.
    """
    return keras.ops.mean(keras.ops.sqrt((target - restored) ** 2 + CHARBONNIER**2) - CHARBONNIER, axis=-1)


def scale_of(task, tiles):
    """The unit in which a network sees data with noise, see networks.even; None where each place has its own."""
    if tiles is None or not tiles.kind.is_data or not task_of(task).is_noisy:
        return None
    return float(np.median(scores.scales(tiles.kind.seen(tiles.degraded[:N_SCALING]))))


def load_start(experiment, tiles):
    """Load the network that an experiment starts from; one of 8-bit images is made to see data as such a network does.

    tiles : tileset.Tiles to train on
    """
    model = networkfile.load_model(networkfile.find_weights(experiment.start)[0])
    if tiles.kind.is_data and not networkfile.is_evened(model):
        return networks.evened(model, scale_of(experiment.task, tiles))
    return model


def _in_units(loss, scale):
    """The loss of what is `scale` times as large as a network takes it for."""
    loss = keras.losses.get(loss)
    return lambda target, restored: loss(target / scale, restored / scale)


def train(experiment, train_tiles, validation_tiles, run_dir, data_id, choose=True):
    """Train to `experiment.n_updates` updates, from the last checkpoint in `run_dir` if there is one.

    Parameters
    ----------
    experiment : experiments.Experiment
    train_tiles, validation_tiles : tileset.Tiles
    run_dir : path
        That of process 0, where there are several (hosts.py). Gets config.json, checkpoint.npz (weights, optimizer,
        random state), best.npz (where the recipe chooses by validation), log.jsonl (update, loss, validation psnr,
        seconds), tensorboard/ and, at the end, trained.json (seconds, dead channels, machine, versions, commit) and
        model.keras.
    data_id : str, tells the data set's bytes apart; a checkpoint made with another one is refused
    choose : bool, whether the recipe may choose weights by the validation tiles; not where these are to be judged with

    Returns
    -------
    keras.Model with the weights that the recipe chooses

    Raises
    ------
    util.UserError
        When the loss or a weight is not finite (the last good checkpoint stays), `run_dir` holds the checkpoint of
        another configuration, or the processes have different ones.
    """
    n_devices = len(keras.distribution.list_devices())
    with contextlib.ExitStack() as stack:
        with hosts.together():
            if hosts.part()[1] > 1 and experiment.batch_size % n_devices:
                raise util.UserError(f"a batch of {experiment.batch_size} cannot be shared evenly by {n_devices} "
                                     "devices: give a multiple of their number, --batch-size")
            if not hosts.is_first():
                run_dir = stack.enter_context(tempfile.TemporaryDirectory())
            run_dir = Path(run_dir)
            util.check_writable(run_dir)
            lock(stack.enter_context((run_dir / "lock").open("w")), run_dir)
            config = claim(run_dir, experiment, train_tiles, data_id)
        hosts.check_equal(config)
        hosts.copy_from_first(run_dir, ("checkpoint.npz", "best.npz", "log.jsonl"))
        return _train(experiment, train_tiles, validation_tiles, run_dir, choose)


def _train(experiment, train_tiles, validation_tiles, run_dir, choose):
    model = build(experiment, train_tiles)
    checkpoint_path, log_path = run_dir / "checkpoint.npz", run_dir / "log.jsonl"
    start = load_checkpoint(checkpoint_path, model) if checkpoint_path.exists() else 0
    log = [line for line in read_log(log_path) if line["update"] <= start]
    seconds_before, began = (log[-1]["seconds"] if log else 0.0), time.perf_counter()
    recipe, best_path = recipe_of(experiment), run_dir / "best.npz"
    best_psnr = np.mean(_load_best(best_path, model)[0]) if start and recipe.averaging else -np.inf

    psnr_of_input = scores.psnr(validation_tiles.target, validation_tiles.degraded, validation_tiles.kind).mean()
    losses, warned, largest = [], set(), None if experiment.start else networks.largest(model)
    shutil.rmtree(run_dir / "tensorboard", ignore_errors=True)  # one log, without what came after the checkpoint
    with (
        tqdm(total=experiment.n_updates, initial=start, unit="update", desc="train", dynamic_ncols=True,
             mininterval=util.bar_interval()) as bar,
        contextlib.closing(Writer(str(run_dir / "tensorboard"))) as writer,
    ):
        def show(entry):
            bar.set_postfix(loss=f"{entry['loss']:.5f}", val_psnr=f"{entry['psnr']:.2f}",
                            gain=f"{entry['psnr'] - psnr_of_input:+.2f} dB", refresh=False)

        for line in log:
            _add_scalars(writer, line)
        if log:
            show(log[-1])
        for update in range(start, experiment.n_updates):
            if recipe.averaging and not update:  # the untouched input, where the network starts at the identity
                tiles, _ = _validate(model, validation_tiles)
                best_psnr = float(np.mean(tiles))
                _save_best(best_path, model, tiles, 0)
            target, degraded = batches.draw_batch(train_tiles, update, experiment, recipe, hosts.part())
            model.reset_metrics()  # Keras 3.8 would return the mean of all losses so far
            loss = float(model.train_on_batch(degraded, target))
            if not np.isfinite(loss):
                raise _not_finite("the loss", update, experiment, log)
            losses.append(loss)
            bar.update()
            done = update + 1
            if done % experiment.interval and done < experiment.n_updates:
                continue
            if not all(np.isfinite(value).all() for value in _state(model)):
                raise _not_finite("a weight", update, experiment, log)
            with _averaged(model):
                tiles, collapsed = _validate(model, validation_tiles)
                psnr = float(np.mean(tiles))
                if recipe.averaging and psnr > best_psnr:
                    best_psnr = psnr
                    _save_best(best_path, model, tiles, done)
            seconds = seconds_before + time.perf_counter() - began
            log.append({"update": done, "loss": float(np.mean(losses)), "psnr": psnr, "seconds": seconds})
            losses = []
            # The log first: a line past the checkpoint is dropped at the next start, a missing one would stay lost.
            _write_log(log_path, log)
            save_checkpoint(checkpoint_path, model, done)
            _add_scalars(writer, log[-1])
            writer.flush()
            show(log[-1])
            found = {
                "collapsed": collapsed and "the network returns its input, but for rounding: its ReLUs have died, or "
                                           "it has not left the identity yet; if this stays, lower --learning-rate",
                "dead": largest and _warning_of_dead(*_dead_channels(largest, train_tiles), len(train_tiles)),
            }
            for what, sentence in found.items():
                if sentence and what not in warned:
                    warned.add(what)
                    bar.write(f"WARNING: after {done:,} updates {sentence}")
    chosen = experiment.n_updates
    if recipe.averaging:
        best_tiles, chosen, weights = _load_best(best_path, model)
        with _averaged(model):
            last_tiles, _ = _validate(model, validation_tiles)
            last_weights = model.get_weights()
        if not choose or last_is_as_good(last_tiles, best_tiles, best_is_input=chosen == 0):
            chosen, weights = experiment.n_updates, last_weights
        model.set_weights(weights)
    model_path, trained_path = run_dir / "model.keras", run_dir / "trained.json"
    is_distributed = keras.distribution.distribution() is not None
    if is_distributed:
        keras.distribution.set_distribution(None)
    model = in_precision(model, "float32")
    if start < experiment.n_updates or not (model_path.exists() and trained_path.exists()):
        networkfile.save_model(model, model_path)
        seconds = round(log[-1]["seconds"], 1) if log else None
        described, n_processes = backend.describe(), hosts.part()[1]
        if n_processes > 1:
            described["device"] = f"{n_processes} times {described['device']}"
        dead = largest and _dead_channels(networks.largest(model), train_tiles)[1]
        util.write_json(trained_path, {
            "seconds_train": seconds, "chosen_update": chosen, "dead_channels": dead, **described,
        })
    return networkfile.load_model(model_path) if is_distributed else model  # one that other tiles can be put through


def distributed(model, batch_size):
    """Spread each batch over all accelerators, of all processes, where Keras can (its JAX backend).

    Returns `model`, or a copy with its weights on each device.
    """
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    if len(devices) < 2:
        return model
    if batch_size % len(devices):
        print(f"one of {len(devices)} devices is used: a batch of {batch_size} cannot be shared evenly")
        return model
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    copy = keras.Model.from_config(model.get_config())
    for ours, theirs in zip(copy.variables, model.variables, strict=True):
        ours.assign(keras.ops.convert_to_numpy(theirs))
    return copy


def save_checkpoint(path, model, update):
    """Write weights, optimizer and random state to one .npz, all of it or nothing.

    Keras's own file leaves the state of the dropout generators out, and then a resumed run differs.
    """
    with util.replacing(path) as temporary:
        np.savez(temporary, update=update, **{f"v{i}": value for i, value in enumerate(_state(model))})


def load_checkpoint(path, model):
    """Set the state of a model of the same build from `save_checkpoint`'s file; return its update count."""
    variables = model.variables + model.optimizer.variables
    stored = _load_arrays(path)
    values = [stored.get(f"v{i}") for i in range(len(variables))]
    _check_shapes(path, values, variables, len(stored) - 1)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return int(stored["update"])


def _load_arrays(path, *needed):
    """Read all arrays of an .npz file; a broken one, or one without `update` and the needed ones, is a `UserError`."""
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in {"update", *needed, *stored.files}}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise util.UserError(f"{path} is broken ({error}): delete {path.parent} to train from the start") from error


def _check_shapes(path, values, variables, n_stored):
    wanted = [tuple(variable.shape) for variable in variables]
    if n_stored != len(wanted) or [None if v is None else v.shape for v in values] != wanted:
        raise util.UserError(f"{path} is of another network: delete {path.parent} to train from the start")


@contextlib.contextmanager
def _averaged(model):
    """Put the averaged weights, where the optimizer keeps them, in the place of the present ones."""
    if not model.optimizer.use_ema:
        yield
        return
    present = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    model.set_weights(model.get_weights())  # copies: on JAX both would be one array, and lost with the next prediction
    yield
    model.set_weights(present)


def _validate(model, validation_tiles):
    """Return the PSNR of each validation tile in dB, and whether the inputs came back."""
    kind = validation_tiles.kind
    restored = networkfile.restore_tiles(model, validation_tiles.degraded, kind)
    psnr = scores.psnr(validation_tiles.target, restored, kind)
    return psnr, scores.nearly_equal(restored, validation_tiles.degraded, kind)


def _dead_channels(largest, tiles):
    """Return the layer with the largest part of channels that are 0 on the first tiles, and that part, 0..1.

    largest : what `networks.largest` returned
    tiles : tileset.Tiles to train on: of validation tiles there may be one, too few to tell a dead channel by
    """
    values = largest.predict_on_batch(tiles.kind.seen(tiles.degraded[:networkfile.PREDICT_BATCH]))
    parts = {name: float(np.mean(np.max(value, axis=0) <= 0)) for name, value in values.items()}
    name = max(parts, key=parts.get)
    return name, round(parts[name], 3)


def _warning_of_dead(name, part, n_tiles):
    if part < scores.DEAD:
        return ""
    return (f"{part:.0%} of the channels of {name} are 0 on all of {min(n_tiles, networkfile.PREDICT_BATCH)} training "
            "tiles: their ReLUs have died, and training on brings none back; start again with a lower --learning-rate")


def last_is_as_good(last, best, best_is_input):
    """Whether the last average of the weights is to be kept instead of the one that validated best.

    The rule of one standard error (Breiman et al., 1984): validation tiles are few, and where they cannot tell the
    two apart the longer training is as a rule better on other tiles. One tile has no standard error: then the best is
    kept. So is the untouched input, which does no harm, unless the last average is above it.

    Parameters
    ----------
    last, best : float (N,), PSNR in dB of the same validation tiles
    best_is_input : bool, whether `best` is the untouched input
    """
    lost = np.subtract(best, last)
    error = 0.0 if best_is_input or len(lost) == 1 else lost.std(ddof=1) / len(lost) ** 0.5
    return bool(lost.mean() <= error)


def _save_best(path, model, tiles, update):
    # Before the checkpoint: if a kill comes between the two, the resumed run finds the same weights once more.
    with util.replacing(path) as temporary:
        weights = {f"w{i}": weight for i, weight in enumerate(model.get_weights())}
        np.savez(temporary, tiles=tiles, update=update, **weights)


def _load_best(path, model):
    """Return (psnr of each validation tile, update, weights) of `_save_best`'s file."""
    if not path.exists():
        raise util.UserError(f"{path} is missing: delete {path.parent} to train from the start")
    stored = _load_arrays(path, "tiles")
    weights = [stored.get(f"w{i}") for i in range(len(model.weights))]
    _check_shapes(path, weights, model.weights, len(stored) - 2)
    return stored["tiles"], int(stored["update"]), weights


def claim(run_dir, experiment, tiles, data_id):
    """Save the configuration of a run beside its weights and return it.

    Two configurations are never mixed in one folder (`UserError`).
    """
    config, kind = asdict(experiment), tiles.kind
    if kind.is_data:  # whoever restores other images of such an instrument is to see them in the same range
        config |= {"range": [kind.low, kind.high], "evened": True}
    if tiles.input_scale:
        config["input_scale"] = tiles.input_scale
    if experiment.start:
        config["start_sha256"] = util.sha256_of(networkfile.find_weights(experiment.start)[0])
    config |= {"data_id": data_id, "recipe_settings": asdict(recipe_of(experiment)),
               "backend": keras.backend.backend()}
    config_path = run_dir / "config.json"
    if config_path.exists() and _comparable(util.read_json(config_path)) != _comparable(config):
        raise util.UserError(f"{run_dir} holds a run of another configuration: move it away or delete it")
    util.write_json(config_path, config)
    for left_over in run_dir.glob(".*.npz"):  # of a kill in the middle of a checkpoint
        left_over.unlink()
    return config


def _comparable(config):
    """Add to a configuration the settings that there were not when it was written; leave out what decides nothing.

    The recipe's values of what an experiment sets itself are only defaults, which may have changed since.
    """
    defaults = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
    try:
        settings = defaults | config["recipe_settings"]
        settings = {"recipe_settings": {key: value for key, value in settings.items() if key not in config}}
        return {"start": None, "precision": PRECISIONS[0]} | config | settings
    except (TypeError, KeyError):  # the file of something else
        return None


def _state(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables + model.optimizer.variables]


def _write_log(path, log):
    with util.replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")


def _add_scalars(writer, line):
    for key in ("loss", "psnr"):
        writer.add_scalar(key, line[key], line["update"])


def _not_finite(what, update, experiment, log):
    kept = f"the checkpoint of update {log[-1]['update']} is kept" if log else "there is no checkpoint yet"
    return util.UserError(
        f"{what} is not finite after update {update + 1} of {experiment.name}; {kept}: "
        "lower the learning rate"
    )
