"""The 8 symmetries of the square: self-ensemble and trust map. Keras comes as a function."""

import numpy as np

from download_module.degrade import resize
from inception2_module import scores

SYMMETRIES = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def with_symmetries(predict, ensemble, trust, scale=None):
    """Wrap a network so that it sees each block turned and mirrored in all 8 ways, where that is asked for.

    Parameters
    ----------
    predict : function, float32 (N, H, W, 3) -> float32 (N, H, W, 3)
    ensemble : bool, whether the mean of the 8 restored blocks is the result (geometric self-ensemble, Timofte et
        al., CVPR 2016) or the upright one alone
    trust : bool, whether a fourth channel tells how uncertain each pixel is, see `uncertainty`
    scale : int, of a super-resolution network

    Returns
    -------
    function, float32 (N, H, W, 3) -> float32 (N, H, W, 3), or (N, H, W, 4) with trust
    """
    if not (ensemble or trust):
        return predict

    def restore(inputs):
        outputs = [_upright(predict(_seen(inputs, *symmetry)), *symmetry) for symmetry in SYMMETRIES]
        restored = np.mean(outputs, axis=0) if ensemble else outputs[0]
        if not trust:
            return restored
        return np.concatenate([restored, uncertainty(inputs, np.stack(outputs), restored, scale)], axis=-1)

    return restore


def _seen(images, turns, mirrored):
    turned = np.rot90(images, turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)


def _upright(images, turns, mirrored):
    return np.rot90(images[:, :, ::-1] if mirrored else images, -turns, axes=(1, 2))


def uncertainty(inputs, outputs, restored, scale=None):
    """Tell how little each restored pixel is to be trusted, in gray levels of 0..255.

    The spread (standard deviation) of what the network makes of the 8 turned and mirrored inputs; for
    super-resolution plus the inconsistency: how far the restored image, shrunk, is from the low-resolution image.

    Parameters
    ----------
    inputs, restored : float32 (N, H, W, 3) in 0..1
    outputs : float32 (8, N, H, W, 3)
    scale : int, of a super-resolution network

    Returns
    -------
    float32 (N, H, W, 1), root mean square over the channels
    """
    spread = np.sqrt(np.var(outputs, axis=0).mean(axis=-1, keepdims=True))
    if scale:
        height, width = (side // scale for side in inputs.shape[1:3])
        difference = np.stack([
            resize(after, height, width) - resize(before, height, width)
            for before, after in zip(inputs, restored, strict=True)
        ])
        inconsistency = np.sqrt(np.square(difference).mean(axis=-1, keepdims=True))
        spread = spread + inconsistency.repeat(scale, axis=1).repeat(scale, axis=2)
    return (scores.DATA_RANGE * spread).astype(np.float32)
