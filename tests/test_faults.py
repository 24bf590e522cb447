"""Whole commands under signals, closed and full outputs, terminals without Unicode, full disks, odd file names."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import faults
import numpy as np
import pytest
from conftest import names

import inception2
import util
from download_module import tilefile

pytestmark = pytest.mark.slow  # each starts commands

ROOT = Path(__file__).parents[1]
SMALL = ("--dataset", "sample", "--n-train", "4", "--n-test", "2", "--tasks", "sr_x4")
N_LARGEST = 50_000  # bytes of a file that ulimit allows


def start(place, *arguments, command="download.py", environment=None, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, ROOT / command, *arguments], cwd=place, text=True,
                            env=os.environ | (environment or {}), **options)


def end(process):
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in (errors or "")
    return process.returncode, output, errors


def listen():
    """Ignore no signal: in the background of a shell Ctrl-C would be, under nohup SIGHUP."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_until_signals_are_caught(process):
    """Python itself takes its time to start; from `import util` on SIGTERM is caught."""
    while process.poll() is None:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        if int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
@pytest.mark.parametrize("command", ["download.py", "inception2.py"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_libraries_load_is_one_line(tmp_path, command, number):
    for wait in (0, 0.01, 0.03):  # short, or a fast machine has ended the command: it has nothing to do here
        process = start(tmp_path, *SMALL[:2], command=command, preexec_fn=listen)
        wait_until_signals_are_caught(process)
        time.sleep(wait)
        process.send_signal(number)
        status, output, errors = end(process)  # on a fast machine the libraries may be there, and the work begun
        assert (status, output) == (130, "")
        assert errors.splitlines()[-1] == "interrupted: the same command goes on from here"
    assert not list(tmp_path.glob("datasets/sample"))


def test_a_process_that_was_told_to_ignore_a_signal_does(tmp_path):
    process = start(tmp_path, *SMALL, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until_signals_are_caught(process)
    process.send_signal(signal.SIGHUP)
    assert end(process)[0] == 0


def test_sigterm_in_the_middle_leaves_nothing(tmp_path):
    process = start(tmp_path, "--dataset", "sample", "--n-train", "3000", "--repeat")
    while process.poll() is None and not (tmp_path / "datasets" / ".sample.partial").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status, output, errors = end(process)
    assert (status, output) == (130, "")
    assert "interrupted" in errors
    assert list((tmp_path / "datasets").iterdir()) == []


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_outputs_change_nothing(tmp_path, closed):
    process = start(tmp_path, *SMALL, preexec_fn=lambda: [os.close(number) for number in closed])
    status, output, errors = end(process)
    assert status == 0
    assert bool(output) == (1 not in closed)
    assert errors == ""
    assert (tmp_path / "datasets" / "sample" / "manifest.json").exists()


def test_closed_outputs_keep_the_status_of_a_refusal(tmp_path):
    for closed in ((1,), (2,), (1, 2)):
        process = start(tmp_path, "--images", "nowhere", preexec_fn=lambda closed=closed: [os.close(n) for n in closed])
        status, output, errors = end(process)
        assert (status, output) == (2, "")
        assert ("nowhere is not a folder" in errors) == (2 not in closed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_output_is_said(tmp_path):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        status, _, errors = end(start(tmp_path, *SMALL, stdout=full))
        assert status == 2 and errors.count("\n") == 1 and "the disk is full" in errors
        assert end(start(tmp_path, "--images", "nowhere", stdout=full, stderr=full))[0] == 2


@pytest.mark.parametrize("environment", [
    {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
])
def test_a_terminal_without_japanese_gets_escapes(tmp_path, environment):
    folder = tmp_path / "写真"
    for i in range(3):
        tilefile.write_image(folder / f"猫{i}.png", np.random.default_rng(i).integers(0, 256, (140, 140, 3), np.uint8))
    status, output, _ = end(start(tmp_path, "--images", folder, "--tasks", "sr_x4", environment=environment))
    assert status == 0 and output.isascii()
    (folder / "猫0.png").write_bytes(b"broken")
    status, _, errors = end(start(tmp_path, "--images", folder / "ない", environment=environment))
    assert status == 2 and errors.isascii() and errors.count("\n") == 1


def test_names_that_are_not_utf8_are_used(tmp_path):
    folder = os.fsencode(tmp_path / "images")
    os.mkdir(folder)  # noqa: PTH102
    for i in range(3):
        good = tmp_path / f"{i}.png"
        tilefile.write_image(good, np.random.default_rng(i).integers(0, 256, (140, 140, 3), np.uint8))
        good.rename(os.fsdecode(os.path.join(folder, b"\x8el\x8a\xaa%d.png" % i)))  # noqa: PTH118
    status, output, errors = end(start(tmp_path, "--images", "images", "--tasks", "sr_x4"))
    assert status == 0, errors
    status, output, errors = end(start(tmp_path, "--images", "images", "--tasks", "sr_x4"))
    assert "already made" in output


def test_a_file_beyond_the_allowed_size_is_said_and_leaves_nothing(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    status, output, errors = end(start(tmp_path, *SMALL, preexec_fn=limit))
    assert (status, output) == (2, "") and errors.count("\n") == 1 and "ulimit -f" in errors
    assert list((tmp_path / "datasets").iterdir()) == []


# ---- one write of each kind, on a disk that is full


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("write", [
    lambda path: util.write_json(path.with_suffix(".json"), {"new": 1}),
    lambda path: tilefile.write_image(path.with_suffix(".png"), np.zeros((8, 8, 3), np.uint8)),
], ids=["json", "image"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, number, write):
    for suffix in (".json", ".png"):
        (tmp_path / f"a{suffix}").write_bytes(b"old")

    def fail(*_, **__):
        raise OSError(number, "failed")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="failed") as caught:
        write(tmp_path / "a")
    assert "\n" not in util.describe_error(caught.value)
    assert names(tmp_path) == ["a.json", "a.png"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}


TRAIN = ("--dataset", "tiny", "--n-train", "12", "--width", "4", "--n-updates", "2", "--batch-size", "1")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
@pytest.mark.parametrize("folder", ["runs", "results", "assets", "outputs"])
def test_a_full_disk_in_each_folder_is_said_and_the_next_run_mends_it(workplace, monkeypatch, capfd, folder, number):
    def train():
        inception2.main(list(TRAIN))
        [model_path] = Path("runs").glob("*/model.keras")
        inception2.main(["restore", "datasets/tiny/test/sr_x4/00000.png", "--weights", str(model_path)])

    replace = Path.replace

    def replace_elsewhere(path, target):
        if folder in Path(target).parts:
            raise OSError(number, "failed", str(target))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_elsewhere)
        assert util.run_cli(train) == 2
    assert util.FILE_SYSTEM_ERRORS[number] in capfd.readouterr().err
    names_there = [path.name for path in Path(folder).rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    assert set(names_there) <= {"lock"}
    assert util.run_cli(train) == 0
    assert list(Path("results").glob("*.json")) and list(Path("outputs").glob("*.png"))


def test_a_training_that_may_write_no_large_file_says_so(workplace):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            inception2.main(list(TRAIN))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "ulimit -f" in util.describe_error(caught.value)
    assert not list(Path("runs").rglob("*.npz")) and not list(Path("results").iterdir())


# ---- a few of the faults of `make faults`


def test_mutated_images_are_used_or_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "N_DOWNLOAD", 48)
    [series] = faults.fuzz_download(tmp_path)
    assert (series["tried"], series["lost"]) == (48, 0)


def test_mutated_images_are_restored_or_have_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "N_RESTORE", 48)
    [series] = faults.fuzz_restore(tmp_path)
    assert (series["tried"], series["lost"]) == (48, 0)


def test_a_killed_download_py_goes_on(tmp_path, monkeypatch):
    command = faults.COMMANDS["download.py"][1]
    monkeypatch.setattr(faults, "COMMANDS", {"download.py": (4, command)})
    [series] = faults.kill_series(tmp_path)
    assert (series["tried"], series["lost"]) == (4, 0)


def test_a_killed_download_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "N_FETCH", 4)
    [series] = faults.kill_fetch(tmp_path)
    assert (series["tried"], series["lost"]) == (4, 0)


# ---- what kill -9 leaves


def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    left_over = tmp_path / f".{util._HOST}-{gone()}-0.unfinished.png"
    running = tmp_path / f".{util._HOST}-{os.getppid()}-3.unfinished.png"
    elsewhere = f".{~int(util._HOST, 16) & 0xFFFFFFFF:08x}-{gone()}-0.unfinished.png"  # written by another machine
    theirs = [tmp_path / name for name in (".a.1999999999.png", "a.1.unfinished.png", ".a.unfinished.png", elsewhere)]
    old = tmp_path / elsewhere.replace("-0.", "-1.")  # of a container of the day before yesterday
    for path in (left_over, running, old, *theirs):
        path.write_bytes(b"half")
    before = time.time() - 2 * 24 * 3600
    os.utime(old, (before, before))
    util.write_json(tmp_path / "a.json", 1)
    assert not left_over.exists()
    assert not old.exists()
    assert running.exists() and all(path.exists() for path in theirs)


def test_what_is_being_written_is_no_image(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    tilefile.write_image(tmp_path / "a.png", image)
    for name in (".b.png", ".123-0.unfinished.png", "._a.png", ".thumbnails/a.png"):
        tilefile.write_image(tmp_path / name, image)
    assert util.list_images(tmp_path) == [tmp_path / "a.png"]


# ---- text from files


@pytest.mark.parametrize(("text", "shown"), [
    ("a\x1b[31mb", r"a\x1b[31mb"), ("a\nb", r"a\nb"), ("a\rb", r"a\rb"), ("a\x9bb", r"a\x9bb"), ("猫 é", "猫 é"),
    ("a\u202eb", r"a\u202eb"), ("a\u2028b", r"a\u2028b"), ("a\x00b", r"a\x00b"), ("a\\b", r"a\b"), ("\x7f", r"\x7f"),
])
def test_text_of_others_is_shown_and_not_obeyed(text, shown):
    assert util.terminal_text(text) == shown
    assert util.describe_error(util.UserError(text)) == shown
    assert util.describe_error(FileNotFoundError(errno.ENOENT, "none", text)).endswith(f"({shown})")


def test_a_name_with_escapes_and_newlines_is_one_line(tmp_path):
    folder = tmp_path / "a\x1b]0;owned\x07\nb"
    folder.mkdir()
    (folder / "x\x1b[2J\ny.png").write_bytes(b"broken")
    status, output, errors = end(start(tmp_path, "--images", folder))
    assert status == 2 and output == ""
    assert errors.count("\n") == 1 and "\x1b" not in errors and "\x07" not in errors


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\rb", "a\u202eb", "\x9b"])
def test_a_name_that_a_terminal_would_obey_is_none_of_a_set(name):
    assert not util.is_plain_name(name)
    assert util.is_plain_name("写真 é")


def test_restore_shows_names_and_obeys_none(small_network, workplace, capsys):
    odd = "a\x1b[2J\nb\x9b\r"
    image = np.zeros((20, 20, 3), np.uint8)
    tilefile.write_image(Path("photos") / odd / f"{odd}.png", image)
    (Path("photos") / odd / f"{odd}2.png").write_bytes(b"broken")
    (Path("photos") / f"{odd}3.png").symlink_to("nowhere")
    for arguments in (["photos"], [f"photos/{odd}/{odd}.png", "--trust", f"{odd}.npy"]):
        status = util.run_cli(lambda arguments=arguments: inception2.main(
            ["restore", *arguments, "--weights", str(small_network)]))
        said = "".join(capsys.readouterr())
        assert status == (2 if len(arguments) == 1 else 0)
        assert said.count(r"a\x1b[2J\nb\x9b\r") > 1
        assert not set(said) & set("\x1b\x9b")
        assert not any(line.startswith("b") for line in re.split("[\r\n]", said))


@pytest.mark.parametrize("content", [
    b"{", b"\xff", b"NaN", b'{"a": Infinity}', b"[" * 100_000, b"", b"1" * 10_000, b'{"a": -Infinity}',
])
def test_json_that_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(util.UserError, match=r"a\.json is not valid JSON"):
        util.read_json(tmp_path / "a.json")


def test_a_pipe_or_folder_in_the_place_of_json_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    for name in ("a.json", "b.json"):
        with pytest.raises(util.UserError, match="no file"):
            util.read_json(tmp_path / name)


# ---- a network that puts out no numbers


@pytest.fixture
def small_network(workplace):
    from inception2_module import networkfile, networks

    path = workplace / "runs" / "small" / "model.keras"
    networkfile.save_model(networks.build_model("srcnn535", 4, 0.0), path)
    return path


@pytest.fixture
def overflowing(workplace):
    """A network of finite weights whose output is not finite where the input is not black."""
    from inception2_module import networkfile, networks

    model = networks.build_model("srcnn535", 4, 0.0)
    model.set_weights([np.full(weight.shape, 1e20, np.float32) * (weight.ndim > 1) for weight in model.get_weights()])
    path = workplace / "runs" / "bad" / "model.keras"
    networkfile.save_model(model, path)
    return path


def files_in(place):
    return sorted(path for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("options", [(), ("--ensemble",), ("--trust", "map.png")])
def test_a_network_that_puts_out_no_numbers_restores_nothing(overflowing, workplace, capsys, options):
    tilefile.write_image(workplace / "photo.png", np.full((20, 20, 3), 200, np.uint8))
    before = files_in(workplace)
    arguments = ["restore", "photo.png", "--weights", str(overflowing), *options]
    assert util.run_cli(lambda: inception2.main(arguments)) == 2
    assert "not finite" in capsys.readouterr().err
    assert files_in(workplace) == before


def test_a_network_that_puts_out_no_numbers_is_not_measured(overflowing, workplace, capsys):
    before = files_in(workplace)
    arguments = ["evaluate", str(overflowing), "--dataset", "tiny", "--task", "sr_x4"]
    assert util.run_cli(lambda: inception2.main(arguments)) == 2
    assert "not finite" in capsys.readouterr().err
    assert files_in(workplace) == before
