"""The page of a result: what it says, what it shows, and that it can do no harm."""

import base64
import io
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import TILE
from PIL import Image

import util
from download_module import build, datasets, tilefile
from inception2_module import classical, evaluation, gallery
from inception2_module.experiments import Experiment
from inception2_module.tileset import TileSet

EVIL = "<b onclick=alert(1)>&amp;"  # a name that a data set or a file may have
SIDE = 2 * TILE
VOID = {"meta", "img", "input", "br"}


def halfway(data):
    """A network that knows the test tiles, and goes half of the way from an input to its target."""
    test = data.read_test(None)

    def restore(degraded):
        if degraded.shape[1] != TILE:  # a whole image
            return degraded
        found = [np.argmax([np.array_equal(one, other) for other in test.degraded]) for one in degraded]
        mean = (degraded.astype(float) + test.target[found]) / 2
        return mean.astype(degraded.dtype)

    return restore


def make(folder, dtype="uint8", name="tiny"):
    """Cut a data set from images of a folder and measure `halfway` on it: (result, data)."""
    rng = np.random.default_rng(0)
    for side, n in (("train", 3), ("test", 2)):
        (folder / side).mkdir()
        for i in range(n):
            pixels = np.kron(rng.uniform(0, 255, (SIDE // 8, SIDE // 8, 3)), np.ones((8, 8, 1)))
            if dtype == "uint8":
                tilefile.write_image(folder / side / f"{i:04}{EVIL}.png", pixels.astype(np.uint8))
            else:
                np.save(folder / side / f"{i}.npy", (pixels[..., 0] * 20 - 1000).astype(dtype))
    wish = build.Wish(n={"train": 6, "test": 4}, tasks=("sr_x4",), size=TILE)
    build.make_set(folder / "sets", name, datasets.own_images(folder / "train", folder / "test"), wish, 1, False)
    data = TileSet(folder / "sets", name, "sr_x4")
    test = data.read_test(None)
    images = {"input": test.degraded, "lanczos": classical.restore("lanczos", "sr_x4", 4, test.target, test.degraded,
                                                                   test.kind), "restored": halfway(data)(test.degraded)}
    methods = {key: evaluation.score(test.target, tiles, test.kind) for key, tiles in images.items()}
    experiment = Experiment(dataset=name, n_train=6)
    result = {
        "name": f"{name}-run", **asdict(experiment), "n_test": 4, "protocol": evaluation.protocol(test.kind),
        "classical_settings": {"lanczos": 4}, "chosen_update": 20, "data": data.summary(),
        **evaluation.about_tiles(test), **evaluation.compare(methods, test.scenes, False),
    }
    return json.loads(json.dumps(result)), data


LOG = [{"update": update, "loss": 1 / update, "psnr": 20 + update / 10} for update in (10, 20, 30)]


def write(folder, result, data, logs=None, images=None, restore=None):
    path = folder / "page.html"
    gallery.write(path, result, data, restore or halfway(data), {"": LOG} if logs is None else logs, images)
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Reads a page strictly: every tag is closed in its order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & {*self.open}:
            self.words.append(data)

    def pictures(self, method):
        """Decode the pictures of a method, in the order of the page."""
        sources = [found["src"].partition(",")[2] for tag, found in self.tags
                   if tag == "img" and found["data-method"] == method]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_page_shows_the_tiles_and_their_numbers(tmp_path, dtype):
    result, data = make(tmp_path, dtype)
    page = Reader(write(tmp_path, result, data))
    text, test = "".join(page.words), data.read_test(None)
    numbers = [int(number) for number in re.findall(r"tile (\d)", text)]
    assert sorted(numbers) == [0, 1, 2, 3]
    columns = {"input": test.degraded, "target": test.target, "restored": halfway(data)(test.degraded)}
    for method, tiles in columns.items():
        views = test.kind.view(tiles, test.target)
        for number, picture in zip(numbers, page.pictures(method), strict=True):
            assert np.array_equal(picture, views[number])
    for number in numbers:
        psnr, base = (result["methods"][method]["psnr_tiles"][number] for method in ("restored", "input"))
        assert f"{psnr:.2f} ({psnr - base:+.2f})" in text
    gap = result["differences"]["restored - lanczos"]
    assert f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]" in text
    for row in result["methods"].values():
        assert f"{row['psnr']:.2f}" in text
        assert f"{row['ssim']:.4f}" in text
        assert "rmse" not in row or f"{row['rmse']:.4g}" in text
    assert ("black" in text) == (dtype == "float32")
    assert "The weights of update 20 are the result" in text


def test_the_mean_gain_of_each_image_is_listed_from_the_lowest(tmp_path):
    result, data = make(tmp_path)
    words = Reader(write(tmp_path, result, data)).words
    gains = {name: np.subtract(*(result["methods"][key]["psnr_tiles"] for key in ("restored", name)))
             for name in ("input", result["best_without_network"])}
    sources = [tile["source"] for tile in data.manifest["tiles"]["test"]]
    expected = []
    for source in dict.fromkeys(sources):
        chosen = [place for place, name in enumerate(sources) if name == source]
        expected.append((gains["input"][chosen].mean(), source, str(len(chosen)),
                         *(f"{values[chosen].mean():+.2f}" for values in gains.values())))
    shown = [cell for row in sorted(expected) for cell in row[1:]]
    start = words.index(shown[0])
    assert len(expected) == 2
    assert [word for word in words[start:] if word.strip()][: len(shown)] == shown


def test_nothing_is_loaded_and_no_name_becomes_a_tag(tmp_path):
    result, data = make(tmp_path, name=EVIL)
    result |= {"warning": EVIL, "device": EVIL, "groups": [EVIL] * 4}
    text = write(tmp_path, result, data, logs={EVIL: LOG, "own": LOG}, images=tmp_path / "test")
    page = Reader(text)
    assert "://" not in text
    assert "url(" not in text
    assert {tag for tag, _ in page.tags}.isdisjoint({"iframe", "link", "object"})
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert all(found["src"].startswith("data:image/") for _, found in page.tags if "src" in found)
    assert "".join(page.words).count(EVIL) >= 10  # title, name, warning, device, group, images, logs


def test_whole_images_are_shown_where_they_are_the_right_ones(tmp_path, capsys):
    result, data = make(tmp_path)
    whole = [p for p in Reader(write(tmp_path, result, data, images=tmp_path / "test")).pictures("target")
             if p.shape == (SIDE, SIDE, 3)]
    sources = list(dict.fromkeys(tile["source"] for tile in data.manifest["tiles"]["test"]))
    assert len(whole) == len(sources) == 2
    for source, picture in zip(sources, whole, strict=True):
        assert np.array_equal(picture, tilefile.read_image(tmp_path / "test" / source))

    tilefile.write_image(tmp_path / "test" / sources[0], np.zeros((SIDE, SIDE, 3), np.uint8))
    (tmp_path / "test" / sources[1]).unlink()
    page = write(tmp_path, result, data, images=tmp_path / "test")
    said = capsys.readouterr().out
    assert "is not the image that test tile 0 was cut from" in said
    assert "does not exist" in said
    assert "Whole test images" not in page

    write(tmp_path, result, data)
    assert "give their folder with --images" in capsys.readouterr().out


@pytest.mark.parametrize("folders", ["_sources", "_sources/msl-images"])
def test_of_a_known_set_whose_images_are_gone_there_are_tiles(tmp_path, capsys, folders):
    result, data = make(tmp_path, name="mars")
    (tmp_path / "sets" / folders).mkdir(parents=True)
    assert "Test tiles" in write(tmp_path, result, data)
    assert "give their folder with --images" in capsys.readouterr().out


def test_of_a_known_set_whole_images_are_found(tmp_path, monkeypatch):
    result, data = make(tmp_path, name="sample")
    monkeypatch.setattr(datasets, "test_root_of", lambda name, out: {("sample", tmp_path / "sets"): tmp_path / "test"}[
        name, out])
    assert "Whole test images" in write(tmp_path, result, data)
    monkeypatch.undo()
    assert (datasets.test_root_of("sample", tmp_path) / datasets.SAMPLE_TEST[0]).is_file()


def test_of_a_large_image_the_middle_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "LONGEST", 40)
    result, data = make(tmp_path, "float32")
    page = Reader(write(tmp_path, result, data, images=tmp_path / "test"))
    source = data.manifest["tiles"]["test"][0]["source"]
    middle = np.load(tmp_path / "test" / source)[12:52, 12:52][None, ..., None]
    whole = [picture for picture in page.pictures("target") if picture.shape == (40, 40, 3)]
    assert np.array_equal(whole[0], data.kind.view(middle, middle)[0])
    assert f"{source}, the middle of {SIDE}x{SIDE}" in "".join(page.words)


def test_a_page_of_another_network_or_set_is_refused(tmp_path):
    result, data = make(tmp_path)
    with pytest.raises(util.UserError, match="scores of restored are not those"):
        write(tmp_path, result, data, restore=lambda degraded: degraded)
    with pytest.raises(util.UserError, match="is not the data set that"):
        write(tmp_path, result | {"data": {"data_id": "of another"}}, data)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("change", [
    {"methods": {}}, {"methods": 3}, {"n_test": 3}, {"n_test": "4"}, {"scenes": [0]}, {"differences": {}},
    {"n_train": None}, {"best_without_network": "bm3d"}, {"groups": ["a"]}, {"data": None},
])
def test_a_damaged_result_is_one_sentence(tmp_path, change):
    result, data = make(tmp_path)
    with pytest.raises(util.UserError, match="is damaged or of another network"):
        write(tmp_path, result | change, data)


@pytest.mark.parametrize(("mean", "colour", "verdict"), [
    (9.0, "good", "The network is better than"), (0.5, "", "cannot be told apart"),
    (-9.0, "bad", "is better than the network"),
])
def test_the_verdict_is_that_of_the_interval(tmp_path, mean, colour, verdict):
    result, data = make(tmp_path)
    best = result["best_without_network"]
    result["differences"][f"restored - {best}"] = {"mean": mean, "low": mean - 1, "high": mean + 1}
    page = write(tmp_path, result, data)
    assert verdict in page
    assert page.count(f'<span class="{colour}">{mean:+.2f}</span>') == 2  # above, and in the table


def test_a_collapse_is_the_headline(tmp_path):
    result, data = make(tmp_path)
    result["warning"] = f"{evaluation.COLLAPSED}, and lanczos is 1.00 dB better"
    page = "".join(Reader(write(tmp_path, result, data, logs={})).words)
    assert "The network has collapsed" in page
    assert result["warning"] in page
    assert "validation tiles" not in page  # no log, no curves


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (-0.3, 4.2), (28.1, 28.2), (0.019, 0.021), (1, 10_000)])
def test_ticks_are_round_and_hold_the_values(low, high):
    ticks = gallery._ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)
