"""Any image file -> arrays for a network -> the same kind of file. No Keras in here.

PNG, JPEG, TIFF, WebP and BMP of 1 to 16 bits, gray, RGB, CMYK or palette, with or without alpha; and plain data
(heat maps, elevations) as `.npy` or as integer or float TIFF, where NaN marks holes:

    picture = read_picture("photo.png")
    output = picture.blank()
    for source, target in zip(planes(picture), planes(output)):
        target.write(rows, columns, network(source.read(rows, columns)))    # rows and columns are slices
    write_picture("restored.png", output)

Nothing here makes a float copy of a whole picture: 100 megapixels of 8-bit RGB, with their output, stay near 1 GB.
"""

import logging
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from download_module import imagefile_pillow, imagefile_tiff
from util import ImageError, replacing

FORMAT_OF_SUFFIX = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
    ".webp": "WEBP", ".npy": "NPY",
}
MAX_SIDE = {"JPEG": 65535, "WEBP": 16383}  # what these formats can hold


@dataclass
class Picture:
    """A picture in memory, with what is needed to write it back as the kind of file that it came from.

    Attributes
    ----------
    pixels : array (H, W, C)
        C is 1 (gray, data), 3 (RGB) or 4 (CMYK). uint8 or uint16; data keep their own type (float32, int16, ...).
        Holes hold smooth values made of their neighbours, so that a network can read across them.
    alpha : array (H, W) of the type of `pixels`, or None
    holes : bool array (H, W), or None
        Where any channel was NaN, infinite or GDAL's "no data"; such a pixel is written as a hole again.
    low, high : float
        The range that is mapped to 0..1: 0..255, 0..65535, or the smallest and largest valid value of data.
    format : str
        "PNG", "JPEG", "WEBP", "BMP", "TIFF" or "NPY".
    notes : list of str
        Remarks for the user, one sentence each.
    hole_value : float
        What is written into holes.
    zero_is_white : bool
        True for ink (CMYK) and for TIFF's "minimum is white"; networks see it inverted, as light.
    metadata : dict
        What only the format's writer understands: ICC profile, EXIF, resolution, compression ...
    scale : int
        How much larger than its file the picture is.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    holes: np.ndarray | None
    low: float
    high: float
    format: str
    notes: list[str] = field(default_factory=list)
    hole_value: float = np.nan
    zero_is_white: bool = False
    metadata: dict = field(default_factory=dict)
    scale: int = 1

    def blank(self, scale=1):
        """Return a black picture `scale` times as large, with this one's alpha (bicubic) and holes (nearest).

        Raises `ImageError` when the file format cannot hold a picture as large.
        """
        height, width = (side * scale for side in self.pixels.shape[:2])
        if max(height, width) > MAX_SIDE.get(self.format, np.inf):
            raise ImageError(f"{width}x{height} pixels are more than a {self.format} file can hold: convert it to PNG")
        alpha, holes = self.alpha, self.holes
        if scale != 1:
            alpha = None if alpha is None else _enlarge(alpha, scale)
            holes = None if holes is None else holes.repeat(scale, axis=0).repeat(scale, axis=1)
        pixels = np.zeros((height, width, self.pixels.shape[2]), self.pixels.dtype)
        return replace(self, pixels=pixels, alpha=alpha, holes=holes, scale=self.scale * scale, notes=[*self.notes])

    def samples(self, rows=slice(None)):
        """Return (h, w, S) as the file holds them: `pixels` with its holes, and alpha as the last channel."""
        samples = self.pixels[rows]
        if self.holes is not None:
            samples = samples.copy()
            samples[self.holes[rows]] = self.hole_value
        if self.alpha is not None:
            samples = np.concatenate([samples, self.alpha[rows, :, None]], axis=-1)
        return samples


@dataclass
class Plane:
    """One to three channels of a picture, as a network sees them: see `planes`."""

    picture: Picture
    channels: slice

    def read(self, rows, columns):
        """Return the rows and columns (two slices) as float32 (h, w, 3) in 0..1; one channel is repeated."""
        picture = self.picture
        block = picture.pixels[rows, columns, self.channels]
        wide = np.float32 if block.dtype.itemsize <= 2 else np.float64
        # Halves, because the width of a range as wide as the type itself overflows.
        low, span = picture.low / 2, picture.high / 2 - picture.low / 2
        unit = (block.astype(wide) / 2 - wide(low)) / wide(span) if span > 0 else np.zeros(block.shape)
        unit = unit.astype(np.float32, copy=False)
        if picture.zero_is_white:
            unit = 1 - unit
        return np.repeat(unit, 3, axis=-1) if unit.shape[-1] == 1 else unit

    def write(self, rows, columns, values):
        """Store float (h, w, 3), clipped to 0..1, in the picture's own range and type.

        Into a plane of one channel goes the mean of the three. Another shape raises ValueError.
        """
        picture = self.picture
        block = picture.pixels[rows, columns, self.channels]
        if values.shape != (*block.shape[:2], 3):
            raise ValueError(f"expected values for {block.shape[:2]} pixels of 3 channels, got {values.shape}")
        unit = np.clip(values, 0, 1, dtype=np.float64)
        if block.shape[-1] == 1:
            unit = unit.mean(axis=-1, keepdims=True)
        if picture.zero_is_white:
            unit = 1 - unit
        scaled = np.clip((1 - unit) * picture.low + unit * picture.high, picture.low, picture.high)
        if block.dtype.kind in "iu":
            scaled = np.rint(scaled)
            if block.dtype.itemsize == 8:  # the largest such integer has no float64, and the next one overflows
                scaled = np.minimum(scaled, np.nextafter(float(np.iinfo(block.dtype).max), 0))
        block[...] = scaled


def planes(picture):
    """Split a picture into what a network of three channels can take: a list of `Plane`.

    Gray and data are one plane, repeated; RGB is one; CMYK is two, the inks C, M, Y and then K.
    """
    if picture.pixels.shape[2] == 4:
        return [Plane(picture, slice(0, 3)), Plane(picture, slice(3, 4))]
    return [Plane(picture, slice(None))]


def read_picture(path, allow_large=False):
    """Read any image file; its content counts, not its suffix.

    EXIF orientation is applied (and its tag reset), colour-key transparency becomes alpha. What cannot be written
    back as it was is said in `notes`: palettes become RGB, 1 bit becomes 8-bit gray, TIFF compressions other than
    none become Deflate.

    Parameters
    ----------
    path : path
    allow_large : bool
        Also read what is larger than Pillow's limit against decompression bombs (179 megapixels).

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        When the file is missing, damaged, too large, of an unknown kind, animated, or of several pages.
    """
    path = Path(path)
    with _quietly(allow_large):
        try:
            picture = _read(path)
        except FileNotFoundError as error:
            raise ImageError(f"{path} does not exist: check the path") from error
        except IsADirectoryError as error:
            raise ImageError(f"{path} is a folder: give an image file") from error
        except PermissionError as error:
            raise ImageError(f"{path} may not be read: change its permissions") from error
        except ImageError as error:
            raise ImageError(f"{path} {error}", error.reason) from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"{path} is larger than is safe to decode: give --allow-large if you trust it",
                             "larger than is safe to decode") from error
        except MemoryError as error:
            raise ImageError(f"{path} does not fit into memory: cut it into parts") from error
        except Exception as error:
            # On a damaged file decoders raise whatever they stumble over; not all of it means something to a reader.
            meant = isinstance(error, (OSError, ValueError, SyntaxError, zlib.error))
            reason = " ".join(str(error).split())[:100].removesuffix(".") if meant else "its structure is damaged"
            raise ImageError(f"{path} cannot be read as an image ({reason}): replace or remove it") from error
    expected = FORMAT_OF_SUFFIX.get(path.suffix.lower(), picture.format)
    if expected != picture.format:
        picture.notes.append(f"its name says {expected} but it is a {picture.format} file: written as such")
    return picture


def to_rgb8(picture):
    """Return the colours of a picture as 8-bit RGB: uint8 (H, W, 3) in 0..255, without its alpha.

    Gray is repeated over the channels, 16 bits are scaled to 8, inks become light. Data of other types raise
    `ImageError`, because nothing says which of their values is black.
    """
    pixels = picture.pixels
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / np.float32(257)).astype(np.uint8)  # 65535 / 255
    elif pixels.dtype != np.uint8:
        raise ImageError(f"has values of type {pixels.dtype}: convert it to 8 or 16 bits", "with 32-bit values")
    if pixels.shape[2] == 4:
        size = pixels.shape[1::-1]
        return np.asarray(Image.frombuffer("CMYK", size, np.ascontiguousarray(pixels), "raw").convert("RGB"))
    if picture.zero_is_white:
        pixels = 255 - pixels
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[2] == 1 else pixels


def write_picture(path, picture):
    """Write a picture as the kind of file it was read from, all of it or nothing.

    Format, bit depth, channels, range and metadata are those of the input; the suffix of `path` chooses nothing, so
    a JPEG file named .png gives a JPEG file named .png. JPEG is written with quality 95, or with the quantisation
    tables of the input where those are finer, and with the input's chroma subsampling (4:4:4 where that is unknown);
    WebP lossless where the input was, else with quality 95.

    Parameters
    ----------
    path : path
    picture : Picture

    Raises
    ------
    OSError
        When the file system refuses.
    """
    write = {"NPY": _write_npy, "TIFF": imagefile_tiff.write_tiff, "PNG": imagefile_pillow.write_png}
    with replacing(path) as temporary, _quietly():
        write.get(picture.format, imagefile_pillow.write_with_pillow)(temporary, picture)


@contextmanager
def _quietly(allow_large=False):
    """Keep what decoders say about odd files off the terminal, and lift Pillow's limit of pixels if allowed."""
    logger, limit = logging.getLogger("tifffile"), Image.MAX_IMAGE_PIXELS
    was_disabled = logger.disabled
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        logger.disabled = True
        if allow_large:
            Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            logger.disabled = was_disabled
            Image.MAX_IMAGE_PIXELS = limit


