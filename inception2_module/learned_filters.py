"""Filters learned by least squares from a few tiles: what a network has to beat. No Keras in here.

A filter sees the low-resolution pixels around a place and says what the bicubic enlargement lacks there: one value for
each of the scale x scale pixels, the same filter for each channel. (Without an enlargement the scale is 1.)
`linear` is one such filter; `raisr` has one for each bucket of places that look alike. Both have closed forms in sums
of products over the tiles, so that the support and the strength of the regularisation are chosen by cross-validation
at little cost. All in some ten CPU seconds.

References
----------
Romano, Isidoro, Milanfar, "RAISR: Rapid and Accurate Image Super Resolution", IEEE Transactions on Computational
Imaging 3(1), 2017: buckets by angle, strength and coherence of the local gradient; turned and mirrored copies.
Unlike theirs a bucket's filter is the one filter and a correction of a smaller support, which a few tiles bear.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LARGEST = 9  # side of the largest support, in low-resolution pixels
SIDES = (3, 5, 7, 9)
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # in units of the mean energy of a pixel
PULLS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # towards the one filter, in units of the mean energy in a bucket
N_FOLDS = 10
N_VIEWS = 2_000  # turned, mirrored and shifted copies of all tiles together, about, if that is not more than
N_PLACES = 2_000_000  # low-resolution pixels
N_ANGLES = 8
STRENGTHS, COHERENCES = (0.5, 0.8), (0.33, 0.66)  # quantiles that part the buckets
N_BUCKETS = N_ANGLES * (len(STRENGTHS) + 1) * (len(COHERENCES) + 1)


@dataclass(frozen=True)
class Filters:
    """What was learned.

    Attributes
    ----------
    scale : int
    weights : float64 (1 or N_BUCKETS, LARGEST**2, scale**2), zeros outside the support
    bounds : two arrays, what parts the strengths and the coherences of the buckets
    settings : dict, what cross-validation chose
    """

    scale: int
    weights: np.ndarray
    bounds: tuple
    settings: dict


def learn(target, degraded, scale, scenes, degrade_again, level=1):
    """Learn the one filter and those of the buckets.

    Parameters
    ----------
    target, degraded : (N, H, W, C) of any real type; the degraded tiles have been enlarged to the size of the targets
    scale : int, the factor by which they were, 1 if they were not
    scenes : sequence of N, which scene a tile belongs to; none is on both sides of the cross-validation
    degrade_again : function, (H, W, C) target -> degraded: shifted, turned and mirrored copies are learned from; None:
        their inputs cannot be made, and the degraded tiles, not shifted (scale 1), are turned with their targets
    level : float, one gray level of 255 in the units of the tiles

    Returns
    -------
    {"linear": Filters, "raisr": Filters}
    """
    _, strength, coherence = _structure(_low(_padded(degraded, scale), scale))
    bounds = np.quantile(strength, STRENGTHS), np.quantile(coherence, COHERENCES)
    numbers = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    folds = [numbers[scene] % N_FOLDS for scene in scenes]
    products = _sum_products(target, degraded, scale, folds, bounds, degrade_again, level)
    one, *chosen = _choose(products, _fit_one, RIDGES)
    buckets, side, pull = _choose(products, partial(_fit_buckets, chosen), PULLS)
    settings = dict(zip(("side", "ridge"), chosen, strict=True))
    return {
        "linear": Filters(scale, one, bounds, settings),
        "raisr": Filters(scale, buckets, bounds, settings | {"bucket_side": side, "pull": pull}),
    }


def restore(filters, degraded):
    """Restore tiles of the kind that was learned from.

    Parameters
    ----------
    filters : Filters
    degraded : (N, H, W, C) of any real type

    Returns
    -------
    float64 (N, H, W, C), neither rounded nor clipped
    """
    n_at_once = filters.scale**2  # so that the patches of any scale take about the same memory
    return np.concatenate([
        _restore(filters, degraded[i : i + n_at_once]) for i in range(0, len(degraded), n_at_once)
    ])


def _restore(filters, degraded):
    height, width = degraded.shape[1:3]
    degraded = _padded(degraded, filters.scale)
    low = _low(degraded, filters.scale)
    patches = _patches(low)
    one = len(filters.weights) == 1
    buckets = np.zeros(low.shape[:3], int) if one else _number_buckets(low, filters.bounds)
    lacking = np.empty((*patches.shape[:-1], filters.scale**2))
    for bucket in np.unique(buckets):
        lacking[buckets == bucket] = patches[buckets == bucket] @ filters.weights[bucket]
    return (degraded + _join_phases(lacking, filters.scale))[:, :height, :width]


def _padded(images, scale):
    """Mirror sides that are no multiples of the scale up to one, as `download_module.degrade.downscale` does."""
    after = [(0, -side % scale) for side in images.shape[1:3]]
    return np.pad(images, ((0, 0), *after, (0, 0)), "symmetric")


def _low(degraded, scale):
    """Undo the enlargement: the pixels next to each low-resolution one, which hardly differ from it."""
    n, height, width, n_channels = degraded.shape
    blocks = degraded.reshape(n, height // scale, scale, width // scale, scale, n_channels)
    middle = slice((scale - 1) // 2, scale // 2 + 1)
    return blocks[:, :, middle, :, middle].mean((2, 4), dtype=np.float32)


def _patches(low):
    """(N, H, W, C, LARGEST**2): the surroundings of each pixel less the pixel, edges mirrored."""
    radius = LARGEST // 2
    padded = np.pad(low, ((0, 0), (radius, radius), (radius, radius), (0, 0)), "symmetric")
    patches = sliding_window_view(padded, (LARGEST, LARGEST), (1, 2)).reshape(*low.shape, LARGEST**2)
    return patches - low[..., None]


def _split_phases(image, scale):
    """(N, H, W, C) -> (N, H / scale, W / scale, C, scale**2)."""
    n, height, width, n_channels = image.shape
    blocks = image.reshape(n, height // scale, scale, width // scale, scale, n_channels)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // scale, width // scale, n_channels, scale**2)


def _join_phases(phases, scale):
    n, height, width, n_channels, _ = phases.shape
    blocks = phases.reshape(n, height, width, n_channels, scale, scale).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, height * scale, width * scale, n_channels)


def _structure(low):
    """Angle (0..1 of half a turn), strength and coherence of the gradient in 5x5 pixels of the channels' mean."""
    gray = np.pad(low.mean(-1), ((0, 0), (2, 2), (2, 2)), "symmetric")
    down, right = np.gradient(gray, axis=(1, 2))

    def total(values):
        return sliding_window_view(values, (5, 5), (1, 2)).sum((-2, -1))

    xx, yy, xy = total(right * right), total(down * down), total(right * down)
    root = np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    major, minor = np.sqrt((xx + yy) / 2 + root), np.sqrt(np.maximum((xx + yy) / 2 - root, 0))
    angle = np.mod(np.arctan2(2 * xy, xx - yy) / (2 * np.pi), 1)
    return angle, major, (major - minor) / (major + minor + 1e-6)


