"""The page in a real browser, for its tests; and its picture in the READMEs:

    PYTHONPATH=.venv/app .venv/bin/python -m tests.browser       # assets/page.png; after `make app`, with chromium
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from skimage import data

import util
from download_module import tilefile
from download_module.degrade import downscale

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT = 120_000  # milliseconds: this machine may be busy
# The page, in a process that writes down whom it connects to.
WATCHED = """
import runpy, sys

def watch(event, arguments):
    if event == "socket.connect":
        with open("connected.txt", "a") as file:
            print(arguments[1], file=file)

sys.addaudithook(watch)
sys.path[0] = sys.argv[1]
exec(sys.argv.pop(2))
runpy.run_path(f"{sys.argv.pop(1)}/app.py", run_name="__main__")
"""


def missing():
    """Return what is not installed, in words, or None."""
    if find_spec("gradio") is None:
        return "gradio is not installed: make test-app sets it up"
    return None


def missing_browser():
    if find_spec("playwright") is None:
        return "playwright is not installed: make test-app sets it up"
    return missing() or (None if CHROMIUM else "chromium is not installed: apt-get install chromium")


@contextmanager
def served(directory, before="", **environment):
    """Start the page in `directory`; yield its address, its process, and the folder of its temporary files.

    before : str, a statement that is executed before it starts

    The file connected.txt gets a line for each connection that the process itself opens.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = Path(directory) / "tmp"
    temporary.mkdir()
    environment = os.environ | {"PORT": str(port), "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"} | environment
    with (Path(directory) / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", WATCHED, ROOT, before], cwd=directory, env=environment,
                                   stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=10).close()
                break
            except OSError:
                assert process.poll() is None, (Path(directory) / "log.txt").read_text()
                time.sleep(0.2)
        yield url, process, temporary
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def opened(url, locale="en-US", **options):
    """Open the page in Chromium without a window; yield it and the list of addresses that it asked for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(locale=locale, **{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(WAIT)
        page, asked = context.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.locator("#restore").wait_for()
        yield page, asked
        browser.close()


def upload(page, path):
    """Give the page a file, and wait until it is shown."""
    page.locator("#upload input[type=file]").set_input_files(path)
    page.locator("#input img").wait_for()


def restore(page):
    """Press the button, and wait for the slider."""
    page.locator("#restore").click()
    page.locator("#slider img").last.wait_for()


def main():
    if lacking := missing_browser():
        raise util.UserError(lacking)
    path = ROOT / "assets" / "page.png"
    with tempfile.TemporaryDirectory() as directory, served(directory) as (url, *_):
        image_path = Path(directory) / "astronaut.png"
        tilefile.write_image(image_path, downscale(data.astronaut(), 4))
        with opened(url, viewport={"width": 1040, "height": 640}) as (page, _):
            upload(page, image_path)
            restore(page)
            page.mouse.move(0, 0)
            page.wait_for_timeout(2000)  # until nothing moves any more
            screenshot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    with util.replacing(path) as temporary:
        screenshot.quantize(palette=screenshot.quantize(256)).save(temporary, optimize=True)  # half as many bytes
    print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
