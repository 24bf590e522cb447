"""The table of networks for a camera: each damage on its own, and what is missing is said."""

import numpy as np
import pytest
from skimage import data

import util
from inception2_module.tileset import Tiles
from wi2_paper import camera, checking, mismatch, tables

TILES = np.stack([data.astronaut()[y : y + 64, 100:164] for y in range(0, 256, 64)])


@pytest.fixture
def measured(tmp_path, monkeypatch, capsys):
    """What is written where the network for bicubic only adds a gray level, and that for a camera none."""
    def find(name):
        if name == camera.MARS_CAMERA.name:
            raise util.UserError("it is not trained")
        (tmp_path / name).write_bytes(name.encode())
        return name, tmp_path / name

    class Set:
        def __init__(self, *_):
            pass

        def read_test(self, n):
            return Tiles(TILES, TILES, tuple(range(len(TILES))))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(camera, "TileSet", Set)
    monkeypatch.setattr(camera, "find", find)
    monkeypatch.setattr(mismatch, "network", lambda name: lambda tiles: tiles + ("camera" not in name))
    camera.main([])
    return util.read_json(camera.RESULT)


def test_each_damage_of_each_set_is_measured(measured, capsys):
    assert "camera, 10,000 Mars tiles, on mars, is left out: it is not trained" in capsys.readouterr().out
    rows = {key: row for key, row in measured.items() if isinstance(row, dict) and "gain" in row}
    assert len(rows) == 4 * len(mismatch.SMALL)
    checking.check_result(camera.RESULT, measured)
    for damage in mismatch.SMALL:
        assert rows[f"photos, camera, photographs, {damage}"]["gain"]["mean"] == 0
        assert rows[f"photos, bicubic only, {damage}"]["gain"]["mean"] != 0
    clean, hard = (rows[f"mars, bicubic only, {damage}"]["input"] for damage in ("bicubic, as in training",
                                                                                "bicubic, noise of 10"))
    assert clean > hard + 1


def test_the_table_says_what_is_lost_and_the_lowest_gain(measured):
    block = tables.camera_block(measured)
    heads, _, *rows = block.split("\n\n")[0].splitlines()
    assert "Mars: camera, photographs" in heads
    assert "10,000 Mars tiles" not in heads
    assert len(rows) == len(mismatch.SMALL)
    less = -measured["mars, bicubic only, bicubic, as in training"]["gain"]["mean"]
    assert f"mars, camera, photographs: {less:+.2f} dB over" in block
    assert "the lowest gain over the input is +0.00 dB" in block


def test_a_training_stands_in_for_a_network_that_is_not_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(camera.networkfile, "WEIGHTS", tmp_path)
    with pytest.raises(util.UserError, match="there is no network photos-blur"):
        camera.find(camera.PHOTO_CAMERA)
