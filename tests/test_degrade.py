"""The degradations: what they do to numbers, and that they leave the pixels where they were."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import data

import util
from download_module.degrade import (
    EXAMPLES,
    LANCZOS,
    add_noise,
    add_photon_noise,
    blur,
    defocus,
    degrade,
    disc,
    downscale,
    pick,
    resize,
    task_of,
    to_luma,
    upscale,
)
from inception2_module import scores

STEPS = (*EXAMPLES, "blur_s1.6", "poisson_p30", "jpeg_q75", "jpeg_q50..95", "noise_s0..100", "sr_x3", "sr_x5")


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
    psnr_of = [float(scores.psnr_of_mse(scores.mse(image[None], r[None]))[0]) for r in (reference, ours)]
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


@pytest.mark.parametrize("scale", [3, 4, 5, 6, 7])
def test_a_side_that_is_no_multiple_of_the_scale_is_mirrored_up_to_one(scale):
    image = data.astronaut()[:128, 100:230]
    padded = np.pad(image, ((0, -128 % scale), (0, -130 % scale), (0, 0)), "symmetric")
    assert (downscale(image, scale) == downscale(padded, scale)).all()
    assert (degrade(image, f"sr_x{scale}", None) == degrade(padded, f"sr_x{scale}", None)[:128, :130]).all()


def mild(image):
    """Keep away from 0 and 255: 8 bits are clipped after each pass of a filter, other types only where they end."""
    return (50 + 0.6 * image).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("resample", [LANCZOS, Image.Resampling.BICUBIC])
def test_every_type_is_resized_like_8_bits(dtype, resample):
    image = mild(data.astronaut()[:64, :64])
    deep = (100 * image.astype(np.int32)).astype(dtype)
    small, expected = (resize(values, 16, 16, resample) for values in (deep, image))
    assert small.dtype == dtype
    assert np.abs(small / 100 - expected).max() < 1.6  # 8 bits are rounded after each of the two passes
    one = resize(image[..., :1], 16, 16, resample)
    assert (one == expected[..., :1]).all()


def test_a_resized_integer_does_not_wrap_around():
    edge = np.zeros((32, 32, 1), np.uint16)
    edge[:, 16:] = 65535
    assert upscale(edge, 4)[:, :60].max() < 1000
    assert upscale(edge, 4)[:, 70:].min() > 60000


def test_noise_has_the_standard_deviation_of_its_name():
    gray = np.full((128, 128, 3), 128, np.uint8)
    noise = add_noise(gray, 64, np.random.default_rng(0)).astype(float) - 128
    # Clipping begins at two sigma: compare the middle of the distribution, not its tails.
    below, above = np.percentile(noise, [15.87, 84.13])
    assert (above - below) / 2 == pytest.approx(64, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=1)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert abs(channels - np.eye(3)).max() < 0.03


def test_noise_is_drawn_from_the_generator_given():
    gray = np.full((16, 16, 3), 128, np.uint8)
    first, again, other = (add_noise(gray, 64, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).mean() > 0.9


def degrade_blur5(image):
    return blur(image, 1.1, radius=2)


def test_blur_is_the_5x5_gaussian():
    point = np.zeros((9, 9, 3), np.uint8)
    point[4, 4] = 255
    blurred = degrade_blur5(point)
    line = np.exp(-0.5 * (np.arange(-2, 3) / 1.1) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = np.zeros((9, 9))
    expected[2:7, 2:7] = np.rint(255 * kernel)
    assert (blurred == expected[..., None]).all()


def test_blur_mirrors_the_edges():
    image = data.astronaut()[:64, :64]
    expected = ndimage.gaussian_filter(image.astype(float), (1.1, 1.1, 0), mode="mirror", radius=(2, 2, 0))
    assert (degrade_blur5(image) == np.rint(expected)).all()


def test_luma_weighs_the_channels():
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, [0, 1, 2], [0, 1, 2]] = 255
    assert to_luma(image)[0].tolist() == [[76] * 3, [150] * 3, [29] * 3]


@pytest.mark.parametrize("task", STEPS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_task_keeps_size_and_type(task, channels):
    image = data.astronaut()[:128, :128, :channels]
    before = image.copy()
    degraded = degrade(image, task, np.random.default_rng(0))
    assert degraded.shape == image.shape
    assert degraded.dtype == np.uint8
    assert (degraded != image).any() or (task == "gray" and channels == 1)
    assert (image == before).all()


@pytest.mark.parametrize("task", [task for task in STEPS if "jpeg" not in task])
def test_data_are_degraded_like_8_bits(task):
    """The same picture as floats from -500 to 2,050: the same damage but for the rounding, in its own units."""
    image = mild(data.astronaut()[:64, :64])
    values = 10 * image.astype(np.float32) - 500
    name = task.replace("noise_s64", "noise_s640").replace("noise_s0..100", "noise_s0..1000")
    if task in ("noise_s64_blur", "sr_x4_noise_s64"):
        pytest.skip("its noise is fixed at 64 units")
    ours = degrade(values, name, np.random.default_rng(0), -500, 2050)
    expected = degrade(image, task, np.random.default_rng(0))
    assert ours.dtype == np.float32
    error = (ours + 500) / 10 - expected
    assert np.abs(error).max() < (200 if "poisson" in task else 3)  # photons: a count can change with the rounding
    assert np.abs(error).mean() < 1


@pytest.mark.parametrize(("name", "message"), [
    ("sr_x9", "out of its limits"), ("sr_x1", "out of its limits"), ("sr_x2.5", "whole numbers"),
    ("sr_x4..8", "limits"), ("sr_x4+sr_x2", "shrinks twice"), ("noise_s064", "write noise_s64"),
    ("noise_s5.0", "write noise_s5"), ("noise_s9..3", "limits"), ("noise_s5..5", "limits"), ("jpeg_q0", "limits"),
    ("jpeg_q50.5", "whole numbers"), ("", "not a step"), ("sr_x4+", "not a step"), ("noise_s-5", "not a step"),
    ("noise", "not a step"), ("../noise_s5", "not a step"), ("noise_snan", "not a step"),
    ("sr_x4_noise_s32", "not a step"),
])
def test_a_wrong_task_is_one_sentence(name, message):
    with pytest.raises(util.UserError, match=message) as error:
        task_of(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("task", STEPS)
def test_random_tasks_are_those_that_draw(task):
    target = np.random.default_rng(0).integers(60, 180, (16, 16, 3), np.uint8)
    first, *others = (degrade(target, task, np.random.default_rng(seed)) for seed in range(5))
    assert task_of(task).is_random == any((first != other).any() for other in others)


def test_what_a_name_says():
    camera = task_of("blur_s0.5..2+sr_x4+noise_s0..10+jpeg_q50..95")
    assert camera.steps == (("blur", 0.5, 2), ("sr", 4, 4), ("noise", 0, 10), ("jpeg", 50, 95))
    assert (camera.scale, camera.sigma, camera.is_noisy) == (4, None, True)
    found = [(task_of(name).scale, task_of(name).sigma) for name in EXAMPLES[:5]]
    assert found == [(4, None), (8, None), (None, 64), (None, 64), (4, 64)]
    assert [task_of(name).is_luma for name in ("gray", "gray+noise_s5", "noise_s5")] == [True, True, False]


def test_steps_act_in_the_order_of_the_camera():
    """Noise before the end of sr_x4 is noise of the small image: it comes back enlarged."""
    gray = np.full((64, 64, 3), 128, np.uint8)
    small_noise = degrade(gray, "sr_x4+noise_s20", np.random.default_rng(0))
    rng = np.random.default_rng(0)
    assert (small_noise == upscale(add_noise(downscale(gray, 4), 20, rng), 4)).all()
    late_noise = degrade(gray, "sr_x4_noise_s64", np.random.default_rng(0))
    assert (late_noise == add_noise(gray, 64, np.random.default_rng(0))).all()


def test_photon_noise_has_the_variance_of_its_count():
    gray = np.full((256, 256, 1), 100, np.uint8)
    noisy = add_photon_noise(gray, 1000, np.random.default_rng(0)).astype(float)
    assert noisy.mean() == pytest.approx(100, abs=0.1)
    assert noisy.var() == pytest.approx(100 / 255 * 1000 * (255 / 1000) ** 2 + 1 / 12, rel=0.03)


@pytest.mark.parametrize("radius", [0.4, 1, 2.5, 3, 7])
def test_a_disc_has_the_area_of_a_disc(radius):
    kernel = disc(radius)
    assert kernel.sum() == pytest.approx(1)
    assert (kernel == kernel.T).all() and (kernel == kernel[::-1]).all()
    if radius >= 1:
        assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.03)


def test_defocus_spreads_a_point_over_a_disc():
    point = np.zeros((21, 21, 1), np.float32)
    point[10, 10] = 1
    np.testing.assert_allclose(defocus(point, 3)[7:14, 7:14, 0], disc(3), atol=1e-6)


def test_jpeg_is_that_of_pillow_and_refuses_deep_data():
    image = data.astronaut()[:64, :64]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=50)
    assert (degrade(image, "jpeg_q50", None) == np.asarray(Image.open(file))).all()
    with pytest.raises(util.UserError, match="8-bit images"):
        degrade(image.astype(np.float32), "jpeg_q50", None)


def test_a_range_is_drawn_from_end_to_end():
    gray = np.full((64, 64, 1), 128, np.uint8)
    spreads = [degrade(gray, "noise_s2..30", np.random.default_rng(seed)).std() for seed in range(60)]
    assert min(spreads) < 5 and max(spreads) > 27
    assert np.mean(spreads) == pytest.approx(16, abs=3)


@pytest.mark.parametrize(("scale", "kept"), [(2, {0, 1}), (3, {1}), (4, {1, 2}), (8, {3, 4})])
def test_pixels_are_left_out_beside_the_middle_of_what_they_stand_for(scale, kept):
    y, x = np.mgrid[:50, :61]
    image = np.stack([y, x, y + x], axis=-1).astype(np.uint8)
    drawn = [pick(image, scale, np.random.default_rng(seed)) for seed in range(40)]
    for axis in (0, 1):
        assert {int(small[0, 0, axis]) for small in drawn} == kept
        assert all((np.diff(small[..., axis], axis=axis) == scale)[:5, :5].all() for small in drawn)
    assert {small.shape for small in drawn} == {downscale(image, scale).shape}


def test_pixels_are_left_out_as_often_as_is_asked():
    image = data.astronaut()[:64, :64]
    inputs = [degrade(image, "sr_x4", np.random.default_rng(seed), picked=0.25) for seed in range(200)]
    assert sum((one == degrade(image, "sr_x4", None)).all() for one in inputs) == pytest.approx(150, abs=20)


def test_upscale_restores_the_size():
    assert upscale(np.zeros((16, 32, 3), np.uint8), 8).shape == (128, 256, 3)


def test_weak_noise_may_be_drawn_more_often():
    target, rng = np.full((16, 16, 3), 128, np.uint8), np.random.default_rng(2)
    spreads = [[degrade(target, "noise_s0..40", rng, power=power).std() for _ in range(1_500)] for power in (1, 2)]
    assert np.median(spreads[0]) == pytest.approx(20, abs=2)
    assert np.median(spreads[1]) == pytest.approx(10, abs=2)
    assert max(spreads[1]) > 35
