"""The degradations: what they do to numbers, and that they leave the pixels where they were."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import util
from download_module.degrade import (
    DEFAULT_TASKS,
    TASKS,
    add_noise,
    blur,
    degrade,
    downscale,
    is_noisy,
    scale_of,
    to_luma,
    upscale,
)


def cubic(x):
    """Keys' kernel with a = -0.5, as MATLAB's imresize has it."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def resize_matrix(n_in, n_out):
    """Weights of an anti-aliased cubic resize along one axis, from its definition; no Pillow in here."""
    scale = n_in / n_out
    width = max(scale, 1)
    centre = (np.arange(n_out)[:, None] + 0.5) * scale - 0.5
    weights = cubic((np.arange(n_in)[None] - centre) / width)
    return weights / weights.sum(axis=1, keepdims=True)


def resize_reference(image, height, width):
    rows, columns = resize_matrix(image.shape[0], height), resize_matrix(image.shape[1], width)
    out = np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float64), columns, optimize=True)
    return np.rint(np.clip(out, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize(("scale", "psnr"), [(4, 26.07), (8, 22.63)])
def test_round_trip_is_that_of_an_independent_bicubic(scale, psnr):
    image = data.astronaut()[:256, 128:384]
    small = resize_reference(image, 256 // scale, 256 // scale)
    reference = resize_reference(small, 256, 256)
    ours = degrade(image, f"sr_x{scale}", None)
    psnr_of = [float(util.psnr_of_mse(util.mse(image[None], r[None]))[0]) for r in (reference, ours)]
    assert psnr_of[0] == pytest.approx(psnr_of[1], abs=0.02)
    assert psnr_of[1] == pytest.approx(psnr, abs=0.02)


def test_downscale_averages_what_it_leaves_out():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255  # without anti-aliasing one of the two colours would win
    assert abs(downscale(stripes, 4).astype(int) - 127.5).max() < 10


@pytest.mark.parametrize("scale", [4, 8])
def test_resizing_does_not_shift(scale):
    y, x = np.mgrid[:128, :128]
    bump = np.exp(-((y - 55.5) ** 2 + (x - 70.25) ** 2) / (2 * 12**2))
    image = np.repeat(np.rint(250 * bump).astype(np.uint8)[..., None], 3, axis=-1)
    degraded = degrade(image, f"sr_x{scale}", None)[..., 0].astype(float)
    centroid = [float((axis * degraded).sum() / degraded.sum()) for axis in (y, x)]
    target = image[..., 0].astype(float)
    expected = [float((axis * target).sum() / target.sum()) for axis in (y, x)]
    assert centroid == pytest.approx(expected, abs=0.05)


def test_downscale_refuses_a_fractional_factor():
    with pytest.raises(ValueError, match="130x128 is not a multiple"):
        downscale(np.zeros((128, 130, 3), np.uint8), 4)


def test_noise_has_the_standard_deviation_of_its_name():
    gray = np.full((128, 128, 3), 128, np.uint8)
    noise = add_noise(gray, np.random.default_rng(0)).astype(float) - 128
    # Clipping begins at two sigma: compare the middle of the distribution, not its tails.
    below, above = np.percentile(noise, [15.87, 84.13])
    assert (above - below) / 2 == pytest.approx(64, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=1)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert abs(channels - np.eye(3)).max() < 0.03


def test_noise_is_drawn_from_the_generator_given():
    gray = np.full((16, 16, 3), 128, np.uint8)
    first, again, other = (add_noise(gray, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).mean() > 0.9


def test_blur_is_the_5x5_gaussian():
    point = np.zeros((9, 9, 3), np.uint8)
    point[4, 4] = 255
    blurred = blur(point)
    line = np.exp(-0.5 * (np.arange(-2, 3) / 1.1) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = np.zeros((9, 9))
    expected[2:7, 2:7] = np.rint(255 * kernel)
    assert (blurred == expected[..., None]).all()


def test_blur_mirrors_the_edges():
    image = data.astronaut()[:64, :64]
    expected = ndimage.gaussian_filter(image.astype(float), (1.1, 1.1, 0), mode="mirror", radius=(2, 2, 0))
    assert (blur(image) == np.rint(expected)).all()


def test_luma_weighs_the_channels():
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, [0, 1, 2], [0, 1, 2]] = 255
    assert to_luma(image)[0].tolist() == [[76] * 3, [150] * 3, [29] * 3]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_keeps_size_and_type(task):
    image = data.astronaut()[:128, :128]
    before = image.copy()
    degraded = degrade(image, task, np.random.default_rng(0))
    assert degraded.shape == image.shape
    assert degraded.dtype == np.uint8
    assert (degraded != image).any()
    assert (image == before).all()


def test_an_unknown_task_is_an_error():
    with pytest.raises(KeyError):
        degrade(np.zeros((128, 128, 3), np.uint8), "sr_x3", None)


@pytest.mark.parametrize("task", TASKS)
def test_noisy_tasks_are_those_that_draw(task):
    target = np.full((16, 16, 3), 100, np.uint8)
    first, second = (degrade(target, task, np.random.default_rng(seed)) for seed in (0, 1))
    assert is_noisy(task) == (first != second).any()


def test_scales():
    assert set(DEFAULT_TASKS) <= set(TASKS)
    assert [scale_of(task) for task in TASKS] == [4, 8, None, None, 4, None]


def test_upscale_restores_the_size():
    assert upscale(np.zeros((16, 32, 3), np.uint8), 8).shape == (128, 256, 3)
