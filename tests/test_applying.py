import errno
import os

import numpy as np
import pytest
from PIL import Image

import util
from download_module import tilefile
from download_module.degrade import upscale
from inception2_module import networkfile, symmetries
from restore_module import files


def same(inputs):
    """A stand-in network that returns its input."""
    return inputs


def brighter(inputs):
    return inputs + 10 / 255


def write(path, size=(40, 56), seed=0, **options):
    image = np.random.default_rng(seed).integers(20, 200, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return image


def restore(inputs, out, predict=brighter, task="sr_x4", **options):
    scale = networkfile.scale_of({"task": task})
    files.restore_files(inputs, out, lambda: predict, task, files.Options(scale=scale, **options))


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (600, 20), (700, 530)])
def test_an_image_of_any_size_comes_back_at_its_size(tmp_path, size):
    image = write(tmp_path / "a.png", size)
    restore([tmp_path / "a.png"], tmp_path / "out")
    np.testing.assert_array_equal(tilefile.read_image(tmp_path / "out" / "a.png"), image + 10)


@pytest.mark.parametrize("size", [(1, 1), (20, 33), (150, 140)])
def test_enlarging_gives_the_network_what_it_was_trained_on(tmp_path, size):
    image = write(tmp_path / "a.png", size)
    restore([tmp_path / "a.png"], tmp_path / "out", same, enlarge=True)
    np.testing.assert_array_equal(tilefile.read_image(tmp_path / "out" / "a.png"), upscale(image, 4))


def test_16_bit_images_are_enlarged_by_the_same_filter(tmp_path):
    image = np.random.default_rng(0).integers(80, 170, (30, 40), dtype=np.uint16)
    Image.fromarray(image * 257).save(tmp_path / "a.png")
    restore([tmp_path / "a.png"], tmp_path / "out", same, enlarge=True)
    large = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert large.dtype == np.uint16
    expected = upscale(np.repeat(image[..., None].astype(np.uint8), 3, axis=-1), 4)[..., 0]
    np.testing.assert_allclose(large / 257, expected, atol=1.1)  # 8 bits are rounded twice


