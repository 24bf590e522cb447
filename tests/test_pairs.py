"""A user's own pairs: cut at one place of both, never degraded anew, what does not fit is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inception2
import util
from download_module import build, datasets, split, tilefile
from download_module.degrade import degrade, downscale, task_of, upscale
from inception2_module import classical, scores, tileset
from inception2_module.batches import draw_batch
from inception2_module.experiments import RECIPES, Experiment
from restore_module import restore


def scene(seed, size=(150, 170)):
    rng = np.random.default_rng(seed)
    return upscale(rng.integers(0, 256, (size[0] // 5, size[1] // 5, 3), dtype=np.uint8), 5)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def darker(image):
    return image // 2 + 3


def write_pairs(folder, n=4, make=darker, suffix=".bmp"):
    for i in range(n):
        write(folder / "targets" / "deep" / f"{i}.png", scene(i))
        write(folder / "inputs" / "deep" / f"{i}{suffix}", make(scene(i)))


def sources(folder, **options):
    return datasets.own_images(folder / "targets", inputs_dir=folder / "inputs", **options)


def make(folder, n_train=6, n_test=2, size=64):
    wish = build.Wish({"train": n_train, "test": n_test}, ("pairs",), size=size)
    return build.make_set(folder / "datasets", "mine", sources(folder), wish, n_workers=1, progress=False)


def test_tiles_of_both_are_cut_at_one_place(tmp_path):
    write_pairs(tmp_path)
    manifest, _ = make(tmp_path)
    assert manifest["tasks"] == ["pairs"]
    for key in split.SPLITS:
        folder = tmp_path / "datasets" / "mine" / key
        pairs = tileset.list_pairs(folder / "hr", folder / "pairs")
        assert len(pairs) == {"train": 6, "test": 2}[key]
        for target, given in pairs:
            np.testing.assert_array_equal(tilefile.read_image(given), darker(tilefile.read_image(target)))


def test_smaller_inputs_are_enlarged(tmp_path):
    write_pairs(tmp_path, make=lambda image: downscale(image, 2))
    for path in (tmp_path / "inputs").rglob("*.bmp"):
        target, given, _, scale = split.read_pair(tmp_path / "targets" / "deep" / f"{path.stem}.png", path)
        np.testing.assert_array_equal(given, upscale(downscale(target, 2), 2))
        assert scale == 2
    manifest, _ = make(tmp_path)
    assert manifest["input_scale"] == 2


@pytest.mark.parametrize(("sizes", "scale"), [((1, 1, 1, 1), 1), ((2, 2, 2, 1), None)])
def test_of_other_pairs_no_factor_is_known(tmp_path, sizes, scale):
    write_pairs(tmp_path, make=lambda image: image, suffix=".png")
    for i, size in enumerate(sizes):
        write(tmp_path / "inputs" / "deep" / f"{i}.png", downscale(scene(i), size))
    assert make(tmp_path)[0]["input_scale"] == scale


def train_on_pairs(folder, scale):
    """Train a tiny network on pairs, as a user does; return its name. The current folder is to be `folder`."""
    write_pairs(folder, make=lambda image: downscale(image, scale))
    make(folder)
    inception2.main(["--dataset", "mine", "--task", "pairs", "--model", "srcnn535", "--width", "4", "--n-train", "4",
                     "--n-updates", "1"])
    return next(Path("runs").glob("mine-*")).name


def test_small_images_are_enlarged_as_the_inputs_of_the_pairs_were(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = train_on_pairs(tmp_path, 2)
    small = downscale(scene(9), 2)
    write(tmp_path / "new.png", small)
    assert f"restore IMAGE --enlarge --weights {name}" in capsys.readouterr().out
    inception2.main(["restore", "new.png", "--enlarge", "--weights", name])
    large = tilefile.read_image(Path("outputs") / "new.png")
    assert large.shape == (150, 170, 3)
    np.testing.assert_array_equal(large, restore(small, name, enlarge=True))
    np.testing.assert_allclose(large.astype(int), restore(upscale(small, 2), name), atol=1)


def test_pairs_of_one_size_know_no_factor_to_enlarge_by(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = train_on_pairs(tmp_path, 1)
    write(tmp_path / "new.png", scene(9))
    assert f"restore IMAGE --weights {name}" in capsys.readouterr().out
    with pytest.raises(util.UserError, match=r"--enlarge needs .* smaller by one factor, and these are for pairs"):
        inception2.main(["restore", "new.png", "--enlarge", "--weights", name])
    with pytest.raises(util.UserError, match="all smaller by one factor"):
        restore(scene(9), name, enlarge=True)
    assert not Path("outputs").exists()


def test_gray_and_colour_fit_and_holes_of_either_are_in_no_tile(tmp_path):
    write(tmp_path / "targets" / "a.png", scene(0))
    given = np.dstack([scene(0), np.full((150, 170), 255, np.uint8)])
    given[:, :20, 3] = 0
    write(tmp_path / "inputs" / "a.png", given)
    *_, missing, _ = split.read_pair(tmp_path / "targets" / "a.png", tmp_path / "inputs" / "a.png")
    assert missing[:, :20].all()
    assert not missing[:, 20:].any()
    write(tmp_path / "inputs" / "a.png", scene(0)[..., 0])
    target, given, *_ = split.read_pair(tmp_path / "targets" / "a.png", tmp_path / "inputs" / "a.png")
    assert target.shape == given.shape


def test_another_input_makes_the_set_anew(tmp_path, capsys):
    write_pairs(tmp_path)
    make(tmp_path)
    assert make(tmp_path)[1]
    write(tmp_path / "inputs" / "deep" / "0.bmp", scene(0))
    assert not make(tmp_path)[1]


@pytest.mark.parametrize(("what", "said"), [
    ("no input", r"3\.png has no partner"), ("no target", r"9\.png \(and 1 more\) has no partner"),
    ("two inputs", "input of one target"), ("two targets", "have one name"), ("same folder", "is given twice"),
    ("nested", "lie inside each other"),
])
def test_who_has_no_partner_is_named(tmp_path, what, said):
    write_pairs(tmp_path)
    inputs = tmp_path / "inputs"
    if what == "no input":
        (inputs / "deep" / "3.bmp").unlink()
    elif what == "no target":
        write(inputs / "9.png", scene(9))
        write(inputs / "8" / "9.png", scene(9))
    elif what == "two inputs":
        write(inputs / "deep" / "2.png", scene(9))
    elif what == "two targets":
        write(tmp_path / "targets" / "deep" / "2.bmp", scene(9))
    elif what == "same folder":
        inputs = tmp_path / "targets"
    else:
        inputs = tmp_path / "targets" / "deep"
    with pytest.raises(util.UserError, match=said):
        datasets.own_images(tmp_path / "targets", inputs_dir=inputs)


@pytest.mark.parametrize("change", [
    lambda image: image[:-1], lambda image: image[:75], lambda image: upscale(image, 2), lambda image: image[:15, :17],
    lambda image: image[..., 0].astype(np.uint16) * 257,
])
def test_inputs_that_do_not_fit_are_one_sentence(tmp_path, change):
    write_pairs(tmp_path, make=change, suffix=".png")
    with pytest.raises(util.UserError, match=r"targets.*\.png (is 170x150|has values of uint8) and .*inputs.*\.png"):
        make(tmp_path)
    assert not (tmp_path / "datasets" / "mine").exists()


def test_a_shifted_input_is_warned_of(tmp_path):
    write_pairs(tmp_path)
    write(tmp_path / "inputs" / "deep" / "1.bmp", np.roll(scene(1), (3, -2), (0, 1)))
    manifest, _ = make(tmp_path)
    lines = [line for line in build.describe(manifest, tmp_path) if "align" in line]
    assert lines == ["deep/1.png: its input seems to lie +3 pixels lower, -2 more right: align the pair"]


@pytest.mark.parametrize("task", ["sr_x4", "noise_s64", "blur_s2+sr_x2+noise_s10"])
def test_damage_is_no_shift(task):
    target = scene(0)
    assert np.abs(split.find_shift(target, degrade(target, task, np.random.default_rng(0)))).max() < 1
    flat = np.full_like(target, 9)
    assert split.find_shift(target, flat) == (0, 0)


def tiles(n=8):
    target = np.stack([scene(i, (40, 40)) for i in range(n)])
    return tileset.Tiles(target, darker(target), tuple(range(n)))


def test_training_crops_and_turns_both_alike_and_makes_no_input():
    recipe = RECIPES["fewdata"]
    assert recipe.fresh_degradation
    for update in range(8):
        target, given = draw_batch(tiles(), update, Experiment(task="pairs"), recipe)
        np.testing.assert_array_equal(np.rint(given * 255), darker(np.rint(target * 255).astype(np.uint8)))


def test_filters_are_learned_from_the_pairs():
    assert classical.methods_for("pairs") == (*classical.installed(), "linear", "raisr")
    pairs = tiles()
    blurred = tileset.Tiles(pairs.target, np.stack([degrade(tile, "blur_s1", None) for tile in pairs.target]),
                            pairs.scenes)
    for filters in classical.learn("pairs", blurred).values():
        restored = classical.filter_tiles(filters, blurred.degraded)
        gain = scores.psnr(blurred.target, restored) - scores.psnr(blurred.target, blurred.degraded)
        assert gain.min() > 2


def test_nobody_makes_inputs_of_pairs():
    assert task_of("pairs").is_pairs
    with pytest.raises(ValueError, match="nobody knows"):
        degrade(scene(0), "pairs", None)
