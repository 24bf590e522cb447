"""Image files <-> arrays, pairing of tiles, PSNR / SSIM, and how a script ends. No Keras in here.

Arrays are batch first, `(N, H, W, C)`, uint8 in 0..255 unless a docstring says otherwise.
"""

import argparse
import errno
import hashlib
import itertools
import json
import math
import os
import re
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", ".npz"}
DATA_RANGE = 255
# Of two 8-bit tiles that differ at all, the closest (128x128x3) are at 95.05 dB. Equal ones would be at
# infinity, which no mean survives and no JSON holds, so they count as this.
PSNR_OF_EQUAL = 100.0


class UserError(Exception):
    """Something the user can mend. The text is one sentence: what is wrong, where, what to do."""


class ImageError(UserError):
    """An image file that cannot be used; `reason` is what is said where such files are counted: "3 unreadable"."""

    def __init__(self, text, reason="unreadable"):
        super().__init__(text)
        self.reason = reason


def run_cli(main):
    """Run a script's `main()` and return its exit status.

    0 when it is done, 2 after a `UserError`, a wrong option (argparse) or a file-system error, 130 after
    Ctrl-C, 141 when the reader of the output has gone. Expected errors print one sentence on stderr and no
    traceback; a bug keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except BrokenPipeError:  # whoever read the output has gone, `... | head` for one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (UserError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {describe_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def first_line(error):
    """Return the first line of an exception's text, for a sentence; its type's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def describe_error(error):
    """Return the sentence for an expected error; any other one is raised again, with its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if error.errno not in _FILE_SYSTEM_ERRORS:
        raise error
    where = f" ({error.filename})" if error.filename else ""
    return f"{_FILE_SYSTEM_ERRORS[error.errno]}{where}"


_FILE_SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EACCES: "no permission: change it, or choose another place",
    errno.EPERM: "no permission: change it, or choose another place",
    errno.ENOENT: "there is no such file or folder: check the path",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EROFS: "the file system is read-only: choose a folder that you may write to",
    errno.ENOTDIR: "a file stands where a folder is needed: move it away or choose another folder",
    errno.EISDIR: "a folder stands where a file is needed: move it away or choose another name",
    errno.EEXIST: "something of that name is already there: move it away or choose another name",
}


@contextmanager
def sigint_held():
    """Hold Ctrl-C back until the block has ended.

    For what must not be torn: half-imported libraries lose the interrupt or crash. Processes started in the block
    keep SIGINT blocked, so that Ctrl-C is the parent's business alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread is interrupted, or may set handlers
        return
    held = []
    handler = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    # The handler alone is not inherited, the mask alone leaves the signal to other threads of this process.
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else None
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        raise KeyboardInterrupt


def is_plain_name(name):
    """Whether `name` can be the name of a data set, and so of a folder and the beginning of file names."""
    return 0 < len(name) <= 100 and name[0] not in "._" and not any(c in "/\\:\0" for c in name)


def number(convert, check, what):
    """Return a type for argparse: a text that `convert` (int, float) reads as a value which passes `check`.

    what : str, ends the sentence "'-3' is not ..."
    """
    def parse(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not check(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


finite = number(float, math.isfinite, "a number")
positive_int = number(int, lambda value: value > 0, "a whole number above 0")
seed = number(int, lambda value: 0 <= value < 2**31, "a whole number in 0..2147483647")


def bar_interval():
    """Seconds between two updates of a progress bar: short on a terminal, long where a log would fill up."""
    return 0.1 if sys.stderr.isatty() else 30


_temporary_names = itertools.count()


@contextmanager
def replacing(path):
    """Yield a temporary path beside `path` that takes its place only if the block ends well.

    Whoever reads `path` sees the old file or the whole new one, never half of it; after an exception the
    temporary file is gone and `path` is as it was. The suffix stays, because writers choose by it; the rest of the
    name does not, because `path` may have the longest one that the file system allows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{next(_temporary_names)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write `value` as strict JSON (no NaN or infinity: ValueError), all of it or nothing."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    # A list of numbers on one line, so that a thousand scores do not make a thousand lines of diff.
    text = re.sub(r"\[\n[-+\d.e,\s]+\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path):
    """Read a JSON file; a broken one is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and make it again") from error


def check_writable(directory):
    """Create `directory` if needed and prove, before hours of work, that files can be written there."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


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
        if getattr(error, "errno", None) in _FILE_SYSTEM_ERRORS:
            raise
        raise ImageError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def write_image(path, array):
    """Write a uint8 array (H, W, 3) or (H, W) as an image file, all of it or nothing."""
    with replacing(path) as temporary:
        # Level 1 takes a third of the time of Pillow's default 6 and some 5 % more bytes on photographs.
        Image.fromarray(array).save(temporary, compress_level=1)


def list_images(directory, skip=None, on_error=None):
    """Return the sorted paths of all image files under `directory`, at any depth.

    Links to folders are followed, and no folder is entered twice. The `._` files of Macs are passed over; what bears
    the name of an image and is no file (a pipe, a link to nowhere) gets a sentence on stderr.

    Parameters
    ----------
    directory : path
    skip : path, optional
        A folder below `directory` that is not entered.
    on_error : function of a sentence, optional
        Called for each folder that may not be read, which otherwise raises `UserError`.

    Raises
    ------
    UserError
        When there is no such folder or it holds no image.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder: check the path")
    entered = {_identity(skip)} - {_identity(directory)} if skip and Path(skip).is_dir() else set()
    paths, folders, links = [], [directory], []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # so that a folder goes by its own name, not a link's
        try:
            if (identity := _identity(folder)) in entered:
                continue
            entered.add(identity)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except PermissionError as error:
            sentence = f"{folder} may not be read: change its permissions or leave it out"
            if on_error is None:
                raise UserError(sentence) from error
            on_error(sentence)
            continue
        for entry in entries:
            path = folder / entry.name
            if path.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith("._"):
                if path.is_file():
                    paths.append(path)
                else:
                    print(f"{path} is no file, or a link to nowhere: passed over", file=sys.stderr)
    if not paths:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{directory} holds no image ({known}): check the path")
    return sorted(paths)


def _identity(folder):
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def sha256_of(path):
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
