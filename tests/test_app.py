"""The page without a browser: what it refuses, what it proposes and says, and that it restores as the command does."""

import asyncio
import re
import shutil
import string
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

import app
import inception2
import util
from download_module import imagefile
from download_module.degrade import add_noise, downscale, upscale
from inception2_module import networkfile
from restore_module import page
from restore_module.page_texts import EN, JA, LANGUAGES

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder where this process puts temporary files; nothing may stay there."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    assert not list(directory.iterdir())


@pytest.fixture(scope="module")
def small():
    return downscale(data.astronaut(), 8)


def write(path, image):
    Image.fromarray(image).save(path)
    return path


def picture(image):
    return imagefile.picture_of(image.copy(), image.shape[2], None, format="PNG")


def read(path, texts=EN, scale=1):
    with page.copied(path, texts) as copy:
        return page.read(copy, texts, scale)


def test_both_languages_say_the_same_things():
    assert EN.keys() == JA.keys()
    for key in EN:
        fields = [{field for _, field, *_ in string.Formatter().parse(texts[key]) if field} for texts in (EN, JA)]
        assert fields[0] == fields[1], key
    assert [texts["language"] for texts in LANGUAGES.values()] == ["English", "日本語"]


def test_every_text_is_used_and_every_text_that_is_used_is_there():
    names = ("page.py", "page_layout.py", "guard.py")
    source = "".join((ROOT / "restore_module" / name).read_text() for name in names).replace("'", '"')
    assert set(re.findall(r'texts\["([a-z_]+)"', source)) <= EN.keys()
    assert [key for key in EN if f'"{key}"' not in source] == []


@pytest.mark.parametrize("texts", [EN, JA])
def test_a_decompression_bomb_is_refused_without_decoding_it(tmp_path, texts):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(util.UserError, match=re.escape(texts["too_large"].format(**page.limits()))):
        read(tmp_path / "a.png", texts)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npz", "a.npy", "a.bmp"])
def test_an_image_beyond_the_limit_is_refused_whatever_its_kind(tmp_path, monkeypatch, name):
    monkeypatch.setattr(page, "LARGEST_RESULT", 64 * 64)
    for side, scale, is_refused in ((64, 1, False), (65, 1, True), (16, 4, False), (17, 4, True), (130, 1, True)):
        image = np.full((side, side), 7, np.uint8)
        if name.startswith("a.np"):
            {"a.npy": np.save, "a.npz": np.savez_compressed}[name](tmp_path / name, image)
        else:
            write(tmp_path / name, image)
        if is_refused:
            with pytest.raises(util.UserError, match=r"too much for the page.*inception2\.py restore"):
                read(tmp_path / name, scale=scale)
        else:
            assert read(tmp_path / name, scale=scale).pixels.shape == (side, side, 1)


def test_a_file_of_too_many_bytes_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    monkeypatch.setattr(page, "LARGEST_FILE", path.stat().st_size - 1)
    with pytest.raises(util.UserError, match="larger than 0 MB"):
        read(path)


@pytest.mark.parametrize("name", ["a.exe", "a.svg", "a.keras", "a", ".png", "a.png.html"])
def test_a_file_of_another_type_is_refused(tmp_path, name):
    write(tmp_path / "a.png", np.zeros((9, 9), np.uint8)).rename(tmp_path / name)
    with pytest.raises(util.UserError, match=r"kind cannot be restored.*\.png .*\.tif "):
        read(tmp_path / name)


@pytest.mark.parametrize("texts", [EN, JA])
def test_what_is_no_image_gets_a_sentence_without_a_path(tmp_path, texts):
    (tmp_path / "a.png").write_text("<script>alert(1)</script>")
    with pytest.raises(util.UserError, match=r"is not a PNG.*: convert, replace or remove it\.$") as error:
        read(tmp_path / "a.png", texts)
    assert str(error.value).startswith(texts["unusable"].split("{")[0])
    assert "/" not in str(error.value)


def test_a_file_of_several_pages_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 20, 20), np.uint8), photometric="minisblack", metadata=None)
    with pytest.raises(util.UserError, match=r"has 3 pages.*--pages"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["..%2f..%2fa.png", "..\\..\\a.png", "-rf $(a).png", "\n.png", "é.PNG", "../b/a.png"])
def test_the_name_of_an_upload_is_no_path_here(tmp_path, temporary, name):
    path = tmp_path / "deep" / name
    (tmp_path / "deep").mkdir()
    (tmp_path / "b").mkdir()
    with path.open("wb") as file:
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(file, "PNG")
    with page.copied(path, EN) as copy:
        assert copy.name == "image.png"
        assert copy.parent.parent == temporary
    assert not copy.exists()


def test_an_upload_that_has_been_removed_gets_a_sentence(tmp_path):
    with pytest.raises(util.UserError, match="after an hour"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["", "none", "../weights/mars_sr_x4", f"{ROOT}/weights/mars_sr_x4.keras", None])
