"""Elevations from the folder of maps to the picture, with the two maps that matplotlib's wheel carries."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from matplotlib import cbook
from PIL import Image

import util
from inception2_module.experiments import with_recipe
from restore_module import restore
from wi2_paper import own_data

TINY = with_recipe("fewdata", dataset="elevation", task="sr_x4", model="inception_unet_halved", n_train=12,
                   n_updates=60, width=16)


@pytest.fixture
def maps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(own_data.OWN, "elevation", (TINY,))
    small = replace(own_data.SOURCES["elevation"], test=("topobathy",), size=64, n_tiles={"train": 12, "test": 4})
    monkeypatch.setitem(own_data.SOURCES, "elevation", small)
    folder = tmp_path / "maps"
    folder.mkdir()
    fault = cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"]
    for i, rows in enumerate(np.array_split(fault, 4)):
        tifffile.imwrite(folder / f"jacksboro{i}.tif", rows)
    tifffile.imwrite(folder / "topobathy.tif", cbook.get_sample_data("topobathy.npz")["topo"].astype(np.float32))
    return folder


@pytest.mark.slow
def test_elevations_are_cut_trained_on_measured_drawn_and_restored(maps):
    own_data.main(["elevation", str(maps)])
    result = util.read_json(f"results/{TINY.name}.json")
    methods = result["methods"]
    assert methods["restored"]["psnr"] > methods["input"]["psnr"] + 0.05
    assert methods["restored"]["rmse"] < methods["input"]["rmse"]
    with Image.open("assets/elevation-rows.png") as picture:
        assert picture.size == (4 * (128 + 8) + 8, picture.height)
    sea = tifffile.imread(maps / "topobathy.tif")
    large = restore(sea, f"runs/{TINY.name}", enlarge=True)
    assert large.shape == (4 * sea.shape[0], 4 * sea.shape[1])
    assert np.abs(large[2::4, 2::4] - sea).mean() < 100


def test_a_folder_of_other_files_is_one_sentence(maps):
    (maps / "topobathy.tif").unlink()
    with pytest.raises(util.UserError, match=r"holds no file topobathy\*: give the folder of elevation"):
        own_data.main(["elevation", str(maps)])


def test_relief_is_lit_from_the_upper_left():
    rows, columns = np.indices((32, 32), np.float32)
    lit, dark = ((own_data.shade(90 * sign * (rows + columns)[None, ..., None])) for sign in (1, -1))
    flat = own_data.shade(np.zeros((1, 32, 32, 1)))
    assert dark.max() < flat.min() < lit.min()
