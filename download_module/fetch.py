"""Get an archive and unpack it: resumable, verified download; safe extraction of a zip.

An archive gets its final name only when its size and SHA-256 are right, a folder only when every member is
in it. Whatever interrupts a run (Ctrl-C, kill -9, a full disk, a dead link), the same call goes on from it.
Beside `NAME` lies `NAME.sha256` (for `sha256sum -c`, and to spare reading `NAME` again) and, until it is
complete, `NAME.part` (what has arrived), `.part.etag` (which version of the server's file that is) and
`.part.lock` (empty).
"""

import errno
import hashlib
import os
import random
import re
import shutil
import stat
import struct
import time
import zipfile
import zlib
from pathlib import Path

import requests
from tqdm import tqdm

from util import UserError, replacing

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

TIMEOUT = (15, 60)  # seconds: to connect, and between two pieces of the answer
N_RETRIES = 6  # in a row without a new byte; the waits between them add up to about a minute
CHUNK = 1 << 16
DISK_MARGIN = 100_000_000  # bytes left free for the file system and for everybody else

MARKER = ".extracted_from"
MAX_UNPACKED = 16_000_000_000  # bytes; the largest archive here unpacks to 3.5 GB
MAX_RATIO = 200  # images hardly shrink; deflate reaches 1,000 on a bomb
RATIO_FREE = 4_000_000  # bytes; a member below this may shrink as it likes

TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError)
# A table of contents before the start of the file; twice: one name is a file and a folder.
BAD_ZIP_ERRNO = (errno.EINVAL, errno.EEXIST, errno.ENOTDIR)


def fetch(url, path, n_bytes, sha256=None, progress=True):
    """Download `url` to `path`, unless a good file is already there: then no request is made.

    Parameters
    ----------
    url : str
    path : path
        The final name; created, or replaced, only by a complete and verified file.
    n_bytes : int
        The size of the file.
    sha256 : str, optional
        The published checksum. Without one, that of the first download is recorded in `NAME.sha256` and
        every later use is compared to it (trust on first use).
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    dict
        `file` (name), `url`, `bytes`, `sha256` (measured) and `verified`: True only if `sha256` was given.

    Raises
    ------
    UserError
        When the server refuses, is not to be reached or sends something else, or the disk is too small.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder and a file is to be downloaded there: choose another place")
    expected = sha256.lower() if sha256 else _recorded(path)
    found = _checksum(path) if _size(path) == n_bytes else None
    if found and expected in (None, found):
        _record(path, found, path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _beside(path, ".part")
        with _beside(part, ".lock").open("w") as lock:
            _lock(lock, path)
            _download(url, part, n_bytes, bool(sha256), progress)
            found = _digest(part)
            if expected not in (None, found):
                _discard(part)
                source = "published" if sha256 else f"recorded in {_beside(path, '.sha256')}"
                raise UserError(f"{url} sent a file of SHA-256 {found}, thrown away because {expected} is "
                                f"{source}: run again, and if this repeats, ask whether the file has changed")
            _record(path, found, part)  # before the rename: killed in between, the .part is checked again
            part.replace(path)
            _discard(part)
        _beside(part, ".lock").unlink(missing_ok=True)
    return {"file": path.name, "url": url, "bytes": n_bytes, "sha256": found, "verified": bool(sha256)}


def take_archive(path, n_bytes, sha256=None, allow_unverified=False):
    """Check an archive that the user already has; nothing is written beside it.

    With `allow_unverified` a wrong size or checksum is accepted. Returns what `fetch` returns, with the
    file's own size and checksum, and `url` None. Raises `UserError` when the file is missing, or is not the
    expected one and `allow_unverified` is not set.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: put the archive there, or download it without --archives")
    size, found = _size(path), _checksum(path)
    expected = sha256.lower() if sha256 else _recorded(path)
    good = size == n_bytes and expected in (None, found)
    if not good and not allow_unverified:
        has = f"{size} bytes, not {n_bytes}" if size != n_bytes else f"SHA-256 {found}, not {expected}"
        raise UserError(f"{path} has {has}: replace it, or use it as it is with --allow-unverified")
    return {"file": path.name, "url": None, "bytes": size, "sha256": found, "verified": good and bool(sha256)}


