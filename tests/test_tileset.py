import numpy as np
import pytest
from conftest import write_dataset

import util
from inception2_module import tileset
from inception2_module.tileset import TileSet


def test_unseen_tiles_are_of_other_images_than_the_draw(tmp_path):
    write_dataset(tmp_path, n_train=12)
    data = TileSet(tmp_path, "tiny", "sr_x4")
    everything = data._read("train", range(12)).target
    # Tiles 3 ... 5 come from the images 1 and 2, which hold the tiles 2 ... 5.
    unseen = data.read_unseen(3, 1, 100)
    np.testing.assert_array_equal(unseen.target, everything[[0, 1, *range(6, 12)]])
    assert unseen.scenes == (0, 0, 3, 3, 4, 4, 5, 5)
    last = data.read_unseen(3, 1, 2)
    np.testing.assert_array_equal(last.target, everything[10:])


def test_a_draw_of_all_images_leaves_none(tmp_path):
    write_dataset(tmp_path, n_train=12)
    with pytest.raises(util.UserError, match="no training image beside"):
        TileSet(tmp_path, "tiny", "sr_x4").read_unseen(12, 0, 5)


@pytest.mark.parametrize(("name", "numbers"), [("tiny", [0, 0, 1, 1]), ("mars", [0, 0, 0, 0])])
def test_a_scene_is_an_image_and_on_mars_a_day(tmp_path, name, numbers):
    write_dataset(tmp_path, name=name)
    manifest = util.read_json(tmp_path / name / "manifest.json")
    for tile, number in zip(manifest["tiles"]["test"], (1, 1, 2, 2), strict=True):
        tile["source"] = f"calibrated/0003ML{number}.JPG"
    util.write_json(tmp_path / name / "manifest.json", manifest)
    data = TileSet(tmp_path, name, "sr_x4")
    assert data.read_test(None).scenes == tuple(numbers)
    assert data.read_test(3).scenes == tuple(numbers[:3])


def test_a_run_may_look_at_the_tiles_of_its_draw(tmp_path, monkeypatch):
    write_dataset(tmp_path, n_train=12)
    data = TileSet(tmp_path, "tiny", "sr_x4")
    everything = data._read("train", range(12)).target
    np.testing.assert_array_equal(data.read_seen(5, 1).target, everything[5:10])
    monkeypatch.setattr(tileset, "N_SEEN", 2)
    np.testing.assert_array_equal(data.read_seen(5, 1).target, everything[5:7])
    with pytest.raises(util.UserError, match="15 tiles are wanted"):
        data.read_seen(5, 2)


def test_groups_belong_to_their_tiles_and_leave_the_id_of_the_set(tmp_path):
    write_dataset(tmp_path)
    without = TileSet(tmp_path, "tiny", "sr_x4")
    assert without.read_test(None).groups is None
    manifest = util.read_json(tmp_path / "tiny" / "manifest.json")
    for tile, group in zip(manifest["tiles"]["test"], ("rover", "terrain", "terrain", "rover"), strict=True):
        tile["group"] = group
    util.write_json(tmp_path / "tiny" / "manifest.json", manifest)
    data = TileSet(tmp_path, "tiny", "sr_x4")
    assert data.read_test(3).groups == ("rover", "terrain", "terrain")
    assert data.read_seen(4, 0).groups is None
    assert data.id == without.id
