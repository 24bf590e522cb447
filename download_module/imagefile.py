"""Any image file -> arrays for a network -> the same kind of file. No Keras in here.

PNG, JPEG, TIFF, WebP and BMP of 1 to 16 bits, gray, RGB, CMYK or palette, with or without alpha; and plain data
(heat maps, elevations) as `.npy`, `.npz` or as integer or float TIFF, where NaN marks holes:

    picture = read_picture("photo.png")
    output = picture.blank()
    for source, target in zip(planes(picture), planes(output)):
        target.write(rows, columns, network(source.read(rows, columns)))    # rows and columns are slices
    write_picture("restored.png", output)

Nothing here makes a float copy of a whole picture: 100 megapixels of 8-bit RGB, with their output, stay near 1 GB.
"""

import logging
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from download_module import imagefile_pillow, imagefile_tiff
from download_module.degrade import upscale
from util import ImageError, replacing

FORMAT_OF_SUFFIX = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
    ".webp": "WEBP", ".npy": "NPY", ".npz": "NPZ",
}
MAX_SIDE = {"JPEG": 65535, "WEBP": 16383}  # what these formats can hold
TAIL, MARGIN = 0.1, 0.1  # of `robust_range`: percent of the values, part of the range
FAR = 2  # times the range of the other values, see `find_fill`
N_SAMPLED = 1_000_000  # values of which percentiles are taken


