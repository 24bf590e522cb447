"""What fetching and unpacking share: room on the disk, one process at a time, a bar that counts bytes."""

import os
import shutil
from contextlib import contextmanager

from tqdm import tqdm

from util import UserError, bar_interval

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

DISK_MARGIN = 100_000_000  # bytes left free for the file system and for everybody else


def lock(file, path):
    """Keep other processes from `path` until `file` is closed; the system sees to it, even after kill -9."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another process is busy with {path}: wait for it, then run again") from error
    except OSError:
        pass  # a network drive without locks


@contextmanager
def locked(lock_path, path):
    """Keep other processes from `path` during the block, by a file that is gone after it."""
    if fcntl is None:
        yield
        return
    while True:
        with lock_path.open("w") as file:
            lock(file, path)
            if not _is_at(file, lock_path):
                continue  # whoever held it has just removed it: another process may lock a new one
            try:
                yield
            finally:
                lock_path.unlink(missing_ok=True)
            return


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def check_disk(directory, n_bytes):
    needed, free = n_bytes + DISK_MARGIN, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(f"{directory} has {gigabytes(free)} free and {gigabytes(needed)} are needed: free some "
                        "space or choose a folder on another disk")


def size_of(path):
    return path.stat().st_size if path.is_file() else 0


def byte_bar(total, name, progress, initial=0):
    return tqdm(total=total, desc=name, initial=initial, unit="B", unit_scale=True, disable=not progress,
                mininterval=bar_interval())


def gigabytes(n_bytes):
    return f"{n_bytes / 1e9:.2f} GB"