def extract(archive_path, directory, progress=True):
    """Unpack a zip archive into `directory`, completely or not at all.

    A folder that holds this archive already is reused; one made from another archive, or with files missing,
    is replaced. "This archive" means the same names, sizes and CRCs: a copied or touched one is the same.

    Parameters
    ----------
    archive_path, directory : path
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Path
        `directory`.

    Raises
    ------
    UserError
        When the archive is damaged or unsafe (a name that leads outside, a link, a duplicate, encryption, a
        zip bomb), the disk is too small, or `directory` holds something that was not made here.
    """
    archive_path, directory = Path(archive_path), Path(directory)
    if not archive_path.is_file():
        raise UserError(f"{archive_path} does not exist: check the path")
    final = directory.resolve()  # of a link, the folder it leads to is what is replaced
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive_path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _lock(file, archive_path)
            members = archive.infolist()
            _check_members(archive_path, members)
            contents = repr([(m.filename, m.file_size, m.CRC) for m in members])
            identity = hashlib.sha256(contents.encode()).hexdigest()
            if not _is_complete(final, identity, members):
                _unpack(archive, members, final, identity, progress)
    except (*BAD_ZIP, OSError) as error:
        if isinstance(error, OSError) and error.errno not in BAD_ZIP_ERRNO:
            raise
        raise UserError(f"{archive_path} is damaged or not a zip archive ({error}): get it anew") from error
    return directory


def _download(url, part, n_bytes, checked_later, progress):
    """Bring `part` to `n_bytes` bytes, over as many connections as it takes."""
    if _size(part) > n_bytes:
        _discard(part)
    best, failures = _size(part), 0
    _check_disk(part.parent, n_bytes - best)
    with _bar(n_bytes, part.stem, progress, initial=best) as bar:
        while _size(part) < n_bytes:
            try:
                _request(url, part, n_bytes, checked_later, bar)
                reason = "it stopped early"
            except TRANSIENT as error:
                reason = type(error).__name__
            except _TryAgainError as error:
                reason = str(error)
            except requests.RequestException as error:
                raise UserError(f"{url} cannot be downloaded ({error}): check the address") from error
            if (size := _size(part)) < n_bytes:
                failures = 1 if size > best else failures + 1
                best = max(best, size)
                if failures > N_RETRIES:
                    raise UserError(f"{url} cannot be downloaded ({reason}; {size} of {n_bytes} bytes "
                                    "are here): check the network and run again, it goes on from there")
                _wait(failures)


class _TryAgainError(Exception):
    """This answer was no use, the next one may be."""


def _request(url, part, n_bytes, checked_later, bar):
    """Append to `part` what is missing, or write it anew when the server does not resume."""
    size, etag_path = _size(part), _beside(part, ".etag")
    version = etag_path.read_text() if etag_path.exists() else None
    headers = {"Accept-Encoding": "identity"}  # sizes are those of the file, not of a compressed transfer
    if size and (version or checked_later):  # a published checksum would catch halves of two versions
        headers["Range"] = f"bytes={size}-"
        if version:
            headers["If-Range"] = version
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status, got = response.status_code, response.headers
        if status in (408, 429) or status >= 500:
            raise _TryAgainError(f"the server answers {status} {response.reason}")
        extent = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", got.get("Content-Range", ""))
        if status == 416 or (status == 206 and not (extent and int(extent[1]) == size)):
            _discard(part)
            raise _TryAgainError("the server does not go on from where it stopped")
        if status not in (200, 206):
            raise UserError(f"{url} cannot be downloaded (the server answers {status} {response.reason}): "
                            "check the address, or get the file by hand and name its folder with --archives")
        total = extent[2] if status == 206 else got.get("Content-Length", "*")
        kind = got.get("Content-Type", "unknown")
        if total not in ("*", str(n_bytes)) or kind.startswith("text/html"):
            raise UserError(f"{url} offers {total} bytes of type {kind} and not the {n_bytes} bytes of "
                            f"{part.stem}: open it in a browser to see what it has become")
        with part.open("ab" if status == 206 else "wb") as file:
            if status == 200:
                bar.reset(n_bytes)
                size = 0
                # Only now that the old bytes are gone, because the tag vouches for what lies beside it.
                etag = got.get("ETag", "")  # a weak one, W/"...", is not allowed in If-Range; a date is
                etag_path.write_text(etag if etag.startswith('"') else got.get("Last-Modified", ""))
            for chunk in response.iter_content(CHUNK):
                size += len(chunk)
                if size > n_bytes:
                    _discard(part)
                    raise UserError(f"{url} sends more than the {n_bytes} bytes of {part.stem}: open it in a "
                                    "browser to see what it has become")
                file.write(chunk)
                bar.update(len(chunk))


def _wait(failures):
    """1, 2, 4 ... 32 seconds, give or take a quarter, so that many clients do not come back in step."""
    time.sleep(2 ** (failures - 1) * random.uniform(0.75, 1.25))