@dataclass
class Picture:
    """A picture in memory, with what is needed to write it back as the kind of file that it came from.

    Attributes
    ----------
    pixels : array (H, W, C)
        `n_colours` channels that belong together, then bands that are pictures of their own. uint8 or uint16; data
        keep their own type (float32, int16, ...). Holes hold smooth values made of their neighbours, so that a network
        can read across them.
    alpha : array (H, W) of the type of `pixels`, or None
    holes : bool array (H, W, C), or None
        Where a channel was NaN or infinite, or all were GDAL's "no data"; they are written as holes again.
    low, high : float, or one for each of `planes`
        The range that is mapped to 0..1: 0..255 for 8 bits, for all others that of the valid values, see
        `robust_range`. What lies outside is not lost, see `restore_module.pictures.restore_picture`.
    format : str
        "PNG", "JPEG", "WEBP", "BMP", "TIFF", "NPY" or "NPZ".
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
    n_colours : int, or None for all channels
        1 (gray, data), 3 (RGB) or 4 (CMYK).
    premultiplied : bool
        Whether the colours are multiplied by alpha: then black is right where nothing is seen.
    shown : (low, high), or None
        The values that a network is shown, where these go beyond low..high; see `take_range`.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    holes: np.ndarray | None
    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    format: str
    notes: list[str] = field(default_factory=list)
    hole_value: float = np.nan
    zero_is_white: bool = False
    metadata: dict = field(default_factory=dict)
    scale: int = 1
    n_colours: int | None = None
    premultiplied: bool = False
    shown: tuple[float, float] | None = None

    @property
    def hidden(self):
        """Bool (H, W) of what is wholly transparent; None where that is nothing, or all of it."""
        if self.alpha is None or self.premultiplied:
            return None
        hidden = self.alpha == 0
        return hidden if hidden.any() and not hidden.all() else None

    def take_range(self, value_range):
        """Take the range (low, high) of the set that a network was trained on, if it has one and this is no 8 bits.

        The picture's own values are shown to the network also where they lie beyond, but for a few outliers.
        """
        if value_range is not None and self.pixels.dtype != np.uint8:
            own = np.ravel([self.low, self.high])
            self.low, self.high = map(float, value_range)
            self.shown = min(self.low, *own), max(self.high, *own)

    def fill_hidden(self):
        """Fill the colours that nobody sees from those beside them, lest they bleed into what is seen."""
        if (hidden := self.hidden) is not None:
            for channel in np.moveaxis(self.pixels, -1, 0):
                _fill(channel, hidden)

    def blank(self, scale=1):
        """Return a black picture `scale` times as large, with this one's alpha (bicubic) and holes (nearest).

        Raises `ImageError` when the file format cannot hold a picture as large.
        """
        height, width = (side * scale for side in self.pixels.shape[:2])
        if max(height, width) > MAX_SIDE.get(self.format, np.inf):
            raise ImageError(f"{width}x{height} pixels are more than a {self.format} file can hold: convert it to PNG")
        alpha, holes, notes = self.alpha, self.holes, [*self.notes]
        if scale != 1:
            notes += [f"what {name} says of the size of its pixels is not written"
                      for name in sorted(self.metadata.get("stale", ()))]
            alpha = None if alpha is None else _enlarge(alpha, scale)
            holes = None if holes is None else holes.repeat(scale, axis=0).repeat(scale, axis=1)
        pixels = np.zeros((height, width, self.pixels.shape[2]), self.pixels.dtype)
        return replace(self, pixels=pixels, alpha=alpha, holes=holes, scale=self.scale * scale, notes=notes)

    def samples(self, rows=slice(None)):
        """Return (h, w, S) as the file holds them: `pixels` with its holes, and alpha as the last channel."""
        samples = self.pixels[rows]
        if np.isfinite(self.hole_value):  # a value that was restored to exactly this would be a hole
            same = (samples == self.hole_value).all(axis=-1, keepdims=True)
            if same.any():
                samples = np.where(same, _next_to(self.hole_value, samples.dtype), samples)
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
    low: float
    high: float

    @property
    def ends(self):
        """The lowest and the highest of what a network is shown, as `read` returns them: 0 and 1, or beyond."""
        if self.picture.shown is None or self.low >= self.high:
            return 0.0, 1.0
        ends = [(value - self.low) / (self.high - self.low) for value in self.picture.shown]
        return tuple(1 - end for end in reversed(ends)) if self.picture.zero_is_white else tuple(ends)

    def read(self, rows, columns):
        """Return the rows and columns (two slices) as float32 (h, w, 3), low..high as 0..1; one channel is repeated."""
        block = self.picture.pixels[rows, columns, self.channels]
        wide = np.float32 if block.dtype.itemsize <= 2 else np.float64
        # Halves, because the width of a range as wide as the type itself overflows.
        low, span = self.low / 2, self.high / 2 - self.low / 2
        unit = (block.astype(wide) / 2 - wide(low)) / wide(span) if span > 0 else np.zeros(block.shape)
        unit = unit.astype(np.float32, copy=False)
        if self.picture.zero_is_white:
            unit = 1 - unit
        return np.repeat(unit, 3, axis=-1) if unit.shape[-1] == 1 else unit

    def write(self, rows, columns, values):
        """Store float (h, w, 3), 0..1 as low..high, clipped to what the picture's type can hold.

        Into a plane of one channel goes the mean of the three. Another shape raises ValueError.
        """
        block = self.picture.pixels[rows, columns, self.channels]
        if values.shape != (*block.shape[:2], 3):
            raise ValueError(f"expected values for {block.shape[:2]} pixels of 3 channels, got {values.shape}")
        unit = values.astype(np.float64)
        if block.shape[-1] == 1:
            unit = unit.mean(axis=-1, keepdims=True)
        if self.picture.zero_is_white:
            unit = 1 - unit
        scaled = (1 - unit) * self.low + unit * self.high
        if block.dtype.kind in "iu":
            limits = np.iinfo(block.dtype)
            scaled = np.clip(np.rint(scaled), limits.min, float(limits.max))
            if block.dtype.itemsize == 8:  # the largest such integer has no float64, and the next one overflows
                scaled = np.minimum(scaled, np.nextafter(float(limits.max), 0))
        block[...] = scaled


def planes(picture):
    """Split a picture into what a network of three channels can take: a list of `Plane`.

    Gray and data are one plane, repeated; RGB is one; CMYK is two, the inks C, M, Y and then K; each further band is
    one, with a range of its own.
    """
    groups = _groups(picture.n_colours or picture.pixels.shape[2], picture.pixels.shape[2])
    ranges = (np.broadcast_to(limit, len(groups)).tolist() for limit in (picture.low, picture.high))
    return [Plane(picture, *plane) for plane in zip(groups, *ranges, strict=True)]


def _groups(n_colours, n_channels):
    first = [slice(0, 3), slice(3, 4)] if n_colours == 4 else [slice(0, n_colours)]
    return first + [slice(i, i + 1) for i in range(n_colours, n_channels)]


def read_picture(path, allow_large=False, value_range=None, page=None):
    """Read any image file; its content counts, not its suffix.

    EXIF orientation is applied (and its tag reset), colour-key transparency becomes alpha. What cannot be written
    back as it was is said in `notes`: palettes become RGB, 1 bit becomes 8-bit gray, TIFF compressions other than
    none become Deflate.

    Parameters
    ----------
    path : path
    allow_large : bool
        Also read what is larger than Pillow's limit against decompression bombs (179 megapixels).
    value_range : (low, high), optional
        What a network sees as 0..1; by default 0..255 for 8 bits, and the range of the values for all others.
    page : int, optional
        Which page of a TIFF file of several, see `count_pages`.

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
            picture = _read(path, value_range, page)
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


