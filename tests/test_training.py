import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import util
from download_module.degrade import degrade, downscale
from download_module.disk import lock
from inception2_module import backend, batches, networkfile, scores, training
from inception2_module.backend import keras
from inception2_module.experiments import Recipe, with_recipe
from inception2_module.tileset import Tiles

pytestmark = pytest.mark.slow  # networks are trained

ROOT = Path(__file__).parents[1]
TINY = with_recipe("paper", dataset="tiny", n_train=12, n_updates=12, width=4)
# Planted pairs are of no degradation that could be made anew.
FEW = with_recipe("fewdata-no-fresh-degradation", dataset="tiny", n_train=12, n_updates=12, width=4)
PLAIN = Recipe(n_updates=1, batch_size=1, learning_rate=1e-3, dropout=0.0)
AUGMENTED = replace(PLAIN, symmetries=True, permute_channels=True)
FRESH = replace(AUGMENTED, fresh_degradation=True)


def pair(n=6, size=32, seed=0):
    """Planted pairs: the target is 5 + 3x of the degraded tile, pixel by pixel."""
    degraded = np.random.default_rng(seed).integers(0, 83, (n, size, size, 3), dtype=np.uint8)
    return Tiles(5 + 3 * degraded, degraded)


def weights(run_dir):
    return networkfile.load_model(run_dir / "model.keras").get_weights()


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_pairs_each_tile_with_its_own_target():
    for update in range(10):
        for recipe in (PLAIN, replace(AUGMENTED, crop=16)):
            target, degraded = batches.draw_batch(pair(), update, replace(TINY, batch_size=4), recipe)
            np.testing.assert_allclose(target * 255, 5 + 3 * degraded * 255, atol=1e-3)
            assert target.shape == (4, *(recipe.crop or 32,) * 2, 3)
            assert target.dtype == degraded.dtype == np.float32
            assert 0 <= degraded.min() <= target.max() <= 1


def heights(low=0, high=16_000, n=6, task="sr_x4"):
    """Tiles of data, each of its own level and contrast."""
    rng = np.random.default_rng(0)
    sizes, levels = 10 ** rng.uniform(1.5, 3, (n, 1, 1, 1)), rng.uniform(2_000, 12_000, (n, 1, 1, 1))
    relief = rng.random((n, 8, 8, 1)).repeat(8, axis=1).repeat(8, axis=2)
    target = (levels + sizes * relief).astype(np.float32)
    degraded = np.stack([degrade(tile, task, rng, low, high) for tile in target])
    return Tiles(target, degraded, (), scores.Kind("float32", 1, low, high))


def test_steps_of_a_task_are_left_out_but_not_its_scale():
    rng = np.random.default_rng(0)
    target = np.repeat(np.repeat(rng.integers(0, 256, (1, 16, 16, 3), np.uint8), 4, axis=1), 4, axis=2)
    recipe, plain = replace(FRESH, left_out=0.5, crop=None), set()
    experiment = replace(TINY, task="sr_x2+noise_s40+jpeg_q10", batch_size=1)
    for update in range(60):
        names = batches._leave_out(experiment.task, 0.5, np.random.default_rng(update))
        assert "sr_x2" in names.split("+")
        plain.add(names)
    assert plain == {"sr_x2", "sr_x2+noise_s40", "sr_x2+jpeg_q10", "sr_x2+noise_s40+jpeg_q10"}
    assert batches._leave_out("noise_s0..9", 1.0, rng) == "noise_s0..9"
    tiles = Tiles(target, target)
    drawn = [batches.draw_batch(tiles, update, experiment, recipe) for update in range(40)]
    errors = [np.abs(target - degraded).mean() for target, degraded in drawn]
    assert min(errors) < 0.75 * max(errors)


def test_pixels_are_left_out_for_a_task_of_several_steps_only():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    recipe = replace(FRESH, picked=1.0)
    for task, changes in (("sr_x4", False), ("sr_x4+blur_s1", True)):
        experiment = replace(TINY, task=task, batch_size=4)
        batch, plain = (batches.draw_batch(Tiles(target, target), 0, experiment, one) for one in (recipe, FRESH))
        assert (batch[0] == plain[0]).all()
        assert (batch[1] != plain[1]).any() == changes


