"""The public function `restore`, with networks that do next to nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import data

import util
from download_module.degrade import downscale, upscale
from inception2_module import networkfile
from restore_module import arrays, restore

TYPES = ["uint8", "uint16", ">u2", "int16", "int32", "float16", "float32", "float64"]


@pytest.fixture
def network(monkeypatch):
    """Let the names "same" and "brighter" stand for networks: sr_x4 and of no task."""
    networks = {"same": lambda inputs: inputs, "brighter": lambda inputs: inputs + 0.1}
    known = {"same": {"task": "sr_x4"}, "brighter": {}}
    monkeypatch.setattr(networkfile, "find_weights", lambda name: (Path(__file__), known[name]))
    chosen = []
    monkeypatch.setattr(arrays, "_network", lambda *_: (networks[chosen[0]], 16))
    return chosen.append


def image(*shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(20, 120, shape).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (20, 33), (20, 33, 1), (20, 33, 3), (2, 20, 33, 1), (2, 20, 33, 3)])
def test_an_array_comes_back_in_its_type_and_shape(network, dtype, shape):
    network("same")
    array = image(*shape, dtype=dtype)
    before = array.copy()
    restored = restore(array, "same")
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    np.testing.assert_allclose(restored.astype(float), array.astype(float), atol=0.1 if dtype == "float16" else 1e-3)
    np.testing.assert_array_equal(array, before)


def test_a_list_of_sizes_comes_back_as_a_list(network):
    network("same")
    images = [image(20, 33), image(17, 40, 3)]
    restored = restore(images, "same")
    assert isinstance(restored, list)
    for before, after in zip(images, restored, strict=True):
        np.testing.assert_array_equal(after, before)


def test_enlarging_multiplies_the_sides(network):
    network("same")
    array = image(20, 33, 3)
    np.testing.assert_array_equal(restore(array, "same", enlarge=True), upscale(array, 4))
    assert restore(array[None, ..., :1].astype(np.float32), "same", enlarge=True).shape == (1, 80, 132, 1)


def test_the_network_sees_the_range_that_is_given(network):
    network("brighter")
    array = image(20, 33, dtype="float32")
    span = array.max() - array.min()
    dark = array < array.mean()
    for value_range, step in ((None, span / 10), ((0, 1000), 100)):
        restored = restore(array, "brighter", value_range=value_range)
        np.testing.assert_allclose((restored - array)[dark], step, rtol=1e-3)


def test_holes_stay(network):
    network("same")
    array = image(20, 33, dtype="float32")
    array[3:5, 4] = np.nan
    np.testing.assert_allclose(restore(array, "same"), array, atol=1e-3)
    np.testing.assert_array_equal(np.isnan(restore(array, "same", enlarge=True))[12:20, 16:20], True)


@pytest.mark.parametrize(("array", "options", "said"), [
    (np.zeros((2, 3, 4, 5)), {}, r"shape \(3, 4, 5\): give \(H, W\)"),
    (np.zeros((5, 6, 7)), {}, "shape"),
    (np.zeros((0, 3)), {}, "shape"),
    ([np.zeros(3)], {}, "shape"),
    (np.zeros((3, 3), bool), {}, "type bool"),
    (np.zeros((3, 3), complex), {}, "type complex"),
    (np.zeros((3, 3)), {"value_range": (1, 1)}, "not a range"),
    (np.zeros((3, 3)), {"enlarge": True}, "no known task"),
])
def test_what_does_not_fit_is_one_sentence(network, array, options, said):
    network("brighter")
    with pytest.raises(util.UserError, match=said):
        restore(array, "brighter", **options)


def test_a_wrong_name_is_answered_without_keras():
    code = """
import sys, numpy, restore_module, util
try:
    restore_module.restore(numpy.zeros((8, 8)), "nothing")
except util.UserError as error:
    assert "there is no network nothing" in str(error)
assert not {"keras", "tensorflow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def with_one(value, array):
    array[3, 231] = value
    return array


KINDS = {  # how 8-bit values are stored by others
    "16 bits": lambda gray: gray.astype(np.uint16) * 257,
    "12 bits of 16": lambda gray: gray.astype(np.uint16) * 16,
    "low light": lambda gray: gray.astype(np.uint16) * 2 + 100,
    "int16": lambda gray: gray.astype(np.int16) * 10 - 700,
    "float": lambda gray: gray.astype(np.float32) / 255,
    "metres": lambda gray: gray.astype(np.float64) * 3.7 - 500,
    "hot pixel": lambda gray: with_one(65535, gray.astype(np.uint16) * 16),
    "hole": lambda gray: with_one(np.nan, gray.astype(np.float32)),
    "RGB of 16 bits": lambda gray: gray.astype(np.uint16)[..., None].repeat(3, axis=-1) * 257,
}


@pytest.fixture(scope="module")
def blurred():
    """(target, input), uint8, the input shrunk and enlarged by 4, of full range."""
    target = data.camera()[128:384, 128:384]
    return target, upscale(downscale(target[..., None], 4), 4)[..., 0]


def gain(target, before, after, where):
    errors = [np.square(image.astype(float) - target)[where].mean() for image in (before, after)]
    return 10 * np.log10(errors[0] / errors[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_sample_type_gains_what_8_bits_gain(blurred, kind):
    target, before = blurred
    expected = gain(target, before, restore(before, "mars_sr_x4"), np.full(target.shape, True))
    target, before = map(KINDS[kind], blurred)
    after = restore(before, "mars_sr_x4")
    where = np.isfinite(before) & (before < 60000 if kind == "hot pixel" else True)
    assert expected > 2
    assert abs(gain(target, before, after, where) - expected) < 0.1
    if kind == "hot pixel":
        assert after[before == 65535] > 60000
    if kind == "low light":
        assert 100 <= after.min() < after.max() <= 610
