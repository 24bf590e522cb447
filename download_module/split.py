"""Which images of a folder can be cut, and on which side they are: train and test never share an image."""

import hashlib
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from download_module.degrade import to_luma, upscale
from download_module.imagefile import find_fill, read_picture, robust_range, split_page, to_cut
from download_module.workers import results
from util import ImageError, UserError, replacing, sha256_of

TILE_SIZE = 128
SPLITS = ("train", "test")
TEST_SHARE = 0.1  # of the images of a user without a test folder
LARGEST_SCALE = 8  # of a target to its input
ALIGNED_ON = 512  # side of the middle in which a shift is looked for, in pixels


@dataclass(frozen=True)
class Form:
    """What all tiles of a set have in common.

    Attributes
    ----------
    size : int, of a side, in pixels
    dtype : str, type of the values
    channels : int, 1 or 3
    low, high : float, the values that a network sees as 0 and 1
    """

    size: int = TILE_SIZE
    dtype: str = "uint8"
    channels: int = 3
    low: float = 0.0
    high: float = 255.0


@dataclass(frozen=True)
class Look:
    """What is known of an image before it is cut. Of what nobody looked at, nothing is known from `pixels` on."""

    height: int = 0
    width: int = 0
    reason: str | None = None  # why it cannot be cut
    pixels: str | None = None  # digest of what it shows
    dtype: str = "uint8"
    channels: int = 3
    low: float = 0.0
    high: float = 255.0
    n_free: int | None = None  # positions without a hole; None: all
    shift: tuple | None = None  # of an input to its target, (y, x) in pixels
    scale: int = 1  # how many times as large as its input
    fill: tuple | None = None  # (value, part of the values), see imagefile.find_fill
    sentence: str | None = None  # what is wrong and what to do, of an image that cannot be read
    kept: Path | None = None  # the decoded image as a .npy file, so that it need not be decoded again


@dataclass
class Side:
    """One side of the split: its images (None: dropped, its number stays) and what became of them."""

    paths: list
    capacities: list  # distinct positions of each image, at most
    looks: list
    skipped: Counter = field(default_factory=Counter)  # reason -> number of images
    n_constant: int = 0  # crops of one colour that were passed over
    inputs: dict = field(default_factory=dict)  # {path: its input}, of pairs

    def describe_skipped(self):
        """Return "skipped 12 of 3746 images: 10 smaller than 128 pixels, 2 unreadable", or nothing."""
        if not self.skipped:
            return ""
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.skipped.items()))
        return f"skipped {self.skipped.total()} of {len(self.paths)} images: {reasons}"


def n_positions(height, width, size=TILE_SIZE):
    """Number of crops that an image has; turning it by 90 degrees changes nothing."""
    return max(height - size + 1, 0) * max(width - size + 1, 0)


def free_positions(missing, size):
    """Return the numbers, row by row, of the crops in which nothing of `missing`, bool (H, W), lies."""
    sums = np.pad(np.cumsum(np.cumsum(missing, axis=0, dtype=np.int64), axis=1), ((1, 0), (1, 0)))
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return np.flatnonzero(inside == 0)


