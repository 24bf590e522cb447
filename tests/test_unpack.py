import os
import random
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from conftest import names, no_disk

from download_module import disk
from download_module import unpack as module
from download_module.unpack import extract
from util import UserError

DATA = random.Random(1).randbytes(400_000)
OTHER = random.Random(2).randbytes(len(DATA))


FILES = {"set/": b"", "set/1.png": DATA[:1000], "set/2.png": DATA[1000:200_000], "README.txt": b"hello\n" * 9}


def write_zip(path, files=FILES, method=zipfile.ZIP_DEFLATED):
    """`files`: name or ZipInfo -> bytes; a list of pairs may hold a name twice."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return path


def read_tree(directory):
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*")
            if p.is_file() and p.name != module.MARKER}


def expected(files=FILES):
    return {name: data for name, data in files.items() if not name.endswith("/")}


def unzip(tmp_path):
    return extract(tmp_path / "a.zip", tmp_path / "out", progress=False)


def refused(tmp_path, message):
    """The archive is refused and there is no trace of it, inside the target's folder or out of it."""
    before = names(tmp_path)
    with pytest.raises(UserError, match=message):
        unzip(tmp_path)
    assert names(tmp_path) == before
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_extract(tmp_path, method):
    write_zip(tmp_path / "a.zip", method=method)
    assert unzip(tmp_path) == tmp_path / "out"
    assert read_tree(tmp_path / "out") == expected()
    assert names(tmp_path) == ["a.zip", "out"]


def test_a_finished_extraction_is_reused(tmp_path, monkeypatch):
    write_zip(tmp_path / "a.zip")
    unzip(tmp_path)
    os.utime(tmp_path / "a.zip", ns=(1, 1))
    monkeypatch.setattr(module, "_unpack", None)
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()


def test_another_archive_replaces_it(tmp_path):
    write_zip(tmp_path / "a.zip")
    unzip(tmp_path)
    files = {**FILES, "set/2.png": OTHER[1000:200_000]}
    del files["set/1.png"]
    write_zip(tmp_path / "a.zip", files)
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected(files)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"bad")], ids=["lost", "short"])
def test_a_spoilt_extraction_is_made_again(tmp_path, spoil):
    write_zip(tmp_path / "a.zip")
    unzip(tmp_path)
    spoil(tmp_path / "out/set/1.png")
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_extraction_leaves_nothing_and_then_works(tmp_path, monkeypatch, error):
    write_zip(tmp_path / "a.zip")
    written = []

    class Interrupted(disk.tqdm):
        def update(self, n=1):
            written.append(n)
            if len(written) == 3:
                raise error

    with monkeypatch.context() as patch:
        patch.setattr(disk, "tqdm", Interrupted)
        with pytest.raises(error):
            unzip(tmp_path)
    assert names(tmp_path) == ["a.zip"]
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()


def test_what_a_killed_extraction_left_is_removed(tmp_path):
    write_zip(tmp_path / "a.zip")
    for name in (".out.unpacking", ".out.old"):
        (tmp_path / name / "set").mkdir(parents=True)
        (tmp_path / name / "set" / "stray.png").write_bytes(b"half")
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()
    assert names(tmp_path) == ["a.zip", "out"]


def test_a_failed_replacement_keeps_the_old_extraction(tmp_path):
    write_zip(tmp_path / "a.zip")
    unzip(tmp_path)
    content = write_zip(tmp_path / "a.zip", {"b": DATA}, zipfile.ZIP_STORED).read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(DATA, OTHER))
    refused(tmp_path, "CRC")
    assert read_tree(tmp_path / "out") == expected()


def test_a_folder_of_the_user_is_not_touched(tmp_path):
    write_zip(tmp_path / "a.zip")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    refused(tmp_path, "was not unpacked here")
    assert read_tree(tmp_path / "out") == {"mine.txt": b"mine"}