def test_folders_and_patterns_are_expanded_and_keep_their_shape(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/deep/b.png", "c1.png", "c2.png"):
        write(tmp_path / name)
    (tmp_path / "in" / "Thumbs.db").write_text("no image")
    restore(["in", "c*.png"], tmp_path / "out")
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["a.png", "c1.png", "c2.png", "deep/b.png"]


def test_an_absolute_pattern_is_expanded(tmp_path):
    write(tmp_path / "c1.png")
    restore([f"{tmp_path}/c?.png"], tmp_path / "out")
    assert (tmp_path / "out" / "c1.png").exists()


def test_brackets_in_the_name_of_a_folder_mean_themselves(tmp_path):
    write(tmp_path / "a [2024]" / "c1.png")
    write(tmp_path / "a [2024]" / "._c1.png")
    restore([f"{tmp_path}/a [2024]/*[c]1.png"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c1.png"]


@pytest.mark.parametrize("given", ["in", "in/*.png", "in/*/*.png"])
def test_what_was_written_is_no_input_of_the_next_run(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in" / "a.png")
    write(tmp_path / "in" / "b" / "b.png")
    for _ in range(2):
        restore([given], "in/outputs")
    assert not list((tmp_path / "in" / "outputs").rglob("outputs"))
    n_written = {"in": 2, "in/*.png": 1, "in/*/*.png": 1}[given]
    assert len(list((tmp_path / "in" / "outputs").rglob("*.png"))) == n_written


def test_a_name_that_is_no_utf_8_is_restored(tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        image = write(tmp_path / name)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    inputs = [tmp_path / name]
    util.run_cli(lambda: restore(inputs, tmp_path / "out"))
    np.testing.assert_array_equal(tilefile.read_image(tmp_path / "out" / name), image + 10)


def test_10000_files_are_listed_at_once(tmp_path):
    """No name is compared with all others: the number of comparisons is that of the names."""
    paths = [tmp_path / f"{i}.png" for i in range(10_000)]
    assert len(files.find_images(paths, tmp_path / "out", None)) == 10_000


def test_what_may_not_be_looked_at_does_not_keep_the_others_from_being_restored(tmp_path, monkeypatch, capsys):
    for name in ("a.png", "closed/b.png", "shut/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    look, scan = os.stat, os.scandir

    def stat(path, *arguments, **options):  # by hand, because root may look everywhere
        if str(path).endswith("closed/b.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, *arguments, **options)

    def scandir(folder="."):
        if str(folder).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(util.UserError, match="1 folders could not be read and 1 of 2 images could not be restored"):
        restore([tmp_path / "a.png", tmp_path / "closed" / "b.png", tmp_path / "shut"], tmp_path / "out")
    errors = capsys.readouterr().err
    assert "b.png does not exist, or its folder may not be entered: check the path" in errors
    assert "shut may not be read: change its permissions" in errors
    assert (tmp_path / "out" / "a.png").exists()


def test_a_folder_that_may_not_be_read_is_an_error_at_the_end(tmp_path, monkeypatch, capsys):
    write(tmp_path / "a.png")
    listing = util.list_images

    def list_images(directory, skip, on_error):
        on_error("closed may not be read: change its permissions or leave it out")
        return listing(directory, skip)

    monkeypatch.setattr(util, "list_images", list_images)
    with pytest.raises(util.UserError, match="1 folders could not be read and 0 of 1 images"):
        restore([tmp_path], tmp_path / "out")
    assert "closed may not be read" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.png").exists()


def test_a_bad_file_gets_its_sentence_and_the_others_go_on(tmp_path, capsys):
    write(tmp_path / "in" / "a.png")
    write(tmp_path / "in" / "c.png")
    (tmp_path / "in" / "b.png").write_text("no image")
    with pytest.raises(util.UserError, match="1 of 3 images could not be restored"):
        restore([tmp_path / "in"], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    errors = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "b.png" in line]
    assert len(errors) == 1


def test_an_input_is_never_overwritten(tmp_path, capsys):
    write(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(util.UserError, match="1 of 1"):
        restore([tmp_path / "a.png"], tmp_path)
    assert "would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before


def test_nothing_half_written_is_left(tmp_path):
    write(tmp_path / "a.png")

    def interrupted(inputs):
        if inputs.shape[1] != 384:  # the measurement of the reach goes well
            raise KeyboardInterrupt
        return inputs

    with pytest.raises(KeyboardInterrupt):
        restore([tmp_path / "a.png"], tmp_path / "out", interrupted)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("task", "options", "said"), [
    ("noise_s64", {"enlarge": True}, "needs weights of super-resolution"),
    (None, {"enlarge": True}, "no known task"),
    ("sr_x4", {"trust_path": "trust.png"}, "one image at a time"),
])
def test_options_that_do_not_fit_are_refused_at_once(tmp_path, task, options, said):
    images = [write(tmp_path / name) is not None and tmp_path / name for name in ("a.png", "b.png")]
    with pytest.raises(util.UserError, match=said):
        restore(images, tmp_path / "out", task=task, **options)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(util.UserError, match="holds no image"):
        restore([tmp_path], tmp_path / "out")


def slanted(inputs):
    """A network that treats directions differently: its 8 outputs differ, their mean does not lean."""
    ramp = np.arange(inputs.shape[2], dtype=np.float32)[None, None, :, None] / 1000
    return inputs + ramp - ramp.mean()


def test_the_ensemble_is_the_mean_over_the_symmetries():
    inputs = np.random.default_rng(0).random((2, 16, 32, 3), np.float32)
    restored = symmetries.with_symmetries(slanted, ensemble=True, trust=False)(inputs)
    np.testing.assert_allclose(restored, inputs, atol=1e-6)
    assert np.abs(slanted(inputs) - inputs).max() > 0.01


def test_the_eight_symmetries_differ_and_are_undone():
    image = np.random.default_rng(0).random((1, 16, 32, 3), np.float32)
    seen = [symmetries._seen(image, *symmetry) for symmetry in symmetries.SYMMETRIES]
    assert len({view.tobytes() for view in seen}) == 8
    for view, symmetry in zip(seen, symmetries.SYMMETRIES, strict=True):
        np.testing.assert_array_equal(symmetries._upright(view, *symmetry), image)


def test_trust_is_the_spread_and_leaves_the_output_alone():
    inputs = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    restored = symmetries.with_symmetries(slanted, ensemble=False, trust=True)(inputs)
    np.testing.assert_allclose(restored[..., :3], slanted(inputs), atol=1e-6)
    sure, unsure = restored[0, 16, 16, 3], restored[0, 0, 0, 3]
    assert sure < 0.2 < unsure
    np.testing.assert_allclose(unsure, 255 * np.std([s * x for s in (-1, 1) for x in (0.0155,) * 4]), rtol=0.05)


def test_an_output_that_contradicts_its_low_resolution_is_not_trusted():
    inputs = np.full((1, 32, 32, 3), 0.5, np.float32)

    def spot(inputs):
        output = inputs.copy()
        output[:, 12:20, 12:20] += 0.1  # the same in all symmetries, so the spread is zero
        return output

    plain, with_scale = (symmetries.with_symmetries(spot, False, True, scale)(inputs)[0, ..., 3] for scale in (None, 4))
    assert plain.max() < 1e-3
    np.testing.assert_allclose(with_scale[16, 16], 25.5, rtol=0.15)
    assert with_scale[0, 0] < 1


@pytest.mark.parametrize("name", ["trust.png", "trust.npy"])
def test_the_trust_map_is_written(tmp_path, name):
    write(tmp_path / "a.png", (40, 56))
    restore([tmp_path / "a.png"], tmp_path / "out", slanted, trust_path=tmp_path / name)
    if name.endswith("npy"):
        trust = np.load(tmp_path / name)
        assert trust.shape == (40, 56)
        assert trust.dtype == np.float32
        assert 0 < trust.mean() < 50
    else:
        assert Image.open(tmp_path / name).width > 500


def test_weights_that_are_not_those_of_their_card_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(networkfile, "WEIGHTS", tmp_path)
    (tmp_path / "mine.keras").write_bytes(b"changed")
    util.write_json(tmp_path / "mine.json", {"sha256": "0" * 64, "dataset": "mars", "task": "sr_x4", "n_train": 9})
    with pytest.raises(util.UserError, match="not the file of its card"):
        networkfile.find_weights("mine")


def test_the_cards_of_weights_are_true():
    names = [card.stem for card in networkfile.WEIGHTS.glob("*.json")]
    for name in names:
        path, card = networkfile.find_weights(name)
        assert path.stat().st_size == card["bytes"] <= 8e6
        result = util.read_json(networkfile.WEIGHTS.parent / card["result"])
        assert {method: scores["psnr"] for method, scores in result["methods"].items()} == card["psnr"]
        assert f"`{card['sha256']}`" in (networkfile.WEIGHTS / "README.md").read_text()
    assert sorted(names) == [
        "mars_noise_s64", "mars_sr_x4", "mars_sr_x8", "photo_camera_x4", "photo_noise", "photo_sr_x2",
        "photo_sr_x4", "photo_sr_x8",
    ]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_values_beyond_the_range_of_the_set_are_restored_and_an_outlier_passes_by(tmp_path, dtype):
    """A network of maps of 0 to 1,000 m is shown the mountains of another map, and may put out higher ones."""
    heights = np.random.default_rng(0).integers(-200, 2_000, (60, 70)).astype(dtype)
    heights[30, 40] = 30_000
    np.save(tmp_path / "a.npy", heights)
    restore([tmp_path / "a.npy"], tmp_path / "out", lambda inputs: 1.5 * inputs, set_range=(0.0, 1_000.0))
    found, usual = np.load(tmp_path / "out" / "a.npy"), heights < 30_000
    np.testing.assert_allclose(found[usual], 1.5 * heights[usual], atol=1)
    assert found.dtype == dtype
    assert 30_000 < found[30, 40] < 31_500


def test_an_image_far_from_the_training_gets_one_sentence_in_its_line(tmp_path, capsys):
    write(tmp_path / "in" / "noise.png", (64, 64))  # values at random: a deviation of 52
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "black.png")
    write(tmp_path / "in" / "tiny.png", (16, 16))
    restore([tmp_path / "in"], tmp_path / "out", task="noise_s64")
    black, noise, tiny = sorted(capsys.readouterr().out.splitlines())
    assert black.endswith(": noise of about 0 is estimated, the network was trained for 64: expect harm")
    assert noise.endswith("megapixels a second)")
    assert tiny.endswith("megapixels a second)")