def _number_buckets(low, bounds):
    angle, strength, coherence = _structure(low)
    number = np.minimum((angle * N_ANGLES).astype(int), N_ANGLES - 1)
    for values, parts in zip((strength, coherence), bounds, strict=True):
        number = number * (len(parts) + 1) + np.searchsorted(parts, values)
    return number


@dataclass(frozen=True)
class _Products:
    """Sums over places, weighted, for each fold and bucket: patches with patches, with what lacks; what lacks squared.

    gram (F, K, P, P), cross (F, K, P, scale**2), energy (F, K)
    """

    gram: np.ndarray
    cross: np.ndarray
    energy: np.ndarray

    def of(self, folds):
        return _Products(self.gram[folds], self.cross[folds], self.energy[folds])

    def error(self, weights):
        """Weighted squared error of weights (1 or K, P, scale**2), in closed form."""
        gram, cross = self.gram.sum(0), self.cross.sum(0)
        return self.energy.sum() - 2 * (weights * cross).sum() + (weights * (gram @ weights)).sum()


def _sum_products(target, degraded, scale, folds, bounds, degrade_again, level):
    n_folds, n_pixels = max(folds) + 1, LARGEST**2
    gram = np.zeros((n_folds, N_BUCKETS, n_pixels, n_pixels))
    cross = np.zeros((n_folds, N_BUCKETS, n_pixels, scale**2))
    energy = np.zeros((n_folds, N_BUCKETS))
    for fold, targets, inputs in _views(target, degraded, scale, folds, degrade_again):
        low = _low(inputs, scale)
        lacking = _split_phases(targets - inputs.astype(np.float32), scale)
        # PSNR is a logarithm: an error counts as part of its tile's. One gray level more, for flat tiles.
        weight = 1 / np.sqrt((lacking**2).mean((1, 2, 3, 4), keepdims=True) + level**2)
        buckets = _number_buckets(low, bounds).ravel()
        patches, lacking = (
            (array * weight).reshape(len(buckets), -1, array.shape[-1]) for array in (_patches(low), lacking)
        )
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(N_BUCKETS + 1))
        for bucket in np.unique(buckets):
            here = order[ends[bucket] : ends[bucket + 1]]
            x, y = patches[here].reshape(-1, n_pixels), lacking[here].reshape(-1, scale**2)
            gram[fold, bucket] += x.T @ x
            cross[fold, bucket] += x.T @ y
            energy[fold, bucket] += (y * y).sum()
    return _Products(gram, cross, energy)


