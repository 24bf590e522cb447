"""A manifest changed by hand, or tiles changed after they were made, are noticed by both commands."""

import json
import shutil
import sys
from functools import partial

import numpy as np
import pytest
from conftest import write_dataset

import download
import inception2
import util
from download_module import manifest as module
from download_module import tilefile
from inception2_module.tileset import TileSet

DOWNLOAD = ("download.py", "--dataset", "sample", "--n-train", "4", "--n-test", "2", "--tasks", "sr_x4")


def run(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["download.py", *arguments])
    return util.run_cli(main)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run(patch, download.main, *DOWNLOAD[1:]) == 0
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(place, edit):
    path = place / "datasets" / "sample" / "manifest.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def set_to(value, *keys):
    def edit(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value
    return edit


def claim_verified(manifest):
    manifest["archives"] = [{"file": "a.zip", "url": None, "bytes": 1, "sha256": "0" * 64, "verified": True}]
    manifest["verified"] = True


def cut_the_list(manifest):
    manifest["tiles"]["train"].pop()


EDITS = {
    "source with ..": set_to("../../../etc/passwd", "tiles", "train", 0, "source"),
    "absolute source": set_to("/etc/passwd", "tiles", "test", 1, "source"),
    "no source": set_to("", "tiles", "train", 0, "source"),
    "number as source": set_to(3, "tiles", "train", 0, "source"),
    "list cut": cut_the_list, "verified": set_to(True, "verified"), "verified archive": claim_verified,
    "place": set_to(-1, "tiles", "train", 0, "y"), "text as place": set_to("1", "tiles", "train", 0, "x"),
    "rotation": set_to(45, "tiles", "train", 0, "rotation"), "task": set_to(["../sr_x4"], "tasks"),
    "name": set_to("../sample", "name"), "tiles": set_to(None, "tiles"), "counts": set_to({}, "counts"),
    "tile": set_to(None, "tiles", "train", 0), "digests": set_to(["0"], "digest", "train", "hr"),
    "digest": set_to(3, "digest", "train", "hr", 0), "archives": set_to(3, "archives"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_manifest_changed_by_hand_is_refused_by_both_commands(place, monkeypatch, capsys, edit):
    edited(place, edit)
    before = sorted(place.rglob("*"))
    train = partial(inception2.main, ["--dataset", "sample", "--n-train", "4", "--width", "4", "--n-updates", "1"])
    for main in (download.main, train):
        assert run(monkeypatch, main, *DOWNLOAD[1:]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "manifest.json is" in said
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("content", [
    b"[" * 100_000, b'{"a":' * 100_000, b"", b"\xff", b"null", b"[]", b'{"seed": NaN}',
])
def test_a_manifest_that_is_none_is_refused_by_both_commands(place, monkeypatch, capsys, content):
    (place / "datasets" / "sample" / "manifest.json").write_bytes(content)
    train = partial(inception2.main, ["--dataset", "sample", "--n-train", "4", "--width", "4", "--n-updates", "1"])
    for main in (download.main, train):
        assert run(monkeypatch, main, *DOWNLOAD[1:]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_set_as_made_is_read(place):
    data = TileSet(place / "datasets", "sample", "sr_x4")
    assert {split: {name: len(digests) for name, digests in folders.items()}
            for split, folders in data.manifest["digest"].items()} == {
        "train": {"hr": 4, "sr_x4": 4}, "test": {"hr": 2, "sr_x4": 2}}
    data.read_train(4, 0)
    data.read_test(None)


@pytest.mark.parametrize(("split", "folder", "read"), [
    ("train", "hr", lambda data: data.read_train(4, 0)), ("train", "sr_x4", lambda data: data.read_train(4, 0)),
    ("test", "hr", lambda data: data.read_test(None)), ("test", "sr_x4", lambda data: data.read_test(2)),
    ("train", "hr", lambda data: data.read_unseen(1, 0, 100)),
])
def test_a_tile_changed_after_it_was_made_is_noticed(place, split, folder, read):
    path = place / "datasets" / "sample" / split / folder / "00001.png"
    tilefile.write_image(path, 255 - tilefile.read_image(path))
    with pytest.raises(util.UserError, match=r"00001\.png was changed after it was made"):
        read(TileSet(place / "datasets", "sample", "sr_x4"))


def test_test_tiles_copied_over_training_tiles_are_noticed(place):
    folders = [place / "datasets" / "sample" / split / "hr" for split in ("test", "train")]
    shutil.copyfile(folders[0] / "00000.png", folders[1] / "00000.png")
    with pytest.raises(util.UserError, match="was changed after it was made"):
        TileSet(place / "datasets", "sample", "sr_x4").read_train(4, 0)


def test_the_digests_are_no_part_of_the_id_and_older_sets_have_none(place):
    before = TileSet(place / "datasets", "sample", "sr_x4").id
    edited(place, lambda manifest: manifest.pop("digest"))
    data = TileSet(place / "datasets", "sample", "sr_x4")
    assert data.id == before
    path = place / "datasets" / "sample" / "train" / "hr" / "00001.png"
    tilefile.write_image(path, np.zeros_like(tilefile.read_image(path)))
    data.read_train(4, 0)


def test_a_digest_is_of_the_bytes(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    folder, (first, second, third) = module.digest_folder(tmp_path)
    assert folder == tmp_path
    assert first == second != third


def test_no_claim_of_a_known_archive_is_taken_without_its_published_checksum(tmp_path):
    write_dataset(tmp_path, name="mars")
    manifest = module.read_manifest(tmp_path / "mars")
    manifest["archives"] = [{"file": "msl-images.zip", "bytes": 60_635_475, "sha256": "0" * 64, "verified": True}]
    with pytest.raises(util.UserError, match="called verified"):
        module.check_manifest(tmp_path / "mars", manifest)
