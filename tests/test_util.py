import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

import util
from download_module import tilefile
from inception2_module import scores, tileset

ROOT = Path(__file__).parents[1]


def tiles(n=2, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_psnr_agrees_with_scikit_image_tile_by_tile():
    target, other = tiles(seed=0), tiles(seed=1)
    expected = [peak_signal_noise_ratio(t, o, data_range=255) for t, o in zip(target, other, strict=True)]
    np.testing.assert_allclose(scores.psnr_of_mse(scores.mse(target, other)), expected, rtol=1e-12)


def test_mse_of_a_known_offset_does_not_wrap_around():
    target = np.full((1, 8, 8, 3), 250, np.uint8)
    assert scores.mse(target, np.full_like(target, 2)) == 248**2


def test_equal_tiles_have_a_finite_psnr_above_any_other():
    target = tiles(size=128)
    almost = target.copy()
    almost[:, 0, 0, 0] ^= 1
    equal, nearly = (scores.psnr_of_mse(scores.mse(target, other)) for other in (target, almost))
    assert (equal == scores.PSNR_OF_EQUAL).all()
    assert (nearly < equal).all()


def test_ssim_is_one_for_equal_tiles_and_scores_every_tile():
    target = tiles()
    other = target.copy()
    other[1] = 255 - other[1]
    first, second = scores.ssim(target, other)
    assert first == pytest.approx(1)
    assert second < 0


@pytest.mark.parametrize("measure", [scores.mse, scores.ssim])
def test_measures_refuse_other_types_and_shapes_that_would_broadcast(measure):
    for target, restored in ((tiles().astype(np.float32), tiles()), (tiles(2), tiles(1)), (tiles()[0], tiles()[0])):
        with pytest.raises(ValueError, match="of one type and shape"):
            measure(target, restored)


@pytest.mark.parametrize("kind", [scores.Kind("uint16", 3, 100, 4195), scores.Kind("float32", 3, -5.0, 11.0)])
def test_another_kind_scores_like_8_bits(kind):
    """The same tiles in other units: the same PSNR and SSIM, but for rounding."""
    target, restored = tiles(), np.roll(tiles(), 1, axis=2)
    mapped = [(tile / 255 * kind.data_range + kind.low).astype(kind.dtype) for tile in (target, restored)]
    np.testing.assert_allclose(scores.psnr(*mapped, kind), scores.psnr(target, restored), atol=0.02)
    np.testing.assert_allclose(scores.ssim(*mapped, kind), scores.ssim(target, restored), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_network_sees_comes_back(channels):
    kind = scores.Kind("int16", channels, -500.0, 2500.0)
    values = np.random.default_rng(0).integers(-700, 2700, (2, 8, 8, channels)).astype(np.int16)
    seen = kind.to_network(values)
    assert (seen.dtype, seen.shape) == (np.float32, (2, 8, 8, 3))
    np.testing.assert_array_equal(kind.from_network(seen), values)
    assert kind.seen(values).min() == 0 and kind.seen(values).max() == 1
    picture = kind.view(values, values)
    assert (picture.dtype, picture.shape) == (np.uint8, (2, 8, 8, 3))
    black, white = np.percentile(values, (2, 98), axis=(1, 2, 3), keepdims=True)  # of each tile
    shown = np.broadcast_to(values, picture.shape)
    assert (picture[shown <= black] == 0).all() and (picture[shown >= white] == 255).all()


def test_to_uint8_clips_and_rounds():
    values = np.array([-0.1, 0, 0.5, 0.9999, 1.7])
    np.testing.assert_array_equal(scores.to_uint8(values), [0, 0, 128, 255, 255])


def write_named(directory, names):
    for name in names:
        tilefile.write_image(directory / name, tiles()[0])


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
    tilefile.write_image(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    tilefile.write_image(tmp_path / "b.png", np.zeros((32, 16, 3), np.uint8))
    with pytest.raises(util.UserError, match=r"b\.png is 16x32 and .*a\.png is 32x32"):
        tileset.read_tiles([tmp_path / "a.png", tmp_path / "b.png"])


def test_images_come_back_as_written(tmp_path):
    image = tiles()[0]
    tilefile.write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(tilefile.read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_broken_image_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(util.ImageError, match=r"a\.png cannot be read"):
        tilefile.read_image(path)


def test_a_truncated_image_is_refused(tmp_path):
    path = tmp_path / "a.png"
    tilefile.write_image(path, tiles(size=128)[0])
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(util.ImageError, match=r"a\.png cannot be read"):
        tilefile.read_image(path)


def listed(directory, **options):
    return [path.relative_to(directory).as_posix() for path in util.list_images(directory, **options)]


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_are_listed_at_any_depth(tmp_path):
    touch(*(tmp_path / name for name in ("b.PNG", "a/c [1].tif", "a/d.npy", "notes.txt", "._b.PNG", "a/._d.npy")))
    assert listed(tmp_path) == ["a/c [1].tif", "a/d.npy", "b.PNG"]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path / "real" / "a.png", tmp_path / "start" / "in" / "b.png")
    (tmp_path / "start" / "a link").symlink_to(tmp_path / "start" / "in")
    (tmp_path / "start" / "here").symlink_to(tmp_path / "real")
    (tmp_path / "start" / "twice").symlink_to(tmp_path / "real")
    (tmp_path / "start" / "in" / "loop").symlink_to(tmp_path / "start")
    assert listed(tmp_path / "start") == ["here/a.png", "in/b.png"]


def test_what_is_no_file_gets_a_sentence(tmp_path, capsys):
    touch(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere")
    assert listed(tmp_path) == ["a.png"]
    assert sorted(line.split("/")[-1].split()[0] for line in capsys.readouterr().err.splitlines()) \
        == ["lost.png", "pipe.png"]


def test_a_folder_that_is_left_out(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "out" / "a.png")
    assert listed(tmp_path, skip=tmp_path / "out") == ["a.png"]
    assert listed(tmp_path, skip=tmp_path / "not there") == listed(tmp_path, skip=tmp_path) == ["a.png", "out/a.png"]


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    touch(tmp_path / "a.png", tmp_path / "closed" / "b.png")
    scan = os.scandir

    def scandir(folder):
        if folder == tmp_path / "closed":  # by hand, because root may read everything
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    said = []
    assert listed(tmp_path, on_error=said.append) == ["a.png"]
    assert len(said) == 1
    with pytest.raises(util.UserError, match="closed may not be read: change its permissions"):
        util.list_images(tmp_path)


def test_the_longest_name_is_written(tmp_path):
    path = tmp_path / ("\u706b" * 83 + "s.json")
    util.write_json(path, 1)
    assert list(tmp_path.iterdir()) == [path]


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
    with pytest.raises(KeyboardInterrupt), util.signals_held():
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


def test_negative_numbers_with_an_exponent_are_values():
    parser = util.Parser()
    parser.add_argument("--range", type=util.finite, nargs=2)
    for low in ("-1e3", "-1.5E-2", "-.5", "-7"):
        assert parser.parse_args(["--range", low, "4095"]).range == [float(low), 4095]
    with pytest.raises(util.UserError, match="expected 2 arguments"):
        parser.parse_args(["--range", "-e3", "1"])
