"""PSNR and SSIM of tiles, uint8 arrays (N, H, W, C) in 0..255, as every measurement here takes them."""

import numpy as np

DATA_RANGE = 255
# Of two 8-bit tiles that differ at all, the closest (128x128x3) are at 95.05 dB. Equal ones would be at
# infinity, which no mean survives and no JSON holds, so they count as this.
PSNR_OF_EQUAL = 100.0


def to_uint8(restored):
    """Clip and round a float array in 0..1 to uint8 in 0..255, as every measurement here does."""
    return np.rint(np.clip(restored, 0, 1) * DATA_RANGE).astype(np.uint8)


def mse(target, restored):
    """Mean squared error of each tile: uint8 (N, H, W, C) twice -> float64 (N,), in squared gray levels."""
    _check_same(target, restored)
    difference = target.astype(np.float64) - restored
    return np.mean(np.square(difference), axis=(1, 2, 3))


def psnr_of_mse(value):
    """PSNR in dB for a mean squared error in squared 8-bit gray levels; of 0 it is `PSNR_OF_EQUAL`."""
    value = np.asarray(value, np.float64)
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(DATA_RANGE**2 / value)
    return np.where(value == 0, PSNR_OF_EQUAL, psnr)


def nearly_equal(images, others):
    """Whether two uint8 arrays differ by rounding at most: by one gray level."""
    return bool(np.abs(images.astype(np.int16) - others).max() <= 1)


def ssim(target, restored):
    """SSIM of each tile, with scikit-image's defaults: uint8 (N, H, W, C) twice -> float64 (N,).

    Reference: Wang et al., IEEE TIP 13(4), 2004. Window 7x7, uniform; channels averaged; data range 255.
    """
    from skimage.metrics import structural_similarity  # a third of a second, for which a command's help need not wait

    _check_same(target, restored)
    return np.array([
        structural_similarity(t, r, channel_axis=-1, data_range=DATA_RANGE)
        for t, r in zip(target, restored, strict=True)
    ])


def _check_same(target, restored):
    """Refuse what would broadcast silently into a wrong number."""
    for array in (target, restored):
        if array.dtype != np.uint8 or array.ndim != 4:
            raise ValueError(f"expected uint8 (N, H, W, C), got {array.dtype} {array.shape}")
    if target.shape != restored.shape:
        raise ValueError(f"shapes differ: {target.shape} and {restored.shape}")
