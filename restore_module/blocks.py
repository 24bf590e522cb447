"""Restore an image of any size, block by block, so that no seam shows and memory does not grow with it.

A block is read with a margin as wide as the network sees, and the margin's output is thrown away: what is kept
equals, up to rounding, what the network would have made of the whole image. Neighbours fade into each other over
a few pixels more. No Keras in here: the network comes as a function.
"""

from functools import cache
from itertools import pairwise

import numpy as np

import util
from inception2_module.known import LONGEST_REACH
from inception2_module.networkfile import SIZE_MULTIPLE  # blocks begin and end at multiples of it, too

BLOCK = 1072  # longest side of a block: larger ones waste less on margins and take more memory
ROWS = 64  # that are written at once: of a wide image all rows of a block would take as much memory again
BLEND = 16  # pixels over which neighbouring blocks fade into each other


def reach_of(predict, known=None):
    """Return a function that tells how far a network sees; what is not known is measured, when it is first needed."""
    return cache(lambda: known or measure_reach(predict))


def measure_reach(predict, n_trials=3):
    """Measure how far a network sees: changes of the input farther away than this leave an output as it is.

    Everything outside a square in the middle is replaced by other random values; the reach is where the output
    inside stops changing by more than 1e-4 (a fortieth of an 8-bit gray level).

    Parameters
    ----------
    predict : function, float32 (N, H, W, 3) in 0..1 -> float32 (N, H, W, 3)
    n_trials : int, pairs of random images; the largest reach counts

    Returns
    -------
    int, pixels, rounded up to a multiple of `SIZE_MULTIPLE`; more than `LONGEST_REACH` raises `util.UserError`
    """
    for longest in (160, LONGEST_REACH):  # the images are as large as telling that needs: small ones do for most
        reach = max(_changed_at(predict, longest + 2 * SIZE_MULTIPLE, trial) for trial in range(n_trials))
        if reach <= longest:
            return int(-(-reach // SIZE_MULTIPLE) * SIZE_MULTIPLE)
    raise util.UserError(
        f"the network sees farther than {LONGEST_REACH} pixels: an image of more than {BLOCK} pixels is restored block "
        "by block and would show seams, cut it into smaller ones"
    )


def _changed_at(predict, half, trial):
    """Return how far from the middle of an image of twice `half` a change of it still shows."""
    inner = SIZE_MULTIPLE  # half the side of the square that stays
    size, middle = 2 * half, slice(half - inner, half + inner)
    distance = np.maximum(*np.abs(np.indices((size, size)) - (size - 1) / 2)) - inner
    first, second = np.random.default_rng(trial).random((2, 1, size, size, 3), np.float32)
    # Only the middle differs: what changes outside it lies within reach of it.
    second_outside = first.copy()
    second_outside[:, middle, middle] = second[:, middle, middle]
    changed = np.abs(predict(first) - predict(second_outside)).max(axis=(0, 3)) > 1e-4
    return distance[changed].max(initial=0)


def plan_blocks(length, reach, block=BLOCK):
    """Cut one side of an image into overlapping blocks with weights that add up to one everywhere.

    They are as few as can be, of one size, the smallest that so few can have.

    Parameters
    ----------
    length : int, a multiple of `SIZE_MULTIPLE`
    reach : int, the margin of a block that is thrown away where the image goes on; a multiple of `SIZE_MULTIPLE`
    block : int, the longest, at least 2 * reach + 2 * BLEND; larger than `length` is fine

    Returns
    -------
    list of (start, weights) : weights is float32, of one length for all, 0 in the margins
    """
    if length <= block:
        return [(0, np.ones(length, np.float32))]
    overlap = 2 * reach + BLEND
    n = -(-(length - overlap) // (block - overlap))
    block = SIZE_MULTIPLE * -(-(length + (n - 1) * overlap) // (n * SIZE_MULTIPLE))
    starts = [SIZE_MULTIPLE * round(i * (length - block) / (n - 1) / SIZE_MULTIPLE) for i in range(n)]
    places = np.arange(length)
    # 0 before the middle of an overlap, 1 after it, and a ramp of BLEND pixels in between. A block weighs what its
    # own ramp has gained and the next one's has not yet taken away, so the weights add up to one.
    ramps = [
        np.clip((places - (right + left + block) / 2 + BLEND / 2 + 1) / (BLEND + 1), 0, 1)
        for left, right in pairwise(starts)
    ]
    weights = [up - down for up, down in pairwise([np.ones(length), *ramps, np.zeros(length)])]
    return [
        (start, weight[start : start + block].astype(np.float32))
        for start, weight in zip(starts, weights, strict=True)
    ]


def restore_blocks(predict, shape, read, write, reach, block=BLOCK, batch_size=1, progress=None):
    """Restore an image of any size, block by block, from the top down.

    Parameters
    ----------
    predict : function, float32 (N, h, w, 3) in 0..1 -> float32 (N, h, w, K): the network, K = 3 channels, or
        more where it also returns maps
    shape : (height, width) of the image, from 1x1 up
    read : function of (row slice, column slice) -> float32 (h, w, 3) in 0..1
    write : function of (row slice, column slice, float32 (h, w, K)); every pixel is written once
    reach : int, how far the network sees, see `measure_reach`
    block : int, side of a block, at least 2 * reach + 2 * BLEND
    batch_size : int, blocks that are predicted together
    progress : function of a number of blocks, called as they are done
    """
    if block % SIZE_MULTIPLE or block < 2 * reach + 2 * BLEND:
        raise ValueError(f"blocks of {block} pixels cannot hold margins of {reach} twice")
    height, width = shape
    padded_height, padded_width = (-(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE for side in shape)
    rows, columns = (plan_blocks(side, reach, block) for side in (padded_height, padded_width))
    strip, strip_start = None, 0  # weighted sums of the rows that are not complete yet
    for i, (top, row_weights) in enumerate(rows):
        margin = strip_start - top  # rows of these blocks that weigh nothing and are written already
        sums = None
        for first in range(0, len(columns), batch_size):
            group = columns[first : first + batch_size]
            outputs = predict(np.stack([
                _read_padded(read, shape, top, left, len(row_weights), len(weights)) for left, weights in group
            ]))
            if sums is None:
                sums = np.zeros((len(row_weights) - margin, padded_width, outputs.shape[-1]), np.float32)
                if strip is not None:
                    sums[: len(strip)] = strip
            for (left, weights), output in zip(group, outputs, strict=True):
                weighted = output[margin:] * (row_weights[margin:, None, None] * weights[None, :, None])
                sums[:, left : left + len(weights)] += weighted
            if progress:
                progress(len(group))
        next_start = rows[i + 1][0] + reach if i + 1 < len(rows) else padded_height
        for first in range(strip_start, min(next_start, height), ROWS):
            last = min(first + ROWS, next_start, height)
            write(slice(first, last), slice(0, width), sums[first - strip_start : last - strip_start, :width])
        strip, strip_start = sums[next_start - strip_start :].copy(), next_start


def _read_padded(read, shape, top, left, height, width):
    """Read a block; what lies beyond the image is its mirror image."""
    inside = read(slice(top, min(top + height, shape[0])), slice(left, min(left + width, shape[1])))
    missing = ((0, height - inside.shape[0]), (0, width - inside.shape[1]), (0, 0))
    return np.pad(inside, missing, "symmetric")
