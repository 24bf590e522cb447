import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import interrupt
import util
from inception2_module import tileset

ROOT = Path(__file__).parents[1]


def tiles(n=2, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_psnr_agrees_with_scikit_image_tile_by_tile():
    target, other = tiles(seed=0), tiles(seed=1)
    expected = [peak_signal_noise_ratio(t, o, data_range=255) for t, o in zip(target, other, strict=True)]
    np.testing.assert_allclose(util.psnr_of_mse(util.mse(target, other)), expected, rtol=1e-12)


def test_mse_of_a_known_offset_does_not_wrap_around():
    target = np.full((1, 8, 8, 3), 250, np.uint8)
    assert util.mse(target, np.full_like(target, 2)) == 248**2


def test_equal_tiles_have_a_finite_psnr_above_any_other():
    target = tiles(size=128)
    almost = target.copy()
    almost[:, 0, 0, 0] ^= 1
    equal, nearly = (util.psnr_of_mse(util.mse(target, other)) for other in (target, almost))
    assert (equal == util.PSNR_OF_EQUAL).all()
    assert (nearly < equal).all()


def test_ssim_is_one_for_equal_tiles_and_scores_every_tile():
    target = tiles()
    other = target.copy()
    other[1] = 255 - other[1]
    scores = util.ssim(target, other)
    assert scores[0] == pytest.approx(1)
    assert scores[1] < 0


@pytest.mark.parametrize("measure", [util.mse, util.ssim])
def test_measures_refuse_floats_and_shapes_that_would_broadcast(measure):
    with pytest.raises(ValueError, match="uint8"):
        measure(tiles().astype(np.float32), tiles())
    with pytest.raises(ValueError, match="differ"):
        measure(tiles(2), tiles(1))


def test_to_uint8_clips_and_rounds():
    values = np.array([-0.1, 0, 0.5, 0.9999, 1.7])
    np.testing.assert_array_equal(util.to_uint8(values), [0, 0, 128, 255, 255])


def write_named(directory, names):
    for name in names:
        util.write_image(directory / name, tiles()[0])


def test_pairs_are_matched_by_name_not_by_order(tmp_path):
    write_named(tmp_path / "hr", ["00001.png", "00000.png", "00010.png", "00002.png"])
    write_named(tmp_path / "x4", ["00010.png", "00002.png", "00000.png", "00001.png"])
    pairs = tileset.list_pairs(tmp_path / "hr", tmp_path / "x4")
    assert [(t.name, d.name) for t, d in pairs] == [(f"{i:05}.png",) * 2 for i in (0, 1, 2, 10)]


@pytest.mark.parametrize("lacks", ["hr", "x4"])
def test_a_tile_without_partner_is_named(tmp_path, lacks):
    write_named(tmp_path / "hr", ["00000.png", "00001.png"])
    write_named(tmp_path / "x4", ["00000.png", "00001.png"])
    (tmp_path / lacks / "00001.png").unlink()
    with pytest.raises(util.UserError, match=r"00001\.png has no partner in .*" + lacks):
        tileset.list_pairs(tmp_path / "hr", tmp_path / "x4")


def test_tiles_of_two_sizes_are_refused(tmp_path):
    util.write_image(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    util.write_image(tmp_path / "b.png", np.zeros((32, 16, 3), np.uint8))
    with pytest.raises(util.UserError, match=r"b\.png is 16x32 and .*a\.png is 32x32"):
        tileset.read_tiles([tmp_path / "a.png", tmp_path / "b.png"])


def test_images_come_back_as_written(tmp_path):
    image = tiles()[0]
    util.write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(util.read_image(tmp_path / "a.png"), image)


def test_every_mode_is_read_as_rgb(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([gray] * 3 + [gray])).save(tmp_path / "alpha.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(util.read_image(path), np.dstack([gray] * 3), err_msg=path.name)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.fromarray(tiles()[0][:16])
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(util.read_image(tmp_path / "a.png"), np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_broken_image_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(util.ImageError, match=r"a\.png cannot be read"):
        util.read_image(path)


def test_a_truncated_image_is_refused(tmp_path):
    path = tmp_path / "a.png"
    util.write_image(path, tiles(size=128)[0])
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(util.ImageError, match=r"a\.png cannot be read"):
        util.read_image(path)


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.ones((16, 16), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(util.ImageError, match="no known range"):
        util.read_image(tmp_path / "a.tif")


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    util.write_json(path, {"good": 1})
    with pytest.raises(KeyboardInterrupt), util.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert util.read_json(path) == {"good": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        util.write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_values_and_puts_numbers_on_one_line(tmp_path):
    value = {"psnr_tiles": [1.5, -2e-05, 3], "text": "[1,\n 2]", "rows": [{"a": [1]}], "empty": []}
    util.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == value
    assert "1.5, -2e-05, 3" in text


def test_broken_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(util.UserError, match=r"a\.json is not valid JSON"):
        util.read_json(tmp_path / "a.json")


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(("error", "status", "said"), [
    (util.UserError("the thing is wrong"), 2, "the thing is wrong"),
    (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full"),
    (PermissionError(errno.EACCES, "Permission denied", "there"), 2, "(there)"),
    (KeyboardInterrupt(), 130, "interrupted"),
])
def test_expected_errors_end_in_one_sentence(capsys, error, status, said):
    assert util.run_cli(raising(error)) == status
    output = capsys.readouterr().err
    assert said in output
    assert output.strip().count("\n") == 0


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        util.run_cli(raising(ZeroDivisionError()))


def test_ctrl_c_is_held_back_and_not_lost():
    finished = False
    with pytest.raises(KeyboardInterrupt), interrupt.held():
        os.kill(os.getpid(), signal.SIGINT)
        finished = True
    assert finished


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "_a", "a:b", "a\\b", "a\0", "a" * 101])
def test_names_that_lead_elsewhere_are_not_plain(name):
    assert not util.is_plain_name(name)


def test_plain_names():
    assert all(util.is_plain_name(name) for name in ("mars", "my set 2", "a-b.c"))


def test_a_closed_pipe_ends_quietly():
    command = f"{sys.executable} -c 'import util; util.sys.exit(util.run_cli(lambda: print(\"x\" * 99999)))' | true"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