def _check_members(archive_path, members):
    """Refuse an archive that could write outside its folder, fill the disk, or mean two things."""
    seen = {MARKER}
    for member in members:
        name = member.orig_filename  # `filename` is cut at a NUL
        parts = name.removesuffix("/").split("/")
        key = "/".join(parts).casefold()  # what differs by case only is one file on macOS and Windows
        trouble = None
        if {"", ".", ".."} & set(parts) or re.search(r"[\\:\0]", name):
            trouble = "a name that may lead outside the folder"
        elif key in seen:
            trouble = "a name that occurs twice"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            trouble = "a link or special file"
        elif member.flag_bits & 0x2041:  # encrypted, strongly encrypted, encrypted directory
            trouble = "an encrypted file"
        elif member.file_size > max(RATIO_FREE, MAX_RATIO * member.compress_size):
            trouble = "a zip bomb"
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            trouble = "compressed by an unusual method"
        if trouble:
            raise UserError(f"{archive_path} holds {name!r}, {trouble}: do not use this archive")
        seen.add(key)
    if (total := sum(m.file_size for m in members)) > MAX_UNPACKED:
        raise UserError(f"{archive_path} unpacks to {_gb(total)} and no data set here needs "
                        f"{_gb(MAX_UNPACKED)}: do not use this archive")


def _is_complete(directory, identity, members):
    """Whether `directory` was made from this archive and has lost no file since."""
    marker = directory / MARKER
    if not marker.is_file():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UserError(f"{directory} was not unpacked here: move it away, then run again")
        return False
    files = [m for m in members if not m.is_dir()]
    return marker.read_text() == identity and all(_size(directory / m.filename) == m.file_size for m in files)


def _unpack(archive, members, directory, identity, progress):
    """Fill a folder beside `directory` and let it take its place when it is complete."""
    temporary, old = (directory.with_name(f".{directory.name}.{kind}") for kind in ("unpacking", "old"))
    _remove(temporary, old)  # left by a killed run
    total = sum(m.file_size for m in members)
    _check_disk(directory.parent, total)
    try:
        temporary.mkdir()
        with _bar(total, directory.name, progress) as bar:
            for member in members:
                target = temporary / member.filename
                folder = target if member.is_dir() else target.parent
                folder.mkdir(parents=True, exist_ok=True)
                if member.is_dir():
                    continue
                with archive.open(member) as source, target.open("xb") as file:
                    while chunk := source.read(CHUNK):  # zipfile stops at `file_size`, whatever is stored
                        file.write(chunk)
                        bar.update(len(chunk))
                if _size(target) != member.file_size:
                    raise zipfile.BadZipFile(f"{member.filename} is shorter than it claims")
        (temporary / MARKER).write_text(identity)
        if directory.exists():
            directory.rename(old)
        temporary.rename(directory)
    finally:
        _remove(temporary, old)


def _remove(*directories):
    for directory in directories:
        if directory.exists():
            shutil.rmtree(directory)


def _lock(file, path):
    """Keep other processes from `path` until `file` is closed; the system sees to it, even after kill -9."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another process is busy with {path}: wait for it, then run again") from error
    except OSError:
        pass  # a network drive without locks


def _check_disk(directory, n_bytes):
    needed, free = n_bytes + DISK_MARGIN, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(f"{directory} has {_gb(free)} free and {_gb(needed)} are needed: free some space or "
                        "choose a folder on another disk")


def _checksum(path):
    """SHA-256 of a file. The record beside it spares reading gigabytes while it bears the file's own time."""
    record = _beside(path, ".sha256")
    if record.is_file() and record.stat().st_mtime_ns == path.stat().st_mtime_ns:
        return _recorded(path)
    return _digest(path)


def _recorded(path):
    """The checksum in `NAME.sha256`, or None without that file."""
    record = _beside(path, ".sha256")
    if not record.is_file():
        return None
    match = re.match("[0-9a-f]{64} ", record.read_text(encoding="utf-8", errors="replace").lower())
    if not match:
        raise UserError(f"{record} holds no SHA-256: delete it to trust the next {path.name} as it is")
    return match[0].strip()


def _record(path, digest, measured):
    """Write `NAME.sha256` and give it the time of the file that was measured, see `_checksum`."""
    time_ns = measured.stat().st_mtime_ns
    record = _beside(path, ".sha256")
    if record.is_file() and record.stat().st_mtime_ns == time_ns:
        return
    with replacing(record) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        os.utime(temporary, ns=(time_ns, time_ns))


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _discard(part):
    part.unlink(missing_ok=True)
    _beside(part, ".etag").unlink(missing_ok=True)


def _beside(path, suffix):
    return path.with_name(path.name + suffix)


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def _bar(total, name, progress, initial=0):
    return tqdm(total=total, desc=name, initial=initial, unit="B", unit_scale=True, disable=not progress)


def _gb(n_bytes):
    return f"{n_bytes / 1e9:.2f} GB"
