"""download.py as a user meets it: what it makes, what it says, and its exit status."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import download
import util
from download_module import datasets

REPOSITORY = Path(download.__file__).parent


def write_images(folder, n, size=(140, 150), first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        noise = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:04d}.png")
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run download.py in an empty folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["download.py", *map(str, arguments)])
        status = util.run_cli(download.main)
        return status, *capsys.readouterr()

    return run


def manifest_of(name, out="datasets"):
    return json.loads((Path(out) / name / "manifest.json").read_text())


def test_the_sample(run, tmp_path):
    status, out, err = run("--dataset", "sample", "--n-train", 9, "--n-test", 5)
    assert (status, err) == (0, "")
    assert out == f"{Path('datasets/sample')}: 9 train and 5 test tiles, from 9 and 5 images\n"
    manifest = manifest_of("sample")
    assert manifest["tasks"] == ["sr_x4", "sr_x8", "noise_s64"]
    assert manifest["verified"] is None  # it has no archive
    assert str(tmp_path) not in json.dumps(manifest)
    assert "site-packages" not in json.dumps(manifest)
    status, out, err = run("--dataset", "sample", "--n-train", 9, "--n-test", 5)
    assert (status, err) == (0, "")
    assert out.endswith("(already made)\n")


def test_ones_own_images(run):
    write_images(Path("moon/near/deep"), 3)
    status, out, _ = run("--images", "moon", "--tasks", "gray", "sr_x4", "gray", "--n-train", 6, "--out", "sets")
    assert (status, out) == (0, f"{Path('sets/moon')}: 6 train and 100 test tiles, from 2 and 1 images\n")
    manifest = manifest_of("moon", "sets")
    assert manifest["tasks"] == ["gray", "sr_x4"]
    assert manifest["tiles"]["train"][0]["source"].startswith("near/deep/000")
    assert sorted(p.name for p in Path("sets/moon/test").iterdir()) == ["gray", "hr", "sr_x4"]


def test_two_folders_and_a_name(run):
    write_images(Path("a"), 2)
    write_images(Path("b"), 2, first=5)
    status, *_ = run("--images", "a", "--test-images", "b", "--dataset", "ab", "--n-train", 4, "--n-test", 2)
    assert status == 0
    assert {tile["source"] for tile in manifest_of("ab")["tiles"]["test"]} == {"0005.png", "0006.png"}


# Archives of the same layout as the real ones, with a few images -------------------------------------------------


def write_mars(folder, train, test):
    """Write a small msl-images.zip; the keys are sols and the values numbers of images."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "msl-images.zip", "w") as archive:
        archive.writestr("README.txt", "Mars")
        archive.writestr("msl_synset_words-indexed.txt", "0\t drill holes\n1\t drill\n")
        seed = 0
        for side, sols in {"train": train, "test": test, "val": {"0500": 1}}.items():
            lines = ""
            for sol, n in sols.items():
                for i in range(n):
                    name, seed = f"calibrated/{sol}ML000000{i}{side}_DRCL.JPG", seed + 1
                    noise = np.random.default_rng(seed).integers(0, 256, (140, 130, 3), dtype=np.uint8)
                    Image.fromarray(noise).save("x.jpg")
                    archive.write("x.jpg", name)
                    lines += f"{name} {i}\n"
            archive.writestr(f"{side}-calibrated-shuffled.txt", lines)
        Path("x.jpg").unlink()
    return folder


def write_div2k(folder):
    folder.mkdir(exist_ok=True)
    for file, first, n, size in (("DIV2K_train_HR", 1, 3, (128, 128)), ("DIV2K_valid_HR", 801, 2, (256, 256))):
        write_images(Path(file), n, size, first)
        with zipfile.ZipFile(folder / f"{file}.zip", "w") as archive:
            for path in sorted(Path(file).iterdir()):
                archive.write(path)
    return folder


