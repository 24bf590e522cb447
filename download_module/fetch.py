"""Get an archive: a resumable, verified download.

An archive gets its final name only when its size and SHA-256 are right. Whatever interrupts a run (Ctrl-C,
kill -9, a full disk, a dead link), the same call goes on from it.
Beside `NAME` lies `NAME.sha256` (for `sha256sum -c`, and to spare reading `NAME` again) and, until it is
complete, `NAME.part` (what has arrived), `.part.etag` (which version of the server's file that is) and
`.part.lock` (empty).
"""

import os
import random
import re
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from download_module.disk import byte_bar, check_disk, lock, size_of
from util import UserError, replacing, sha256_of

TIMEOUT = (15, 60)  # seconds: to connect, and between two pieces of the answer
N_RETRIES = 6  # in a row without a new byte; the waits between them add up to about a minute
LONGEST_WAIT = 60  # seconds, of those that a server asks for
CHUNK = 1 << 16


def fetch(url, path, n_bytes, sha256=None, progress=True, check=None):
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
    check : function of a path, optional
        Looks into a first download without a published checksum before it is trusted; what it raises drops the file.

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
    part = _beside(path, ".part")
    for used in (path, part, _beside(part, ".lock"), _beside(part, ".etag"), _beside(path, ".sha256")):
        if used.exists() and not used.is_file():  # a pipe would be waited for
            raise UserError(f"{used} is a folder, a device or a pipe and a file is needed there: move it away")
    expected = sha256.lower() if sha256 else _recorded(path)
    found = _checksum(path) if size_of(path) == n_bytes else None
    if found and expected in (None, found):
        _record(path, found, path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(part, ".lock").open("w") as lock_file:
            lock(lock_file, path)
            _download(url, part, n_bytes, bool(sha256), progress)
            found = sha256_of(part)
            if expected not in (None, found):
                _discard(part)
                source = "published" if sha256 else f"recorded in {_beside(path, '.sha256')}"
                raise UserError(f"{url} sent a file of SHA-256 {found}, thrown away because {expected} is "
                                f"{source}: run again, and if this repeats, ask whether the file has changed")
            if check and expected is None:
                try:
                    check(part)
                except UserError:
                    _discard(part)
                    raise
            _record(path, found, part)  # before the rename: killed in between, the .part is checked again
            part.replace(path)
            _discard(part)
        _beside(part, ".lock").unlink(missing_ok=True)
    return {"file": path.name, "url": url, "bytes": n_bytes, "sha256": found, "verified": bool(sha256)}


def n_missing(path, n_bytes):
    """Return how many bytes `fetch` would still have to download, a wrong file or part being no use."""
    if size_of(path) == n_bytes:
        return 0
    arrived = size_of(_beside(path, ".part"))
    return n_bytes - (arrived if arrived <= n_bytes else 0)


def take_archive(path, n_bytes, sha256=None, allow_unverified=False):
    """Check an archive that the user already has; nothing is written beside it.

    With `allow_unverified` a wrong size or checksum is accepted. Returns what `fetch` returns, with the
    file's own size and checksum, and `url` None. Raises `UserError` when the file is missing, or is not the
    expected one and `allow_unverified` is not set.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not there or no file: put the archive there, or download it without --archives")
    size, found = size_of(path), _checksum(path)
    expected = sha256.lower() if sha256 else _recorded(path)
    good = size == n_bytes and expected in (None, found)
    if not good and not allow_unverified:
        has = f"{size} bytes, not {n_bytes}" if size != n_bytes else f"SHA-256 {found}, not {expected}"
        raise UserError(f"{path} has {has}: replace it, or use it as it is with --allow-unverified")
    return {"file": path.name, "url": None, "bytes": size, "sha256": found, "verified": good and bool(sha256)}


def _download(url, part, n_bytes, checked_later, progress):
    """Bring `part` to `n_bytes` bytes, over as many connections as it takes."""
    import requests  # a sixth of a second, for which no other command need wait
    import urllib3

    transient = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    if size_of(part) > n_bytes:
        _discard(part)
    best, failures = size_of(part), 0
    check_disk(part.parent, n_bytes - best)
    with byte_bar(n_bytes, part.stem, progress, initial=best) as bar:
        while size_of(part) < n_bytes:
            asked = 0
            try:
                _request(url, part, n_bytes, checked_later, bar)
                reason = "it stopped early"
            except transient as error:
                reason = type(error).__name__
            except _TryAgainError as error:
                reason, asked = str(error), error.seconds
            # The last two: of a redirection to something that is no address.
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                raise UserError(f"{url} cannot be downloaded ({error}): check the address") from error
            if (size := size_of(part)) < n_bytes:
                failures = 1 if size > best else failures + 1
                best = max(best, size)
                if failures > N_RETRIES:
                    raise UserError(f"{url} cannot be downloaded ({reason}; {size} of {n_bytes} bytes "
                                    "are here): check the network and run again, it goes on from there")
                _wait(failures, asked)


class _TryAgainError(Exception):
    """This answer was no use, the next one may be, after the seconds that the server asks for."""

    def __init__(self, reason, seconds=0):
        super().__init__(reason)
        self.seconds = seconds


def _request(url, part, n_bytes, checked_later, bar):
    """Append to `part` what is missing, or write it anew when the server does not resume."""
    import requests

    size, etag_path = size_of(part), _beside(part, ".etag")
    version = etag_path.read_text(encoding="latin-1") if etag_path.exists() else None
    headers = {"Accept-Encoding": "identity"}  # sizes are those of the file, not of a compressed transfer
    # A published checksum would catch halves of two versions; a date is too coarse to tell them apart.
    if size and (checked_later or (version or "").startswith('"')):
        headers["Range"] = f"bytes={size}-"
        if version:
            headers["If-Range"] = version
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status, got = response.status_code, response.headers
        if status in (408, 429) or status >= 500:
            raise _TryAgainError(f"the server answers {status} {response.reason}", _retry_after(got))
        extent = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", got.get("Content-Range", ""))
        if (
            status == 416
            or (status == 206 and not (extent and int(extent[1]) == size))
            or (status == 206 and version and _version(got) not in ("", version))
        ):
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
                etag_path.write_text(_version(got), encoding="latin-1")
            for chunk in response.iter_content(CHUNK):
                size += len(chunk)
                if size > n_bytes:
                    _discard(part)
                    raise UserError(f"{url} sends more than the {n_bytes} bytes of {part.stem}: open it in a "
                                    "browser to see what it has become")
                file.write(chunk)
                bar.update(len(chunk))


def _version(headers):
    """What If-Range may hold: a strong ETag (a weak one, W/"...", is not allowed there) or a date; or nothing."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _retry_after(headers):
    """Return the seconds that a busy server asks to be left alone, up to a minute."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = int(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0
    return min(max(seconds, 0), LONGEST_WAIT)


def _wait(failures, asked):
    """1, 2, 4 ... 32 seconds, give or take a quarter, so that many clients do not come back in step."""
    time.sleep(max(asked, 2 ** (failures - 1) * random.uniform(0.75, 1.25)))


def _checksum(path):
    """SHA-256 of a file. The record beside it spares reading gigabytes while it bears the file's own time."""
    record = _beside(path, ".sha256")
    if record.is_file() and record.stat().st_mtime_ns == path.stat().st_mtime_ns:
        return _recorded(path)
    return sha256_of(path)


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


def discard(path):
    """Remove a downloaded file and its record, so that the next `fetch` begins afresh."""
    path.unlink(missing_ok=True)
    _beside(path, ".sha256").unlink(missing_ok=True)


def _discard(part):
    part.unlink(missing_ok=True)
    _beside(part, ".etag").unlink(missing_ok=True)


def _beside(path, suffix):
    return path.with_name(path.name + suffix)
