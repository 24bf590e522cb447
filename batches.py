"""Draw training batches: which tiles, which crop of them, how turned. No Keras in here.

A batch is a function of (tiles, update, seed) and nothing else, so that a resumed run draws the same ones.
"""

import functools

import numpy as np

import util
from download_module.degrade import degrade


def draw_batch(pair, update, experiment, augment=False, crop=None):
    """Return batch number `update`.

    Parameters
    ----------
    pair : (target, degraded), each uint8 (N, H, W, 3), 0..255
    update : int, counted from 0
    experiment : experiments.Experiment, of which task, batch_size and seed are used
    augment : bool
        Turn and mirror each pair by one of the 8 symmetries of the square, permute its colour channels, and
        where the degradation is plain noise draw that noise anew.
    crop : int, optional
        Side of a random square cut from each pair, at multiples of 16 so that the pixels of a low-resolution
        image stay whole (smaller tiles stay as they are); the whole tile by default.

    Returns
    -------
    (target, degraded), each float32 (batch_size, h, w, 3), 0..1. Tiles come in a new seeded order each epoch,
    every tile once.
    """
    n = len(pair[0])
    positions = range(update * experiment.batch_size, (update + 1) * experiment.batch_size)
    tiles = []
    for position in positions:
        epoch, place = divmod(position, n)
        index = _epoch_order(n, experiment.seed, epoch)[place]
        tile = [array[index] for array in pair]
        rng = np.random.default_rng([experiment.seed, position, 1])  # 1: apart from the orders of the epochs
        if crop:
            tile = _crop(tile, crop, rng)
        if augment:
            tile = _augment(tile, experiment.task, rng)
        tiles.append(tile)
    return tuple(np.stack(arrays).astype(np.float32) / util.DATA_RANGE for arrays in zip(*tiles, strict=True))


@functools.lru_cache(maxsize=2)
def _epoch_order(n, seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(n)


def _crop(tile, side, rng):
    height, width = tile[0].shape[:2]
    side = min(side, height, width)
    y, x = (16 * rng.integers((length - side) // 16 + 1) for length in (height, width))
    return [array[y : y + side, x : x + side] for array in tile]


def _augment(tile, task, rng):
    turns, mirrored, channels = rng.integers(4), rng.integers(2), rng.permutation(3)
    tile = [np.rot90(array, turns)[:, :: -1 if mirrored else 1, channels] for array in tile]
    if task == "noise_s64":
        tile[1] = degrade(tile[0], task, rng)
    return tile