def count_pages(path):
    """Return the number of pages of a TIFF file, and 1 for every other file."""
    try:
        with Path(path).open("rb") as file, _quietly():
            is_tiff = file.read(4) in imagefile_tiff.MAGIC
            return imagefile_tiff.count_pages(path) if is_tiff else 1
    except Exception:  # whatever is wrong with the file, reading it gives the sentence
        return 1


def page_of(path, page):
    """The path that stands for one page of a file in a list of images: stack.tif#1 is the first of stack.tif."""
    return path.with_name(f"{path.name}#{page + 1}")


def split_page(path):
    """Undo `page_of`: (path of the file, page), page None for a path that is a file itself."""
    name, _, number = path.name.rpartition("#")
    if name and number.isdigit() and not path.exists():
        return path.with_name(name), int(number) - 1
    return path, None


def to_cut(picture):
    """Return what tiles are cut from: the values of a picture, and where there are none.

    Inks become RGB, and "zero is white" becomes black.

    Returns
    -------
    pixels : array (H, W, 1) or (H, W, 3) of the type of the file
    missing : bool array (H, W), or None
        Holes, and what is more transparent than not.

    Raises
    ------
    ImageError
        When the channels are neither one nor three that belong together.
    """
    pixels, n_channels = picture.pixels, picture.pixels.shape[2]
    if n_channels == picture.n_colours == 4 and pixels.dtype == np.uint8:
        data = np.ascontiguousarray(pixels)
        pixels = np.asarray(Image.frombuffer("CMYK", pixels.shape[1::-1], data, "raw", "CMYK", 0, 1).convert("RGB"))
    elif n_channels not in (1, 3) or n_channels != picture.n_colours:
        raise ImageError(f"has {n_channels} channels: save the one, or the three of RGB, that you want on their own",
                         f"of {n_channels} channels")
    elif picture.zero_is_white and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    missing = None if picture.holes is None else picture.holes.any(axis=-1)
    if picture.alpha is not None and picture.alpha.any():
        hidden = picture.alpha < picture.alpha.max() / 2
        missing = hidden if missing is None else missing | hidden
    return pixels, missing


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
    writers = {"NPY": _write_npy, "NPZ": _write_npz, "TIFF": imagefile_tiff.write_tiff,
               "PNG": imagefile_pillow.write_png}
    with replacing(path) as temporary, _quietly():
        writers.get(picture.format, imagefile_pillow.write_with_pillow)(temporary, picture)


def write_pages(path, pictures, n_pages):
    """Write `n_pages` pictures (an iterable, taken one at a time) as the pages of a TIFF file, all or nothing."""
    with replacing(path) as temporary:
        for i, picture in enumerate(pictures):
            with _quietly():
                imagefile_tiff.write_tiff(temporary, picture, i, n_pages)


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


def _read(path, value_range, page):
    """Read by the first bytes of a file; errors are as they come, without the path."""
    with path.open("rb") as file:
        head = file.read(6)
    if not head:
        raise ImageError("is empty: replace or remove it")
    if head == b"\x93NUMPY":
        samples, n_colours, facts = _read_npy(path)
    elif head[:4] == b"PK\3\4":
        samples, n_colours, facts = _read_npz(path)
    elif head[:4] in imagefile_tiff.MAGIC:
        samples, n_colours, facts = imagefile_tiff.read_tiff(path, page)
    else:
        samples, n_colours, facts = imagefile_pillow.read_with_pillow(path)
    if not samples.size:
        raise ImageError("holds no pixel: replace or remove it")
    samples = _oriented(samples, facts.pop("orientation", 1))
    return picture_of(samples, n_colours, value_range, **facts)


