import numpy as np
import pytest
from PIL import Image
from skimage import data

from download_module.degrade import add_noise, degrade, downscale, task_of
from download_module.imagefile import picture_of, read_picture
from restore_module import guard


def scene(size=(192, 256), n_channels=3):
    """Discs of all sizes and colours on a ramp: edges at every scale, like a photograph."""
    rng = np.random.default_rng(0)
    y, x = np.indices(size)
    image = np.tile(60 + 80 * (x / size[1])[..., None], n_channels)
    for _ in range(400):
        (cy, cx), radius = rng.random(2) * size, 2 * rng.pareto(1.5) + 1.5
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.integers(30, 220) + rng.integers(-20, 20, n_channels)
    return image.astype(np.uint8)


def noisy(image, sigma):
    return add_noise(image, sigma, np.random.default_rng(1))


def small(sigma=0):
    return noisy(downscale(scene(), 4), sigma)


def enlarged(image):
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((4 * width, 4 * height), Image.Resampling.BICUBIC))


def kind_of(image, task, enlarge=False, unit=255):
    found = guard.find(image.astype(np.float32) / 255, task_of(task), enlarge, unit)
    return found and found.kind


@pytest.mark.parametrize("sigma", [5, 20, 64, 90])
@pytest.mark.parametrize("brightness", [-40, 0, 60])
def test_noise_is_estimated_also_where_it_was_clipped(sigma, brightness):
    image = np.clip(scene().astype(int) + brightness, 0, 255).astype(np.uint8)
    colour, _ = guard.noise_of(noisy(image, sigma).astype(np.float32) / 255)
    assert 255 * colour == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize(("sigma", "kind"), [(0, "little noise"), (25, "little noise"), (50, None), (64, None),
                                             (130, "much noise")])
def test_noise_is_compared_with_that_of_the_training(sigma, kind):
    assert kind_of(noisy(scene(), sigma), "noise_s64") == kind


@pytest.mark.parametrize(("task", "sigma", "kind"), [
    ("noise_s0..50", 0, None), ("noise_s0..50", 100, "much noise"), ("noise_s10..50", 0, "little noise"),
    ("sr_x4_noise_s64", 0, "little noise"), ("poisson_p30", 0, None), ("noise_s64_blur", 0, None),
    ("noise_s64+jpeg_q90", 0, None),  # how much of it is left is not known
    ("gray", 10, "much noise"),
])
def test_each_task_has_its_noise(task, sigma, kind):
    assert kind_of(noisy(scene(), sigma), task) == kind


@pytest.mark.parametrize(("sigma", "kind"), [(0, None), (1, None), (5, "much noise"), (20, "much noise")])
def test_noise_of_the_small_image_is_found_before_and_after_it_is_enlarged(sigma, kind):
    assert kind_of(small(sigma), "sr_x4", enlarge=True) == kind
    assert kind_of(enlarged(small(sigma)), "sr_x4") == kind
    assert kind_of(small(sigma), "sr_x4+noise_s0..20", enlarge=True) is None


def test_an_image_of_the_wrong_sharpness_is_found():
    assert kind_of(scene(), "sr_x4") == "sharp"
    assert kind_of(enlarged(small()), "sr_x4", enlarge=True) == "enlarged"
    assert kind_of(scene(), "sr_x4", enlarge=True) is None
    assert kind_of(scene(), "blur_s8+sr_x4", enlarge=True) is None
    assert kind_of(scene(), "defocus_r3") == "sharp"
    assert kind_of(degrade(scene(), "defocus_r3", None), "defocus_r3") is None
    assert kind_of(scene(), "blur_s0.5..2") is None


@pytest.mark.parametrize(("sigma", "kind"), [(0, None), (1, None), (10, "much noise")])
def test_weak_noise_of_gray_images_is_told_from_texture(sigma, kind):
    photograph = data.camera()[:384, 128:][..., None]
    gray = noisy(downscale(photograph, 4), sigma).repeat(3, axis=-1)
    assert kind_of(gray, "sr_x4", enlarge=True) == kind
    assert kind_of(enlarged(gray), "sr_x4") == kind
    found = 255 * guard.flat_noise_of(gray.astype(np.float32) / 255)
    assert found == pytest.approx(sigma, abs=1 + sigma / 5)


@pytest.mark.parametrize("sigma", [2, 5, 20])
def test_noise_of_flat_places_is_measured(sigma):
    flat = np.random.default_rng(0).normal(0.5, sigma / 255, (128, 128, 1)).repeat(3, axis=-1)
    assert 255 * guard.flat_noise_of(flat) == pytest.approx(sigma, rel=0.15)


def test_texture_of_a_gray_image_is_no_noise():
    checks = np.indices((64, 64)).sum(0) % 2 * 6 + 100
    assert kind_of(checks[..., None].repeat(3, -1), "sr_x4", enlarge=True) is None


@pytest.mark.parametrize("image", [np.zeros((64, 64, 3)), np.full((40, 200, 3), 255), np.zeros((31, 300, 3))])
def test_flat_and_small_images_are_no_reason_to_warn(image):
    for task, enlarge in (("sr_x4", True), ("sr_x4", False), ("defocus_r3", False)):
        assert kind_of(image, task, enlarge) is None


def warn(values, task="noise_s64", set_range=None, enlarge=False):
    picture = picture_of(values, values.shape[2], None, format="NPY")
    picture.take_range(set_range)
    return guard.warn(picture, task, enlarge, set_range)


def test_the_sentence_says_what_was_found_and_what_was_trained_for():
    said = "noise of about {} is estimated, the network was trained for {}: expect harm"
    assert warn(noisy(scene(), 10)) == said.format(10, 64)
    assert warn(small(10), "sr_x4", enlarge=True) == said.format(10, "none")
    deep = noisy(scene(n_channels=1), 25).astype(np.uint16) * 16
    assert warn(deep, "noise_s1600", set_range=(0, 4095)) == said.format("11% of the range", "39% of the range")
    assert warn(noisy(scene(), 30)).endswith("expect lost detail")
    assert warn(noisy(scene(), 130)).endswith("expect some of it to stay")
    assert "enlarged already" in warn(enlarged(small()), "sr_x4", enlarge=True)
    assert "--enlarge is for small images" in warn(scene(), "sr_x4")
    assert warn(scene(), None) is None


def test_what_is_mostly_holes_is_not_judged():
    values = noisy(scene(n_channels=1), 10).astype(np.float32)
    assert warn(values)
    values[: 60] = np.nan
    assert warn(values) is None


def test_only_the_middle_of_a_large_image_is_looked_at(tmp_path):
    image = np.zeros((1400, 1500, 3), np.uint8)
    image[188:-188, 238:-238] = noisy(np.full((1024, 1024, 3), 128), 10)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert guard.warn(read_picture(tmp_path / "a.png"), "noise_s64", False).startswith("noise of about 10 ")