def test_a_link_to_another_disk_is_followed(tmp_path):
    write_zip(tmp_path / "a.zip")
    (tmp_path / "disk" / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    unzip(tmp_path)
    assert (tmp_path / "out").is_symlink()
    assert read_tree(tmp_path / "disk" / "out") == expected()


@pytest.mark.parametrize("name", ["/evil", "../evil", "a/../../evil", "..", "a/..", "C:/evil", "C:evil",
                                  "..\\evil", "\\evil", "a//b", "./a", "a/./b", "/"])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    write_zip(tmp_path / "a.zip", {"good.png": b"x", name: b"evil"})
    refused(tmp_path, "lead outside")


@pytest.mark.parametrize("name", [b"bad\0.png", b"\0ad1.png"])
def test_a_name_with_a_nul_is_refused(tmp_path, name):
    write_zip(tmp_path / "a.zip", {"good.png": b"x", "bad1.png": b"evil"})
    patched = (tmp_path / "a.zip").read_bytes().replace(b"bad1.png", name)
    (tmp_path / "a.zip").write_bytes(patched)
    refused(tmp_path, "lead outside")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path, kind):
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    write_zip(tmp_path / "a.zip", [("good.png", b"x"), (member, "/etc/passwd")])
    refused(tmp_path, "a link or special file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twice", [("a.png", "a.png"), ("a.png", "A.PNG"), ("a", "a/"), (module.MARKER, "b")])
def test_duplicates_are_refused(tmp_path, twice):
    write_zip(tmp_path / "a.zip", [(name, b"") for name in twice])
    refused(tmp_path, "occurs twice")


@pytest.mark.parametrize("both", [("a", "a/b"), ("a/b", "a")])
def test_a_name_that_is_file_and_folder_is_refused(tmp_path, both):
    write_zip(tmp_path / "a.zip", [(name, b"x") for name in both])
    refused(tmp_path, "damaged")


