"""Unpack a zip archive safely: a folder gets its final name only when every member is in it."""

import contextlib
import errno
import hashlib
import re
import shutil
import stat
import struct
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

from download_module.disk import byte_bar, check_disk, gigabytes, lock, size_of
from util import UserError

CHUNK = 1 << 16
MARKER = ".extracted_from"
MAX_UNPACKED = 16_000_000_000  # bytes; the largest archive here unpacks to 3.5 GB
MAX_MEMBERS = 200_000
MAX_RATIO = 200  # images hardly shrink; deflate reaches 1,000 on a bomb
MAX_TOTAL_RATIO = 50  # of the whole archive: its members may share their bytes
RATIO_FREE = 4_000_000  # bytes; below this a member, or the whole, may shrink as it likes

BAD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError)
# A table of contents before the start of the file; twice: one name is a file and a folder.
BAD_ZIP_ERRNO = (errno.EINVAL, errno.EEXIST, errno.ENOTDIR)


class DamagedError(UserError):
    """An archive that is to be got anew."""


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
    final = directory.resolve()  # of a link, the folder it leads to is what is replaced
    final.parent.mkdir(parents=True, exist_ok=True)
    with _opened(archive_path) as archive:
        members = archive.infolist()
        contents = repr([(m.filename, m.file_size, m.CRC) for m in members])
        identity = hashlib.sha256(contents.encode()).hexdigest()
        if not _is_complete(final, identity, members):
            _unpack(archive, members, final, identity, progress)
    return directory


def check(archive_path):
    """Read every member of an archive against its CRC; a damaged or unsafe one raises `UserError`, see `extract`."""
    archive_path = Path(archive_path)
    with _opened(archive_path) as archive:
        for member in archive.infolist():
            with archive.open(member) as source:
                while source.read(CHUNK):
                    pass


@contextmanager
def _opened(archive_path):
    """Yield the ZipFile of an archive whose members are safe; what is damaged, here or in the block, is a sentence."""
    if not archive_path.is_file():
        raise UserError(f"{archive_path} does not exist or is no file: check the path")
    try:
        with archive_path.open("rb") as file, zipfile.ZipFile(file) as archive:
            lock(file, archive_path)
            check_members(archive_path, archive.infolist())
            yield archive
    except (*BAD_ZIP, OSError) as error:
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno not in BAD_ZIP_ERRNO):
            raise
        raise DamagedError(f"{archive_path} is damaged or not a zip archive ({error}): get it anew") from error


def name_of(member):
    """Return the name of a member. Where its archive does not say in which encoding, that of macOS or of Japan."""
    name = member.orig_filename  # `filename` is cut at a NUL
    if member.flag_bits & 0x800:  # UTF-8
        return name
    for encoding in ("utf-8", "cp932"):
        with contextlib.suppress(UnicodeError):
            return name.encode("cp437").decode(encoding)  # zipfile takes it for cp437
    return name


def check_members(archive_path, members):
    """Refuse an archive that could write outside its folder, fill the disk, or mean two things."""
    if len(members) > MAX_MEMBERS:
        raise UserError(f"{archive_path} holds {len(members):,} files and no data set here has more than "
                        f"{MAX_MEMBERS:,}: do not use this archive")
    seen = {MARKER}
    for member in members:
        name = name_of(member)
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
    total = sum(m.file_size for m in members)
    if total > min(MAX_UNPACKED, max(RATIO_FREE, MAX_TOTAL_RATIO * size_of(archive_path))):
        raise UserError(f"{archive_path} unpacks to {gigabytes(total)}, more than a data set needs or images shrink: "
                        "do not use this archive")


def _is_complete(directory, identity, members):
    """Whether `directory` was made from this archive and has lost no file since."""
    marker = directory / MARKER
    if not marker.is_file():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UserError(f"{directory} was not unpacked here: move it away, then run again")
        return False
    files = [m for m in members if not m.is_dir()]
    return marker.read_text() == identity and all(size_of(directory / name_of(m)) == m.file_size for m in files)


def _unpack(archive, members, directory, identity, progress):
    """Fill a folder beside `directory` and let it take its place when it is complete."""
    temporary, old = (directory.with_name(f".{directory.name}.{kind}") for kind in ("unpacking", "old"))
    _remove(temporary, old)  # left by a killed run
    total = sum(m.file_size for m in members)
    check_disk(directory.parent, total)
    try:
        temporary.mkdir()
        with byte_bar(total, directory.name, progress) as bar:
            for member in members:
                target = temporary / name_of(member)
                folder = target if member.is_dir() else target.parent
                folder.mkdir(parents=True, exist_ok=True)
                if member.is_dir():
                    continue
                with archive.open(member) as source, target.open("xb") as file:
                    while chunk := source.read(CHUNK):  # zipfile stops at `file_size`, whatever is stored
                        file.write(chunk)
                        bar.update(len(chunk))
                if size_of(target) != member.file_size:
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
