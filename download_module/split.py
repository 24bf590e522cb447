"""Which images of a folder can be cut, and on which side they are: train and test never share an image."""

import hashlib
import struct
import warnings
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from PIL import Image

from util import ImageError, UserError, read_image

TILE_SIZE = 128
SPLITS = ("train", "test")
# What Pillow raises for a broken file. (PermissionError is an OSError too, and not the file's fault.)
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass
class Side:
    """One side of the split: its images (None: dropped, its number stays) and what became of them."""

    paths: list
    capacities: list  # distinct positions of each image, at most
    skipped: Counter = field(default_factory=Counter)  # reason -> number of images
    n_constant: int = 0  # crops of one colour that were passed over

    def describe_skipped(self):
        """Return "12 of 3746 images: 10 smaller than 128 pixels, 2 unreadable", or nothing."""
        if not self.skipped:
            return ""
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.skipped.items()))
        return f"skipped {self.skipped.total()} of {len(self.paths)} images: {reasons}"


def n_positions(height, width):
    """Number of crops that an image has; turning it by 90 degrees changes nothing."""
    return max(height - TILE_SIZE + 1, 0) * max(width - TILE_SIZE + 1, 0)


def survey(paths):
    """Look at the headers: a `Side` in which too small, unreadable and repeated images have no tiles."""
    side = Side(list(paths), [])
    first = {path: same[0] for same in same_files(paths) for path in same[1:]}
    for path in side.paths:
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
                width, height = image.size
                reason = "with 32-bit values" if image.mode in ("I", "F") else None
        except PermissionError:
            raise
        except Image.DecompressionBombError:
            reason, width, height = "larger than Pillow decodes safely", 0, 0
        except UNREADABLE:
            reason, width, height = "unreadable", 0, 0
        if reason is None and min(width, height) < TILE_SIZE:
            reason = f"smaller than {TILE_SIZE} pixels"
        if reason is None and path in first:
            reason = "identical to another"
        if reason:
            side.skipped[reason] += 1
        side.capacities.append(0 if reason else n_positions(height, width))
    return side


def same_files(paths):
    """Return the groups of files with the same bytes, each group in the order of `paths`."""
    by_size = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    by_content = defaultdict(list)
    for size, group in by_size.items():
        for path in group if len(group) > 1 else ():  # a size of its own is a content of its own
            with path.open("rb") as file:
                by_content[size, hashlib.file_digest(file, "sha256").digest()].append(path)
    return [group for group in by_content.values() if len(group) > 1]


def check_no_leak(train, test):
    """Raise `UserError` when a file, by its place or its bytes, is on both sides."""
    of_test = set(test)
    for path in train:
        if path in of_test:
            raise UserError(f"{path} is on the train and on the test side: take it out of one of them")
    for group in same_files([*train, *test]):
        there = [path for path in group if path in of_test]
        here = [path for path in group if path not in of_test]
        if here and there:
            raise UserError(f"{here[0]} (train) and {there[0]} (test) are the same image: remove one of them")


def hold_out(side, seed):
    """Split one side in two (train, test) by whole images: one in ten, at least one, is for the test.

    Images that cannot be used stay in train, to be counted there. Raises `UserError` below two usable images.
    """
    usable = [path for path, capacity in zip(side.paths, side.capacities, strict=True) if capacity]
    n_test = max(1, round(0.1 * len(usable)))
    # A good header may open a broken file, or one of one colour: only decoding tells. The last one is for train.
    chosen = np.random.default_rng([seed, len(SPLITS)]).permutation(len(usable))
    shown = list(islice((usable[i] for i in chosen if _shows_something(usable[i])), n_test + 1))
    if len(shown) < 2:
        raise UserError(
            f"{len(shown)} image of at least {TILE_SIZE}x{TILE_SIZE} was found and two are needed, one of them "
            "for the test, that can be read and show more than one colour: add images"
        )
    test = set(shown[: min(n_test, len(shown) - 1)])
    rest = [(p, c) for p, c in zip(side.paths, side.capacities, strict=True) if p not in test]
    held = [(p, c) for p, c in zip(side.paths, side.capacities, strict=True) if p in test]
    return Side(*map(list, zip(*rest, strict=True)), side.skipped), Side(*map(list, zip(*held, strict=True)))


def _shows_something(path):
    """Whether an image can be decoded and is not of one colour."""
    try:
        with warnings.catch_warnings(action="ignore"):
            image = read_image(path)
    except PermissionError:
        raise
    except (ImageError, *UNREADABLE):
        return False
    return bool((image != image[0, 0]).any())