def picture_of(samples, n_colours, value_range=None, has_alpha=None, hole_value=None, **facts):
    """Make a picture of its samples, of which the holes are filled.

    Parameters
    ----------
    samples : array (H, W, S), integers or floats, alpha last
    n_colours : int
        How many of the samples belong together: 1, 3 (RGB) or 4 (CMYK).
    value_range : (low, high), optional
        What a network sees as 0..1.
    has_alpha : bool, optional
        Whether the last sample is alpha; by default where there are more samples than colours.
    hole_value : number, optional
        Which value stands for "no data" where all channels have it, beside NaN and infinity.
    facts : other fields of `Picture`

    Returns
    -------
    Picture
    """
    n_channels = samples.shape[2] - (samples.shape[2] > n_colours if has_alpha is None else has_alpha)
    pixels, alpha = samples[..., :n_channels], samples[..., n_channels] if n_channels < samples.shape[2] else None
    picture = Picture(pixels, alpha, _find_holes(pixels, hole_value), 0.0, 255.0, n_colours=n_colours,
                      hole_value=np.nan if hole_value is None else hole_value, **facts)
    if value_range is not None:
        picture.low, picture.high = map(float, value_range)
    elif pixels.dtype != np.uint8:
        missing, hidden = picture.holes, picture.hidden
        if hidden is not None:
            missing = (np.zeros(pixels.shape, bool) if missing is None else missing) | hidden[..., None]
        ranges = [robust_range(pixels[..., group], None if missing is None else missing[..., group])
                  for group in _groups(n_colours, n_channels)]
        picture.low, picture.high = ranges[0] if len(ranges) == 1 else zip(*ranges, strict=True)
        if found := find_fill(pixels, missing):
            picture.notes.append(describe_fill(*found))
    if picture.holes is not None:
        for i, channel in enumerate(np.moveaxis(pixels, -1, 0)):
            if picture.holes[..., i].any():
                _fill(channel, picture.holes[..., i])
    return picture


def _next_to(value, dtype):
    """The value of a type that is next to a finite one: the next higher, but for the highest of integers."""
    if dtype.kind == "f":
        return np.nextafter(dtype.type(value), dtype.type(np.inf))
    return dtype.type(int(value) + (1 if value < np.iinfo(dtype).max else -1))