def _read(path):
    """Read by the first bytes of a file; errors are as they come, without the path."""
    with path.open("rb") as file:
        head = file.read(6)
    if not head:
        raise ImageError("is empty: replace or remove it")
    if head == b"\x93NUMPY":
        samples, n_colours, facts = _read_npy(path)
    elif head[:4] in imagefile_tiff.MAGIC:
        samples, n_colours, facts = imagefile_tiff.read_tiff(path)
    else:
        samples, n_colours, facts = imagefile_pillow.read_with_pillow(path)
    if not samples.size:
        raise ImageError("holds no pixel: replace or remove it")
    samples = _oriented(samples, facts.pop("orientation", 1))
    pixels, alpha = samples[..., :n_colours], samples[..., n_colours:]
    hole_value = facts.pop("hole_value", None)
    holes = _find_holes(pixels, hole_value)
    if pixels.dtype in (np.uint8, np.uint16):
        low, high = 0.0, float(np.iinfo(pixels.dtype).max)
    else:
        low, high = _range(pixels, holes)
    if holes is not None:
        for channel in np.moveaxis(pixels, -1, 0):
            _fill(channel, holes)
    return Picture(
        pixels, alpha[..., 0] if alpha.shape[-1] else None, holes, low, high,
        hole_value=np.nan if hole_value is None else hole_value, **facts,
    )


