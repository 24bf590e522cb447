"""Restore one picture in memory: every plane of it, block by block. Keras comes as a function."""

import numpy as np

from download_module import imagefile
from download_module.degrade import resize, upscale
from inception2_module import scores
from restore_module import blocks

BICUBIC_REACH = 3  # low-resolution pixels that an enlarged one depends on, and one to spare


def restore_picture(picture, restore, reach, scale=1, with_trust=False, bar=None):
    """Restore a picture; its hidden colours are filled on the way.

    What lies outside the picture's range (a hot pixel, a star) is cut off for the network, and what was cut off is
    added to the network's output. A network that was trained on data of its own range is shown all values of the
    picture but for such outliers, and puts out whatever it likes.

    Parameters
    ----------
    picture : imagefile.Picture
    restore : function, float32 (N, H, W, 3) in 0..1 -> float32 (N, H, W, 3), or (N, H, W, 4) with trust
    reach : function -> int, see blocks.measure_reach; only called for a picture of several blocks
    scale : int, how many times as large the output is to be
    with_trust : bool
    bar : function of a total, that returns a tqdm; optional

    Returns
    -------
    output : imagefile.Picture
    trust : float32 (H, W) in gray levels, the least trusted channel of each pixel; None without trust

    Raises
    ------
    util.ImageError
        When the picture's format cannot hold the enlarged one.
    """
    output = picture.blank(scale)
    height, width = output.pixels.shape[:2]
    trust = np.zeros((height, width), np.float32) if with_trust else None
    unseen = None if picture.hidden is None or scale != 1 else (picture.hidden, picture.pixels[picture.hidden])
    picture.fill_hidden()
    block = blocks.block_of(height, width)
    far = reach() if max(height, width) > block else 0
    pairs = list(zip(imagefile.planes(picture), imagefile.planes(output), strict=True))
    n_blocks = np.prod([len(blocks.plan_blocks(-(-side // 16) * 16, far, block)) for side in (height, width)])
    progress = bar(total=int(n_blocks) * len(pairs)) if bar else None
    for source, target in pairs:
        def write(rows, columns, values, target=target):
            target.write(rows, columns, values[..., :3])
            if trust is not None:
                trust[rows, columns] = np.maximum(trust[rows, columns], values[..., 3])

        read = source.read if scale == 1 else enlarged(source, scale)
        blocks.restore_blocks(_clipped(restore, source), (height, width), read, write, far, block,
                              progress=progress.update if progress else None)
    if progress:
        progress.close()
    if unseen is not None:
        output.pixels[unseen[0]] = unseen[1]
    return output, trust


def _clipped(restore, plane):
    """Wrap a network so that it sees and gives the plane's range only, and what was beyond passes by it."""
    limits = (0, 1) if plane.picture.shown is None else (None, None)

    def wrapped(inputs):
        inside = np.clip(inputs, *plane.ends)
        outputs = np.array(restore(inside))
        outputs[..., :3] = np.clip(outputs[..., :3], *limits) + (inputs - inside)
        return outputs

    return wrapped


def enlarged(plane, scale):
    """Return a function that reads a plane as if it were enlarged by the bicubic filter of training."""
    height, width = plane.picture.pixels.shape[:2]
    is_8_bit = plane.picture.pixels.dtype == np.uint8 and (plane.low, plane.high) == (0, scores.DATA_RANGE)

    def read(rows, columns):
        spans = []
        for wanted, length in ((rows, height), (columns, width)):
            start = max(wanted.start // scale - BICUBIC_REACH, 0)
            spans.append(slice(start, min(-(-wanted.stop // scale) + BICUBIC_REACH, length)))
        small = plane.read(*spans)
        if is_8_bit:  # rounded and clipped as the tiles of the training were
            large = upscale(scores.to_uint8(small), scale).astype(np.float32) / scores.DATA_RANGE
        else:
            inside = np.clip(small, *plane.ends)  # lest a hot pixel gets a dark ring
            large = resize(inside, small.shape[0] * scale, small.shape[1] * scale)
            large = large + (small - inside).repeat(scale, axis=0).repeat(scale, axis=1)
        top, left = (wanted.start - span.start * scale for wanted, span in zip((rows, columns), spans, strict=True))
        return large[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]

    return read
