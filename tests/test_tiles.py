"""Cutting: the right pixels, the same bytes each time, no image on both sides, no half-made set."""

import errno
import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from skimage import data

import util
from download_module import build, datasets, disk, imagefile, split, tilefile, tiles, workers
from download_module.degrade import degrade
from inception2_module import tileset
from wi2_paper.benchmarks import tiles as benchmark

TASKS = ("sr_x4", "noise_s64")


def ramps(height, width, seed=0):
    """Red is 2y, green 2x at the left top and so on, modulo 256: a crop shows where and how it was cut."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(2 * y + seed) % 256, (2 * x) % 256, (y + 3 * x) % 256], axis=-1).astype(np.uint8)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


@pytest.fixture
def images(tmp_path):
    """Six training and two test images, as Sources."""
    for i in range(8):
        write(tmp_path / ("a" if i < 6 else "b") / f"{i}.png", noise(140 + i, 160, i))
    return datasets.own_images(tmp_path / "a", tmp_path / "b")


def make(out, sources, n_train=8, n_test=3, tasks=TASKS, name="set", exact=(), n_workers=1, **options):
    wish = build.Wish({"train": n_train, "test": n_test}, tasks, exact=frozenset(exact), **options)
    return build.make_set(out, name, sources, wish, n_workers=n_workers, progress=False)


def digests(folder):
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_tile_is_the_crop_that_its_manifest_names(tmp_path):
    for i in range(3):
        write(tmp_path / "a" / f"{i}.png", ramps(150, 190, i))
    write(tmp_path / "b" / "3.png", ramps(190, 150, 3))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a", tmp_path / "b"), 12, 4)
    rotations = set()
    for key, folder in (("train", "a"), ("test", "b")):
        for k, tile in enumerate(manifest["tiles"][key]):
            source = tilefile.read_image(tmp_path / folder / tile["source"])
            crop = source[tile["y"] : tile["y"] + 128, tile["x"] : tile["x"] + 128]
            target = tilefile.read_image(tmp_path / "set" / key / "hr" / f"{k:05d}.png")
            assert (target == np.rot90(crop, tile["rotation"] // 90)).all()
            rotations.add(tile["rotation"])
    assert rotations == {0, 90, 180, 270}


def test_input_and_target_are_of_the_same_crop(tmp_path, images):
    make(tmp_path, images)
    for key in split.SPLITS:
        for target_path, path in tileset.list_pairs(tmp_path / "set" / key / "hr", tmp_path / "set" / key / "sr_x4"):
            expected = degrade(tilefile.read_image(target_path), "sr_x4", None)
            assert (tilefile.read_image(path) == expected).all()


def test_the_noise_of_two_tiles_differs(tmp_path, images):
    make(tmp_path, images, 8, 3)
    drawn = []
    for key in split.SPLITS:
        pairs = tileset.list_pairs(tmp_path / "set" / key / "hr", tmp_path / "set" / key / "noise_s64")
        for target, noisy in pairs:
            drawn.append(tilefile.read_image(noisy).astype(float) - tilefile.read_image(target))
    likeness = np.corrcoef([d.ravel() for d in drawn]) - np.eye(len(drawn))
    # Clipping bounds the noise of bright pixels, so images of noise are all a little alike; the same noise is at 1.
    assert abs(likeness).max() < 0.1


def test_the_same_bytes_whatever_the_number_of_processes(tmp_path, images):
    for folder, n_workers in (("one", 1), ("again", 1), ("three", 3)):
        make(tmp_path / folder, images, n_workers=n_workers)
    one = digests(tmp_path / "one" / "set")
    assert len(one) == 1 + 3 * (8 + 3)
    assert digests(tmp_path / "again" / "set") == one
    assert digests(tmp_path / "three" / "set") == one


def test_another_seed_gives_other_tiles(tmp_path, images):
    one, other = (make(tmp_path / str(seed), images, seed=seed)[0]["tiles"] for seed in (0, 1))
    assert one != other


def test_many_tiles_of_one_image_are_cut_in_parts(tmp_path, monkeypatch):
    write(tmp_path / "a" / "0.png", noise(300, 400))
    write(tmp_path / "b" / "1.png", noise(128, 128, 1))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    make(tmp_path / "whole", sources, 12, 1)
    monkeypatch.setattr(tiles, "TILES_A_JOB", 5)
    make(tmp_path / "parts", sources, 12, 1)
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


def test_few_tiles_are_the_first_of_many(tmp_path, images):
    few, many = (make(tmp_path / str(n), images, n, 1)[0] for n in (4, 15))
    assert many["tiles"]["train"][:4] == few["tiles"]["train"]
    many_files = digests(tmp_path / "15" / "set" / "train")
    assert digests(tmp_path / "4" / "set" / "train").items() <= many_files.items()


def test_few_tiles_touch_as_many_images_as_they_can(tmp_path, images):
    manifest, _ = make(tmp_path, images, 6, 2)
    assert len({tile["source"] for tile in manifest["tiles"]["train"]}) == 6


def test_subsets_are_nested_around_bad_images(tmp_path):
    """What a broken, a flat and a nearly flat image lack is found out late, and must not change the order."""
    for i in range(6):
        write(tmp_path / "a" / f"{i}.png", noise(140, 140, i))
    (tmp_path / "a" / "2.png").write_bytes((tmp_path / "a" / "2.png").read_bytes()[:20_000])
    write(tmp_path / "a" / "3.png", np.full((200, 300, 3), 7, np.uint8))
    corner = np.full((130, 130, 3), 7, np.uint8)
    corner[0, 0] = 8  # of nine crops only one is not constant
    write(tmp_path / "a" / "4.png", corner)
    write(tmp_path / "b" / "9.png", noise(140, 140, 9))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    sets = {n: make(tmp_path / str(n), sources, n, 1)[0] for n in (1, 3, 4, 5, 12)}
    for n, manifest in sets.items():
        assert manifest["tiles"]["train"] == sets[12]["tiles"]["train"][:n]
    train = [tile["source"] for tile in sets[12]["tiles"]["train"]]
    assert train.count("4.png") == 1
    assert not {"2.png", "3.png"} & set(train)
    assert sets[12]["counts"]["train"]["skipped"] == {"unreadable": 1, "of one colour": 1}
    many = make(tmp_path / "pool", sources, 12, 1, n_workers=2)[0]
    assert many == sets[12]


def test_constant_crops_are_passed_over_and_counted(tmp_path):
    image = np.zeros((128, 400, 3), np.uint8)
    image[:, 0] = 255  # only the crop at x = 0 shows anything
    write(tmp_path / "a" / "0.png", image)
    write(tmp_path / "b" / "1.png", noise(128, 128))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    manifest, _ = make(tmp_path, sources, 1, 1)
    assert manifest["tiles"]["train"][0]["x"] == 0
    assert 0 < manifest["counts"]["train"]["constant_crops"] < 400 - 127


def test_positions_are_distinct_and_complete():
    for height, width in ((130, 140), (400, 420)):  # shuffled, and drawn until new
        every = [(y, x) for y, x, _ in tiles.positions(0, 0, 0, height, width)]
        assert len(every) == len(set(every)) == (height - 127) * (width - 127)
        assert (min(every), max(every)) == ((0, 0), (height - 128, width - 128))


def test_all_there_is_and_repeats(tmp_path):
    write(tmp_path / "a" / "0.png", noise(128, 130))
    write(tmp_path / "b" / "1.png", noise(128, 128, 1))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    manifest, _ = make(tmp_path, sources, 10, 1)
    assert (manifest["counts"]["train"]["made"], manifest["counts"]["train"]["distinct"]) == (3, 3)
    assert "3 distinct tiles are all there are, 10 were wanted" in " ".join(build.describe(manifest, "set"))
    repeated, _ = make(tmp_path, sources, 10, 1, repeat=True, name="repeated")
    assert (repeated["counts"]["train"]["made"], repeated["counts"]["train"]["distinct"]) == (10, 3)
    assert repeated["tiles"]["train"][:3] == manifest["tiles"]["train"]
    assert len({tuple(tile.values()) for tile in repeated["tiles"]["train"]}) == 10
    most, _ = make(tmp_path, sources, 100, 1, repeat=True, name="most")
    assert most["counts"]["train"]["made"] == 12


def test_more_than_there_is_on_demand_is_an_error(tmp_path):
    write(tmp_path / "a" / "0.png", noise(128, 130))
    write(tmp_path / "b" / "1.png", noise(128, 128, 1))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    with pytest.raises(util.UserError, match=r"10 train tiles are wanted and 3 distinct .* --repeat"):
        make(tmp_path, sources, 10, 1, exact=("train",))
    assert not (tmp_path / "set").exists()


# Every kind of file ---------------------------------------------------------------------------------------------


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


KINDS = {
    "exactly_128.png": (Image.fromarray(noise(128, 128)), {}),
    "cmyk.jpg": (Image.fromarray(noise(150, 140)).convert("CMYK"), {}),
    "palette.png": (Image.fromarray(noise(150, 140)).convert("P"), {}),
    "gray.png": (Image.fromarray(noise(150, 140)[..., 0]), {}),
    "alpha.png": (Image.fromarray(noise(150, 140)).convert("RGBA"), {}),
    "gray_alpha.png": (Image.fromarray(noise(150, 140)).convert("LA"), {}),
    "turned.jpg": (Image.fromarray(ramps(128, 200)), {"exif": exif(6), "quality": 95}),
    "turned.png": (Image.fromarray(ramps(128, 200)), {"exif": exif(8)}),
    "one_bit.png": (Image.fromarray(noise(150, 140)).convert("1"), {}),
    "deflated.tif": (Image.fromarray(noise(150, 140)), {"compression": "tiff_adobe_deflate"}),
    "lossless.webp": (Image.fromarray(noise(150, 140)), {"lossless": True}),
    "plain.bmp": (Image.fromarray(noise(150, 140)), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_is_cut_as_pillow_reads_it(tmp_path, name):
    path = write(tmp_path / "a" / name, KINDS[name][0], **KINDS[name][1])
    write(tmp_path / "b" / "1.png", noise(128, 128, 5))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a", tmp_path / "b"), 1, 1, ("sr_x4",))
    tile = manifest["tiles"]["train"][0]
    with Image.open(path) as image:
        whole = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    crop = whole[tile["y"] : tile["y"] + 128, tile["x"] : tile["x"] + 128]
    target = tilefile.read_image(tmp_path / "set" / "train" / "hr" / "00000.png")
    assert (target == np.rot90(crop, tile["rotation"] // 90)).all()


def test_images_that_cannot_be_cut_are_skipped_and_counted(tmp_path):
    a = tmp_path / "a"
    write(a / "good.png", noise(130, 130))
    write(a / "deep" / "copy.png", noise(130, 130))
    write(a / "small.png", noise(127, 500))
    Image.fromarray(np.dstack([noise(150, 150), np.tile([255, 0], (150, 75)).astype(np.uint8)])).save(a / "holes.png")
    tifffile.imwrite(a / "bands.tif", noise(150, 150)[..., [0, 1, 2, 0, 1]], photometric="rgb", metadata=None,
                     extrasamples=["unspecified", "unspecified"], planarconfig="contig")
    write(a / "pages.tif", Image.fromarray(noise(150, 150)), save_all=True,
          append_images=[Image.fromarray(noise(160, 170, 1))])
    write(a / "truncated.png", noise(150, 150, 3))
    (a / "truncated.png").write_bytes((a / "truncated.png").read_bytes()[:30_000])
    (a / "text.jpg").write_text("not an image")
    (a / "empty.png").touch()
    write(tmp_path / "b" / "1.png", noise(128, 128, 5))
    manifest, _ = make(tmp_path, datasets.own_images(a, tmp_path / "b"), 5, 1)
    assert manifest["counts"]["train"]["skipped"] == {
        "identical to another": 1,
        "of several pages (see --pages)": 1,
        "of too many channels": 1,
        "smaller than 128 pixels": 1,
        "unreadable": 3,
        "with holes or transparent pixels in every 128x128 of it": 1,
    }
    assert manifest["counts"]["train"]["n_images_used"] == 1
    line = "train: skipped 8 of 9 images: 1 identical to another, 1 of several pages (see --pages), 1 of"
    assert any(text.startswith(line) for text in build.describe(manifest, tmp_path))


def test_nothing_usable_is_an_error(tmp_path):
    write(tmp_path / "a" / "0.png", noise(100, 100))
    write(tmp_path / "b" / "1.png", noise(128, 128, 1))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    with pytest.raises(util.UserError, match=r"no train tile can be cut .*1 smaller than 128 pixels"):
        make(tmp_path, sources)
    assert not list(tmp_path.glob(".*"))


# Leaks ----------------------------------------------------------------------------------------------------------


def test_a_copy_on_the_other_side_is_found(tmp_path, images):
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "3.png").read_bytes())
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    with pytest.raises(util.UserError, match=r"3\.png \(train\) and .*copy\.png \(test\) are the same"):
        make(tmp_path, sources)


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "a/inner"), ("a/inner", "a")])
def test_sides_inside_each_other_are_refused(tmp_path, first, second):
    write(tmp_path / "a" / "inner" / "0.png", noise(128, 128))
    with pytest.raises(util.UserError, match=r"given twice|inside each other"):
        datasets.own_images(tmp_path / first, tmp_path / second)


def test_a_sol_on_both_sides_is_refused():
    train, test = ([Path(f"{sol}ML00.JPG") for sol in sols] for sols in (["0003", "0010"], ["0010", "0011"]))
    with pytest.raises(util.UserError, match="sol 0010 is in both lists"):
        datasets.check_sols(train, test)


@pytest.mark.parametrize("n_images", [2, 6, 16])
def test_whole_images_are_held_out(tmp_path, n_images):
    for i in range(n_images):
        write(tmp_path / "a" / f"{i:02}.png", noise(128, 129, i))
    write(tmp_path / "a" / "copy.png", noise(128, 129, 0))
    write(tmp_path / "a" / "small.png", noise(10, 10))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 100, 100, ("sr_x4",))
    used = {key: {tile["source"] for tile in manifest["tiles"][key]} for key in split.SPLITS}
    assert len(used["train"]) + len(used["test"]) == n_images
    assert 1 <= len(used["test"]) <= n_images / 2
    assert not used["train"] & used["test"]
    assert not {"copy.png", "00.png"} <= used["train"] | used["test"]


def test_images_that_are_added_move_none_to_the_other_side(tmp_path):
    def held(n, before=None):
        side = split.Side([], [], [])
        for i in range(n):
            side.paths.append(Path(f"{i}.png"))
            side.capacities.append(1)
            side.looks.append(split.Look(128, 128, None, hashlib.sha256(bytes([i])).hexdigest()))
        train, test = split.hold_out(side, before=before)
        assert sorted(train.paths + test.paths) == sorted(side.paths)
        return set(train.paths), set(test.paths), split.exceptions_of(train, test)

    train, test, exceptions = held(60)
    assert exceptions == {}
    more_train, more_test, _ = held(200)
    assert train < more_train
    assert test < more_test
    assert 0.05 < len(more_test) / 200 < 0.15
    train, test, exceptions = held(2)
    assert len(exceptions) == 1  # none is below the tenth, or both
    for n in range(3, 60):
        more_train, more_test, exceptions = held(n, exceptions)
        assert train < more_train or test < more_test
        assert train <= more_train
        assert test <= more_test
        train, test = more_train, more_test


def test_a_set_of_few_images_remembers_what_was_held_out(tmp_path):
    def sides(manifest):
        return [{tile["source"] for tile in manifest["tiles"][key]} for key in split.SPLITS]

    for i in range(3):
        write(tmp_path / "a" / f"{i}.png", noise(140, 150, i))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
    train, test = sides(manifest)
    assert len(test) == 1
    for i in range(3, 12):
        write(tmp_path / "a" / f"{i}.png", noise(140, 150, i))
        manifest, finished = make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
        more_train, more_test = sides(manifest)
        assert train <= more_train and test <= more_test and not finished
        train, test = more_train, more_test


def test_one_training_image_is_said_to_be_too_few(tmp_path):
    for i in range(2):
        write(tmp_path / "a" / f"{i}.png", noise(140, 150, i))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
    assert any("all tiles are of one image" in line for line in build.describe(manifest, tmp_path))


@pytest.mark.parametrize("dataset", ["one folder", "two folders"])
def test_the_same_picture_in_another_format_is_the_same_picture(tmp_path, dataset):
    test = tmp_path / ("a" if dataset == "one folder" else "b")
    for i in range(6):
        write(tmp_path / "a" / f"{i}.png", noise(140, 150, i)[..., : 1 if i == 5 else 3].squeeze())
    write(test / "copy.bmp", noise(140, 150, 3))
    write(test / "gray.bmp", noise(140, 150, 5)[..., :1].repeat(3, axis=-1))
    if dataset == "two folders":
        with pytest.raises(util.UserError, match=r"3\.png \(train\) and .*copy\.bmp \(test\) are the same"):
            make(tmp_path, datasets.own_images(tmp_path / "a", test))
        return
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
    assert manifest["counts"]["train"]["skipped"] == {"identical to another": 2}


@pytest.mark.parametrize("kind", ["opaque alpha", "under alpha", "another type", "another precision"])
@pytest.mark.parametrize("dataset", ["one folder", "two folders"])
def test_the_same_picture_is_told_whatever_its_samples(tmp_path, dataset, kind):
    test = tmp_path / ("a" if dataset == "one folder" else "b")
    for folder in {tmp_path / "a", test}:
        folder.mkdir()
    for i in range(8):
        image = noise(140, 150, i)
        alpha = np.full((140, 150, 1), 255, np.uint8)
        if kind == "under alpha":
            alpha[:4] = 0
            write(tmp_path / "a" / f"{i}.png", np.concatenate([image, alpha], axis=-1))
            image[:4] = 7
        if kind.endswith("alpha"):
            if kind == "opaque alpha":
                write(tmp_path / "a" / f"{i}.png", image)
            write(test / f"copy{i}.png", np.concatenate([image, alpha], axis=-1))
            continue
        here, there = (np.int16, np.float32) if kind == "another type" else (np.float32, np.float64)
        values = image[..., 0] / (1 if kind == "another type" else 255)
        tifffile.imwrite(tmp_path / "a" / f"{i}.tif", values.astype(here), metadata=None)
        np.save(test / f"copy{i}.npy", values.astype(there))
    if dataset == "two folders":
        with pytest.raises(util.UserError, match="are the same image"):
            make(tmp_path, datasets.own_images(tmp_path / "a", test))
        return
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
    assert manifest["counts"]["train"]["skipped"] == {"identical to another": 8}


def test_equal_pictures_of_two_types_are_kept_apart_until_they_are_cut(tmp_path):
    values = noise(140, 150, 1)[..., 0] / 255
    for dtype in (np.float32, np.float64):
        np.save(tmp_path / f"{dtype.__name__}.npy", values.astype(dtype))
    looks = [split.look_at_pixels(tmp_path / name, 128, keep_in=tmp_path / "kept", n_bytes=10**9)
             for name in ("float32.npy", "float64.npy")]
    assert looks[0].pixels == looks[1].pixels
    assert [np.load(one.kept).dtype for one in looks] == [np.float32, np.float64]


def test_where_no_image_can_be_cut_the_first_ones_own_advice_is_given(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(3):
        tifffile.imwrite(tmp_path / "a" / f"{i}.tif", noise(140, 150, i)[..., [0, 1, 2, 0]].astype(np.uint16),
                         metadata=None, photometric="minisblack", planarconfig="contig")
    with pytest.raises(util.UserError, match=r"of 4 channels.*: add images; .*\.tif has 4 channels: save the one, or"):
        make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
    heights = np.ones((3, 140, 150), np.float32)
    heights[:, 60:80, 60:90] = np.nan
    (tmp_path / "b").mkdir()
    for i, values in enumerate(heights):
        np.save(tmp_path / "b" / f"{i}.npy", values * np.arange(150, dtype=np.float32) + i)
    with pytest.raises(util.UserError, match=r"with holes .*, or cut smaller tiles with --tile"):
        make(tmp_path, datasets.own_images(tmp_path / "b"), 40, 10)


def test_a_value_that_may_stand_for_none_is_said_of_a_set(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(14):
        heights = noise(140, 150, i)[..., 0].astype(np.int16)
        if i:
            heights[:7] = -32768
        np.save(tmp_path / "a" / f"{i:02}.npy", heights)
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 40, 10)
    lines = [line for line in build.describe(manifest, tmp_path) if "are -32768, far" in line]
    assert len(lines) == 10
    assert all(".npy: 5% of its values are -32768, far from all others" in line for line in lines)
    assert "and 3 images more of that kind, see its manifest.json" in build.describe(manifest, tmp_path)


# Values deeper than 8 bits, one channel, holes ----------------------------------------------------------------------


def maps(folder, convert, suffix, n=6):
    """Write photographs of scikit-image as others store them."""
    folder.mkdir()
    for i, name in enumerate(("camera", "coins", "moon", "brick", "grass", "gravel")[:n]):
        values = convert(getattr(data, name)()[:200, :180])
        path = folder / f"{i}{suffix}"
        if suffix == ".npy":
            np.save(path, values)
        elif suffix == ".npz":
            np.savez(path, values=values)
        else:
            tifffile.imwrite(path, values, metadata=None)
    return datasets.own_images(folder)


DEEP = {
    "12 bits": (lambda image: image.astype(np.uint16) * 16, ".tif", "uint16", (0, 4080)),
    "elevation": (lambda image: image.astype(np.float32) * 4 - 500, ".tif", "float32", (-500, 520)),
    "int16": (lambda image: image.astype(np.int16) - 100, ".npy", "int16", (-100, 155)),
    "float64": (lambda image: image / 255, ".npz", "float64", (0, 1)),
    "big endian": (lambda image: image.astype(">u2"), ".npy", "uint16", (0, 255)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_tiles_of_deep_values_keep_them(tmp_path, kind):
    convert, suffix, dtype, (low, high) = DEEP[kind]
    sources = maps(tmp_path / "a", convert, suffix)
    manifest, _ = make(tmp_path, sources, 12, 4, None)
    assert (manifest["dtype"], manifest["channels"], manifest["tile_size"]) == (dtype, 1, 128)
    assert low <= manifest["low"] < low + (high - low) / 8
    assert high - (high - low) / 8 < manifest["high"] <= high
    assert manifest["tasks"] == ["sr_x4", "sr_x8"]  # a sigma of 64 is one of gray levels
    for key in split.SPLITS:
        for k, tile in enumerate(manifest["tiles"][key]):
            target = tilefile.read_tile(tmp_path / "set" / key / "hr" / f"{k:05d}.npy")
            source = imagefile.read_picture(tmp_path / "a" / tile["source"]).pixels
            crop = source[tile["y"] : tile["y"] + 128, tile["x"] : tile["x"] + 128]
            np.testing.assert_array_equal(target, np.rot90(crop, tile["rotation"] // 90))
            assert (target.dtype, target.shape) == (dtype, (128, 128, 1))
            degraded = tilefile.read_tile(tmp_path / "set" / key / "sr_x4" / f"{k:05d}.npy")
            np.testing.assert_array_equal(degraded, degrade(target, "sr_x4", None))
    assert {tile["rotation"] for tile in manifest["tiles"]["test"]} == {0}  # people look at them
    assert any("noise is in these units" in line for line in build.describe(manifest, "set"))
    assert make(tmp_path, sources, 12, 4, None) == (manifest, True)


def test_planar_colours_of_16_bits_are_cut_as_they_are(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(3):
        image = noise(150, 160, i).astype(np.uint16) * 200 + 37
        tifffile.imwrite(tmp_path / "a" / f"{i}.tif", np.moveaxis(image, -1, 0), photometric="rgb",
                         planarconfig="separate", byteorder=">")
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 1, 1, ("noise_s500",))
    tile = manifest["tiles"]["test"][0]
    source = noise(150, 160, int(tile["source"][0])).astype(np.uint16) * 200 + 37
    folder = tmp_path / "set" / "test"
    target, noisy = (tilefile.read_tile(folder / name / "00000.npy") for name in ("hr", "noise_s500"))
    np.testing.assert_array_equal(target, source[tile["y"] : tile["y"] + 128, tile["x"] : tile["x"] + 128])
    assert 350 < np.std(noisy.astype(float) - target) < 510
    assert manifest["low"] <= noisy.min() < noisy.max() <= manifest["high"]


def test_gray_of_8_bits_is_one_channel(tmp_path):
    sources = maps(tmp_path / "a", lambda image: image, ".tif")
    manifest, _ = make(tmp_path, sources, 6, 2)
    assert (manifest["dtype"], manifest["channels"], manifest["low"], manifest["high"]) == ("uint8", 1, 0, 255)
    with Image.open(tmp_path / "set" / "train" / "noise_s64" / "00000.png") as image:
        assert image.mode == "L"
    assert tilefile.read_tile(tmp_path / "set" / "train" / "hr" / "00000.png").shape == (128, 128, 1)
    write(tmp_path / "a" / "colour.png", noise(150, 150))  # beside colours gray is colour too
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 6, 2)
    assert manifest["channels"] == 3
    assert all(tilefile.read_tile(path).shape == (128, 128, 3) for path in (tmp_path / "set").rglob("*.png"))


def test_the_range_may_be_given(tmp_path):
    sources = maps(tmp_path / "a", *DEEP["12 bits"][:2])
    manifest, _ = make(tmp_path, sources, value_range=(0, 4095))
    assert (manifest["low"], manifest["high"]) == (0, 4095)
    assert make(tmp_path, sources)[1]  # whatever the range
    assert not make(tmp_path, sources, value_range=(0, 65535))[1]
    with pytest.raises(util.UserError, match="--range is for values deeper than 8 bits"):
        make(tmp_path, maps(tmp_path / "b", lambda image: image, ".tif"), name="other", value_range=(0, 100))


def test_8_bits_among_deeper_images_are_left_out_and_counted(tmp_path):
    maps(tmp_path / "a", *DEEP["12 bits"][:2])
    write(tmp_path / "a" / "eight.png", noise(150, 150))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 6, 2)
    assert manifest["dtype"] == "uint16"
    assert manifest["counts"]["train"]["skipped"] == {"of 8 bits, unlike the others": 1}
    for i in range(7):
        write(tmp_path / "b" / f"{i}.png", noise(150, 150, i))
    maps(tmp_path / "b" / "deep", *DEEP["12 bits"][:2])
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "b"), 6, 2, name="other")
    assert manifest["dtype"] == "uint8"
    assert manifest["counts"]["train"]["skipped"] == {"deeper than the others, of 8 bits": 6}


def test_maps_of_several_types_get_one_that_holds_all(tmp_path):
    maps(tmp_path / "a", *DEEP["int16"][:2])
    maps(tmp_path / "a" / "more", *DEEP["elevation"][:2], 2)
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 8, 1)
    assert manifest["dtype"] == "float32"
    for k, tile in enumerate(manifest["tiles"]["train"]):
        source = imagefile.read_picture(tmp_path / "a" / tile["source"]).pixels
        target = tilefile.read_tile(tmp_path / "set" / "train" / "hr" / f"{k:05d}.npy")
        assert target.dtype == np.float32
        assert target[0, 0, 0] in source


@pytest.mark.parametrize("kind", ["holes", "transparent"])
def test_no_tile_has_a_hole_or_a_transparent_pixel(tmp_path, kind):
    (tmp_path / "a").mkdir()
    for i in range(4):
        image = noise(300, 310, i)
        image[100:140, 130 + i : 170] = 0
        if kind == "holes":
            heat = image[..., 0].astype(np.float32) + 1
            np.save(tmp_path / "a" / f"{i}.npy", np.where(image.any(axis=-1), heat, np.nan))
        else:
            alpha = 255 * image.any(axis=-1, keepdims=True).astype(np.uint8)
            write(tmp_path / "a" / f"{i}.png", np.concatenate([image, alpha], axis=-1))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), 100, 20, ("sr_x4",))
    assert manifest["counts"]["train"]["made"] == 100
    for tile in (tile for key in split.SPLITS for tile in manifest["tiles"][key]):
        i = int(tile["source"][0])
        assert not (tile["y"] < 140 and tile["y"] + 128 > 100 and tile["x"] < 170 and tile["x"] + 128 > 130 + i)


def test_an_image_of_which_a_few_places_are_free_gives_these(tmp_path):
    for i in range(2):
        image = np.dstack([noise(140, 140, i), np.full((140, 140), 255, np.uint8)])
        image[130:, :, 3] = 0
        write(tmp_path / "ab"[i] / "0.png", image)
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a", tmp_path / "b"), 1000, 10)
    assert manifest["counts"]["train"]["distinct"] == 3 * 13


def test_small_images_give_small_tiles(tmp_path):
    for i in range(4):
        write(tmp_path / "a" / f"{i}.png", noise(90, 120, i))
    sources = datasets.own_images(tmp_path / "a")
    with pytest.raises(util.UserError, match=r"4 smaller than 128 pixels\): .* --tile"):
        make(tmp_path, sources)
    manifest, _ = make(tmp_path, sources, size=64)
    assert manifest["tile_size"] == 64
    assert all(tilefile.read_tile(path).shape == (64, 64, 3) for path in (tmp_path / "set").rglob("*.png"))
    assert not make(tmp_path, sources, size=48)[1]


def test_reasons_are_in_the_sentence(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(6):
        tifffile.imwrite(tmp_path / "a" / f"{i}.tif", noise(5 * 150, 160, i)[..., 0].reshape(5, 150, 160))
    with pytest.raises(util.UserError, match=r"skipped 6 of 6 images: 6 of several pages \(see --pages\)\): add"):
        make(tmp_path, datasets.own_images(tmp_path / "a"))


def test_pages_are_cut_where_asked_those_of_a_file_on_one_side(tmp_path):
    (tmp_path / "a").mkdir()
    stacks = noise(6 * 5 * 140, 150)[..., 0].reshape(6, 5, 140, 150)
    for i, stack in enumerate(stacks):
        tifffile.imwrite(tmp_path / "a" / f"{i}.tif", stack, photometric="minisblack", metadata=None)
    sources = datasets.own_images(tmp_path / "a", pages=True)
    manifest, _ = make(tmp_path, sources, 40, 10)
    used = {key: {tile["source"] for tile in manifest["tiles"][key]} for key in split.SPLITS}
    assert len(used["train"] | used["test"]) == 6
    assert not used["train"] & used["test"]
    for k, tile in enumerate(manifest["tiles"]["test"]):
        target = tilefile.read_tile(tmp_path / "set" / "test" / "hr" / f"{k:05d}.png")[..., 0]
        page = stacks[int(tile["source"][0]), tile["page"]]
        np.testing.assert_array_equal(target, page[tile["y"] : tile["y"] + 128, tile["x"] : tile["x"] + 128])
    assert {tile["page"] for tile in manifest["tiles"]["train"]} == set(range(5))
    assert make(tmp_path, sources, 40, 10)[1]


def test_a_name_that_is_no_utf_8_is_cut(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        write(tmp_path / "a" / name, noise(140, 150))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    write(tmp_path / "b" / "1.png", noise(140, 150, 1))
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a", tmp_path / "b"), 2, 1)
    assert manifest["tiles"]["train"][0]["source"] == "caf\\xe9.png"
    assert manifest == util.read_json(tmp_path / "set" / "manifest.json")


def hide_tiles(path, how):
    if how == "broken":  # the header stays
        path.write_bytes(path.read_bytes()[:20_000])
    else:
        write(path, np.full((140, 140, 3), 7, np.uint8))


@pytest.mark.parametrize("how", ["broken", "of one colour"])
def test_an_image_without_tiles_is_not_held_out(tmp_path, how):
    for i in range(6):
        write(tmp_path / "a" / f"{i}.png", noise(140, 140, i))
    first, _ = make(tmp_path, datasets.own_images(tmp_path / "a"), name="first")
    held_out = first["tiles"]["test"][0]["source"]
    hide_tiles(tmp_path / "a" / held_out, how)
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"))
    assert {tile["source"] for tile in manifest["tiles"]["test"]} != {held_out}
    assert list(manifest["counts"]["train"]["skipped"].values()) == [1]
    assert manifest["counts"]["test"]["skipped"] == {}


def test_of_two_images_that_can_be_cut_one_is_for_train(tmp_path):
    for i in range(16):  # one in ten would be two
        write(tmp_path / "a" / f"{i:02}.png", noise(140, 140, i))
        if i not in (3, 8):
            hide_tiles(tmp_path / "a" / f"{i:02}.png", "broken")
    manifest, _ = make(tmp_path, datasets.own_images(tmp_path / "a"))
    used = {key: {tile["source"] for tile in manifest["tiles"][key]} for key in split.SPLITS}
    assert sorted(map(len, used.values())) == [1, 1]
    assert used["train"] | used["test"] == {"03.png", "08.png"}


def test_one_image_cannot_be_split(tmp_path):
    write(tmp_path / "a" / "0.png", noise(128, 128))
    write(tmp_path / "a" / "1.png", noise(20, 20))
    sources = datasets.own_images(tmp_path / "a")
    with pytest.raises(util.UserError, match=r"1 image of at least 128x128 was found and two .*into two files"):
        make(tmp_path, sources)


def test_the_sample_needs_no_network():
    sources = datasets.open_sources(datasets.DATASETS["sample"], [], "unused")
    assert len(sources.train) + len(sources.test) == 14
    split.check_no_leak(*map(split.survey, (sources.train, sources.test)))
    names = {path.stem for path in sources.train + sources.test}
    assert not names & {"motorcycle_right", "text", "page"}


# Sets on disk ---------------------------------------------------------------------------------------------------


def state(folder):
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*")}


def test_a_finished_set_is_not_made_again(tmp_path, images):
    first, _ = make(tmp_path, images)
    before = state(tmp_path / "set")
    for options in ({}, {"n_train": 5}, {"tasks": ("sr_x4",)}):
        manifest, finished = make(tmp_path, images, **options)
        assert finished
        assert manifest == first
    assert state(tmp_path / "set") == before


CHANGES = {
    "9 train tiles, not 8": {"n_train": 9},
    "seed 1, not 0": {"seed": 1},
    "tasks sr_x4 gray, not sr_x4 noise_s64": {"tasks": ("sr_x4", "gray")},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_set_that_does_not_do_is_made_anew(tmp_path, images, capsys, what):
    change = CHANGES[what]
    make(tmp_path, images)
    assert capsys.readouterr().err == ""
    manifest, finished = make(tmp_path, images, **change)
    assert not finished
    assert capsys.readouterr().err == f"{tmp_path / 'set'} is made anew, what is wanted differs: {what}\n"
    assert {p.name for p in (tmp_path / "set" / "train").iterdir()} == {"hr", *change.get("tasks", TASKS)}
    assert len(list((tmp_path / "set" / "train" / "hr").iterdir())) == manifest["counts"]["train"]["made"]
    assert not list(tmp_path.glob(".*"))


def test_another_source_image_or_a_lost_tile_makes_it_anew(tmp_path, images, capsys):
    make(tmp_path, images)
    (tmp_path / "set" / "test" / "hr" / "00001.png").unlink()
    assert not make(tmp_path, images)[1]
    assert "all test tiles, and some are lost" in capsys.readouterr().err
    write(tmp_path / "a" / "new.png", noise(140, 150, 99))
    assert not make(tmp_path, datasets.own_images(tmp_path / "a", tmp_path / "b"))[1]
    assert "other sources" in capsys.readouterr().err


def test_an_edited_image_of_the_same_size_makes_it_anew(tmp_path):
    for folder, seed in (("a", 0), ("b", 1)):
        write(tmp_path / folder / "0.bmp", noise(140, 150, seed))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    make(tmp_path, sources)
    n_bytes = sources.train[0].stat().st_size
    write(sources.train[0], noise(140, 150, 2))
    assert sources.train[0].stat().st_size == n_bytes
    assert not make(tmp_path, sources)[1]


def test_images_of_archives_are_listed_by_name_and_size(tmp_path, images):
    facts = ({"file": "a.zip", "url": None, "bytes": 3, "sha256": "0" * 64, "verified": True},)
    sources = replace(images, archives=facts)
    text = ""
    for side in (images.train, images.test):
        text += "".join(f"{path.name}\t{path.stat().st_size}\n" for path in side) + "\n"
    assert build.listing_of(sources) == hashlib.sha256(text.encode()).hexdigest()


def test_all_there_is_is_finished_until_more_is_demanded(tmp_path):
    write(tmp_path / "a" / "0.png", noise(128, 130))
    write(tmp_path / "b" / "1.png", noise(128, 128, 1))
    sources = datasets.own_images(tmp_path / "a", tmp_path / "b")
    make(tmp_path, sources, 10, 1)
    assert make(tmp_path, sources, 10, 1)[1]
    before = digests(tmp_path / "set")
    with pytest.raises(util.UserError, match="3 distinct"):
        make(tmp_path, sources, 4, 1, exact=("train",))
    assert digests(tmp_path / "set") == before
    assert not make(tmp_path, sources, 12, 1, repeat=True)[1]
    with pytest.raises(util.UserError, match="3 distinct"):
        make(tmp_path, sources, 4, 1, exact=("train",))


def test_a_foreign_folder_is_never_touched(tmp_path, images):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.tex").write_text("years of work")
    before = state(tmp_path / "set")
    with pytest.raises(util.UserError, match="was not made by"):
        make(tmp_path, images)
    assert state(tmp_path / "set") == before


BROKEN = {
    "no JSON": "{",
    "hardly a field": '{"format": 1, "counts": {}, "tiles": {}}',
    "tasks": {"tasks": 3},
    "a task": {"tasks": [3]},
    "seed": {"seed": "0"},
    "a side": {"counts": {"train": {}, "test": {}}},
    "archives": {"archives": [3]},
    "tiles": {"tiles": []},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_manifest_is_one_sentence(tmp_path, images, what):
    make(tmp_path, images)
    path, change = tmp_path / "set" / "manifest.json", BROKEN[what]
    path.write_text(json.dumps(json.loads(path.read_text()) | change) if isinstance(change, dict) else change)
    before = state(tmp_path / "set")
    with pytest.raises(util.UserError) as caught:
        make(tmp_path, images)
    folder = tmp_path / "set"
    assert str(caught.value) == f"{path} is broken: remove the folder {folder} and run the same command again"
    assert state(folder) == before


def test_a_set_of_another_format_is_made_anew(tmp_path, images, capsys):
    make(tmp_path, images)
    (tmp_path / "set" / "manifest.json").write_text('{"format": 0, "counts": 8, "tiles": 3}')
    assert not make(tmp_path, images)[1]
    assert "another version" in capsys.readouterr().err


@pytest.mark.skipif(disk.fcntl is None, reason="no locks here")
def test_two_processes_do_not_make_one_set(tmp_path, images):
    half = write(tmp_path / ".set.partial" / "train" / "hr" / "00000.png", noise(8, 8))
    with (tmp_path / ".set.lock").open("w") as file:
        disk.lock(file, tmp_path)
        with pytest.raises(util.UserError, match=r"another process is busy with .*set: wait"):
            make(tmp_path, images)
        assert half.exists()
    make(tmp_path, images)  # the file that a killed process leaves is no lock
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "set"}


@pytest.mark.skipif(disk.fcntl is None, reason="no locks here")
def test_a_lock_on_a_file_that_is_gone_is_taken_again(tmp_path, monkeypatch):
    path, lock, calls = tmp_path / ".set.lock", disk.lock, []

    def slow(file, what):
        if not calls:
            path.unlink()  # as the process before does between our opening and our locking
        calls.append(file)
        lock(file, what)

    monkeypatch.setattr(disk, "lock", slow)
    with disk.locked(path, tmp_path):
        assert len(calls) == 2
        assert path.exists()
    assert not path.exists()


def test_what_another_process_has_just_made_is_taken(tmp_path, images, monkeypatch):
    first, _ = make(tmp_path, images)
    before = state(tmp_path / "set")
    monkeypatch.setattr(build, "find_finished", lambda *_: None)  # it was not there a moment ago
    assert make(tmp_path, images) == (first, True)
    assert state(tmp_path / "set") == before


def test_an_error_leaves_the_old_set_and_no_half_set(tmp_path, images, monkeypatch):
    make(tmp_path, images)
    before = digests(tmp_path / "set")

    def full(path, array):
        if path.name == "00005.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(tiles, "write_tile", full)
    with pytest.raises(OSError, match="No space"):
        make(tmp_path, images, 20)
    assert digests(tmp_path / "set") == before
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "set"}


def test_leftovers_of_a_killed_run_are_cleared(tmp_path, images):
    make(tmp_path, images)
    before = digests(tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / ".set.old")  # killed between the two renames ...
    write(tmp_path / ".set.partial" / "train" / "hr" / "99999.png", noise(8, 8))  # ... or while it cut
    _, finished = make(tmp_path, images)
    assert finished
    assert digests(tmp_path / "set") == before
    make(tmp_path, images, 9)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "set"}


def job_in(folder, path):
    return tiles.Job(path, 0, ((0, 0, 0),), folder, 0, 0, ())


def test_an_error_in_another_process_comes_through(tmp_path, images):
    job = job_in(tmp_path / "missing", images.train[0])
    with workers.worker_pool(2, tiles.__name__) as pool:
        coming = workers.results(pool, tiles.cut, [job])
        with pytest.raises(FileNotFoundError):
            next(coming)


def test_a_killed_process_is_a_sentence():
    said = "a worker process was killed: free"
    with pytest.raises(util.UserError, match=said), workers.worker_pool(2, __name__) as pool:
        list(workers.results(pool, end_at_once, [9]))


def end_at_once(status):
    os._exit(status)


def test_ctrl_c_while_the_processes_start_is_not_lost(monkeypatch):
    submit = workers.ProcessPoolExecutor.submit

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return submit(*arguments)

    monkeypatch.setattr(workers.ProcessPoolExecutor, "submit", interrupted)
    pool = workers.worker_pool(2, tiles.__name__)
    with pytest.raises(KeyboardInterrupt):
        pool.__enter__()


def test_the_benchmark_names_what_it_ran_on():
    machine = benchmark.describe_machine()
    assert machine.keys() == {"cpu", "memory_gigabytes", "load_average_before", "versions", "git_commit"}
    assert machine["versions"].keys() == {"python", "numpy", "pillow"}


def test_images_are_decoded_once_and_give_the_same_tiles_where_there_is_no_room(tmp_path, images, monkeypatch):
    decoded, read_pair = [], tiles.read_pair
    monkeypatch.setattr(tiles, "read_pair", lambda *paths: decoded.append(paths) or read_pair(*paths))
    make(tmp_path / "kept", images)
    assert not decoded
    monkeypatch.setattr(build, "KEPT_BYTES", 0)
    make(tmp_path / "again", images)
    assert len(decoded) == 8
    assert digests(tmp_path / "kept") == digests(tmp_path / "again")


@pytest.mark.parametrize("shape", [(128, 128, 3), (32, 48, 1)])
def test_a_tile_comes_back_as_it_was_written_and_is_hardly_larger_than_pillows(tmp_path, shape):
    height, width, channels = shape
    photograph = data.astronaut()[:height, :width, :channels]
    for name, tile in (("photograph", photograph), ("noise", noise(height, width)[..., :channels])):
        path = tmp_path / f"{name}.png"
        tilefile.write_tile(path, tile)
        assert (tilefile.read_tile(path) == tile).all()
        with Image.open(path) as image:
            image.verify()
            assert image.mode == ("RGB" if channels == 3 else "L")
        Image.fromarray(tile if channels == 3 else tile[..., 0]).save(tmp_path / "pillow.png", compress_level=1)
        assert path.stat().st_size < 1.2 * (tmp_path / "pillow.png").stat().st_size