def test_only_networks_of_the_list_are_used(tmp_path, name):
    path = write(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(util.UserError, match="no such network"):
        page.restore(path, name, True, False, 1, EN, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.png"]


def test_the_list_has_weights_then_trainings_that_have_ended(workplace):
    for name in ("tiny-b", "tiny-a", "going"):
        (workplace / "runs" / name).mkdir(parents=True)
    for name in ("tiny-b", "tiny-a"):
        (workplace / "runs" / name / "model.keras").write_bytes(b"")
    util.write_json(workplace / "runs" / "tiny-a" / "config.json", {"dataset": "tiny", "task": "sr_x2", "n_train": 9})
    (workplace / "runs" / "tiny-b" / "config.json").write_text("damaged")
    found = page.networks()
    assert list(found) == [*sorted(path.stem for path in networkfile.WEIGHTS.glob("*.json")), "tiny-a"]
    assert page.describe("tiny-a", found["tiny-a"], EN) == "tiny-a · your training, enlarges by 2"
    assert page.describe("mars_noise_s64", found["mars_noise_s64"], JA) == "mars_noise_s64 · ノイズ除去（標準偏差 64）"
    camera = {"task": "blur_s0.5..2+sr_x4+noise_s0..10+jpeg_q50..95"}
    assert page.describe("mars_sr_x4", camera, EN).endswith(" · removes blur, enlarges by 4, removes noise, sigma 0–10")


def test_a_network_that_suits_the_image_is_proposed(small):
    large, rng = downscale(data.astronaut(), 2), np.random.default_rng(0)
    name, enlarge = page.propose(picture(small))
    assert enlarge and page.scale_of(page.networks()[name]) == 4
    name, enlarge = page.propose(picture(upscale(downscale(large, 4), 4)))
    assert not enlarge and page.scale_of(page.networks()[name]) == 4
    name, enlarge = page.propose(picture(add_noise(large, 64, rng)))
    assert not enlarge and "noise" in page.networks()[name]["task"]
    assert page.propose(picture(add_noise(np.full((200, 200, 3), 128, np.uint8), 200, rng))) is None


def test_an_image_whose_result_would_be_too_large_is_not_proposed_to_be_enlarged(small, monkeypatch):
    monkeypatch.setattr(page, "LARGEST_RESULT", small.shape[0] * small.shape[1])
    assert page.propose(picture(small)) is None


def test_the_noise_and_what_speaks_against_a_network_are_said_in_both_languages():
    noisy = picture(add_noise(downscale(data.astronaut(), 2), 20, np.random.default_rng(0)))
    known = page.networks()
    assert page.describe_noise(noisy, EN) == "Noise of about 19 gray levels is estimated."
    assert page.describe_noise(noisy, JA) == "ノイズの標準偏差は約 19 階調と推定されます。"
    trained = "The network was trained for {}: expect {}."
    assert page.warn(noisy, known["mars_sr_x4"], True, EN) == trained.format("images without noise", "harm")
    assert page.warn(noisy, known["mars_noise_s64"], False, EN) == trained.format("noise of 64 gray levels", "harm")
    assert JA["harm"] in page.warn(noisy, known["mars_noise_s64"], False, JA)
    sharp = picture(downscale(data.astronaut(), 2))
    assert page.warn(sharp, known["mars_sr_x4"], True, EN) is None
    assert page.warn(sharp, known["mars_sr_x4"], False, EN) == EN["unsuited_large"].format(scale=4)
    blurred = picture(upscale(downscale(data.astronaut(), 4), 4))
    assert page.warn(blurred, known["mars_sr_x4"], True, JA) == JA["unsuited_enlarged"].format(scale=4)
    assert page.warn(sharp, {}, False, EN) is None
    deep = picture(noisy.pixels.astype(np.uint16) * 257)
    assert re.fullmatch(r"Noise of about \d+% of the range is estimated\.", page.describe_noise(deep, EN))


def write_deep(path, image):
    tifffile.imwrite(path, image.astype(np.uint16)[..., 0] * 201 + 7, description="a survey", resolution=(300, 300))


@pytest.mark.parametrize(("name", "options"), [
    ("a.png", []), ("a.png", ["--enlarge"]), ("a.jpg", ["--enlarge"]), ("deep.tif", ["--enlarge"]), ("deep.tif", []),
])
def test_the_file_is_the_one_of_the_command_line(tmp_path, small, name, options):
    write_deep(tmp_path / name, small) if name == "deep.tif" else write(tmp_path / name, small)
    command = ["restore", str(tmp_path / name), "--weights", "mars_sr_x4", "--out", str(tmp_path / "command")]
    inception2.main([*command, *options])
    out_dir = tmp_path / "page"
    out_dir.mkdir()
    path, trust, before, after = page.restore(tmp_path / name, "mars_sr_x4", bool(options), False, 1, EN, out_dir)
    assert path.name == f"restored{Path(name).suffix}"
    assert path.read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert trust is None
    assert after.pixels.shape[0] == before.pixels.shape[0] * (4 if options else 1)
    if name == "deep.tif":
        with tifffile.TiffFile(path) as tif:
            assert (tif.pages[0].dtype, tif.pages[0].description) == (np.uint16, "a survey")


@pytest.mark.parametrize("enlarge", [False, True])
def test_less_strength_takes_a_part_of_what_the_network_changes(tmp_path, small, enlarge):
    upload = write(tmp_path / "a.png", small)
    weak, full = (page.restore(upload, "mars_sr_x4", enlarge, False, strength, EN, tmp_path)[3].pixels.astype(int)
                  for strength in (0.3, 1))
    unchanged = (upscale(small, 4) if enlarge else small).astype(int)
    inside = (full > 0) & (full < 255)  # not clipped
    assert np.abs(full - unchanged)[inside].mean() > 2
    np.testing.assert_allclose((weak - unchanged)[inside], 0.3 * (full - unchanged)[inside], atol=1.5)


@pytest.mark.slow
def test_a_training_of_ones_own_restores_too(workplace, small):
    run_dir = workplace / "runs" / "mine"
    run_dir.mkdir(parents=True)
    shutil.copyfile(networkfile.WEIGHTS / "mars_sr_x4.keras", run_dir / "model.keras")
    util.write_json(run_dir / "config.json", {"dataset": "mine", "task": "sr_x4", "n_train": 9})
    upload = write(workplace / "a.png", small[:32, :32])
    sides = []
    for name in ("mine", "mars_sr_x4"):
        *_, after = page.restore(upload, name, True, False, 1, EN, workplace)
        sides.append(after.pixels.astype(int))
    np.testing.assert_allclose(*sides, atol=1)


def test_the_trust_map_is_drawn_and_a_network_of_noise_does_not_enlarge(tmp_path, small):
    upload = write(tmp_path / "a.png", small[:48, :32])
    path, trust, before, after = page.restore(upload, "mars_noise_s64", True, True, 1, EN, tmp_path)
    assert before.pixels.shape == after.pixels.shape == (48, 32, 3)
    assert Image.open(trust).width > 500
    assert path.exists()


def test_8_bits_are_shown_as_they_are_and_both_sides_at_one_size(small):
    large = upscale(small, 4)
    (before, after), step = page.views(picture(small), picture(large))
    np.testing.assert_array_equal(after, large)
    np.testing.assert_array_equal(before, large)
    assert step == 1


def test_deep_values_are_shown_stretched_by_one_measure_for_both_sides():
    ramp = np.linspace(1000, 2000, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    (before, after), _ = page.views(picture(ramp), picture(ramp + np.uint16(100)))
    assert before.shape == (64, 64, 3)
    assert (before.min(), before.max()) == (0, 255)
    np.testing.assert_allclose(np.median(after.astype(int) - before), 100 / 960 * 255, atol=1.5)
    assert page.is_stretched(picture(ramp))


def test_a_large_image_is_shown_smaller(monkeypatch, small):
    monkeypatch.setattr(page, "LARGEST_VIEW", 25)
    (view,), step = page.views(picture(small))
    assert step == 3
    assert max(view.shape) <= 25


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "LA", "P", "1"])
def test_pictures_of_other_channels_are_shown_in_colours(tmp_path, mode, small):
    name = "a.jpg" if mode == "CMYK" else "a.png"
    Image.fromarray(small).convert(mode).save(tmp_path / name)
    (view,), _ = page.views(read(tmp_path / name))
    assert view.shape == small.shape
    assert view.dtype == np.uint8


def test_a_network_of_weights_restores_without_keras(tmp_path, small):
    pytest.importorskip("onnxruntime")
    path = write(tmp_path / "a.png", small[:32, :32])
    code = ("import sys; from restore_module import page; from restore_module.page_texts import EN; "
            f"page.restore({str(path)!r}, 'mars_sr_x4', True, False, 1, EN, {str(tmp_path)!r}); "
            "assert not {'keras', 'tensorflow', 'gradio'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


def test_without_gradio_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    with pytest.raises(util.UserError, match=r"make app, or .*requirements-app\.txt"):
        app.main([])


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "80 "])
def test_a_port_that_is_none_is_refused(monkeypatch, port):
    monkeypatch.setattr(app, "find_spec", lambda name: True)
    monkeypatch.setenv("PORT", port)
    with pytest.raises(util.UserError, match="give a number of 1 to 65535"):
        app.main([])


@pytest.mark.parametrize(("path", "status"), [
    ("/", 200), ("/gradio_api/file=/tmp/a.png", 200), ("/gradio_api/file=http://example.org/", 403),
    ("/gradio_api/file=https://example.org/", 403), ("/gradio_api/proxy=https://example.org/", 403),
])
def test_nothing_is_asked_of_other_hosts(path, status):
    async def inner(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app.Closed(inner)({"type": "http", "path": path}, None, send))
    assert sent[0]["status"] == status
    assert dict(sent[0]["headers"])[b"content-security-policy"].startswith(b"default-src 'self'")
