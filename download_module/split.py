"""Which images of a folder can be cut, and on which side they are: train and test never share an image."""

import hashlib
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from download_module.imagefile import read_picture, to_rgb8
from download_module.workers import results
from util import ImageError, UserError, sha256_of

TILE_SIZE = 128
SPLITS = ("train", "test")
TEST_SHARE = 0.1  # of the images of a user without a test folder


@dataclass(frozen=True)
class Look:
    """What is known of an image before it is cut."""

    height: int = 0
    width: int = 0
    pixels: str | None = None  # digest of what it shows, None: not looked at
    reason: str | None = None  # why it cannot be cut


@dataclass
class Side:
    """One side of the split: its images (None: dropped, its number stays) and what became of them."""

    paths: list
    capacities: list  # distinct positions of each image, at most
    looks: list
    skipped: Counter = field(default_factory=Counter)  # reason -> number of images
    n_constant: int = 0  # crops of one colour that were passed over

    def describe_skipped(self):
        """Return "skipped 12 of 3746 images: 10 smaller than 128 pixels, 2 unreadable", or nothing."""
        if not self.skipped:
            return ""
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.skipped.items()))
        return f"skipped {self.skipped.total()} of {len(self.paths)} images: {reasons}"


def n_positions(height, width):
    """Number of crops that an image has; turning it by 90 degrees changes nothing."""
    return max(height - TILE_SIZE + 1, 0) * max(width - TILE_SIZE + 1, 0)


def look_at_header(path):
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


def look_at_pixels(path):
    """Read an image, to know whether it can be cut and to tell it from others whatever their files are."""
    try:
        pixels = to_rgb8(read_picture(path))
    except ImageError as error:
        return Look(reason=error.reason)
    digest = hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return Look(*pixels.shape[:2], digest, "of one colour" if (pixels == pixels[0, 0]).all() else None)


def survey(paths, look=look_at_header, pool=None):
    """Look at all images: a `Side` in which too small, unreadable and repeated ones have no tiles."""
    side = Side(list(paths), [], dict(results(pool, _numbered, [(i, look, path) for i, path in enumerate(paths)])))
    side.looks = [side.looks[i] for i in range(len(side.paths))]
    repeated = {i for group in _alike(side.paths, side.looks) for i in group[1:]}
    for i, one in enumerate(side.looks):
        reason = one.reason
        if reason is None and min(one.height, one.width) < TILE_SIZE:
            reason = f"smaller than {TILE_SIZE} pixels"
        if reason is None and i in repeated:
            reason = "identical to another"
        if reason:
            side.skipped[reason] += 1
        side.capacities.append(0 if reason else n_positions(one.height, one.width))
    return side


def _numbered(job):
    number, look, path = job
    return number, look(path)


def _alike(paths, looks):
    """Groups of the numbers of images that show the same or, where nobody looked, whose files are the same."""
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


def hold_out(side):
    """Split one side in two (train, test) by whole images.

    Whether an image is for the test is decided by its own pixels: those whose digest, read as a fraction, is below
    `TEST_SHARE`. So images that are added later move none to the other side, with one exception that no set of a few
    images can do without: where none is below, the lowest is for the test, until one below is added; and where all
    are, the highest is for the training.

    Images that cannot be used stay in train, to be counted there. Raises `UserError` below two usable images.
    """
    usable = {i: int(one.pixels, 16) / 16**64 for i, one in enumerate(side.looks) if side.capacities[i]}
    if len(usable) < 2:
        skipped = f" ({side.describe_skipped()})" if side.skipped else ""
        raise UserError(
            f"{len(usable)} image of at least {TILE_SIZE}x{TILE_SIZE} was found and two are needed, one of them for "
            f"the test, that can be read and show more than one colour{skipped}: add images"
        )
    lowest, *between, _ = sorted(usable, key=usable.get)
    test = {lowest, *(i for i in between if usable[i] < TEST_SHARE)}
    sides = [[i for i in range(len(side.paths)) if (i in test) == wanted] for wanted in (False, True)]
    train, held = (Side(*([values[i] for i in chosen] for values in (side.paths, side.capacities, side.looks)))
                   for chosen in sides)
    train.skipped = side.skipped
    return train, held