def look_at_header(path, _size, _input_path):
    """Look without decoding: enough for the images of an archive that others have checked."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            width, height = image.size
    except PermissionError:
        raise
    except Image.DecompressionBombError:
        return Look(reason="larger than is safe to decode")
    except (OSError, SyntaxError, ValueError):
        return Look(reason="unreadable")
    return Look(height, width)


def read_source(path):
    """Read an image, or a page of one, for cutting: see `imagefile.to_cut`."""
    path, page = split_page(path)
    picture = read_picture(path, page=page)
    try:
        return to_cut(picture)
    except ImageError as error:
        raise ImageError(f"{path} {error}", error.reason) from error


def read_pair(path, input_path=None):
    """Read an image and its input (None: it has none), enlarged to its size where that is smaller by a whole factor.

    Returns
    -------
    target, degraded : array (H, W, C), C = 1 or 3 and the same in both; degraded is None where there is no input
    missing : bool (H, W), where one of them has a hole or is transparent, or None
    scale : int, by which the input was enlarged

    Raises
    ------
    ImageError
        When one of them cannot be read.
    UserError
        When their sizes or types do not fit.
    """
    target, missing = read_source(path)
    if input_path is None:
        return target, None, missing, 1
    degraded, also_missing = read_source(input_path)
    (height, width), (low_height, low_width) = target.shape[:2], degraded.shape[:2]
    scale = height // low_height
    if (low_height * scale, low_width * scale) != (height, width) or not 1 <= scale <= LARGEST_SCALE:
        raise UserError(f"{path} is {width}x{height} and {input_path} is {low_width}x{low_height}: an input must be as "
                        f"large as its target, or smaller by a whole factor up to {LARGEST_SCALE}")
    if target.dtype != degraded.dtype:
        raise UserError(f"{path} has values of {target.dtype} and {input_path} of {degraded.dtype}: convert one")
    if scale > 1:
        degraded = upscale(degraded, scale)
        also_missing = None if also_missing is None else also_missing.repeat(scale, axis=0).repeat(scale, axis=1)
    n_channels = max(target.shape[2], degraded.shape[2])
    target, degraded = (image if image.shape[2] == n_channels else image.repeat(n_channels, axis=-1)
                        for image in (target, degraded))
    masks = [mask for mask in (missing, also_missing) if mask is not None]
    return target, degraded, np.logical_or.reduce(masks) if masks else None, scale


def find_shift(target, degraded):
    """How far an input (H, W, C) lies from its target, (y, x) in pixels, as their middles say; 0, 0 where all is flat.

    Reference: Guizar-Sicairos et al., "Efficient subpixel image registration algorithms", Optics Letters 33(2), 2008.
    """
    from skimage.registration import phase_cross_correlation  # half a second that others need not wait for

    middle = tuple(slice((side - min(side, ALIGNED_ON)) // 2, (side + min(side, ALIGNED_ON)) // 2)
                   for side in target.shape[:2])
    shown = [to_luma(image[middle].astype(np.float64))[..., 0] for image in (target, degraded)]
    window = np.multiply.outer(*(np.hanning(side) for side in shown[0].shape))  # or the edges, which match, count most
    shown = [(image - image.mean()) * window for image in shown]
    if any(not image.any() for image in shown):
        return 0.0, 0.0
    shift, *_ = phase_cross_correlation(*shown, upsample_factor=10, normalization=None)
    return tuple(float(-part) for part in shift)


def look_at_pixels(path, size, input_path=None, keep_in=None, n_bytes=0):
    """Read an image, to know whether it can be cut and to tell it from others whatever their files are.

    Without holes or an input it is kept, decoded, in the folder `keep_in` if it has at most `n_bytes` there.
    """
    try:
        pixels, degraded, missing, scale = read_pair(path, input_path)
    except ImageError as error:
        return Look(reason=error.reason, sentence=str(error))
    shift = None if degraded is None else find_shift(pixels, degraded)
    height, width, channels = pixels.shape
    (low, high), fill = (0.0, 255.0), None
    if pixels.dtype != np.uint8:
        absent = None if missing is None else np.broadcast_to(missing[..., None], pixels.shape)
        (low, high), fill = robust_range(pixels, absent), find_fill(pixels, absent)
    n_free = None if missing is None or min(height, width) < size else len(free_positions(missing, size))
    if n_free == 0:
        reason = f"with holes or transparent pixels in every {size}x{size} of it"
    else:
        reason = "of one colour" if all_equal(pixels, pixels[:1, :1]) else None
    digest = _digest(pixels, missing)
    kept = None
    if keep_in and degraded is None and missing is None and reason is None and pixels.nbytes <= n_bytes:
        kept = _keep(pixels, keep_in / f"{digest}-{channels}-{pixels.dtype}.npy")
    return Look(height, width, reason, digest, pixels.dtype.name, channels, low, high, n_free, shift, scale, fill,
                kept=kept)


def _digest(pixels, missing):
    """Digest of what an image shows, the same for gray stored as RGB, for another sample type and with opaque alpha."""
    shown = pixels[..., :1] if all_equal(pixels, pixels[..., :1]) else pixels
    if shown.dtype != np.uint8:
        with np.errstate(over="ignore"):
            shown = shown.astype(np.float32) + np.float32(0)  # which makes 0 of -0
    parts = [shown]
    if missing is not None and missing.any():
        parts = [np.where(missing[..., None], 0, shown), missing]
    digest = hashlib.sha256(f"{shown.shape} {shown.dtype}".encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def _keep(pixels, path):
    try:
        with replacing(path) as temporary:
            np.save(temporary, pixels)
    except OSError:  # no room: then it is decoded again
        return None
    return path


def all_equal(pixels, others):
    """Whether two arrays are equal, of which one may be stretched to (H, W, C); mostly the first row tells that not."""
    return bool((pixels[:1] == others[:1]).all() and (pixels == others).all())


def survey(paths, look=look_at_header, pool=None, size=TILE_SIZE, inputs=None):
    """Look at all images: a `Side` in which too small, unreadable and repeated ones have no tiles."""
    side = Side(list(paths), [], [], inputs=inputs or {})
    jobs = [(i, look, path, size, side.inputs.get(path)) for i, path in enumerate(paths)]
    looks = dict(results(pool, _numbered, jobs))
    side.looks = [looks[i] for i in range(len(looks))]
    repeated = {i for group in _alike(side.paths, side.looks) for i in group[1:]}
    for i, one in enumerate(side.looks):
        reason = one.reason
        if min(one.height, one.width) < size and (reason is None or one.height):
            reason = f"smaller than {size} pixels"
        if reason is None and i in repeated:
            reason = "identical to another"
        if reason:
            side.skipped[reason] += 1
        n_free = n_positions(one.height, one.width, size) if one.n_free is None else one.n_free
        side.capacities.append(0 if reason else n_free)
    return side


def _numbered(job):
    number, look, *about = job
    return number, look(*about)


def _alike(paths, looks):
    """Groups of the numbers of images that show the same or, where nobody looked, whose files are the same."""
    paths = [split_page(path)[0] for path in paths]
    sizes = Counter(path.stat().st_size for path, one in zip(paths, looks, strict=True) if one.pixels is None)
    groups = defaultdict(list)
    for i, (path, one) in enumerate(zip(paths, looks, strict=True)):
        if one.pixels is not None:
            groups[one.pixels].append(i)
        elif sizes[path.stat().st_size] > 1:  # a size of its own is a content of its own
            groups[sha256_of(path)].append(i)
    return [group for group in groups.values() if len(group) > 1]


def check_no_leak(train, test):
    """Raise `UserError` when an image, by its place or by what it shows, is on both sides (of two `Side`s)."""
    of_test = set(test.paths)
    for path in train.paths:
        if path in of_test:
            raise UserError(f"{path} is on the train and on the test side: take it out of one of them")
    paths = [*train.paths, *test.paths]
    for group in _alike(paths, [*train.looks, *test.looks]):
        if group[0] < len(train.paths) <= group[-1]:
            here, there = paths[group[0]], paths[group[-1]]
            raise UserError(f"{here} (train) and {there} (test) are the same image: remove one of them")


def keep_one_kind(*sides):
    """Leave out the fewer of the 8-bit images and of the deeper ones: a set has one range, and they have two."""
    usable = [(side, i, one.dtype == "uint8") for side in sides for i, one in enumerate(side.looks)
              if side.capacities[i]]
    has_8_bits = 2 * sum(is_8_bit for *_, is_8_bit in usable) >= len(usable)
    for side, i, is_8_bit in usable:
        if is_8_bit != has_8_bits:
            side.capacities[i] = 0
            side.skipped["deeper than the others, of 8 bits" if has_8_bits else "of 8 bits, unlike the others"] += 1


def hold_out(side, size=TILE_SIZE, before=None):
    """Split one side in two (train, test) by whole images.

    Whether an image is for the test is decided by its own pixels: those whose digest, read as a fraction, is below
    `TEST_SHARE`. A set of a few images needs exceptions: where none is below, the lowest is for the test, and where all
    are, the highest is for the training. The set remembers them (`exceptions_of`), so that images which are added later
    move none to the other side.

    The pages of a file go with its first one. Images that cannot be used stay in train, to be counted there.

    Parameters
    ----------
    side : Side
    size : int, of the tiles
    before : dict, the exceptions of the set that this one replaces

    Returns
    -------
    (Side, Side)

    Raises
    ------
    UserError
        Below two usable images.
    """
    files, usable, before = [split_page(path)[0] for path in side.paths], _digests(side), before or {}
    if len(usable) < 2:
        skipped = f" ({side.describe_skipped()})" if side.skipped else ""
        first = next((f"; {one.sentence}" for one in side.looks if one.sentence), "")
        raise UserError(
            f"{len(usable)} image of at least {size}x{size} was found and two are needed, one of them for the test, "
            f"that can be read and show more than one colour{skipped}: add images"
            f"{', or cut a large one into two files' * bool(usable)}"
            f"{', or cut smaller tiles with --tile' * any(map(_is_too_small, side.skipped))}{first}"
        )
    test = {file for file, digest in usable.items() if before.get(digest, _side_of(digest)) == "test"}
    lowest, *_, highest = sorted(usable, key=usable.get)
    test = (test or {lowest}) - ({highest} if len(test) == len(usable) else set())
    is_test = [file in test and capacity > 0 for file, capacity in zip(files, side.capacities, strict=True)]
    sides = [[i for i, there in enumerate(is_test) if there == wanted] for wanted in (False, True)]
    train, held = (Side(*([values[i] for i in chosen] for values in (side.paths, side.capacities, side.looks)))
                   for chosen in sides)
    train.skipped = side.skipped
    train.inputs = held.inputs = side.inputs
    return train, held


def _is_too_small(reason):
    """Whether an image that is skipped for this reason may be cut into smaller tiles."""
    return reason.startswith(("smaller", "with holes"))


def exceptions_of(train, test):
    """The images of two sides that are not where their own pixels say: {digest: "train" or "test"}."""
    return {digest: name for name, side in zip(SPLITS, (train, test), strict=True)
            for digest in _digests(side).values() if _side_of(digest) != name}


def _digests(side):
    """{file: digest of the pixels of its first page that has tiles}."""
    digests = {}
    for path, one, capacity in zip(side.paths, side.looks, side.capacities, strict=True):
        if capacity:
            digests.setdefault(split_page(path)[0], one.pixels)
    return digests


def _side_of(digest):
    return "test" if int(digest, 16) / 16**64 < TEST_SHARE else "train"


def form_of(sides, size, value_range=None):
    """Return the `Form` of the tiles of (train, test), images that somebody has looked at.

    Their values are kept. The range is `value_range` or, from the lowest to the highest, that of the ranges of the
    training images, each without its outliers (`imagefile.robust_range`); 8 bits have 0..255.

    Of several types of values (maps in int16 and float32) the tiles have the one that holds all of them. Raises
    `UserError` when 8-bit images are to have another range.
    """
    used = [[one for one, n in zip(side.looks, side.capacities, strict=True) if n] for side in sides]
    looks = [*used[0], *used[1]]
    if not looks:  # cutting finds the words for that
        return Form(size)
    dtype, channels = np.result_type(*{one.dtype for one in looks}).name, max(one.channels for one in looks)
    if dtype == "uint8":
        if value_range:
            raise UserError("--range is for values deeper than 8 bits, these images have 0..255: leave it out")
        return Form(size, channels=channels)
    low, high = value_range or (min(one.low for one in used[0] or looks), max(one.high for one in used[0] or looks))
    return Form(size, dtype, channels, float(low), float(high))