def test_a_part_of_the_crops_is_gray_with_one_noise():
    rng = np.random.default_rng(0)
    tiles = Tiles(*(rng.integers(0, 256, (4, 128, 128, 3), np.uint8) for _ in range(2)))
    recipe = replace(FRESH, gray=0.5)
    grays = []
    for update in range(8):
        target, degraded = batches.draw_batch(tiles, update, replace(TINY, task="noise_s20", batch_size=4), recipe)
        flat = [(images == images[..., :1]).all(axis=(1, 2, 3)) for images in (target, degraded)]
        assert (flat[0] == flat[1]).all()
        assert np.abs(degraded - target).mean() > 0.03  # a gray input is noisy too
        grays += flat[0].tolist()
    assert 8 <= sum(grays) <= 24


def test_crops_of_data_count_alike_whatever_their_contrast_and_the_range_of_the_set():
    few = replace(FEW, recipe="fewdata", batch_size=4)
    batch = batches.draw_batch(heights(), 3, few, FRESH)
    for images, wide in zip(batch, batches.draw_batch(heights(-50_000, 50_000), 3, few, FRESH), strict=True):
        np.testing.assert_allclose(images, wide, atol=0.02)
    np.testing.assert_allclose(batch[1].std(axis=(1, 2, 3)), scores.DEVIATION, rtol=0.01)
    np.testing.assert_allclose(batch[1].mean(axis=(1, 2, 3)), 0, atol=0.001)


def test_noise_in_data_is_of_one_size_in_all_crops():
    few = replace(FEW, recipe="fewdata", task="noise_s160", batch_size=4)
    target, degraded = batches.draw_batch(heights(task="noise_s160"), 3, few, FRESH)
    np.testing.assert_allclose((degraded - target).std(axis=(1, 2, 3)), 0.01, rtol=0.05)


def test_flat_tiles_of_a_wide_range_are_learned(tmp_path):
    few = replace(FEW, recipe="fewdata", n_updates=60, width=8, model="inception_unet_halved")
    model = training.train(few, heights(), heights(), tmp_path, "data")
    assert networkfile.gains(model, heights()).min() > 0.9
    assert util.read_json(tmp_path / "config.json")["evened"] is True


def test_tiles_beyond_the_range_of_their_set_are_restored():
    class Larger:
        layers = (SimpleNamespace(name="level_rows"),)  # built for data

        def predict_on_batch(self, inputs):
            return 1.5 * inputs

    tiles = heights(0, 1_000)
    restored = networkfile.restore_tiles(Larger(), tiles.target, tiles.kind)
    np.testing.assert_allclose(restored, 1.5 * tiles.target, rtol=1e-4)


def test_a_network_of_8_bits_sees_each_tile_of_data_in_a_range_of_its_own():
    class Seen(list):
        def predict_on_batch(self, inputs):
            self.append(inputs)
            return inputs

    tiles, seen = heights(), Seen()
    np.testing.assert_allclose(networkfile.restore_tiles(seen, tiles.target, tiles.kind), tiles.target, rtol=1e-5)
    assert len(seen) == len(tiles)
    for image in seen:
        assert image.min() == pytest.approx(0, abs=0.01)
        assert image.max() == pytest.approx(1, abs=0.01)


