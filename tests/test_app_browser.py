"""The page in a real browser: what a visitor does, and what is left behind. Skipped where none is installed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

import inception2
import util
from download_module.degrade import downscale, upscale
from inception2_module import networkfile
from restore_module.page_texts import EN, JA
from tests import browser

pytestmark = pytest.mark.skipif(browser.missing_browser() is not None, reason=browser.missing_browser() or "")
WEIGHTS = "mars_sr_x4"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with small images, where the page is started."""
    directory = tmp_path_factory.mktemp("page")
    small = downscale(data.astronaut(), 8)
    Image.fromarray(small).save(directory / "small.png")
    tifffile.imwrite(directory / "deep.tif", small[..., 0].astype(np.uint16) * 201 + 7, description="a survey")
    Image.new("L", (6000, 6000)).save(directory / "large.png")
    run_dir = directory / "runs" / "mine"
    run_dir.mkdir(parents=True)
    shutil.copyfile(networkfile.WEIGHTS / f"{WEIGHTS}.keras", run_dir / "model.keras")
    util.write_json(run_dir / "config.json", {"dataset": "mine", "task": "sr_x4", "n_train": 9})
    return directory


@pytest.fixture(scope="module")
def served(place):
    with browser.served(place) as (url, _, temporary):
        yield url, temporary


def choose(page, name):
    page.locator("#network input").click()
    page.get_by_role("option", name=f"{name} ·").click()
    page.locator("#mode").wait_for()


def restored(page, path, name=WEIGHTS):
    """Give the page a file, restore it with a network, download the result: path."""
    browser.upload(page, path)
    choose(page, name)
    return downloaded(page, path)


def downloaded(page, path):
    """Restore what the page has, download the result beside `path`: path."""
    browser.restore(page)
    with page.expect_download() as download:
        page.locator("#download").click()
    saved = path.parent / f"downloaded{path.suffix}"
    download.value.save_as(saved)
    assert download.value.suggested_filename == f"restored{path.suffix}"
    return saved


def by_command(path):
    inception2.main(["restore", str(path), "--weights", WEIGHTS, "--enlarge", "--out", str(path.parent / "command")])
    return path.parent / "command" / path.name


def test_a_picture_is_restored_compared_and_downloaded_and_no_other_host_is_asked(served, place):
    url, _ = served
    with browser.opened(url) as (page, asked):
        assert page.locator("h1").inner_text() == EN["title"]
        saved = restored(page, place / "small.png")
        np.testing.assert_array_equal(*(np.asarray(Image.open(path)) for path in
                                        (saved, by_command(place / "small.png"))))
        before, after = page.locator("#slider img").all()
        sizes = [image.evaluate("e => [e.naturalWidth, e.naturalHeight]") for image in (before, after)]
        assert sizes == [[256, 256]] * 2

        def shown_from():
            return float(re.search(r"inset\(0px 0px 0px ([\d.]+)%", after.get_attribute("style"))[1])

        middle, handle = shown_from(), page.locator("#slider [role=slider], #slider .inner").last.bounding_box()
        place_of_handle = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        page.mouse.move(*place_of_handle)
        page.mouse.down()
        page.mouse.move(place_of_handle[0] + 100, place_of_handle[1], steps=5)
        page.mouse.up()
        assert shown_from() > middle + 5
        assert "scale(1)" in before.get_attribute("style")
        page.mouse.move(place_of_handle[0] - 100, place_of_handle[1])
        page.mouse.wheel(0, -300)
        page.wait_for_function("!document.querySelector('#slider img').style.transform.includes('scale(1)')")
        assert {address.split("/")[2] for address in asked if address.startswith("http")} == {url.split("/")[2]}


def test_the_network_that_is_proposed_restores_as_strongly_as_is_asked(served, place):
    with browser.opened(served[0]) as (page, _):
        browser.upload(page, place / "small.png")
        page.wait_for_function("document.querySelector('#network input').value.includes('enlarges by 4')")
        proposed = page.locator("#network input").input_value().split(" ·")[0]
        assert f"{proposed} suits it" in page.locator("#note").inner_text()
        page.locator("#strength input[type=number]").fill("30")
        page.locator("#strength input[type=number]").press("Enter")
        weak = np.asarray(Image.open(downloaded(page, place / "small.png"))).astype(int)
        assert "is estimated" in page.locator("#note").inner_text()
    with browser.opened(served[0]) as (page, _):
        full = np.asarray(Image.open(restored(page, place / "small.png", name=proposed))).astype(int)
    unchanged = upscale(np.asarray(Image.open(place / "small.png")), 4).astype(int)
    inside = (full > 0) & (full < 255)  # not clipped
    np.testing.assert_allclose((weak - unchanged)[inside], 0.3 * (full - unchanged)[inside], atol=1.5)


