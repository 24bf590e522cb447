import errno

import numpy as np
import pytest
from conftest import names, no_disk, write_dataset

import util
from download_module import manifest, tilefile
from inception2_module import experiments, tilecache, tileset
from inception2_module.batches import draw_batch
from inception2_module.experiments import with_recipe
from inception2_module.tileset import TileSet

N = 12


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A set whose manifest has digests, of which half the tiles are many."""
    write_dataset(tmp_path, n_train=N)
    digest(tmp_path)
    monkeypatch.setattr(tilecache, "N_LEAST", N // 2)
    return tmp_path


def digest(data_dir):
    """Let the manifest vouch for the tiles as they are."""
    path = data_dir / "tiny" / "manifest.json"
    digests = {name: manifest.digest_folder(data_dir / "tiny" / "train" / name)[1] for name in ("hr", "sr_x4")}
    util.write_json(path, util.read_json(path) | {"digest": {"train": digests}})


def read(data_dir, indices=range(N)):
    return TileSet(data_dir, "tiny", "sr_x4")._read("train", indices)


def cached(data_dir):
    return sorted((data_dir / "tiny" / "train").glob(".*.npy"))


@pytest.fixture
def no_decoding(monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} is read")

    return lambda: monkeypatch.setattr(tileset, "read_tile", refuse)


def test_the_second_reading_needs_no_image(data_dir, no_decoding):
    first = read(data_dir)
    assert [path.name.split("-")[0] for path in cached(data_dir)] == [".hr", ".sr_x4"]
    assert names(data_dir / "tiny" / "train" / "hr") == [f"{i:05}.png" for i in range(N)]
    no_decoding()
    for indices in (range(N), [1, 4, 5, 6, 9, 10], range(3, 10)):
        again = read(data_dir, indices)
        np.testing.assert_array_equal(again.target, first.target[list(indices)])
        np.testing.assert_array_equal(again.degraded, first.degraded[list(indices)])


def test_few_tiles_are_read_from_their_own_files(data_dir):
    read(data_dir, range(N // 2 - 1))
    TileSet(data_dir, "tiny", "sr_x4")._read("test", range(4))
    assert not cached(data_dir)


def test_a_set_without_digests_has_none(data_dir):
    path = data_dir / "tiny" / "manifest.json"
    util.write_json(path, {key: value for key, value in util.read_json(path).items() if key != "digest"})
    read(data_dir)
    assert not cached(data_dir)


def test_other_tiles_are_read_anew_and_the_old_file_goes(data_dir):
    read(data_dir)
    [old, degraded] = cached(data_dir)
    tilefile.write_image(data_dir / "tiny" / "train" / "hr" / "00003.png", np.full((32, 32, 3), 9, np.uint8))
    digest(data_dir)
    assert (read(data_dir).target[3] == 9).all()
    assert not old.exists() and degraded.exists() and len(cached(data_dir)) == 2


def test_tiles_changed_by_hand_are_refused_before_they_are_kept(data_dir):
    tilefile.write_image(data_dir / "tiny" / "train" / "hr" / "00003.png", np.full((32, 32, 3), 9, np.uint8))
    with pytest.raises(util.UserError, match="was changed after it was made"):
        read(data_dir)
    assert not cached(data_dir)


@pytest.mark.parametrize("harm", [
    lambda content: content[:-1], lambda content: content[:-1] + bytes([content[-1] ^ 1]), lambda content: b"",
    lambda content: content[:20], lambda content: bytes(len(content)),
])
def test_a_damaged_file_is_made_anew(data_dir, harm):
    first, [path, _] = read(data_dir), cached(data_dir)
    content = path.read_bytes()
    path.write_bytes(harm(content))
    np.testing.assert_array_equal(read(data_dir).target, first.target)
    assert path.read_bytes() == content


def test_without_room_it_is_not_written(data_dir, monkeypatch):
    with monkeypatch.context() as patch:
        no_disk(patch, 1000)
        read(data_dir)
    assert not cached(data_dir)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_what_cannot_be_written_is_not(data_dir, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, "failed")

    monkeypatch.setattr(np, "save", fail)
    assert len(read(data_dir)) == N
    assert not cached(data_dir)


@pytest.mark.parametrize("recipe", ["paper", "fewdata"])
def test_batches_are_the_same(data_dir, recipe):
    experiment = with_recipe(recipe, dataset="tiny", n_train=N, batch_size=3)
    pick = [0, 2, 3, 5, 6, 7, 11]
    plain = tileset.Tiles(*(tileset.read_tiles([paths[i] for i in pick]) for paths in zip(
        *TileSet(data_dir, "tiny", "sr_x4")._pairs("train", None), strict=True)))
    read(data_dir)
    kept = read(data_dir, pick)
    assert isinstance(kept.target, tilecache.Picked)
    for update in range(4):
        for ours, theirs in zip(*(draw_batch(tiles, update, experiment, experiments.RECIPES[recipe])
                                  for tiles in (kept, plain)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
