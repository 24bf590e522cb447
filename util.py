"""The ground: how a command begins and ends, files all or nothing, finding images. Standard library only.

It loads in a moment, so that a command can turn Ctrl-C into one line before anything else is imported.
"""

import argparse
import contextlib
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
import time
import unicodedata
import zlib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", ".npz"}


class UserError(Exception):
    """Something the user can mend. The text is one sentence: what is wrong, where, what to do."""


class ImageError(UserError):
    """An image file that cannot be used; `reason` is what is said where such files are counted: "3 unreadable"."""

    def __init__(self, text, reason="unreadable"):
        super().__init__(text)
        self.reason = reason


def run_cli(main):
    """Run a script's `main()` and return its exit status.

    0 when it is done, 2 after a `UserError`, a wrong option (argparse), a file-system error or when the memory is
    used up, 130 after Ctrl-C or SIGTERM, 141 when the reader of the output has gone. Expected errors print one sentence
    on stderr and no traceback; a bug keeps its traceback.
    """
    _open_streams()
    raise_at_signals()
    try:
        main()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or a full disk under the output would be found after the last chance to say so
    except BrokenPipeError:  # whoever read the output has gone, `... | head` for one
        _drop_output()
        return 141
    except (UserError, OSError, MemoryError) as error:
        _say(f"{Path(sys.argv[0]).name}: error: {describe_error(error)}\n")
        return 2
    except KeyboardInterrupt:
        ignore_signals()
        _say(_INTERRUPTED_SENTENCE)
        return INTERRUPTED
    return 0


def first_line(error):
    """Return the first line of an exception's text, for a sentence; its type's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _open_streams():
    """See to it that there is something to write to, and that no character is one too many for it.

    Where stdout or stderr is closed, the next file that is opened would become it, and get what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(text):
    """Write the last words to stderr, after what was printed; where that cannot be done, the exit status has to do."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _drop_output():
    """Turn to nothing what is still to be written: Python would try once more at the end, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def terminal_text(text):
    """Return text of a file, a server or a name as one line of which a terminal obeys nothing.

    Control characters (ESC, newline, ...) and those that turn or hide text become escapes, as in `repr`.
    """
    obeyed = {"Cc", "Cf", "Zl", "Zp"}
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in obeyed else c for c in str(text))


def say(text, file=None):
    """Print one line that may hold text of others, see `terminal_text`."""
    print(terminal_text(text), file=file, flush=True)


def describe_error(error):
    """Return the sentence for an expected error, see `terminal_text`; any other one is raised again."""
    if isinstance(error, UserError):
        return terminal_text(error)
    if isinstance(error, MemoryError):
        return "the memory is used up: close other programs, or take smaller images or fewer tiles"
    if error.errno not in FILE_SYSTEM_ERRORS:
        raise error
    where = f" ({terminal_text(error.filename)})" if error.filename else ""
    return f"{FILE_SYSTEM_ERRORS[error.errno]}{where}"


FILE_SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "a file grew beyond the size allowed here (ulimit -f): raise it, then run the same command again",
    errno.EIO: "the disk does not answer as it should: check it, or choose a folder on another one",
    errno.ENOMEM: "the memory is used up: close other programs, then run the same command again",
    errno.EMFILE: "too many files are open (ulimit -n): raise that number, then run the same command again",
    errno.ELOOP: "links lead round in a circle: check the path",
    errno.ENXIO: "this is a device or a socket and no file: check the path",
    errno.EBUSY: "another program is using this: close it, then run the same command again",
    errno.ETXTBSY: "another program is using this: close it, then run the same command again",
    errno.ESTALE: "the network drive has lost this file: run the same command again",
    errno.ENOTEMPTY: "another program has written into this folder: run the same command again",
    errno.EACCES: "no permission: change it, or choose another place",
    errno.EPERM: "no permission: change it, or choose another place",
    errno.ENOENT: "there is no such file or folder: check the path",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EROFS: "the file system is read-only: choose a folder that you may write to",
    errno.ENOTDIR: "a file stands where a folder is needed: move it away or choose another folder",
    errno.EISDIR: "a folder stands where a file is needed: move it away or choose another name",
    errno.EEXIST: "something of that name is already there: move it away or choose another name",
}


INTERRUPTED = 130
_INTERRUPTED_SENTENCE = "\ninterrupted: the same command goes on from here\n"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_is_command = False  # whether this process is one of our commands, and not somebody's notebook


def end_at_signals():
    """Let the signals end this command at once, with one line: its libraries load, and there is nothing to lose."""
    global _is_command
    _is_command = True
    _handle(_end)


def raise_at_signals():
    """Let the signals raise `KeyboardInterrupt`, now that there are things to put in order before the end."""
    _handle(signal.default_int_handler)


def ignore_signals():
    """Let the signals do nothing: this process is about to end, and a second Ctrl-C would only add a traceback."""
    if _is_command:
        _handle(signal.SIG_IGN)