def test_crops_keep_the_grid_of_the_low_resolution():
    """Degrading the augmented target gives the augmented input, but for the borders of the crop."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    degraded = np.stack([degrade(tile, "sr_x8", None) for tile in target])
    recipe = replace(AUGMENTED, crop=96)
    for update in range(8):
        batch = batches.draw_batch(Tiles(target, degraded), update, replace(TINY, task="sr_x8"), recipe)
        again = degrade(np.rint(batch[0][0] * 255).astype(np.uint8), "sr_x8", None)[32:-32, 32:-32]
        np.testing.assert_allclose(again, batch[1][0, 32:-32, 32:-32] * 255, atol=2.5)  # rounding twice


@pytest.mark.parametrize(("task", "step"), [("sr_x8", 8), ("sr_x4", 4), ("noise_s64", 1)])
def test_crops_begin_at_any_multiple_of_the_scale(task, step):
    """Coarser steps show a network with strides too few positions: it learns the tiles by heart sooner."""
    rows = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))[None]
    recipe = replace(PLAIN, crop=32)
    tops = {round(batches.draw_batch(Tiles(rows, rows), update, replace(TINY, task=task), recipe)[0][0, 0, 0, 0] * 255)
            for update in range(400)}
    assert tops == set(range(0, 33, step))


@pytest.mark.parametrize("task", ["sr_x4", "sr_x8", "gray"])
def test_fresh_inputs_are_made_of_targets_cut_anywhere(task):
    rows = np.stack([np.arange(64), np.arange(64) ** 2 // 20, 255 - np.arange(64)], axis=-1).astype(np.uint8)
    tile = np.tile(rows[:, None], (1, 64, 1))[None]
    tops = set()
    for update in range(400):
        recipe = replace(FRESH, crop=32, symmetries=False, permute_channels=update % 2 == 1)
        target, degraded = batches.draw_batch(Tiles(tile, tile), update, replace(TINY, task=task), recipe)
        target = np.rint(255 * target[0]).astype(np.uint8)
        np.testing.assert_array_equal(np.rint(255 * degraded[0]), degrade(target, task, None))
        if task == "gray" or not recipe.permute_channels:
            tops.add(target[0, 0, 0].item())
    assert tops == set(range(33))


def test_noise_is_drawn_anew_for_each_batch():
    clean = np.full((1, 32, 32, 3), 128, np.uint8)
    experiment = replace(TINY, task="noise_s64")
    first, second = (batches.draw_batch(Tiles(clean, clean), update, experiment, FRESH) for update in (0, 1))
    np.testing.assert_array_equal(first[0], second[0])
    assert 45 < 255 * (first[1] - second[1]).std() / 2**0.5 < 64  # clipping takes some of the 64


def test_augmentation_shows_all_symmetries_and_channel_orders():
    tile = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    seen = {batches.draw_batch(Tiles(tile, tile), update, TINY, AUGMENTED)[0].tobytes() for update in range(600)}
    assert len(seen) == 8 * 6


def test_a_shrunk_tile_is_a_pair_like_any_other():
    target = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    pair = Tiles(target, np.stack([degrade(target[0], "sr_x4", None)]))
    batch = batches.draw_batch(pair, 0, TINY, replace(PLAIN, shrunk=1.0, crop=64))
    small = downscale(target[0], 2)
    np.testing.assert_array_equal(np.rint(255 * batch[0][0]), small)
    np.testing.assert_array_equal(np.rint(255 * batch[1][0]), degrade(small, "sr_x4", None))
    noisy = batches.draw_batch(pair, 0, replace(TINY, task="noise_s64"), replace(PLAIN, shrunk=1.0))
    assert noisy[0].shape == (1, 128, 128, 3)


def test_each_epoch_shows_every_tile_once_in_a_new_order():
    tile = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    order = [round(batches.draw_batch(Tiles(tile, tile), update, TINY, PLAIN)[0].item() * 255) for update in range(12)]
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert order[:6] != order[6:]


def test_the_order_depends_on_the_seed_and_the_update_only():
    experiments = [replace(TINY, seed=seed, batch_size=4) for seed in (0, 0, 1)]
    first, again, other = (batches.draw_batch(pair(), 7, experiment, PLAIN)[0] for experiment in experiments)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_training_learns_the_planted_relation(tmp_path):
    experiment = replace(TINY, n_updates=300, dropout=0.0, learning_rate=3e-3, model="srcnn535", width=16)
    tiles = pair()
    model = training.train(experiment, tiles, pair(2, seed=1), tmp_path, "data")
    restored = networkfile.restore_tiles(model, tiles.degraded)
    # A network that saw pairs of different tiles could learn the mean only: 11 dB for these uniform values.
    assert scores.psnr_of_mse(scores.mse(tiles.target, restored)).min() > 17


@pytest.mark.parametrize(("recipe", "precision"), [
    ("paper", "float32"), ("fewdata", "float32"), ("fewdata", "bfloat16"), (FEW.recipe, "float32"),
])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path, monkeypatch, recipe, precision):
    # What is compared: the last weights of `fewdata`, which stays near the identity here, the best ones of the third.
    monkeypatch.setattr(training, "last_is_as_good", lambda last, best, best_is_input: recipe == "fewdata")
    experiment = with_recipe(recipe, dataset="tiny", n_train=12, n_updates=12, width=4, dropout=0.2,
                             precision=precision)
    pairs = pair(size=64), pair(2, size=64)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    training.train(experiment, *pairs, straight, "data")

    class PowerCutError(Exception):
        pass

    save = training.save_checkpoint

    def save_then_fail(path, model, update):
        save(path, model, update)
        if update == 6:
            raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(training, "save_checkpoint", save_then_fail)
        with pytest.raises(PowerCutError):
            training.train(experiment, *pairs, broken, "data")
    training.train(experiment, *pairs, broken, "data")
    assert_same(weights(straight), weights(broken))
    logs = [[json.loads(line) for line in (d / "log.jsonl").read_text().splitlines()] for d in (straight, broken)]
    assert [line["update"] for line in logs[1]] == [3, 6, 9, 12]
    assert [line["psnr"] for line in logs[0]] == [line["psnr"] for line in logs[1]]
    assert recipe == "fewdata" or len({line["psnr"] for line in logs[0]}) > 1


def test_sigkill_at_any_moment_changes_no_weight(workplace):
    command = [sys.executable, str(ROOT / "inception2.py"), "--dataset", "tiny", "--n-train", "12", "--width", "4",
               "--n-updates", "400", "--recipe", "paper"]
    name = replace(TINY, n_updates=400).name
    killed = 0
    for wait in (0.05, 0.3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        log = workplace / "runs" / name / "log.jsonl"
        while process.poll() is None and not log.exists():
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert not (workplace / "results").exists() or not list((workplace / "results").iterdir())
    assert killed == 2
    subprocess.run(command, check=True, capture_output=True)
    resumed = weights(workplace / "runs" / name)
    (workplace / "runs" / name).rename(workplace / "resumed")
    subprocess.run(command, check=True, capture_output=True)
    assert_same(resumed, weights(workplace / "runs" / name))


def test_few_data_training_never_ends_below_its_input(tmp_path):
    """The untouched input is a candidate: an absurd learning rate leaves the network the identity."""
    experiment = replace(FEW, learning_rate=1e4, n_updates=4)
    tiles = pair(size=64)
    model = training.train(experiment, tiles, Tiles(tiles.degraded, tiles.degraded), tmp_path, "data")
    np.testing.assert_array_equal(networkfile.restore_tiles(model, tiles.target), tiles.target)
    assert util.read_json(tmp_path / "trained.json")["chosen_update"] == 0


def test_a_network_that_returns_its_input_is_said_during_training(tmp_path, capfd):
    tiles = pair(size=64)
    untouched = Tiles(tiles.degraded, tiles.degraded)
    training.train(FEW, untouched, untouched, tmp_path / "dead", "data")
    assert "after 3 updates the network returns its input" in "".join(capfd.readouterr())
    training.train(replace(FEW, n_updates=60), tiles, tiles, tmp_path / "alive", "data")
    assert "the network returns its input" not in "".join(capfd.readouterr())


def test_dead_channels_are_said_during_training(tmp_path, capfd, monkeypatch):
    build = training.build

    def build_with_dead_channels(n_dead):
        model = build(FEW, pair(size=64))
        layer = model.get_layer("unet_down1")
        kernel, bias = layer.get_weights()
        kernel[..., :n_dead], bias[:n_dead] = 0, -1
        layer.set_weights([kernel, bias])
        return model

    for n_dead, said in ((1, False), (3, True)):  # of four
        monkeypatch.setattr(training, "build", lambda *_, n_dead=n_dead: build_with_dead_channels(n_dead))
        training.train(FEW, pair(size=64), pair(2, size=64), tmp_path / str(n_dead), "data")
        printed = "".join(capfd.readouterr())
        assert ("75% of the channels of unet_down1 are 0 on all of 6 training tiles" in printed) == said
        assert util.read_json(tmp_path / str(n_dead) / "trained.json")["dead_channels"] == n_dead / 4


def test_hidden_layers_learn_in_bfloat16_and_the_result_is_float32(tmp_path):
    experiment = replace(TINY, n_updates=60, precision="bfloat16", width=8, dropout=0.0)
    model = training.build(experiment)
    rounded = {layer.name for layer in model.layers if layer.dtype_policy.name == "mixed_bfloat16"}
    assert {"unet_down0", "unet_skip0", "srcnn_narrow"} <= rounded
    assert not rounded & {"degraded", "unet_out", "srcnn_out", "restored"}
    assert {str(variable.dtype) for variable in model.variables} == {"float32"}
    trained = training.train(experiment, pair(), pair(2), tmp_path / "rounded", "data")
    exact = training.train(replace(experiment, precision="float32"), pair(), pair(2), tmp_path / "exact", "data")
    stored = networkfile.load_model(tmp_path / "rounded" / "model.keras")
    assert {layer.dtype_policy.name for layer in stored.layers} == {"float32"}
    restored, again, other = (networkfile.restore_tiles(one, pair(2).degraded) for one in (trained, stored, exact))
    np.testing.assert_array_equal(restored, again)
    psnr = [np.mean(scores.psnr_of_mse(scores.mse(pair(2).target, images))) for images in (restored, other)]
    assert psnr[0] == pytest.approx(psnr[1], abs=1)


def test_the_level_of_data_is_not_rounded_to_bfloat16():
    model = training.build(replace(FEW, precision="bfloat16", task="sr_x4"), heights())
    rounded = {layer.name for layer in model.layers if layer.dtype_policy.name == "mixed_bfloat16"}
    assert "unet_down0" in rounded
    assert not any(name.startswith(("level", "variance")) for name in rounded)


def test_a_processor_without_bfloat16_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "PROCESSOR", tmp_path / "cpuinfo")
    assert backend.has_bfloat16()  # nothing tells
    for flags, has in (("flags : fpu avx2 avx512f", False), ("flags : fpu avx512_bf16 fsrm", True)):
        (tmp_path / "cpuinfo").write_text(flags)
        assert backend.has_bfloat16() == has


@pytest.mark.parametrize("keep_last", [False, True])
def test_few_data_training_leaves_the_identity_and_keeps_the_chosen_average(tmp_path, monkeypatch, keep_last):
    monkeypatch.setattr(training, "last_is_as_good", lambda last, best, best_is_input: keep_last)
    experiment = replace(FEW, learning_rate=3e-3, n_updates=60, width=8, batch_size=2)
    validation = pair(2, size=64, seed=1)
    model = training.train(experiment, pair(size=64), validation, tmp_path, "data")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    chosen = log[-1] if keep_last else max(log, key=lambda line: line["psnr"])
    assert util.read_json(tmp_path / "trained.json")["chosen_update"] == chosen["update"]
    restored = networkfile.restore_tiles(model, validation.degraded)
    assert np.mean(scores.psnr_of_mse(scores.mse(validation.target, restored))) == pytest.approx(chosen["psnr"])
    assert chosen["psnr"] > np.mean(scores.psnr_of_mse(scores.mse(validation.target, validation.degraded))) + 0.5


def test_the_last_average_is_kept_unless_it_is_clearly_worse():
    best, noise = np.full(8, 30.0), np.array([0.3, -0.3] * 4)
    assert training.last_is_as_good(best + 0.1, best, best_is_input=False)
    assert training.last_is_as_good(best - 0.1 + noise, best, best_is_input=False)  # standard error 0.11
    assert not training.last_is_as_good(best - 0.2 + noise, best, best_is_input=False)
    assert not training.last_is_as_good(best - 0.1 + noise, best, best_is_input=True)
    assert not training.last_is_as_good(best - 0.01, best, best_is_input=False)


def test_one_odd_validation_tile_does_not_decide():
    """Mars sr_x4 with n=30: two of three tiles gained, an odd one lost 4.5 dB, and tiles nobody looked at gained."""
    best = np.array([30.0, 25.0, 30.0])
    assert training.last_is_as_good(best + [0.1, -4.5, 0.1], best, best_is_input=False)
    assert not training.last_is_as_good(best + [0.1, -4.5, 0.1], best, best_is_input=True)


def test_of_one_validation_tile_the_best_weights_are_kept():
    best = np.array([30.0])
    assert not training.last_is_as_good(best - 0.01, best, best_is_input=False)
    assert training.last_is_as_good(best, best, best_is_input=False)


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        training.train(replace(TINY, seed=seed, n_updates=2), pair(), pair(2), tmp_path / str(seed), "data")
    assert (weights(tmp_path / "0")[0] != weights(tmp_path / "1")[0]).any()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    training.train(replace(TINY, n_updates=3), pair(), pair(2), tmp_path, "data")
    (tmp_path / "config.json").unlink()
    good = (tmp_path / "checkpoint.npz").read_bytes()
    tiles = pair()
    inf = Tiles(np.full(tiles.target.shape, np.inf, np.float32), tiles.degraded)
    with pytest.raises(util.UserError, match=r"not finite after update 4 .* checkpoint of update 3 is kept"):
        training.train(TINY, inf, pair(2), tmp_path, "data")
    assert (tmp_path / "checkpoint.npz").read_bytes() == good


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    experiment = replace(TINY, n_updates=1, learning_rate=1e39)  # beyond float32: the loss before is still fine
    with pytest.raises(util.UserError, match=r"not finite after update 1 .* no checkpoint yet"):
        training.train(experiment, pair(), pair(2), tmp_path, "data")
    assert not (tmp_path / "checkpoint.npz").exists()


@pytest.mark.parametrize(("experiment", "data_id"), [(replace(TINY, seed=5), "data"), (TINY, "other data")])
def test_a_folder_is_never_used_for_two_configurations(tmp_path, experiment, data_id):
    training.train(TINY, pair(), pair(2), tmp_path, "data")
    before = weights(tmp_path)
    with pytest.raises(util.UserError, match="another configuration"):
        training.train(experiment, pair(), pair(2), tmp_path, data_id)
    assert_same(before, weights(tmp_path))


def test_a_run_of_before_a_setting_was_known_goes_on(tmp_path):
    training.train(TINY, pair(), pair(2), tmp_path, "data")
    config = util.read_json(tmp_path / "config.json")
    assert config["recipe_settings"].pop("standardise_noisy") is True  # what it was before there was a choice
    assert config.pop("precision") == "float32"
    config["recipe_settings"]["n_updates"] += 1  # a default, of what the experiment sets
    util.write_json(tmp_path / "config.json", config)
    training.train(TINY, pair(), pair(2), tmp_path, "data")
    config["recipe_settings"]["averaging"] = 0.5
    util.write_json(tmp_path / "config.json", config)
    with pytest.raises(util.UserError, match="another configuration"):
        training.train(TINY, pair(), pair(2), tmp_path, "data")


def test_a_resumed_run_keeps_one_tensorboard_log(tmp_path):
    for _ in range(3):
        training.train(TINY, pair(), pair(2), tmp_path, "data")
    logs = list((tmp_path / "tensorboard").rglob("*events*"))
    assert len(logs) == 1
    events = EventFileLoader(str(logs[0])).Load()
    steps = [event.step for event in events for value in event.summary.value if value.tag == "psnr"]
    assert steps == [json.loads(line)["update"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def test_a_stop_between_the_last_files_is_made_good(tmp_path):
    for name in ("model.keras", "trained.json"):
        training.train(TINY, pair(), pair(2), tmp_path, "data")
        (tmp_path / name).unlink()
        training.train(TINY, pair(), pair(2), tmp_path, "data")
        assert (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["log.jsonl", "best.npz", "config.json"])
@pytest.mark.parametrize("content", ["{\"update\": 1}", "[]", "bad"])
def test_a_broken_file_of_a_run_is_one_sentence(tmp_path, name, content):
    experiment = replace(TINY, recipe="fewdata", n_updates=2)
    training.train(experiment, pair(size=64), pair(2, size=64), tmp_path, "data")
    (tmp_path / name).write_text(content)
    with pytest.raises(util.UserError, match=rf"{name} is|another configuration"):
        training.train(experiment, pair(size=64), pair(2, size=64), tmp_path, "data")


def test_two_trainings_never_share_a_folder(tmp_path):
    with (tmp_path / "lock").open("w") as file:
        lock(file, tmp_path)
        with pytest.raises(util.UserError, match="another process is busy"):
            training.train(TINY, pair(), pair(2), tmp_path, "data")


def test_a_run_is_not_continued_on_another_backend(tmp_path, monkeypatch):
    training.train(TINY, pair(), pair(2), tmp_path, "data")
    monkeypatch.setattr(keras.backend, "backend", lambda: "another")
    with pytest.raises(util.UserError, match="another configuration"):
        training.train(TINY, pair(), pair(2), tmp_path, "data")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_broken_checkpoint_is_one_sentence(tmp_path, content):
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(util.UserError, match=r"checkpoint\.npz is broken"):
        training.train(TINY, pair(), pair(2), tmp_path, "data")


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    training.save_checkpoint(tmp_path / "checkpoint.npz", training.build(replace(TINY, width=8)), 3)
    with pytest.raises(util.UserError, match="another network"):
        training.train(TINY, pair(), pair(2), tmp_path, "data")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (16, 16), (33, 17)])
def test_any_size_is_restored_at_its_size(height, width):
    model = training.build(TINY)
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    assert networkfile.restore_tiles(model, image).shape == image.shape


def test_restored_tiles_keep_their_order_over_batches():
    model = training.build(TINY)
    degraded = pair(2 * networkfile.PREDICT_BATCH + 1).degraded
    together = networkfile.restore_tiles(model, degraded)
    alone = np.concatenate([networkfile.restore_tiles(model, tile[None]) for tile in degraded])
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_a_model_that_would_run_code_is_not_loaded(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs))
    model.save(tmp_path / "model.keras")
    with pytest.raises(util.UserError, match="cannot be loaded"):
        networkfile.load_model(tmp_path / "model.keras")


def test_a_model_of_another_architecture_is_refused(tmp_path):
    image = keras.Input((None, None, 3))
    others = {
        "numbers": keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]),
        "one size": keras.Sequential([
            keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(192), keras.layers.Reshape((8, 8, 3)),
        ]),
        "gray": keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image)),
        "half": keras.Model(image, keras.layers.Conv2D(3, 3, strides=2, padding="same")(image)),
        "double": keras.Model(image, keras.layers.UpSampling2D()(image)),
        "not built": keras.Sequential([keras.layers.Conv2D(3, 3, padding="valid")]),
    }
    for name, model in others.items():
        model.save(tmp_path / f"{name}.keras")
        with pytest.raises(util.UserError, match=r"another architecture|cannot be loaded"):
            networkfile.load_model(tmp_path / f"{name}.keras")


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_model_file_is_one_sentence(tmp_path, content):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(util.UserError, match=r"broken or not a \.keras file"):
        networkfile.load_model(tmp_path / "model.keras")


def test_several_devices_of_one_host_share_each_batch(tmp_path):
    """Keras's data parallelism on two CPU devices of JAX gives the weights of one device."""
    script = tmp_path / "script.py"
    script.write_text("""
import sys
from inception2_module.backend import keras
from dataclasses import replace
from test_training import TINY, pair
from inception2_module import training

n_devices, run_dir = int(sys.argv[1]), sys.argv[2]
assert len(keras.distribution.list_devices()) == n_devices
experiment, shared = replace(TINY, batch_size=4, n_updates=3, dropout=0.0), []
validate = training._validate
training._validate = lambda *arguments: [shared.append(keras.distribution.distribution()), validate(*arguments)][1]
training.train(experiment, pair(), pair(2), run_dir, "data")
assert shared and all((one is not None) == (n_devices > 1) for one in shared)
""")
    for n_devices in (1, 2):
        environment = os.environ | {
            "KERAS_BACKEND": "jax", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}",
        }
        command = [sys.executable, script, str(n_devices), tmp_path / str(n_devices)]
        subprocess.run(command, env=environment, check=True)
    for one, two in zip(weights(tmp_path / "1"), weights(tmp_path / "2"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(("recipe", "task", "standardised"), [
    ("fewdata", "sr_x4", True), ("fewdata", "gray", True), ("fewdata", "noise_s64", False),
    ("fewdata", "blur_s0.5..2+sr_x4+noise_s0..10", True), ("fewdata-standardising-noise", "noise_s64", True),
    ("fewdata-no-standardising", "sr_x4", False),
])
def test_layers_are_standardised_where_there_is_no_noise(recipe, task, standardised):
    degraded = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    experiment = with_recipe(recipe, task=task, width=4)
    kernel = training.build(experiment, Tiles(degraded, degraded)).get_layer("unet_down0").kernel
    assert (np.abs(np.sum(kernel, axis=(0, 1))).max() < 1e-4) == standardised
