"""Downloads from a local server that misbehaves on command; archives built to do harm."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import names, no_disk

from download_module import datasets, disk, unpack
from download_module import fetch as module
from download_module.fetch import fetch, take_archive
from util import UserError, describe_error

DATA = random.Random(1).randbytes(400_000)
OTHER = random.Random(2).randbytes(len(DATA))
SHA256 = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2
ROOT = Path(__file__).parents[1]


class Server(ThreadingHTTPServer):
    """Answers each request by the next behaviour of `script`, and well when the script is at its end."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests, self.etag = [], [], '"v1"'
        self.release, self.client_left_first = threading.Event(), True

    def url(self, path="/a.zip"):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self):
        return [headers.get("Range") for headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(dict(self.headers))
        behaviour = self.server.script.pop(0) if self.server.script else good
        behaviour(self)

    def log_message(self, *_):
        pass

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def good(handler, data=DATA, cut=None, stall=False):
    """A server that resumes: whole or from Range, unless If-Range names another version."""
    start, etag = 0, handler.server.etag
    wanted = handler.headers.get("Range")
    if wanted and handler.headers.get("If-Range", etag) == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    headers = {"ETag": etag} if etag else {}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    handler.head(206 if start else 200, Content_Length=len(data) - start, **headers)
    handler.wfile.write(data[start:cut])
    if stall:
        handler.wfile.flush()
        handler.server.client_left_first = handler.server.release.wait(20)


def cut(handler):
    good(handler, cut=HALF)


def stall(handler):
    good(handler, cut=HALF, stall=True)


def no_range(handler):
    handler.head(200, Content_Length=len(DATA))
    handler.wfile.write(DATA)


def unannounced(data):
    """Neither Content-Length nor an end mark: the answer ends where the connection does."""
    def behaviour(handler):
        handler.head(200)
        handler.wfile.write(data)
    return behaviour


def status(code, **headers):
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def page(handler):
    handler.head(200, Content_Type="text/html; charset=utf-8")
    handler.wfile.write(b"<html>Down for maintenance</html>")


def untyped_page(handler):
    handler.head(200, Content_Length=33)
    handler.wfile.write(b"<html>Down for maintenance</html>")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The waits that were asked for; none is made."""
    waits = []
    monkeypatch.setattr(module, "_wait", lambda failures, asked: waits.append(asked or failures))
    return waits


def get(server, tmp_path, sha256=SHA256, path="/a.zip"):
    return fetch(server.url(path), tmp_path / "a.zip", len(DATA), sha256, progress=False)


# ---- fetch: the good ways


def test_fetch_writes_the_file_and_describes_it(server, tmp_path):
    result = get(server, tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/a.zip").read_bytes() == DATA
    assert result == {"file": "a.zip", "url": server.url(), "bytes": len(DATA), "sha256": SHA256,
                      "verified": True}
    assert names(tmp_path / "new/folder") == ["a.zip", "a.zip.sha256"]


def test_a_good_file_is_neither_fetched_nor_read_again(server, tmp_path, monkeypatch):
    first = get(server, tmp_path)
    monkeypatch.setattr(module, "sha256_of", None)
    assert get(server, tmp_path, SHA256.upper()) == first
    assert len(server.requests) == 1


def test_a_good_file_put_there_by_hand_is_taken(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(DATA)
    assert get(server, tmp_path)["verified"] is True
    assert server.requests == []


def test_the_record_is_what_sha256sum_reads(server, tmp_path):
    get(server, tmp_path)
    assert (tmp_path / "a.zip.sha256").read_text() == f"{SHA256}  a.zip\n"


def test_a_touched_file_is_read_again(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "a.zip").write_bytes(OTHER)
    os.utime(tmp_path / "a.zip", ns=(1, 1))
    get(server, tmp_path)
    assert len(server.requests) == 2
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_wrong_file_is_kept_until_a_good_one_is_there(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"old")
    server.script = [status(404)]
    with pytest.raises(UserError):
        get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == b"old"
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_redirects_are_followed(server, tmp_path):
    server.script = [status(301, Location="/elsewhere/a.zip")]
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert len(server.requests) == 2


def test_progress_shows_only_when_asked(server, tmp_path, capsys):
    fetch(server.url(), tmp_path / "a.zip", len(DATA), SHA256, progress=True)
    shown = capsys.readouterr().err
    fetch(server.url(), tmp_path / "b.zip", len(DATA), SHA256, progress=False)
    assert "a.zip" in shown and "400k/400k" in shown
    assert capsys.readouterr().err == ""


def test_progress_starts_over_with_the_file(server, tmp_path, capsys):
    leave_part(tmp_path, DATA[:100_000])
    server.script = [no_range]
    fetch(server.url(), tmp_path / "a.zip", len(DATA), SHA256, progress=True)
    assert "400k/400k" in capsys.readouterr().err


# ---- fetch: interruptions


def test_a_cut_connection_is_resumed(server, tmp_path, waits):
    server.script = [cut]
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    first, second = server.ranges()
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    assert first is None and 0 < start <= HALF
    assert server.requests[1]["If-Range"] == '"v1"'
    assert waits == [1]


def test_a_kill_is_resumed(server, tmp_path):
    server.script = [stall]
    code = ("import sys; from download_module.fetch import fetch; "
            "fetch(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], progress=False)")
    process = subprocess.Popen([sys.executable, "-c", code, server.url(), tmp_path / "a.zip", str(len(DATA)),
                                SHA256], cwd=ROOT)
    part = tmp_path / "a.zip.part"
    try:
        while process.poll() is None and not (part.exists() and part.stat().st_size > 0):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    size = part.stat().st_size
    assert part.read_bytes() == DATA[:size] and not (tmp_path / "a.zip").exists()
    get(server, tmp_path)
    assert server.ranges() == [None, f"bytes={size}-"]
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert names(tmp_path) == ["a.zip", "a.zip.sha256"]


def test_ctrl_c_leaves_what_has_arrived(server, tmp_path, monkeypatch):
    class Interrupted(disk.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(disk, "tqdm", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path)
    size = (tmp_path / "a.zip.part").stat().st_size
    get(server, tmp_path)
    assert size > 0 and server.ranges() == [None, f"bytes={size}-"]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def leave_part(tmp_path, data, version='"v1"'):
    (tmp_path / "a.zip.part").write_bytes(data)
    if version:
        (tmp_path / "a.zip.part.etag").write_text(version)


def test_a_server_that_ignores_range_is_read_from_the_start(server, tmp_path):
    leave_part(tmp_path, DATA[:1000])
    server.script = [no_range]
    get(server, tmp_path)
    assert server.ranges() == ["bytes=1000-"]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_halves_of_two_versions_are_not_joined(server, tmp_path):
    leave_part(tmp_path, OTHER[:1000], version='"v0"')
    get(server, tmp_path, sha256=None)
    assert server.requests[0]["If-Range"] == '"v0"'
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_part_of_unknown_version_is_resumed_only_under_a_published_checksum(server, tmp_path):
    leave_part(tmp_path, DATA[:1000], version=None)
    get(server, tmp_path)
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.zip.sha256").unlink()
    leave_part(tmp_path, OTHER[:1000], version=None)
    get(server, tmp_path, sha256=None)
    assert server.ranges() == ["bytes=1000-", None]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_weak_etag_is_not_sent_as_if_range(server, tmp_path):
    server.etag, server.script = 'W/"v1"', [cut]
    get(server, tmp_path)
    assert "If-Range" not in server.requests[1]
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("answer", [
    status(416, Content_Range=f"bytes */{len(DATA)}"),
    status(206, Content_Range=f"bytes 5-{len(DATA) - 1}/{len(DATA)}"),
    status(206),
], ids=["416", "another range", "206 without a range"])
def test_a_part_that_cannot_be_continued_is_started_over(server, tmp_path, answer):
    leave_part(tmp_path, DATA[:1000])
    server.script = [answer]
    get(server, tmp_path)
    assert server.ranges() == ["bytes=1000-", None]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_complete_part_needs_no_request(server, tmp_path):
    leave_part(tmp_path, DATA)
    get(server, tmp_path)
    assert server.requests == []
    assert names(tmp_path) == ["a.zip", "a.zip.sha256"]


def test_a_part_that_is_too_long_is_started_over(server, tmp_path):
    leave_part(tmp_path, DATA + b"x")
    get(server, tmp_path)
    assert server.ranges() == [None]
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(server, tmp_path, waits, code):
    server.script = [status(code), status(code)]
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert waits == [1, 2]


def test_a_silent_server_is_asked_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", (5, 0.2))
    server.script = [stall]
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert len(server.requests) == 2
    assert server.client_left_first


def test_it_gives_up_after_the_retries_and_keeps_the_part(server, tmp_path, waits):
    server.script = [cut] + [status(503)] * 20
    with pytest.raises(UserError, match="503"):
        get(server, tmp_path)
    assert waits == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "a.zip.part").stat().st_size > 0
    assert not (tmp_path / "a.zip").exists()


def test_it_gives_up_on_a_server_that_always_cuts_at_the_same_place(server, tmp_path):
    server.etag, server.script = "", [cut] * 20
    with pytest.raises(UserError, match="cannot be downloaded"):
        get(server, tmp_path, sha256=None)
    assert len(server.script) > 0


def test_no_server(server, tmp_path, waits):
    url = server.url()
    server.server_close()
    with pytest.raises(UserError, match="ConnectionError"):
        fetch(url, tmp_path / "a.zip", len(DATA), SHA256, progress=False)
    assert len(waits) == module.N_RETRIES


def test_waits_grow_and_differ_between_clients(monkeypatch):
    monkeypatch.undo()
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for failures in [1, 2, 3, 4, 5, 6] * 2:
        module._wait(failures, 0)
    assert all(0.75 * 2**n <= s <= 1.25 * 2**n for n, s in enumerate(slept[:6]))
    assert slept[:6] != slept[6:]


# ---- fetch: refusals


@pytest.mark.parametrize(("answer", "message"), [
    (status(404), "404"),
    (status(403), "403"),
    (status(204), "204"),
    (page, "text/html"),
    (untyped_page, "offers 33 bytes"),
    (lambda handler: good(handler, DATA[:-1]), f"offers {len(DATA) - 1} bytes"),
    (lambda handler: good(handler, DATA + b"x"), f"offers {len(DATA) + 1} bytes"),
    (unannounced(DATA + b"x"), "more than"),
    (lambda handler: good(handler, OTHER), "SHA-256"),
    (unannounced(OTHER), "SHA-256"),
], ids=["404", "403", "204", "page", "untyped page", "short", "long", "endless", "other content",
        "other content, unannounced"])
def test_a_hopeless_answer_ends_it_at_once(server, tmp_path, answer, message):
    server.script = [answer]
    with pytest.raises(UserError, match=message):
        get(server, tmp_path)
    assert len(server.requests) == 1
    assert not {"a.zip", "a.zip.part", "a.zip.sha256"} & set(names(tmp_path))


@pytest.mark.parametrize("answer", [status(404), page, status(206, Content_Range="bytes 1000-1999/2000")],
                         ids=["404", "page", "another total"])
def test_a_refusal_leaves_what_has_arrived(server, tmp_path, answer):
    leave_part(tmp_path, DATA[:1000])
    server.script = [answer]
    with pytest.raises(UserError):
        get(server, tmp_path)
    assert (tmp_path / "a.zip.part").read_bytes() == DATA[:1000]


def test_a_file_that_ends_early_is_never_taken(server, tmp_path):
    server.script = [unannounced(DATA[:1000]), status(416)] * 20
    with pytest.raises(UserError, match="cannot be downloaded"):
        get(server, tmp_path, sha256=None)
    assert not (tmp_path / "a.zip").exists()


def test_after_wrong_content_the_next_run_starts_afresh(server, tmp_path):
    leave_part(tmp_path, OTHER[:1000])
    with pytest.raises(UserError, match="SHA-256"):
        get(server, tmp_path)
    get(server, tmp_path)
    assert server.ranges() == ["bytes=1000-", None]
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/a.zip", "http://"])
def test_an_address_that_is_none(tmp_path, waits, url):
    with pytest.raises(UserError, match="check the address"):
        fetch(url, tmp_path / "a.zip", 10, progress=False)
    assert waits == []


def test_a_loop_of_redirects_ends(server, tmp_path):
    server.script = [status(302, Location="/a.zip")] * 100
    with pytest.raises(UserError, match="redirect"):
        get(server, tmp_path)


def test_a_folder_of_that_name(server, tmp_path):
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        get(server, tmp_path)
    assert server.requests == []


def test_download_needs_disk_for_what_is_missing(server, tmp_path, monkeypatch):
    no_disk(monkeypatch, disk.DISK_MARGIN + len(DATA) - 1)
    with pytest.raises(UserError, match=r"0\.10 GB free .* are needed"):
        get(server, tmp_path)
    assert server.requests == []
    leave_part(tmp_path, DATA[:1])
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.skipif(disk.fcntl is None, reason="no locks here")
def test_two_processes_do_not_write_one_file(server, tmp_path):
    with (tmp_path / "a.zip.part.lock").open("w") as file:
        disk.lock(file, tmp_path)
        with pytest.raises(UserError, match="another process"):
            get(server, tmp_path)
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("location", [
    "http://[::1", "http://a..b/", "http://\xff:99999/", "http://:80", "http://127.0.0.1:0x50/a", "http://%zz/",
    "gopher://127.0.0.1/a", "file:///etc/passwd", "http://127.0.0.1:99999999/a", "http://" + "a" * 300 + "/",
    "http://a" + "." * 300, "http://*/",
])
def test_a_redirection_to_no_address_is_one_sentence(server, tmp_path, location):
    server.script = [lambda handler: redirect(handler, location)] * 20
    with pytest.raises(UserError, match="cannot be downloaded"):
        get(server, tmp_path)
    assert not {"a.zip", "a.zip.sha256"} & set(names(tmp_path))


def redirect(handler, location):
    handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + location.encode("latin-1") + b"\r\n\r\n")
    handler.close_connection = True


def test_a_circle_of_redirections_ends(server, tmp_path):
    server.script = [status(302, Location="/a.zip")] * 100
    with pytest.raises(UserError, match="redirects"):
        get(server, tmp_path)


@pytest.mark.parametrize(("asked", "seconds"), [
    ("7", 7), ("60", 60), ("3600", 60), ("0", 0), ("-5", 0), ("soon", 0), ("9" * 5000, 0), ("1e9", 0), ("", 0),
    ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2215 07:28:00 GMT", 60), ("Wed, 99 Oct 2215", 0),
])
def test_a_busy_server_is_left_alone_as_long_as_it_asks(server, tmp_path, waits, asked, seconds):
    server.script = [status(503, Retry_After=asked)]
    get(server, tmp_path)
    assert waits == [seconds or 1]


def test_the_reason_of_a_server_is_shown_and_not_obeyed(server, tmp_path):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 404 \x1b[2J\x9b31m\r\nContent-Length: 0\r\n\r\n")

    server.script = [answer]
    with pytest.raises(UserError) as caught:
        get(server, tmp_path)
    assert "\x1b" not in describe_error(caught.value) and "\x9b" not in describe_error(caught.value)


def test_a_changed_file_without_an_etag_is_not_joined_to_the_old_part(server, tmp_path):
    server.etag = ""
    server.script = [lambda handler: dated(handler, OTHER, HALF), lambda handler: dated(handler, DATA)]
    get(server, tmp_path, sha256=None)
    assert server.ranges() == [None, None]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def dated(handler, data, cut=None):
    handler.head(200, Content_Length=len(data), Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
    handler.wfile.write(data[:cut])


def test_a_server_that_ignores_if_range_is_found_out(server, tmp_path):
    leave_part(tmp_path, OTHER[:1000], version='"v0"')
    server.script = [status(206, Content_Range=f"bytes 1000-{len(DATA) - 1}/{len(DATA)}", ETag='"v1"')]
    get(server, tmp_path, sha256=None)
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("suffix", ["", ".part", ".part.etag", ".part.lock", ".sha256"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")],
                         ids=["pipe", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(server, tmp_path, suffix, make):
    make(tmp_path / f"a.zip{suffix}")
    with pytest.raises(UserError, match="a folder, a device or a pipe"):
        get(server, tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"),
                                  lambda path: socket.socket(socket.AF_UNIX).bind(str(path))],
                         ids=["pipe", "folder", "device", "socket"])
def test_an_archive_that_is_no_file_is_one_sentence(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = Path("a.zip")
    make(path)
    with pytest.raises(UserError, match="no file"):
        take_archive(path, 10)
    with pytest.raises(UserError, match="no file"):
        unpack.extract(path, tmp_path / "out", progress=False)


# ---- fetch: without a published checksum


def test_the_first_download_is_trusted_and_recorded(server, tmp_path):
    first = get(server, tmp_path, sha256=None)
    assert first["sha256"] == SHA256 and first["verified"] is False
    assert get(server, tmp_path, sha256=None) == first
    assert len(server.requests) == 1


def test_a_later_download_must_match_the_record(server, tmp_path):
    get(server, tmp_path, sha256=None)
    (tmp_path / "a.zip").unlink()
    server.script = [lambda handler: good(handler, OTHER)]
    with pytest.raises(UserError, match=r"recorded in .*a\.zip\.sha256"):
        get(server, tmp_path, sha256=None)
    assert names(tmp_path) == ["a.zip.part.lock", "a.zip.sha256"]
    assert get(server, tmp_path, sha256=None)["sha256"] == SHA256


def test_a_changed_file_is_replaced_by_the_recorded_one(server, tmp_path):
    get(server, tmp_path, sha256=None)
    (tmp_path / "a.zip").write_bytes(OTHER)
    os.utime(tmp_path / "a.zip", ns=(1, 1))
    get(server, tmp_path, sha256=None)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_broken_record_is_not_trusted_anew(server, tmp_path):
    (tmp_path / "a.zip.sha256").write_text("rubbish")
    with pytest.raises(UserError, match="holds no SHA-256"):
        get(server, tmp_path, sha256=None)
    assert server.requests == []


def test_a_first_download_is_recorded_only_after_it_was_looked_into(server, tmp_path):
    def check(path):
        assert path.read_bytes() == DATA
        assert not (tmp_path / "a.zip.sha256").exists()
        raise UserError("it is damaged")

    with pytest.raises(UserError, match="damaged"):
        fetch(server.url(), tmp_path / "a.zip", len(DATA), progress=False, check=check)
    assert names(tmp_path) == ["a.zip.part.lock"]
    looked = []
    fetch(server.url(), tmp_path / "a.zip", len(DATA), progress=False, check=looked.append)
    fetch(server.url(), tmp_path / "a.zip", len(DATA), progress=False, check=looked.append)
    assert len(looked) == 1
    assert names(tmp_path) == ["a.zip", "a.zip.sha256"]


def zipped(path, content=b"x" * 999):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", content)
    return path.read_bytes()


def damaged(path):
    content = bytearray(zipped(path))
    content[content.index(b"xxx")] ^= 1
    return bytes(content)


@pytest.mark.parametrize("recorded", [False, True], ids=["by this version", "by an older one"])
def test_the_command_that_finds_a_damaged_archive_mends_it_when_run_again(server, tmp_path, recorded):
    good, bad = zipped(tmp_path / "good.zip"), damaged(tmp_path / "bad.zip")
    dataset = datasets.Dataset((datasets.Archive("a.zip", server.url(), len(good), None),), "", "",
                               lambda folder: ([], [], folder, folder))
    archive = tmp_path / "_archives" / "a.zip"
    if recorded:
        archive.parent.mkdir()
        archive.write_bytes(bad)
        archive.with_name("a.zip.sha256").write_text(f"{hashlib.sha256(bad).hexdigest()}  a.zip\n")
    server.script = [lambda handler: good_bytes(handler, good)] if recorded else [
        lambda handler: good_bytes(handler, bad), lambda handler: good_bytes(handler, good)]

    def make():
        got = datasets.get_archives(dataset, tmp_path, progress=False)
        return datasets.open_sources(dataset, got, tmp_path, progress=False)

    with pytest.raises(UserError, match="damaged"):
        make()
    assert not {"a.zip", "a.zip.sha256"} & set(names(archive.parent))
    make()
    assert archive.read_bytes() == good
    assert (tmp_path / "_sources" / "a" / "1.png").read_bytes() == b"x" * 999


def good_bytes(handler, data):
    handler.head(200, Content_Length=len(data))
    handler.wfile.write(data)


def test_a_damaged_archive_of_the_user_is_left_alone(server, tmp_path):
    bad = damaged(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(bad)
    dataset = datasets.Dataset((datasets.Archive("a.zip", server.url(), len(bad), None),), "", "", None)
    got = datasets.get_archives(dataset, tmp_path / "out", tmp_path, progress=False)
    with pytest.raises(UserError, match="damaged"):
        datasets.open_sources(dataset, got, tmp_path / "out", progress=False)
    assert (tmp_path / "a.zip").read_bytes() == bad


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "..\\b.jpg", "C:\\b.jpg", "..",
                                  "a\x1b[2J/../b.jpg"])
def test_a_list_that_names_what_lies_outside_is_refused(tmp_path, name):
    (tmp_path / "train-calibrated-shuffled.txt").write_text(f"0001a.jpg 3\n{name} 4\n")
    with pytest.raises(UserError, match="outside of it"):
        datasets._list_mars(tmp_path)


def test_a_list_that_is_no_text_is_one_sentence(tmp_path):
    (tmp_path / "train-calibrated-shuffled.txt").write_bytes(b"\xff\xfe\x00 \x8e 3\n")
    with pytest.raises(UserError, match="lacks"):
        datasets._list_mars(tmp_path)


# ---- all archives of a set


def two_archives(server):
    archives = tuple(datasets.Archive(name, server.url(), len(DATA), SHA256) for name in ("a.zip", "b.zip"))
    return datasets.Dataset(archives, "", "", None)


@pytest.mark.parametrize(("present", "n_missing"), [({}, 2), ({"a.zip": DATA}, 1), ({"a.zip.part": DATA[:HALF]}, 1.5)])
def test_all_archives_and_what_is_in_them_need_disk(server, tmp_path, monkeypatch, present, n_missing):
    (tmp_path / "_archives").mkdir()
    for name, content in present.items():
        (tmp_path / "_archives" / name).write_bytes(content)
    needed = int((n_missing + 2) * len(DATA)) + disk.DISK_MARGIN
    no_disk(monkeypatch, needed - 1)
    with pytest.raises(UserError, match=r"_archives has .* free and .* are needed"):
        datasets.get_archives(two_archives(server), tmp_path, progress=False)
    assert server.requests == []
    no_disk(monkeypatch, needed)
    assert len(datasets.get_archives(two_archives(server), tmp_path, progress=False)) == 2


def test_an_unpacked_archive_needs_no_more_disk(server, tmp_path, monkeypatch):
    (tmp_path / "_sources" / "a").mkdir(parents=True)
    no_disk(monkeypatch, 3 * len(DATA) + disk.DISK_MARGIN)
    assert len(datasets.get_archives(two_archives(server), tmp_path, progress=False)) == 2


# ---- take_archive


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(DATA)
    return path


def test_take_archive(archive):
    assert take_archive(archive, len(DATA), SHA256.upper()) == {
        "file": "a.zip", "url": None, "bytes": len(DATA), "sha256": SHA256, "verified": True}
    assert names(archive.parent) == ["a.zip"]


def test_take_archive_without_a_published_checksum(archive):
    result = take_archive(archive, len(DATA))
    assert result["sha256"] == SHA256 and result["verified"] is False


@pytest.mark.parametrize(("n_bytes", "sha256", "message"), [
    (len(DATA) + 1, SHA256, "400000 bytes, not 400001"),
    (len(DATA) + 1, None, "400000 bytes, not 400001"),
    (len(DATA), "0" * 64, SHA256),
])
def test_take_archive_refuses_another_file(archive, n_bytes, sha256, message):
    with pytest.raises(UserError, match=rf"{message}.*--allow-unverified"):
        take_archive(archive, n_bytes, sha256)
    assert take_archive(archive, n_bytes, sha256, allow_unverified=True) == {
        "file": "a.zip", "url": None, "bytes": len(DATA), "sha256": SHA256, "verified": False}


def test_take_archive_compares_to_the_record(server, tmp_path):
    get(server, tmp_path, sha256=None)
    (tmp_path / "a.zip").write_bytes(OTHER)
    os.utime(tmp_path / "a.zip", ns=(1, 1))
    with pytest.raises(UserError, match=SHA256):
        take_archive(tmp_path / "a.zip", len(DATA))


def test_take_archive_missing(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        take_archive(tmp_path / "a.zip", 10, SHA256, allow_unverified=True)
