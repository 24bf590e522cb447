import numpy as np
import pytest
from conftest import write_dataset

import util
from tileset import TileSet


def test_unseen_tiles_are_of_other_images_than_the_draw(tmp_path):
    write_dataset(tmp_path, n_train=12)
    data = TileSet(tmp_path, "tiny", "sr_x4")
    everything, _ = data._read(data._pairs("train", None))
    # Tiles 3 ... 5 come from the images 1 and 2, which hold the tiles 2 ... 5.
    unseen, _ = data.read_unseen(3, 1, 100)
    np.testing.assert_array_equal(unseen, everything[[0, 1, *range(6, 12)]])
    last, _ = data.read_unseen(3, 1, 2)
    np.testing.assert_array_equal(last, everything[10:])


def test_a_draw_of_all_images_leaves_none(tmp_path):
    write_dataset(tmp_path, n_train=12)
    with pytest.raises(util.UserError, match="no training image beside"):
        TileSet(tmp_path, "tiny", "sr_x4").read_unseen(12, 0, 5)