def patch_central(path, name, offset, code, value):
    """Set one field of a member's entry in the table of contents."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(name.encode()) - 46
    assert content[entry:entry + 4] == b"PK\1\2"
    struct.pack_into(code, content, entry + offset, value)
    path.write_bytes(content)


def test_encrypted_members_are_refused(tmp_path):
    patch_central(write_zip(tmp_path / "a.zip"), "README.txt", 8, "<H", 0x1)
    refused(tmp_path, "encrypted")


def test_unusual_compression_is_refused(tmp_path):
    write_zip(tmp_path / "a.zip", method=zipfile.ZIP_LZMA)
    refused(tmp_path, "unusual method")


def test_a_bomb_is_refused(tmp_path):
    write_zip(tmp_path / "a.zip", {"bomb": bytes(module.RATIO_FREE + 1)})
    refused(tmp_path, "a zip bomb")


def test_a_small_file_may_shrink_much(tmp_path):
    write_zip(tmp_path / "a.zip", {"blank": bytes(module.RATIO_FREE)})
    unzip(tmp_path)
    assert (tmp_path / "out" / "blank").stat().st_size == module.RATIO_FREE


def test_many_small_bombs_are_refused(tmp_path):
    write_zip(tmp_path / "a.zip", {f"{i}": bytes(module.RATIO_FREE // 3) for i in range(4)})
    refused(tmp_path, "unpacks to")


def test_more_files_than_any_set_has_are_refused(tmp_path, monkeypatch):
    write_zip(tmp_path / "a.zip")
    monkeypatch.setattr(module, "MAX_MEMBERS", len(FILES) - 1)
    refused(tmp_path, "holds 4 files")


def write_raw_names(path, raw_names):
    """Write an archive whose names are bytes in no declared encoding, as Windows does."""
    marks = [f"{i:0{len(raw)}}" for i, raw in enumerate(raw_names)]
    content = write_zip(path, {mark: mark.encode() * 9 for mark in marks}, zipfile.ZIP_DEFLATED).read_bytes()
    for mark, raw in zip(marks, raw_names, strict=True):
        content = content.replace(mark.encode(), raw)
    path.write_bytes(content)


@pytest.mark.parametrize(("name", "encoding"), [
    ("写真/猫の画像その一.png", "cp932"), ("表/表ソ能申の画像.png", "cp932"), ("写真/猫の画像.png", "utf-8"),
])
def test_names_of_an_archive_made_on_japanese_windows_are_read(tmp_path, name, encoding):
    write_raw_names(tmp_path / "a.zip", [name.encode(encoding)])
    unzip(tmp_path)
    assert list(read_tree(tmp_path / "out")) == [name]
    unzip(tmp_path)  # and found again


def test_names_in_no_encoding_are_used(tmp_path):
    write_raw_names(tmp_path / "a.zip", [b"\xff\xfe\xfd-long.png", b"\x80\x81\xa0longer.png"])
    unzip(tmp_path)
    assert len(read_tree(tmp_path / "out")) == 2


@pytest.mark.parametrize("name", [b"..\\evil-file.png", "表/../../evil".encode("cp932"), b"\x80/../../evil.png"])
def test_a_name_that_leads_outside_is_refused_in_any_encoding(tmp_path, name):
    write_raw_names(tmp_path / "a.zip", [name])
    refused(tmp_path, "lead outside")


def test_check_reads_every_member(tmp_path):
    module.check(write_zip(tmp_path / "a.zip", {"a": DATA[:999]}, zipfile.ZIP_STORED))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[200] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(module.DamagedError, match="CRC"):
        module.check(tmp_path / "a.zip")
    with pytest.raises(UserError, match="no file"):
        module.check(tmp_path)


def test_a_declared_total_over_the_limit_is_refused(tmp_path, monkeypatch):
    total = sum(map(len, FILES.values()))
    write_zip(tmp_path / "a.zip")
    monkeypatch.setattr(module, "MAX_UNPACKED", total - 1)
    refused(tmp_path, "unpacks to")
    monkeypatch.setattr(module, "MAX_UNPACKED", total)
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()


@pytest.mark.parametrize("size", [10, 5000], ids=["more than declared", "less than declared"])
def test_a_member_of_another_size_than_declared_is_refused(tmp_path, size):
    patch_central(write_zip(tmp_path / "a.zip"), "README.txt", 24, "<L", size)
    refused(tmp_path, "damaged")


def test_no_more_than_declared_is_written_even_under_a_forged_crc(tmp_path):
    path = write_zip(tmp_path / "a.zip")
    patch_central(path, "README.txt", 24, "<L", 10)
    patch_central(path, "README.txt", 16, "<L", zipfile.crc32(FILES["README.txt"][:10]))
    unzip(tmp_path)
    assert (tmp_path / "out" / "README.txt").read_bytes() == FILES["README.txt"][:10]


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_zip_is_refused(tmp_path, keep):
    content = write_zip(tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[:int(keep * len(content)) if keep < 1 else keep])
    refused(tmp_path, "not a zip")


@pytest.mark.parametrize("content", [b"<html>Not found</html>", OTHER], ids=["page", "noise"])
def test_something_else_than_a_zip_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path, "not a zip")


def test_no_changed_byte_changes_a_file(tmp_path):
    files = {"a/1.png": DATA[:50], "b.txt": b"hello " * 30}
    content = write_zip(tmp_path / "a.zip", files).read_bytes()
    n_refused = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(changed)
        try:
            unzip(tmp_path)
        except UserError:
            n_refused += 1
            assert names(tmp_path) == ["a.zip"]
        else:
            # A zip has no checksum over its table of contents: only the archive's SHA-256 shows a lost entry.
            assert read_tree(tmp_path / "out").items() <= files.items()
            shutil.rmtree(tmp_path / "out")
    assert n_refused > len(content) / 2


def test_no_archive(tmp_path):
    refused(tmp_path, "does not exist")


def test_extract_needs_disk(tmp_path, monkeypatch):
    write_zip(tmp_path / "a.zip")
    needed = sum(map(len, FILES.values())) + disk.DISK_MARGIN
    no_disk(monkeypatch, needed - 1)
    refused(tmp_path, "free")
    no_disk(monkeypatch, needed)
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()


@pytest.mark.skipif(disk.fcntl is None, reason="no locks here")
def test_two_processes_do_not_unpack_one_archive(tmp_path):
    with write_zip(tmp_path / "a.zip").open("rb") as file:
        disk.lock(file, tmp_path)
        refused(tmp_path, "another process")
    unzip(tmp_path)
    assert read_tree(tmp_path / "out") == expected()