def _oriented(samples, orientation):
    """Turn and mirror (H, W, S) as an EXIF orientation of 1 to 8 asks; a view, no copy."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return samples[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _find_holes(pixels, hole_value):
    """Bool (H, W) of the pixels (H, W, C) that are not finite or equal `hole_value` in any channel, or None."""
    holes = np.zeros(pixels.shape[:2], bool)
    for channel in np.moveaxis(pixels, -1, 0):
        if pixels.dtype.kind == "f":
            holes |= ~np.isfinite(channel)
        if hole_value is not None:
            holes |= channel == pixels.dtype.type(hole_value)
    return holes if holes.any() else None


def _range(pixels, holes):
    """Smallest and largest value outside the holes; 0 and 0 where there is none."""
    if holes is None:
        return float(pixels.min()), float(pixels.max())
    valid = [channel[~holes] for channel in np.moveaxis(pixels, -1, 0)]
    if not valid[0].size:
        return 0.0, 0.0
    return float(min(v.min() for v in valid)), float(max(v.max() for v in valid))


def _fill(values, holes):
    """Fill the holes of (H, W), in place, with means of what is valid around them.

    A picture of half the size holds the mean of the valid pixels of each 2x2 block; what is a hole even there is
    filled by going on to a quarter, and so on: fine near the edge of a hole, coarse in its middle.
    """
    if holes.all():
        values[...] = 0
        return
    total = np.zeros([(side + 1) // 2 for side in values.shape])
    count = np.zeros(total.shape)
    corners = [(slice(y, None, 2), slice(x, None, 2)) for y in (0, 1) for x in (0, 1)]
    for corner in corners:
        valid = ~holes[corner]
        height, width = valid.shape
        total[:height, :width] += np.where(valid, values[corner], 0) * 0.25  # a sum of four may overflow
        count[:height, :width] += 0.25 * valid
    coarse = total / np.maximum(count, 0.25)
    if not count.all():
        _fill(coarse, count == 0)
    coarse = np.pad(coarse, 1, mode="edge") / 4  # from here on bilinear: weights 9, 3, 3 and 1 sixteenths
    for (y, x), corner in zip(((0, 0), (0, 2), (2, 0), (2, 2)), corners, strict=True):
        missing = holes[corner]
        near, beside = coarse[1:-1], coarse[y : coarse.shape[0] - 2 + y]
        rows = near * 3 + beside
        between = rows[:, 1:-1] / 4 * 3 + rows[:, x : rows.shape[1] - 2 + x] / 4
        height, width = missing.shape
        values[corner][missing] = between[:height, :width][missing]


def _enlarge(alpha, scale):
    """Bicubic enlargement of one channel (H, W) of any type, kept within its own range."""
    size = alpha.shape[1] * scale, alpha.shape[0] * scale
    plane = np.ascontiguousarray(alpha) if alpha.dtype == np.uint8 else alpha.astype(np.float32)
    large = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))
    if alpha.dtype.kind in "iu":
        large = np.rint(large)
    return np.clip(large, alpha.min(), alpha.max()).astype(alpha.dtype)


def _read_npy(path):
    """Samples (H, W, S), number of colours, and facts of a `.npy` file."""
    # Mapped first: a header that declares more than the file holds is refused before any memory is taken.
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if stored.dtype.kind not in "iuf" or stored.dtype.itemsize > 8:
        raise ImageError(f"holds {stored.dtype} values: save it as integers or floats of at most 64 bits")
    if not (stored.ndim == 2 or (stored.ndim == 3 and stored.shape[2] in (1, 3))):
        raise ImageError(f"has the shape {stored.shape}: save it as (H, W), (H, W, 1) or (H, W, 3)")
    samples = np.array(stored.reshape(*stored.shape[:2], -1), stored.dtype.newbyteorder("="), order="C")
    facts = {"format": "NPY", "metadata": {"dtype": stored.dtype, "ndim": stored.ndim}}
    return samples, samples.shape[2], facts


def _write_npy(path, picture):
    array = picture.samples().astype(picture.metadata["dtype"], copy=False)
    with path.open("wb") as file:
        np.save(file, array[..., 0] if picture.metadata["ndim"] == 2 else array, allow_pickle=False)
