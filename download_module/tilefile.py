"""The files that this program writes for itself: tiles and samples. Files of others: imagefile.py."""

import zlib
from contextlib import contextmanager

import numpy as np
from PIL import Image

from download_module.imagefile_pillow import png_chunk, png_start
from util import FILE_SYSTEM_ERRORS, ImageError, replacing

UP = 2  # the filter of a row of a PNG file that is the difference to the one above


def read_tile(path):
    """Read a tile, PNG for 8 bits and `.npy` for all other types: array (H, W, C) of the type of its set, C = 1 or 3.

    A broken file raises `ImageError`.
    """
    with _reading(path):
        if path.suffix == ".npy":
            tile = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                tile = np.asarray(image)
    return tile if tile.ndim == 3 else tile[..., None]


def write_tile(path, array):
    """Write a tile (H, W, C), uint8 as a PNG file, any other type as the `.npy` file that its name says.

    Unlike `write_image` not under another name first: a set is renamed when it is complete. The PNG is made by hand:
    Pillow tries five filters on every row, which takes most of its time. Differences to the row above and runs of equal
    bytes give files as small.
    """
    if path.suffix == ".npy":
        np.save(path, array, allow_pickle=False)
        return
    height, width, channels = array.shape
    rows = np.full((height, 1 + width * channels), UP, np.uint8)
    rows[:, 1:] = array.reshape(height, -1)
    rows[1:, 1:] -= array[:-1].reshape(height - 1, -1)
    compressor = zlib.compressobj(1, strategy=zlib.Z_RLE)
    path.write_bytes(png_start(width, height, channels, 8)
                     + png_chunk(b"IDAT", compressor.compress(rows) + compressor.flush()) + png_chunk(b"IEND", b""))


def read_image(path):
    """Read an 8-bit image that this program wrote: uint8 (H, W, 3). A broken file raises `ImageError`."""
    with _reading(path), Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@contextmanager
def _reading(path):
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist: check the path") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if getattr(error, "errno", None) in FILE_SYSTEM_ERRORS:
            raise
        raise ImageError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def write_image(path, array):
    """Write a uint8 array (H, W, 3) or (H, W) as an image file, all of it or nothing."""
    with replacing(path) as temporary:
        # Level 1 takes a third of the time of Pillow's default 6 and some 5 % more bytes on photographs.
        Image.fromarray(array).save(temporary, compress_level=1)
