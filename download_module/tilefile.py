"""The 8-bit images that this program writes for itself: tiles and samples. Files of others: imagefile.py."""

import numpy as np
from PIL import Image

from util import FILE_SYSTEM_ERRORS, ImageError, replacing


def read_image(path):
    """Read an 8-bit image that this program wrote: uint8 (H, W, 3). Files of others: imagefile.read_picture.

    A broken file raises `ImageError`.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist: check the path") from error
    except (OSError, SyntaxError, ValueError) as error:
        if getattr(error, "errno", None) in FILE_SYSTEM_ERRORS:
            raise
        raise ImageError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def write_image(path, array):
    """Write a uint8 array (H, W, 3) or (H, W) as an image file, all of it or nothing."""
    with replacing(path) as temporary:
        # Level 1 takes a third of the time of Pillow's default 6 and some 5 % more bytes on photographs.
        Image.fromarray(array).save(temporary, compress_level=1)
