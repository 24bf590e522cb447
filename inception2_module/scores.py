"""What the values of tiles mean, and how far two of them are apart: PSNR and SSIM, as every measurement takes them.

Tiles are arrays (N, H, W, C), uint8 in 0..255 or of another `Kind`.
"""

from dataclasses import dataclass, replace

import numpy as np

from download_module.imagefile import robust_range

DATA_RANGE = 255
# Of two 8-bit tiles that differ at all, the closest (128x128x3) are at 95.05 dB. Equal ones would be at
# infinity, which no mean survives and no JSON holds, so they count as this.
PSNR_OF_EQUAL = 100.0
# A network is shown data in units in which one deviation is this, about what photographs in 0..1 have.
DEVIATION = 0.2
DEAD = 0.5  # part of the channels of a layer that are 0 everywhere, from which on it is said
FLOOR = 1e-5  # of a deviation, in 0..1 of the range of a set: what lies below is rounding


@dataclass(frozen=True)
class Kind:
    """Sample type and range of the tiles of a data set.

    Attributes
    ----------
    dtype : str
    channels : int, 1 or 3; one channel is shown to a network three times, and the mean of its outputs is the result
    low, high : float, the values that a network sees as 0 and 1; PSNR and SSIM take their difference as data range
    """

    dtype: str = "uint8"
    channels: int = 3
    low: float = 0.0
    high: float = 255.0

    @property
    def data_range(self):
        return self.high - self.low

    @property
    def is_data(self):
        """Whether the values are measurements of some range, not gray levels of 0..255."""
        return self.dtype != "uint8"

    def to_unit(self, values):
        """Map tiles (..., C) to float64 (..., C), low..high to 0..1."""
        return (values - self.low) / self.data_range

    def from_unit(self, mapped):
        """Map float (..., C) back to tiles (..., C): 8 bits are clipped to 0..255, integers rounded."""
        if self.dtype == "uint8":
            return to_uint8(mapped)
        values = mapped.astype(np.float64) * self.data_range + self.low
        if np.dtype(self.dtype).kind in "iu":
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return values.astype(self.dtype)

    def to_network(self, values):
        """Map tiles (..., C) to what a network sees: float32 (..., 3), 0..1 where they are in range."""
        if self.dtype == "uint8":
            mapped = values.astype(np.float32) / DATA_RANGE  # the quotient of float32, as all trainings had it
        else:
            mapped = self.to_unit(values).astype(np.float32)
        return mapped if self.channels == 3 else mapped.repeat(3, axis=-1)

    def seen(self, values):
        """Map tiles to what a network sees and learns in training: as `to_network`, clipped to 0..1."""
        mapped = self.to_network(values)
        return mapped if self.dtype == "uint8" else np.clip(mapped, 0, 1)

    def alone(self, image):
        """The kind in which an image (H, W, C) stands by itself: low..high are its own, but for a few outliers."""
        low, high = robust_range(image)
        return replace(self, low=low, high=max(high, low + FLOOR * self.data_range))

    def ends(self, values):
        """The lowest and the highest of what a network is shown of tiles (N, H, W, C): floats, or float (N, 1, 1, 1).

        0 and 1; of data all that a tile holds, but for a few outliers, also where that is beyond the set's range.
        """
        if not self.is_data:
            return 0, 1
        own = self.to_unit(np.array([robust_range(tile) for tile in values])).astype(np.float32)
        low, high = own.T.reshape(2, -1, 1, 1, 1)
        return np.minimum(low, 0), np.maximum(high, 1)

    def from_network(self, output):
        """Map what a network puts out, float (..., 3), to tiles (..., C)."""
        return self.from_unit(output if self.channels == 3 else output.mean(axis=-1, keepdims=True))

    def spread(self, target):
        """The values that are shown as black and white, float (2, N, 1, 1, 1): 0 and 255, or of data those between
        which 96 % of each tile lie."""
        if not self.is_data:
            return np.broadcast_to(np.reshape([self.low, self.high], (2, 1, 1, 1, 1)), (2, len(target), 1, 1, 1))
        return np.percentile(target, (2, 98), axis=(1, 2, 3), keepdims=True)

    def view(self, values, target):
        """Map tiles to a picture of them: uint8 (N, H, W, 3), by the `spread` of their targets."""
        low, high = self.spread(target)
        picture = to_uint8((values - low) / np.maximum(high - low, FLOOR * self.data_range))
        return picture if self.channels == 3 else picture.repeat(3, axis=-1)


EIGHT_BIT = Kind()


def scales(images):
    """How much of what a network sees is one unit to it: (N, H, W, 3), in 0..1 of a set -> (N, 1, 1, 1)."""
    return np.hypot(images.std(axis=(1, 2, 3), keepdims=True), FLOOR) / DEVIATION


def to_uint8(restored):
    """Clip and round a float array in 0..1 to uint8 in 0..255, as every measurement here does."""
    return np.rint(np.clip(restored, 0, 1) * DATA_RANGE).astype(np.uint8)


def mse(target, restored):
    """Mean squared error of each tile: (N, H, W, C) twice, of one type -> float64 (N,), in squared data units."""
    _check_same(target, restored)
    difference = target.astype(np.float64) - restored
    return np.mean(np.square(difference), axis=(1, 2, 3))


def psnr_of_mse(value, data_range=DATA_RANGE):
    """PSNR in dB for a mean squared error in squared units of the data; of 0 it is `PSNR_OF_EQUAL`, and never more."""
    value = np.asarray(value, np.float64)
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(data_range**2 / value), PSNR_OF_EQUAL)


def psnr(target, restored, kind=EIGHT_BIT):
    """PSNR of each tile in dB: tiles of one kind (N, H, W, C) twice -> float64 (N,)."""
    return psnr_of_mse(mse(target, restored), kind.data_range)


def nearly_equal(images, others, kind=EIGHT_BIT):
    """Whether tiles differ by rounding at most: by one step of integers."""
    step = FLOOR * kind.data_range if np.dtype(kind.dtype).kind == "f" else 1
    return bool(np.abs(images.astype(np.float64) - others).max() <= step)


def ssim(target, restored, kind=EIGHT_BIT):
    """SSIM of each tile, with scikit-image's defaults: tiles of one kind (N, H, W, C) twice -> float64 (N,).

    Reference: Wang et al., IEEE TIP 13(4), 2004. Window 7x7, uniform; channels averaged; data range that of the kind.
    """
    from skimage.metrics import structural_similarity  # a third of a second, for which a command's help need not wait

    _check_same(target, restored)
    return np.array([
        structural_similarity(t, r, channel_axis=-1, data_range=kind.data_range)
        for t, r in zip(target, restored, strict=True)
    ])


def _check_same(target, restored):
    """Refuse what would broadcast silently into a wrong number."""
    if target.dtype != restored.dtype or target.ndim != 4 or target.shape != restored.shape:
        raise ValueError(f"expected tiles (N, H, W, C) of one type and shape, got {target.dtype} {target.shape} and "
                         f"{restored.dtype} {restored.shape}")
