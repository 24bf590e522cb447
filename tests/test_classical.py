import sys

import numpy as np
import pytest
from skimage import restoration

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
    deconvolvers = ("wiener", "richardson_lucy")
    assert classical.methods_for("defocus_r3") == (*deconvolvers, "linear", "raisr")
    assert classical.methods_for("defocus_r3+noise_s5") == (*denoisers, "bm3d", *deconvolvers, "linear", "raisr")
    assert classical.methods_for("blur_s0.5..2") == ("linear", "raisr")
    assert classical.methods_for("pairs") == (*denoisers, "bm3d", "linear", "raisr")


def test_bm3d_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    assert "bm3d" not in classical.installed()


def test_tiles_stay_in_their_places_in_a_pool():
    target = np.concatenate([flat(value, size=32) for value in (10, 60, 110, 160, 210, 250)])
    noisy = degraded(target, "noise_s64")
    with classical.worker_pool(2, classical.__name__) as pool:
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


@pytest.mark.parametrize("task", ["blur_s1.6", "defocus_r3", "defocus_r2.5+blur_s1", "blur_s2+noise_s5"])
def test_the_point_spread_is_what_a_task_makes_of_a_point(task):
    point = np.zeros((1, 65, 65, 1))
    point[0, 32, 32] = 1
    blurred = degraded(point, task.split("+noise")[0])[0, ..., 0]
    psf = classical.point_spread(task)
    margin = (65 - len(psf)) // 2
    np.testing.assert_allclose(np.pad(psf, margin), blurred, atol=1e-12)


@pytest.mark.parametrize("task", ["noise_s5+blur_s2", "noise_s64_blur", "blur_s1..2", "blur_s1+sr_x2", "sr_x4", "gray",
                                  "defocus_r3+gray", "jpeg_q50"])
def test_the_point_spread_of_other_tasks_is_not_known(task):
    assert classical.point_spread(task) is None


def shapes(n=2, size=64):
    """Soft discs, as a camera might see them, up to the edges."""
    y, x = np.indices((size, size))
    rng, tiles = np.random.default_rng(0), np.full((n, size, size, 3), 60.0)
    for tile in tiles:
        for _ in range(40):
            (cy, cx), radius = rng.random(2) * size, rng.uniform(3, 12)
            tile[np.hypot(y - cy, x - cx) < radius] = rng.uniform(20, 230, 3)
    return np.stack([classical.blur(tile, 0.7) for tile in tiles]).astype(np.uint8)


@pytest.mark.parametrize(("task", "wiener", "richardson_lucy"), [("defocus_r3", 6, 3), ("blur_s1.6", 4, 3),
                                                                 ("defocus_r3+noise_s5", 1.5, 1)])
def test_deconvolution_gains_clearly_over_the_input(task, wiener, richardson_lucy):
    target = shapes()
    tiles = Tiles(target, degraded(target, task))
    before = scores.psnr(target, tiles.degraded).mean()
    for name, gain in (("wiener", wiener), ("richardson_lucy", richardson_lucy)):
        setting = classical.choose_setting(name, task, tiles)
        restored = classical.restore(name, task, setting, target, tiles.degraded)
        assert scores.psnr(target, restored).mean() > before + gain, name


def test_deconvolution_is_that_of_scikit_image_on_a_mirrored_tile():
    blurred = degraded(shapes(1, 48), "defocus_r3")[0, ..., 0] / 255
    psf = classical.point_spread("defocus_r3")
    periodic = np.pad(blurred, ((0, 46), (0, 46)), "reflect")
    expected = restoration.wiener(periodic, psf, 1e-3, clip=False)[:48, :48]
    np.testing.assert_allclose(classical.wiener(blurred[None], psf, 1e-3)[0], expected, atol=1e-4)
    expected = restoration.richardson_lucy(np.pad(blurred, 46, "reflect"), psf, 10, clip=False)[46:-46, 46:-46]
    np.testing.assert_allclose(classical.richardson_lucy(blurred[None], psf, 10)[0], expected, atol=1e-4)


def test_deconvolution_is_as_good_at_the_edge_as_inside():
    target = shapes()
    restored = classical.restore("wiener", "defocus_r3", 3e-4, target, degraded(target, "defocus_r3"))
    error = np.square(restored.astype(float) - target).mean((0, 3))
    edge = np.concatenate([error[:4].ravel(), error[:, -4:].ravel()])
    assert edge.mean() < 1.5 * error[16:-16, 16:-16].mean()


@pytest.mark.parametrize("name", ["wiener", "richardson_lucy"])
def test_a_point_spread_may_be_larger_than_the_tile(name):
    target = np.full((1, 32, 32, 1), 100, np.uint8)
    kind = scores.Kind("uint8", 1)
    restored = classical.restore(name, "blur_s20", classical.choices(name, "blur_s20")[2], target, target, kind)
    np.testing.assert_allclose(restored, 100, atol=1)
