import sys

import numpy as np
import pytest

from download_module.degrade import degrade
from inception2_module import classical, scores
from inception2_module.tileset import Tiles

SIGMA = 64 / 255


def flat(value, n=1, size=64):
    return np.full((n, size, size, 3), value, np.uint8)


def degraded(target, task):
    return np.stack([degrade(tile, task, np.random.default_rng(i)) for i, tile in enumerate(target)])


@pytest.mark.parametrize("mean", [0, 20, 128, 250])
def test_the_closed_form_is_the_mean_of_clipped_noise(mean):
    noisy = np.clip(np.random.default_rng(0).normal(mean, 64, 1_000_000), 0, 255)
    assert classical.expected_clipped(np.array(mean / 255), SIGMA) * 255 == pytest.approx(noisy.mean(), abs=0.2)


@pytest.mark.parametrize("mean", [0, 20, 128, 250])
def test_unclip_finds_the_mean_of_a_flat_patch(mean):
    noisy = degraded(flat(mean, size=512), "noise_s64")
    assert classical.unclip(noisy.mean() / 255, SIGMA) * 255 == pytest.approx(mean, abs=1.5)


@pytest.mark.parametrize(("name", "setting"), [("non_local_means", 0.5), ("total_variation", 2.0), ("wavelet", 1.0)])
@pytest.mark.parametrize("task", ["noise_s64", "noise_s64_blur", "sr_x4_noise_s64"])
def test_denoisers_undo_the_bias_of_clipping(name, setting, task):
    target = np.concatenate([flat(10), flat(128), flat(240)])
    restored = classical.restore(name, task, setting, target, degraded(target, task))
    assert restored.dtype == np.uint8
    np.testing.assert_allclose(restored.mean((1, 2, 3)), [10, 128, 240], atol=4)


def test_bm3d_undoes_it_too_and_beats_the_others():
    pytest.importorskip("bm3d")
    y, x = np.mgrid[:48, :48]
    target = np.where((x // 12 + y // 12) % 2, 250, 15).astype(np.uint8)[None, ..., None].repeat(3, -1)
    noisy = degraded(target, "noise_s64")
    errors = {name: scores.mse(target, classical.restore(name, "noise_s64", setting, target, noisy))[0]
              for name, setting in (("bm3d", 1.0), ("non_local_means", 0.3), ("wavelet", 1.0))}
    assert min(errors, key=errors.get) == "bm3d"
    assert errors["bm3d"] < scores.mse(target, noisy)[0] / 10


def test_noise_that_is_blurred_after_it_was_clipped_is_smaller_and_has_the_bias_of_before():
    white, blurred, enlarged = (classical._sigmas(classical.task_of(task), 255)
                                for task in ("noise_s64", "noise_s64_blur", "sr_x4_noise_s64"))
    assert white == enlarged == (SIGMA, SIGMA)
    noise = np.random.default_rng(0).normal(0, 1, (512, 512, 1))
    left = classical.blur(noise, 1.1, radius=2).std()
    assert blurred == (SIGMA, pytest.approx(left * SIGMA, rel=0.02))


@pytest.mark.parametrize("task", ["noise_s5..50", "poisson_p30"])
def test_noise_of_unknown_strength_is_estimated(task):
    target = np.concatenate([flat(100), flat(150)])
    noisy = degraded(target, task)
    restored = classical.restore("non_local_means", task, 0.6, target, noisy)
    assert (scores.mse(target, restored) < scores.mse(target, noisy) / 4).all()


def test_each_task_has_its_methods(monkeypatch):
    denoisers = ("non_local_means", "total_variation", "wavelet")
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    assert classical.methods_for("noise_s64") == classical.methods_for("sr_x4_noise_s64") == denoisers
    monkeypatch.setattr(classical, "find_spec", lambda name: name)
    assert classical.methods_for("noise_s64") == (*denoisers, "bm3d")
    assert classical.methods_for("sr_x8") == ("lanczos", "linear", "raisr")
    # Lanczos would enlarge tiles that no camera has blurred.
    assert classical.methods_for("blur_s1.6+sr_x4+noise_s5") == ("linear", "raisr")
    assert classical.methods_for("gray") == ()


def test_bm3d_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    assert "bm3d" not in classical.installed()


def test_tiles_stay_in_their_places_in_a_pool():
    target = np.concatenate([flat(value, size=32) for value in (10, 60, 110, 160, 210, 250)])
    noisy = degraded(target, "noise_s64")
    with classical.worker_pool(2) as pool:
        shared = classical.restore("wavelet", "noise_s64", 1.0, target, noisy, pool=pool)
    np.testing.assert_array_equal(shared, classical.restore("wavelet", "noise_s64", 1.0, target, noisy))


def test_lanczos_enlarges_the_low_resolution_tile():
    target = np.tile(5 + 3 * np.arange(32), (32, 1)).astype(np.uint8)[None, ..., None].repeat(3, -1)
    restored = classical.restore("lanczos", "sr_x4", 4, target, np.zeros_like(target))
    assert (scores.psnr_of_mse(scores.mse(target, restored)) > 30).all()


def test_a_side_that_is_no_multiple_of_the_scale_stays_as_it_is():
    target = flat(77, size=32)
    np.testing.assert_array_equal(classical.restore("lanczos", "sr_x3", 3, target, target), target)


def test_settings_are_chosen_on_the_tiles_given():
    x = np.arange(32)
    target = np.stack([np.dstack([np.tile(5 + (i + 1) * x, (32, 1))] * 3) for i in range(3)]).astype(np.uint8)
    noisy, clean = (classical.choose_setting("total_variation", "noise_s64", Tiles(target, inputs))
                    for inputs in (degraded(target, "noise_s64"), target))
    assert noisy > clean
    assert classical.choose_setting("lanczos", "sr_x8", Tiles(target, target)) == 8


@pytest.mark.parametrize(("name", "setting"), [("non_local_means", 0.5), ("total_variation", 2.0), ("wavelet", 1.0),
                                               ("bm3d", 1.0)])
def test_other_kinds_are_denoised_in_their_own_values(name, setting):
    if name == "bm3d":
        pytest.importorskip("bm3d")
    kind = scores.Kind("int16", 1, -1000.0, 3000.0)
    target = np.full((1, 32, 32, 1), -900, np.int16)
    noisy = np.stack([degrade(tile, "noise_s1000", np.random.default_rng(0), kind.low, kind.high) for tile in target])
    restored = classical.restore(name, "noise_s1000", setting, target, noisy, kind)
    assert restored.dtype == np.int16
    assert restored.shape == target.shape
    assert restored.mean() == pytest.approx(-900, abs=100)
