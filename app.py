"""The page: drop an image into a browser and look at what a network makes of it. Nothing leaves this machine.

    make app                           # sets up what it needs, then starts it; or, where that is installed:
    python3 app.py                     # open http://127.0.0.1:7860, the address that is printed

In English and Japanese, for one visitor or many; images are restored one at a time, by the code of the command line.
PORT and GRADIO_SERVER_NAME say where it listens (a container: 0.0.0.0), by default for this machine only.
"""

import util

if __name__ == "__main__":
    util.end_at_signals()  # its libraries load, and there is nothing to lose

import argparse
import os
import sys
import tempfile
from importlib.util import find_spec

from restore_module import page, page_layout

FONTS = ["system-ui", "Hiragino Sans", "Yu Gothic UI", "Noto Sans CJK JP", "IPAGothic", "sans-serif"]  # none is fetched
# The browser itself refuses whatever is of another host.
POLICY = b"default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; " \
         b"style-src 'self' 'unsafe-inline'"


def main(argv=None):
    util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    if find_spec("gradio") is None:
        raise util.UserError("the page needs Gradio: say make app, or pip install -r requirements-app.txt")
    port = os.environ.get("PORT") or None
    if port and not (port.isdecimal() and 0 < int(port) < 2**16):
        raise util.UserError(f"PORT is {port!r}: give a number of 1 to 65535")
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as directory:  # what a visitor gave or got is gone when the page ends
        os.environ["GRADIO_TEMP_DIR"] = directory
        import gradio
        from starlette.middleware import Middleware

        blocks = page_layout.build(gradio)
        try:
            _, url, _ = blocks.launch(
                server_port=port and int(port), max_file_size=page.LARGEST_FILE, prevent_thread_lock=True, quiet=True,
                share=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, run_history=False,
                footer_links=[], css=page_layout.CSS, head=page_layout.HEAD,
                theme=gradio.themes.Soft(font=FONTS, font_mono=["monospace"]),
                app_kwargs={"middleware": [Middleware(Closed)]},
            )
        except OSError as error:
            raise util.UserError(f"the page cannot listen on port {port or '7860 to 7959'}: set PORT to one that is "
                                 "free, and GRADIO_SERVER_NAME to an address of this machine") from error
        util.say(f"open {url} in a browser; Ctrl-C ends the page")
        blocks.block_thread()


class Closed:
    """ASGI middleware: no page asks another host for anything, and Gradio does not for a visitor."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_closed(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY),
                                      (b"referrer-policy", b"no-referrer")]
            await send(message)

        if scope["type"] == "http" and ("/file=http" in scope["path"] or "/proxy=" in scope["path"]):
            await send_closed({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await self.app(scope, receive, send_closed)


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