def test_both_sets_from_archives_at_hand(run):
    write_mars(Path("archives"), {"0003": 2, "0010": 1}, {"0020": 2})
    write_div2k(Path("archives"))
    arguments = ("--archives", "archives", "--allow-unverified", "--tasks", "sr_x4")
    status, out, err = run(*arguments, "--n-test", 4)
    assert status == 0
    assert "div2k: 3 train and 4 test tiles, from 3 and 2 images" in out
    assert "div2k train: 3 distinct tiles are all there are, 10000 were wanted" in err
    for file in ("mars msl-images.zip", "div2k DIV2K_train_HR.zip", "div2k DIV2K_valid_HR.zip"):
        assert f"{file}: its size or SHA-256 is not the published one, and the manifest says so\n" in err
    mars = manifest_of("mars")
    assert mars["verified"] is False
    assert mars["licence"] == "CC BY-SA 4.0"
    assert {tile["source"][:15] for tile in mars["tiles"]["train"]} == {"calibrated/0003", "calibrated/0010"}
    assert {tile["source"][:15] for tile in mars["tiles"]["test"]} == {"calibrated/0020"}
    before = {p: p.stat().st_mtime_ns for p in Path("datasets").rglob("*")}
    status, out, _ = run(*arguments, "--n-test", 4)
    assert (status, out.count("(already made)")) == (0, 2)
    assert {p: p.stat().st_mtime_ns for p in Path("datasets").rglob("*")} == before


def test_more_than_the_archive_holds(run):
    write_div2k(Path("archives"))
    arguments = ("--dataset", "div2k", "--archives", "archives", "--allow-unverified", "--n-test", 2)
    status, _, err = run(*arguments, "--n-train", 5)
    assert status == 2
    assert "5 train tiles are wanted and 3 distinct ones can be cut" in err
    assert "--repeat" in err
    status, _, err = run(*arguments, "--n-train", 5, "--repeat")
    assert status == 0
    assert "3 of the 5 tiles are distinct" in err
    assert manifest_of("div2k")["counts"]["train"]["distinct"] == 3


def test_a_sol_on_both_sides_is_refused(run):
    write_mars(Path("archives"), {"0003": 1, "0010": 1}, {"0010": 1})
    status, _, err = run("--dataset", "mars", "--archives", "archives", "--allow-unverified")
    assert status == 2
    assert "sol 0010 is in both lists" in err


def test_an_unverified_archive_needs_the_option(run):
    write_mars(Path("archives"), {"0003": 1}, {"0010": 1})
    status, _, err = run("--dataset", "mars", "--archives", "archives")
    assert status == 2
    assert "--allow-unverified" in err


def test_an_archive_without_a_published_checksum(run, monkeypatch):
    archive = write_mars(Path("archives"), {"0003": 1}, {"0010": 1}) / "msl-images.zip"
    mars = datasets.DATASETS["mars"]
    published = (replace(mars.archives[0], n_bytes=archive.stat().st_size),)
    monkeypatch.setitem(datasets.DATASETS, "mars", replace(mars, archives=published))
    status, _, err = run("--dataset", "mars", "--archives", "archives", "--tasks", "sr_x4", "--n-train", 2)
    assert status == 0
    line = "mars msl-images.zip: no SHA-256 is published to compare its own with, only its size is checked"
    assert line in err.splitlines()
    assert "not the published one" not in err
    assert manifest_of("mars")["verified"] is False


def test_each_tile_of_mars_says_whether_it_shows_terrain_or_the_rover(run):
    write_mars(Path("archives"), {"0003": 2, "0010": 1}, {"0020": 2})
    run("--dataset", "mars", "--archives", "archives", "--allow-unverified", "--tasks", "sr_x4", "--n-train", 6)
    for side, n_images in (("train", 3), ("test", 2)):
        groups = {tile["source"]: tile["group"] for tile in manifest_of("mars")["tiles"][side]}
        assert len(groups) == n_images
        for source, group in groups.items():  # write_mars numbers the images of a sol and the classes alike
            assert group == {"0": "terrain", "1": "rover"}[Path(source).name[len("0003ML000000")]]


def test_a_list_that_names_a_missing_image(run):
    Path("archives").mkdir()
    with zipfile.ZipFile("archives/msl-images.zip", "w") as archive:
        archive.writestr("train-calibrated-shuffled.txt", "calibrated/0003ML.JPG 1\n")
    status, _, err = run("--dataset", "mars", "--archives", "archives", "--allow-unverified")
    assert status == 2
    assert "lacks calibrated/0003ML.JPG" in err


# Wrong values ---------------------------------------------------------------------------------------------------