def _views(target, degraded, scale, folds, degrade_again):
    """Yield (fold, targets, inputs) of shifted, turned and mirrored tiles, degraded anew."""
    n_views = max(1, min(N_VIEWS, N_PLACES * scale**2 // target[0, ..., 0].size))
    n_tiles = min(len(target), n_views)
    height, width = ((side - scale + 1) // scale * scale for side in target.shape[1:3])  # whatever the shift
    kinds = list(product(range(scale), range(scale), range(8)))
    rng = np.random.default_rng(0)
    chosen = [[kinds[k] for k in rng.permutation(len(kinds))[: n_views // n_tiles]] for _ in range(n_tiles)]
    for fold in sorted(set(folds[:n_tiles])):
        views = [(i, *kind) for i in range(n_tiles) if folds[i] == fold for kind in chosen[i]]
        for first in range(0, len(views), scale**2):
            some = views[first : first + scale**2]
            targets, inputs = ([_turn(tiles[i, y : y + height, x : x + width], turn) for i, y, x, turn in some]
                               for tiles in (target, degraded))
            if degrade_again:
                inputs = [degrade_again(one) for one in targets]
            yield fold, np.stack(targets), np.stack(inputs)


def _turn(tile, turn):
    turned = np.rot90(tile, turn % 4)
    return np.ascontiguousarray(turned[:, ::-1] if turn >= 4 else turned)


def _choose(products, fit, strengths):
    """Choose support and strength by cross-validation, then fit to all: (weights, side, strength)."""
    folds = range(len(products.gram))

    def error(side, strength):
        return sum(
            products.of([fold]).error(fit(products.of([k for k in folds if k != fold]), side, strength))
            for fold in folds
        )

    side, strength = min(product(SIDES, strengths), key=lambda choice: error(*choice))
    return fit(products, side, strength), side, strength


def _fit_one(products, side, ridge):
    """The one filter, (1, P, scale**2)."""
    gram, cross = products.gram.sum((0, 1)), products.cross.sum((0, 1))
    return _solve(gram, cross, side, ridge * _energy(gram))[None]


def _fit_buckets(one, products, side, pull):
    """The one filter and, in each bucket, what is better than it: (K, P, scale**2)."""
    weights = _fit_one(products, *one)
    gram, cross = products.gram.sum(0), products.cross.sum(0)
    return weights + _solve(gram, cross - gram @ weights, side, pull * _energy(gram.mean(0)))


def _solve(gram, cross, side, ridge):
    """Regularised least squares within a support of that side: weights (..., P, scale**2), zeros outside."""
    support = _support(side)
    weights = np.zeros_like(cross)
    inner = gram[..., support, :][..., support] + ridge * np.eye(len(support))
    weights[..., support, :] = np.linalg.solve(inner, cross[..., support, :])
    return weights


def _support(side):
    """Indices of a patch's pixels within a square of that side; the one in the middle is zero in every patch."""
    inside, radius = np.zeros((LARGEST, LARGEST), bool), side // 2
    middle = slice(LARGEST // 2 - radius, LARGEST // 2 + radius + 1)
    inside[middle, middle] = True
    inside[LARGEST // 2, LARGEST // 2] = False
    return np.flatnonzero(inside)


def _energy(gram):
    """Mean energy of a pixel; never none, as of flat tiles."""
    return np.trace(gram) / len(gram) + 1e-12