def _oriented(samples, orientation):
    """Turn and mirror (H, W, S) as an EXIF orientation of 1 to 8 asks; a view, no copy."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return samples[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _find_holes(pixels, hole_value):
    """Bool (H, W, C) of what is not finite in a channel, or `hole_value` in all of them (as a saturated colour may
    have that value in one), or None."""
    if pixels.dtype.kind != "f" and hole_value is None:
        return None
    holes = ~np.isfinite(pixels)
    if hole_value is not None:
        holes |= (pixels == pixels.dtype.type(hole_value)).all(axis=-1, keepdims=True)
    return holes if holes.any() else None


def robust_range(values, missing=None):
    """Return the range (low, high) of values, which a few hot or dead pixels do not stretch.

    It reaches from the `TAIL` percentile to that as far from the top and, beyond these, as far as there are values
    but no more than a tenth of the way between them. Where nearly all values are one, it is that of all values.

    Parameters
    ----------
    values : array (H, W, C)
    missing : bool array (H, W, C), optional
        What does not count. Where nothing is left the range is 0..0.
    """
    step = _step(values)
    ends, sampled = [], []
    for i, channel in enumerate(np.moveaxis(values, -1, 0)):
        few = channel[::step, ::step]
        if missing is not None:
            valid = ~missing[..., i]
            channel, few = channel[valid], few[valid[::step, ::step]]
        if channel.size:
            ends += [float(channel.min()), float(channel.max())]
            sampled.append(few.ravel().astype(np.float64) / 2)  # halves, lest differences overflow
    if not ends:
        return 0.0, 0.0
    halves = np.concatenate(sampled)
    low, high = np.percentile(halves, (TAIL, 100 - TAIL)) if halves.size else (0, 0)
    if low == high:
        return min(ends), max(ends)
    margin = (high - low) * MARGIN
    return max(min(ends), 2 * float(low - margin)), min(max(ends), 2 * float(high + margin))


def find_fill(values, missing=None):
    """Find what may stand for "no value" without saying so, as -32768 in elevations: (value, part of the values).

    That is a lowest or a highest value which `TAIL` percent or more have and from which all others lie farther than
    `FAR` times their own range; None where there is no such value. Of large images `N_SAMPLED` pixels are looked at.

    Parameters
    ----------
    values : array (H, W, C)
    missing : bool array (H, W, C), optional
        What does not count.
    """
    step = _step(values)
    few = values[::step, ::step]
    valid = few[np.isfinite(few) if missing is None else np.isfinite(few) & ~missing[::step, ::step]]
    for end in (valid.min(), valid.max()) if valid.size else ():
        others = valid[valid != end]
        share = 1 - others.size / valid.size
        if not others.size or share < TAIL / 100:
            continue
        low, high = sorted((float(others.min()), float(others.max())))
        if 0 < FAR * (high - low) < max(low - float(end), float(end) - high):
            return float(end), share
    return None


def _step(values):
    """Every how many rows and columns of (H, W, C) are looked at where `N_SAMPLED` pixels tell enough."""
    return max(1, int((values.shape[0] * values.shape[1] / N_SAMPLED) ** 0.5))


def describe_fill(value, share):
    """Return what to say of an image in which `find_fill` found a value, a float, in a part of the values, 0..1."""
    return (f"{100 * share:.2g}% of its values are {value:g}, far from all others, and taken for values: if they mean "
            "that there is none, make them NaN, or name them as no-data in the TIFF")


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
    return np.clip(upscale(alpha[..., None], scale)[..., 0], alpha.min(), alpha.max())


def _read_npy(path):
    """Samples (H, W, S), number of colours, and facts of a `.npy` file."""
    # Mapped first: a header that declares more than the file holds is refused before any memory is taken.
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    return *_checked(stored), {"format": "NPY", "metadata": {"dtype": stored.dtype, "ndim": stored.ndim}}


def _read_npz(path):
    """Samples (H, W, S), number of colours, and facts of a `.npz` file of one array."""
    with np.load(path, allow_pickle=False) as stored:
        if len(stored.files) != 1:
            raise ImageError(f"holds {len(stored.files)} arrays: save the one that you want on its own",
                             "of several arrays")
        name, (entry,) = stored.files[0], stored.zip.infolist()
        if Image.MAX_IMAGE_PIXELS is not None and entry.file_size > 16 * Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        array = stored[name]
    return *_checked(array), {"format": "NPZ", "metadata": {"dtype": array.dtype, "ndim": array.ndim, "name": name}}


def _checked(stored):
    """Samples (H, W, S) and number of colours of an array that a file holds."""
    if stored.dtype.kind not in "iuf" or stored.dtype.itemsize > 8:
        raise ImageError(f"holds {stored.dtype} values: save it as integers or floats of at most 64 bits")
    if not (stored.ndim == 2 or (stored.ndim == 3 and stored.shape[2] in (1, 3))):
        raise ImageError(f"has the shape {stored.shape}: save it as (H, W), (H, W, 1) or (H, W, 3)",
                         "of another shape than (H, W), (H, W, 1) or (H, W, 3)")
    samples = np.array(stored.reshape(*stored.shape[:2], -1), stored.dtype.newbyteorder("="), order="C")
    return samples, samples.shape[2]


def _write_npy(path, picture):
    with path.open("wb") as file:
        np.save(file, _stored(picture), allow_pickle=False)


def _write_npz(path, picture):
    name = picture.metadata["name"] + ".npy"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, _stored(picture), allow_pickle=False)


def _stored(picture):
    array = picture.samples().astype(picture.metadata["dtype"], copy=False)
    return array[..., 0] if picture.metadata["ndim"] == 2 else array
