"""Filters that are learned find what was planted: a known filter, edges that a linear filter cannot enlarge."""

import numpy as np
import pytest
from scipy.ndimage import convolve

from download_module.degrade import LANCZOS, degrade, downscale, upscale
from inception2_module import classical, learned_filters, scores
from inception2_module.tileset import Tiles

pytestmark = pytest.mark.slow  # filters are learned


def random_tiles(n, size=48, seed=0):
    """Smooth colours of middle gray, so that nothing is clipped."""
    values = np.random.default_rng(seed).normal(0, 1, (n, size + 8, size + 8, 3))
    smooth = convolve(values, np.full((1, 3, 3, 1), 1 / 9), mode="mirror")[:, 4:-4, 4:-4]
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def edges(n, size=48, seed=0):
    """Straight edges of all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    tiles = []
    for _ in range(n):
        angle, offset, low, high = *rng.uniform([0, -8], [2 * np.pi, 8]), *rng.integers([20, 150], [100, 240])
        side = np.clip(x * np.cos(angle) + y * np.sin(angle) - offset + 0.5, 0, 1)
        tiles.append(low + (high - low) * side[..., None].repeat(3, -1))
    return np.array(tiles).round().astype(np.uint8)


def gains(filters, target, inputs):
    base = scores.psnr_of_mse(scores.mse(target, inputs)).mean()
    return {name: scores.psnr_of_mse(scores.mse(target, classical.filter_tiles(one, inputs))).mean() - base
            for name, one in filters.items()}


@pytest.mark.parametrize("scale", [2, 4])
def test_a_known_filter_is_found(scale):
    """Targets are made of their inputs by a filter: what it adds to the enlargement is known for each phase."""
    rng = np.random.default_rng(1)
    known = np.zeros((9, 9, scale**2))
    known[3:6, 3:6] = rng.normal(0, 0.1, (3, 3, scale**2))
    known[4, 4] -= known.sum((0, 1))  # zero for flat places
    low = random_tiles(6, 24)
    inputs = np.repeat(np.repeat(low, scale, 1), scale, 2)  # so that the low-resolution pixels are known
    patches = learned_filters._patches(low.astype(np.float32))
    added = learned_filters._join_phases(patches @ known.reshape(81, -1), scale)
    target = np.clip(np.rint(inputs + added), 0, 255).astype(np.uint8)
    products = products_of(target, inputs, scale)
    weights, _, _ = learned_filters._choose(products, learned_filters._fit_one, learned_filters.RIDGES)
    inside = learned_filters._support(9)
    np.testing.assert_allclose(weights[0][inside], known.reshape(81, -1)[inside], atol=0.01)


def products_of(target, inputs, scale):
    """Sums over pairs that are not made anew."""
    pairs = {one.tobytes(): other for one, other in zip(target, inputs, strict=True)}
    views = [(fold, target[fold : fold + 1], pairs[target[fold].tobytes()][None]) for fold in range(len(target))]
    bounds = np.array([1.0, 2.0]), np.array([0.3, 0.6])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_filters, "_views", lambda *_: views)
        return learned_filters._sum_products(target, inputs, scale, list(range(len(target))), bounds, None, 1)


@pytest.mark.parametrize("task", ["sr_x4", "sr_x3"])
def test_on_edges_the_buckets_beat_the_one_filter_and_that_beats_lanczos(task):
    scale = int(task[-1])
    seen, test = edges(10), edges(8, seed=1)
    seen_inputs, inputs = (np.stack([degrade(tile, task, None) for tile in tiles]) for tiles in (seen, test))
    filters = learned_filters.learn(seen, seen_inputs, scale, range(10), lambda tile: degrade(tile, task, None))
    found = gains(filters, test, inputs)
    lanczos = np.stack([upscale(downscale(tile, scale), scale, LANCZOS)[:48, :48] for tile in test])
    gain = scores.psnr_of_mse(scores.mse(test, lanczos)) - scores.psnr_of_mse(scores.mse(test, inputs))
    assert found["linear"] > gain.mean()
    assert found["raisr"] > found["linear"] + 0.2


def test_a_blur_is_undone_without_an_enlargement():
    seen, test = random_tiles(4), random_tiles(3, seed=1)
    seen_inputs, inputs = (np.stack([degrade(tile, "blur_s1", None) for tile in tiles]) for tiles in (seen, test))
    filters = learned_filters.learn(seen, seen_inputs, 1, range(4), lambda tile: degrade(tile, "blur_s1", None))
    assert min(gains(filters, test, inputs).values()) > 3


def test_flat_places_stay_as_they_are():
    seen = edges(4)
    inputs = np.stack([degrade(tile, "sr_x4", None) for tile in seen])
    filters = learned_filters.learn(seen, inputs, 4, range(4), lambda tile: degrade(tile, "sr_x4", None))
    flat = np.full((1, 48, 48, 3), 77, np.uint8)
    for one in filters.values():
        np.testing.assert_array_equal(classical.filter_tiles(one, flat), flat)


def test_noise_makes_the_filters_small():
    """Pure noise has nothing to be learned, cross-validation sees: the buckets stay close to the one filter."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (6, 48, 48, 3), np.uint8)
    inputs = np.stack([degrade(tile, "sr_x8", None) for tile in target])
    filters = learned_filters.learn(target, inputs, 8, range(6), lambda tile: degrade(tile, "sr_x8", None))
    assert filters["raisr"].settings["pull"] == max(learned_filters.PULLS)


def test_tiles_of_one_scene_are_on_one_side_of_the_cross_validation():
    tiles = random_tiles(4)
    folds = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_filters, "_sum_products", lambda *given: folds.extend(given[3]) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            learned_filters.learn(tiles, tiles, 4, ("a", "b", "a", "c"), None)
    assert folds == [0, 1, 0, 2]


def test_other_kinds_are_restored_in_their_own_values():
    """The same images in other units and another type give the same pictures, but for rounding."""
    seen, test = edges(6)[..., :1], edges(2, seed=1)[..., :1]
    kind = scores.Kind("float32", 1, -1.0, 1.0)

    def as_kind(tiles):
        return (tiles / 127.5 - 1).astype(np.float32)

    def degraded(tiles):
        return np.stack([degrade(tile, "sr_x4", None) for tile in tiles])

    bytes_, floats = (
        classical.filter_tiles(classical.learn("sr_x4", tiles)["raisr"], inputs, tiles.kind)
        for tiles, inputs in ((Tiles(seen, degraded(seen), range(6)), degraded(test)),
                              (Tiles(as_kind(seen), degraded(as_kind(seen)), range(6), kind), degraded(as_kind(test))))
    )
    assert floats.dtype == np.float32
    assert np.abs(as_kind(bytes_) - floats).mean() < 0.01  # a few places fall into another bucket