def test_a_training_of_ones_own_is_chosen_from_the_list(served, place):
    with browser.opened(served[0]) as (page, _):
        saved = restored(page, place / "small.png", name="mine")
    np.testing.assert_allclose(*(np.asarray(Image.open(path)).astype(int) for path in
                                 (saved, by_command(place / "small.png"))), atol=1)


def test_a_16_bit_tiff_stays_one_and_the_trust_map_is_shown_in_japanese(served, place):
    url, _ = served
    narrow = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    with browser.opened(url, "ja-JP", **narrow) as (page, _):
        page.get_by_role("heading", name=JA["title"]).wait_for()
        assert page.url == f"{url}ja"
        page.locator("#trust input").check()
        saved = restored(page, place / "deep.tif")
        assert saved.read_bytes() == by_command(place / "deep.tif").read_bytes()
        page.locator("#trust_map img").wait_for()
        assert JA["stretched"] in page.locator("#note").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("scrollY") > 400  # at what came, below the button
        page.get_by_role("link", name="English").click()
        page.get_by_role("heading", name=EN["title"]).wait_for()
        assert page.url == url


def test_what_is_too_large_is_refused_with_a_sentence(served, place):
    with browser.opened(served[0]) as (page, _):
        page.locator("#restore").click()
        page.get_by_text(EN["none_yet"]).wait_for()
        page.locator("#upload input[type=file]").set_input_files(place / "large.png")
        page.get_by_text("This is too much for the page").wait_for()
        assert page.locator("#network input").input_value() == ""
        choose(page, WEIGHTS)
        page.locator("#restore").click()
        page.locator("#input").wait_for()
        page.get_by_text("This is too much for the page").wait_for()
        assert page.locator(".toast-body").count() == 0


def post(url, name, content):
    body = (f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() + content
            + b"\r\n--x--\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{url}gradio_api/upload", body, kind)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize("name", ["../../../evil.png", "/etc/evil.png", "..\\\\..\\\\evil.png", "%2e%2e%2fevil.png"])
def test_a_name_that_is_a_path_leads_nowhere(served, name):
    url, temporary = served
    stored, = post(url, name, b"x")
    assert Path(stored).resolve().is_relative_to(temporary)


def test_an_upload_beyond_the_limit_is_refused_by_the_server(served):
    with pytest.raises(urllib.error.HTTPError, match="413"):
        post(served[0], "a.png", bytes(100_000_001))


@pytest.mark.parametrize("path", [str(browser.ROOT / "README.md"), "/etc/passwd", "README.md", "log.txt",
                                  "https://example.org/", "http://127.0.0.1/"])
def test_files_of_this_machine_and_pages_of_others_are_not_served(served, path):
    with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
        urllib.request.urlopen(f"{served[0]}gradio_api/file={path}", timeout=60)


def test_a_port_that_is_taken_gets_a_sentence(served, tmp_path):
    environment = os.environ | {"PORT": served[0].rpartition(":")[2].strip("/")}
    second = subprocess.run([sys.executable, browser.ROOT / "app.py"], cwd=tmp_path, env=environment, timeout=300,
                            capture_output=True, text=True)
    assert second.returncode == 2
    assert re.fullmatch(r"app\.py: error: the page cannot listen on port .* address of this machine\n", second.stderr)


def test_the_page_itself_asks_nobody(served, place):
    """After all that was done above: at its start Gradio looks whether it is there, and that is all."""
    connected = (place / "connected.txt").read_text().splitlines()
    assert connected
    assert {line for line in connected if not line.startswith("('127.0.0.1', ")} == set()


def test_an_upload_is_removed_when_it_is_old(tmp_path):
    """After an hour; here after a second."""
    short = "from restore_module import page_layout; page_layout.KEPT = page_layout.CLEARED = 1"
    with browser.served(tmp_path, short) as (url, _, temporary):
        stored = Path(post(url, "a.png", b"x")[0])
        assert stored.is_relative_to(temporary)
        for _ in range(600):
            if not stored.exists():
                break
            time.sleep(0.1)
        assert not stored.exists()


def test_nothing_is_left_when_the_page_has_ended(tmp_path):
    with browser.served(tmp_path) as (url, process, temporary):
        stored, = post(url, "a.png", b"x")
        assert Path(stored).is_file()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 130)
        assert not list(temporary.iterdir())
