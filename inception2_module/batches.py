"""Draw training batches: which tiles, which crop of them, how turned. No Keras in here.

A batch is a function of (tiles, update, seed) and nothing else, so that a resumed run draws the same ones.
"""

import functools

import numpy as np

from download_module.degrade import degrade, downscale, task_of, to_luma
from inception2_module.scores import scales


def draw_batch(tiles, update, experiment, recipe, part=(0, 1)):
    """Return batch number `update`, or a part of it.

    Parameters
    ----------
    tiles : tileset.Tiles
    update : int, counted from 0
    experiment : experiments.Experiment, of which task, batch_size and seed are used
    recipe : experiments.Recipe, of which these are used:
        shrunk : part of the tiles that a super-resolution network sees at half their size: a shrunk target is another
            target (their sides must be multiples of twice the scale)
        crop : int, side of a random square cut from each pair (smaller tiles stay as they are), at multiples of the
            scale so that the pixels of a low-resolution image stay whole, or anywhere where the input is made anew;
            None for the whole tile
        symmetries : turn and mirror each pair by one of the 8 symmetries of the square
        permute_channels : permute the colour channels of each pair, unless the task is to tell them apart (gray)
        fresh_degradation : make the input anew from the target, once it has been cut and turned: with other noise, or
            with low-resolution pixels that begin elsewhere. Inputs of pairs stay as they are
        gray : part of the colour crops that become gray before their input is made anew, as from a sensor without
            colours: with the same noise in all channels
        weak_noise : how often a range of noise is drawn from near its lower end, see degrade's `power`
        left_out : for a task of several steps, how often each of them but a change of size is left out
        picked : for a task of several steps, how often the small image is made by leaving pixels out
    part : (int, int), which of how many equal parts, see hosts.part

    Returns
    -------
    (target, degraded), each float32 (N, h, w, 3), 0..1, N tiles of the batch or of the part; data without noise around
    0, each crop in its own `scores.scales`. Tiles come in a new seeded order each epoch, every tile once.
    """
    n, fresh = len(tiles), recipe.fresh_degradation and not task_of(experiment.task).is_pairs
    size = experiment.batch_size // part[1]
    first = update * experiment.batch_size + part[0] * size
    batch = []
    for position in range(first, first + size):
        epoch, place = divmod(position, n)
        index = _epoch_order(n, experiment.seed, epoch)[place]
        tile = [tiles.target[index], tiles.degraded[index]]
        rng = np.random.default_rng([experiment.seed, position, 1])  # 1: apart from the orders of the epochs
        if recipe.shrunk and task_of(experiment.task).scale and rng.random() < recipe.shrunk:
            target = downscale(tile[0], 2)
            tile = [target, degrade(target, experiment.task, rng, tiles.kind.low, tiles.kind.high)]
        if recipe.crop:
            scale = task_of(experiment.task).scale
            tile = _crop(tile, recipe.crop, scale if scale and not fresh else 1, rng)
        if recipe.symmetries:
            turns, mirrored = rng.integers(4), rng.integers(2)
            tile = [np.rot90(array, turns)[:, :: -1 if mirrored else 1] for array in tile]
        if recipe.permute_channels and tiles.kind.channels == 3 and not task_of(experiment.task).is_luma:
            channels = rng.permutation(3)
            tile = [array[..., channels] for array in tile]
        if fresh:
            is_gray = recipe.gray and tiles.kind.channels == 3 and rng.random() < recipe.gray
            target = to_luma(tile[0])[..., :1] if is_gray else np.ascontiguousarray(tile[0])
            task = _leave_out(experiment.task, recipe.left_out, rng) if recipe.left_out else experiment.task
            picked = recipe.picked if "+" in experiment.task else 0
            tile = [target, degrade(target, task, rng, tiles.kind.low, tiles.kind.high, recipe.weak_noise, picked)]
            if is_gray:
                tile = [array.repeat(3, axis=-1) for array in tile]
        batch.append(tile)
    target, degraded = (tiles.kind.seen(np.stack(arrays)) for arrays in zip(*batch, strict=True))
    if tiles.kind.is_data and not task_of(experiment.task).is_noisy:  # each crop counts as much, see networks.even
        level, scale = degraded.mean(axis=(1, 2, 3), keepdims=True), scales(degraded)
        target, degraded = ((images - level) / scale for images in (target, degraded))
    return target, degraded


@functools.lru_cache(maxsize=2)
def _epoch_order(n, seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(n)


def _leave_out(task, share, rng):
    """Leave steps out of a task, but for super-resolution, so that a network for many damages meets one; never all."""
    steps = task.split("+")
    kept = [step for step in steps if task_of(step).scale or rng.random() >= share]
    return "+".join(kept or steps)


def _crop(tile, side, step, rng):
    height, width = tile[0].shape[:2]
    side = min(side, height, width)
    y, x = (step * rng.integers((length - side) // step + 1) for length in (height, width))
    return [array[y : y + side, x : x + side] for array in tile]