@contextmanager
def loading(stderr):
    """Let the signals end a command at once during the block, and hold them back in any other process.

    `stderr` is the file descriptor of the line that is said then, for a block that has turned 2 elsewhere.
    """
    if not _is_command:
        with signals_held():
            yield
        return
    _handle(lambda *_: _end(stderr=stderr))
    try:
        yield
    finally:
        raise_at_signals()


@contextmanager
def stderr_sent_to(file):
    """Send to `file` what is written to descriptor 2 in the block, by C code too; yield a copy of the descriptor."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield kept
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def signals_held():
    """Hold the signals back until the block has ended.

    For what must not be torn: half-imported libraries lose the interrupt or crash. Processes started in the block
    keep SIGINT blocked, so that Ctrl-C is the parent's business alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread is interrupted, or may set handlers
        return
    came = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, lambda *_: came.append(True))
    # The handler alone is not inherited, the mask alone leaves the signal to other threads of this process.
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else None
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _handle(handler):
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # in the background of a shell, or under nohup
            signal.signal(number, handler)


def _end(*_, stderr=2):
    os.write(stderr, _INTERRUPTED_SENTENCE.encode())
    os._exit(INTERRUPTED)


def is_plain_name(name, longest=100):
    """Whether `name` can be the name of a data set, and so of a folder and the beginning of file names."""
    return (0 < len(name) <= longest and name[0] not in "._" and not any(c in "/\\:" for c in name)
            and terminal_text(name) == name)


class Parser(argparse.ArgumentParser):
    """Options of a command: none may be abbreviated, and a wrong one is a `UserError`, one sentence like all others."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{"allow_abbrev": False} | options)
        # What argparse takes for a value and not for an option: by itself it does not know -1e3.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)

    def error(self, message):
        raise UserError(f"{message} (see --help)")


def without_options(main, description):
    """Return a command that has no options, but for help: a function that first looks for any, then calls `main`."""
    def command():
        Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
        return main()

    return command


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
# Other machines may write into the same folder, and count their processes anew.
_HOST = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
_HOST = f"{zlib.crc32(_HOST.encode(errors='replace')):08x}"


@contextmanager
def replacing(path):
    """Yield a temporary path beside `path` that takes its place only if the block ends well.

    Whoever reads `path` sees the old file or the whole new one, never half of it; after an exception the
    temporary file is gone and `path` is as it was. What a killed process left is removed by the next one that writes
    into the folder. The suffix stays, because writers choose by it; the rest of the name does not, because `path` may
    have the longest one that the file system allows.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path.parent.resolve())
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path):
    """Return a path beside `path` that no other process takes; what is left there after a kill is removed later."""
    return path.with_name(f".{_HOST}-{os.getpid()}-{next(_temporary_names)}.unfinished{path.suffix}")


@cache  # once for each folder: a folder of ten thousand images would be searched ten thousand times
def _remove_left_over(directory):
    """Remove temporary files of `replacing` whose process is gone: of this machine, or of another a day ago.

    The next container has another name, and nobody writes one file for a day.
    """
    for path in directory.glob(".*-*.unfinished*"):
        found = re.match(r"\.([0-9a-f]{8})-(\d+)-\d+\.unfinished", path.name)
        if not found:
            continue
        with contextlib.suppress(FileNotFoundError):  # its own process, or another, was faster
            is_old = time.time() - path.stat().st_mtime > 24 * 3600
            if not _is_running(int(found[2])) if found[1] == _HOST else is_old:
                path.unlink()


def _is_running(pid):
    if os.name != "posix":  # there the question would be a signal
        return pid == os.getpid()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True


def write_json(path, value):
    """Write `value` as strict JSON (no NaN or infinity: ValueError), all of it or nothing."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    # A list of numbers or words on one line, so that a thousand scores do not make a thousand lines of diff.
    text = re.sub(r"\[\n(?:[-+\d.e,\s]+|[\w\",\s]+)\]", lambda values: re.sub(r"\s+", " ", values[0]), text)
    with replacing(path) as temporary:
        # Of a file name that is not UTF-8 the stray bytes become \udcXX, which JSON reads back.
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_json(path):
    """Read a strict JSON file; a broken one, or one that is no plain file, is a `UserError` that names it."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is a folder, a device or a pipe and no file: move it away and make it again")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and make it again") from error


def _refuse_constant(name):
    raise ValueError(f"{name} stands where a number is needed")


def check_writable(directory):
    """Create `directory` if needed and prove, before hours of work, that files can be written there."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def list_images(directory, skip=None, on_error=None):
    """Return the sorted paths of all image files under `directory`, at any depth; hidden ones are none.

    Links to folders are followed, and no folder is entered twice. What bears the name of an image and is no file (a
    pipe, a link to nowhere) gets a sentence on stderr.

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
        When there is no such folder or it holds no image, as far as all of it may be read.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder: check the path")
    entered = {_identity(skip)} - {_identity(directory)} if skip and Path(skip).is_dir() else set()
    paths, folders, links, is_all_read = [], [directory], [], True
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
            is_all_read = False
            continue
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if path.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                if path.is_file():
                    paths.append(path)
                else:
                    say(f"{path} is no file, or a link to nowhere: passed over", sys.stderr)
    if not paths and is_all_read:
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