WRONG = {
    "--n-train -1": "'-1' is not a whole number from 1 to 100000",
    "--n-test 0": "'0' is not a whole number from 1 to 100000",
    "--n-train 100001": "'100001' is not a whole number from 1 to 100000",
    "--seed -3": "'-3' is not a whole number",
    "--tasks sr_x9": "sr_x9 in the task sr_x9 is out of its limits",
    "--dataset imagenet": "imagenet is not a known data set",
    "--archives nowhere": "nowhere is not a folder",
    "--dataset sample --archives a": "sample has no archive",
    "--images nowhere": "nowhere is not a folder",
    "--images a --test-images nowhere": "nowhere is not a folder",
    "--test-images a": "--test-images needs --images",
    "--images a --test-images a": "a is given twice",
    "--images a --inputs nowhere": "nowhere is not a folder",
    "--images a --inputs b": "has no partner",
    "--images a --inputs b --tasks gray": "--tasks does not go with --inputs",
    "--images a --inputs b --pages": "--pages does not go with --inputs",
    "--images a --tasks pairs": "give their folder with --inputs",
    "--inputs a": "--inputs needs --images",
    "--images a --inputs b --dataset b --out .": "lie inside each other",
    "--images a --test-images a/inner": "lie inside each other",
    "--images a --test-images b": "are the same image",
    "--images one": "1 image of at least 128x128 was found",
    "--images empty": "empty holds no image",
    "--images a --archives a": "--archives is for known data sets",
    "--images a --dataset mars": "mars is the name of a known data set",
    "--images a --dataset _sources": "cannot be the name of a data set",
    "--images a --dataset .hidden": "cannot be the name of a data set",
    "--images a --dataset ../up": "cannot be the name of a data set",
    f"--images a --dataset {101 * 'n'}": "cannot be the name of a data set",
    "--images a --dataset inner --out a": "lie inside each other",
    "--images . --dataset all": "lie inside each other",
    "--images a --n-test 100000": "test tiles are wanted",
    "--dataset mars --archives a": "put the archive there",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_value_is_one_sentence(run, arguments):
    write_images(Path("a/inner"), 2)
    write_images(Path("b"), 1, first=1)
    write_images(Path("one"), 1)
    Path("empty").mkdir()
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith("download.py: error: ")
    assert err.count("\n") == 1
    assert WRONG[arguments] in err
    assert not list(Path().glob("datasets/*"))


def test_an_unknown_option_has_status_2(run):
    status, _, err = run("--data", "sample")  # an abbreviation could come to mean another option
    assert status == 2
    assert err == "download.py: error: unrecognized arguments: --data sample (see --help)\n"


def test_a_folder_of_someone_else_stays(run):
    write_images(Path("a"), 2)
    Path("datasets/a").mkdir(parents=True)
    Path("datasets/a/notes.txt").write_text("mine")
    status, _, err = run("--images", "a")
    assert status == 2
    assert "was not made by download.py" in err
    assert [p.name for p in Path("datasets/a").iterdir()] == ["notes.txt"]


# Stopped in the middle ------------------------------------------------------------------------------------------


@pytest.fixture
def cutting(tmp_path):
    """A download.py with worker processes that has cut some tiles of many: (process, folder of its sets)."""
    write_images(tmp_path / "a", 4, (300, 300))
    process = start(tmp_path, 20_000)
    try:
        wait_for(lambda: any((tmp_path / "out").glob(".a.partial/train/noise_s64/*")))
        yield process, tmp_path / "out"
    finally:
        process.kill()
        process.communicate()


def start(folder, n_train):
    command = [sys.executable, str(REPOSITORY / "download.py"), "--images", "a", "--out", "out"]
    command += ["--n-train", str(n_train), "--n-test", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes)


def wait_for(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_quietly(cutting):
    process, out = cutting
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_leaves_no_half_set_and_no_process(cutting):
    process, out = cutting
    process.kill()
    process.communicate(timeout=60)  # the pipes close when the last process that holds them has ended
    assert {p.name for p in out.iterdir()} - {".a.lock"} == {".a.partial"}
    again = start(out.parent, 4)
    _, err = again.communicate(timeout=60)
    assert (again.returncode, err) == (0, "")
    assert [p.name for p in out.iterdir()] == ["a"]
    assert len(list((out / "a" / "train" / "hr").iterdir())) == 4


def test_text_of_a_manifest_is_shown_and_not_obeyed(run):
    arguments = ("--dataset", "sample", "--n-train", 4, "--n-test", 2, "--tasks", "sr_x4")
    run(*arguments)
    manifest = manifest_of("sample")
    manifest["counts"]["train"]["skipped"] = {"\x1b[2Jnothing\n": 3}
    util.write_json(Path("datasets/sample/manifest.json"), manifest)
    status, _, err = run(*arguments)
    assert status == 0
    assert "\x1b" not in err and err.count("\n") == 1
