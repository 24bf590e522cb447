import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_dataset
from PIL import Image

import inception2
import util
from download_module import tilefile
from inception2_module import batches, drawing, networkfile
from inception2_module.backend import keras
from inception2_module.experiments import Experiment

pytestmark = pytest.mark.slow  # networks are trained and measured

ROOT = Path(__file__).parents[1]
ARGUMENTS = ["--dataset", "tiny", "--n-train", "12", "--width", "4", "--n-updates", "4"]
NAME = replace(Experiment(), dataset="tiny", n_train=12, width=4, n_updates=4).name


def run(*arguments):
    """Run in this process, as the terminal would: the exit status."""
    try:
        return util.run_cli(lambda: inception2.main([str(argument) for argument in arguments]))
    except SystemExit as error:  # argparse
        return error.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which the tiny experiment has been run."""
    place = tmp_path_factory.mktemp("trained")
    write_dataset(place / "datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run(*ARGUMENTS) == 0
    return place


@pytest.fixture
def in_trained(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def test_a_run_writes_its_result_in_the_documented_form(in_trained):
    result = json.loads((in_trained / "results" / f"{NAME}.json").read_text())
    fields = {
        "name", "dataset", "task", "model", "recipe", "n_train", "n_updates", "batch_size", "seed", "draw", "n_test",
        "seconds_train", "device", "backend", "versions", "git_commit", "protocol", "methods", "data",
    }
    assert fields <= set(result)
    assert list(result["methods"]) == ["input", "lanczos", "linear", "raisr", "restored"]
    for scores in result["methods"].values():
        assert set(scores) == {"psnr", "psnr_of_mean_mse", "ssim", "psnr_tiles", "ssim_tiles"}
        assert len(scores["psnr_tiles"]) == len(scores["ssim_tiles"]) == result["n_test"] == 4
    assert result["protocol"]["border"] == 0
    assert result["data"]["verified"] is False


def test_where_there_are_fewer_tiles_than_the_default_all_are_taken(in_trained, capsys):
    arguments = [part for part in ARGUMENTS if part not in ("--n-train", "12")]
    assert run(*arguments) == 0  # the training is there
    assert capsys.readouterr().out.startswith(f"{NAME}\n12 of 12 tiles (--n-train)")


def test_a_result_names_no_place_on_this_machine(in_trained):
    text = (in_trained / "results" / f"{NAME}.json").read_text()
    assert str(in_trained) not in text
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def test_the_scores_are_those_of_the_files_on_disk(in_trained):
    """An independent way to the same numbers: the saved model on the tiles, one by one."""
    result = json.loads((in_trained / "results" / f"{NAME}.json").read_text())
    model = networkfile.load_model(in_trained / "runs" / NAME / "model.keras")
    for i, psnr in enumerate(result["methods"]["restored"]["psnr_tiles"]):
        target, degraded = (
            np.asarray(Image.open(in_trained / "datasets" / "tiny" / "test" / folder / f"{i:05}.png"))
            for folder in ("hr", "sr_x4")
        )
        output = np.clip(np.asarray(model(degraded[None] / np.float32(255), training=False))[0], 0, 1)
        error = np.mean((np.rint(output * 255) - target) ** 2)
        assert psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def test_the_same_command_again_trains_nothing_and_says_the_same(in_trained, monkeypatch):
    before = (in_trained / "results" / f"{NAME}.json").read_text()
    monkeypatch.setattr(batches, "draw_batch", None)
    assert run(*ARGUMENTS) == 0
    after = (in_trained / "results" / f"{NAME}.json").read_text()
    assert json.loads(after)["methods"] == json.loads(before)["methods"]


def test_the_end_of_a_training_names_what_comes_next(in_trained, capsys):
    assert run(*ARGUMENTS) == 0
    said = capsys.readouterr().out
    for command in (f"restore IMAGE --enlarge --weights {NAME}", f"gallery {NAME}"):
        assert f": python3 inception2.py {command}\n" in said


def test_a_saved_model_is_measured_alike(in_trained):
    path = in_trained / "results" / f"{NAME}.json"
    before = json.loads(path.read_text())
    path.unlink()
    assert run("evaluate", in_trained / "runs" / NAME / "model.keras") == 0
    after = json.loads(path.read_text())
    assert after["methods"] == before["methods"]
    assert after["seconds_train"] == before["seconds_train"]
    assert after["recipe_settings"] == before["recipe_settings"]
    assert after["recipe_settings"]["crop"] == 64


def test_a_part_of_the_test_never_replaces_the_whole(in_trained):
    path = in_trained / "results" / f"{NAME}.json"
    before = path.read_text()
    assert run(*ARGUMENTS, "--n-test", "3") == 0
    assert path.read_text() == before
    assert json.loads(path.with_name(f"{NAME}-test3.json").read_text())["n_test"] == 3


def test_a_model_is_not_measured_on_a_remade_set_of_the_same_name(in_trained, capsys):
    other = in_trained / "other"
    for task in ("sr_x4", "sr_x8"):  # what another task tests may be what this one has seen, too
        write_dataset(other, task=task, n_train=13)
        assert run("evaluate", in_trained / "runs" / NAME / "model.keras", "--data", other, "--task", task) == 2
        assert "is not the data set that" in capsys.readouterr().err


def test_a_model_is_measured_from_inside_its_folder(in_trained, monkeypatch):
    monkeypatch.chdir(in_trained / "runs" / NAME)
    assert run("evaluate", "model.keras", "--data", in_trained / "datasets") == 0
    assert (in_trained / "runs" / NAME / "results" / f"{NAME}.json").exists()
    for folder in ("results", "assets"):
        shutil.rmtree(in_trained / "runs" / NAME / folder)


def test_a_model_is_measured_on_another_task_under_another_name(in_trained):
    write_dataset(in_trained / "datasets", "noisy", "noise_s64")
    model_path = in_trained / "runs" / NAME / "model.keras"
    assert run("evaluate", model_path, "--dataset", "noisy", "--task", "noise_s64", "--n-test", "2") == 0
    result = json.loads((in_trained / "results" / f"{NAME}-on-noisy-noise_s64-test2.json").read_text())
    assert (result["task"], result["trained_on"]["task"], result["n_test"]) == ("noise_s64", "sr_x4", 2)


def test_a_model_alone_needs_to_be_told_its_task(in_trained, tmp_path, capsys):
    shutil.copy(in_trained / "runs" / NAME / "model.keras", tmp_path / "lonely.keras")
    assert run("evaluate", tmp_path / "lonely.keras") == 2
    assert "--dataset and --task" in capsys.readouterr().err
    assert run("evaluate", tmp_path / "lonely.keras", "--dataset", "tiny", "--task", "sr_x4") == 0
    assert json.loads((in_trained / "results" / "lonely-on-tiny-sr_x4.json").read_text())["n_updates"] is None


@pytest.mark.parametrize("size", [(1, 1), (20, 45)])
def test_restored_files_have_their_size(in_trained, tmp_path, size):
    tilefile.write_image(tmp_path / "photo.bmp", np.full((*size, 3), 77, np.uint8))
    model_path = in_trained / "runs" / NAME / "model.keras"
    assert run("restore", tmp_path / "photo.bmp", "--weights", model_path, "--out", tmp_path / "out") == 0
    assert tilefile.read_image(tmp_path / "out" / "photo.bmp").shape == (*size, 3)


def test_restoring_never_overwrites_the_input(in_trained, tmp_path, capsys):
    tilefile.write_image(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint8))
    before = (tmp_path / "a.png").read_bytes()
    weights = in_trained / "runs" / NAME / "model.keras"
    assert run("restore", tmp_path / "a.png", "--weights", weights, "--out", tmp_path) == 2
    assert "a.png would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before


def test_two_inputs_never_share_an_output(in_trained, tmp_path, capsys):
    images = [tmp_path / folder / "a.png" for folder in ("one", "two")]
    for image in images:
        tilefile.write_image(image, np.zeros((16, 16, 3), np.uint8))
    weights = in_trained / "runs" / NAME / "model.keras"
    assert run("restore", *images, "--weights", weights, "--out", tmp_path / "out") == 2
    assert "two of the images would be written as a.png" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "said"), [
    (["--task", "sr_x9"], "sr_x9 in the task sr_x9 is out of its limits"),
    (["--n-train", "-3"], "'-3' is not a whole number above 0"),
    (["--learning-rate", "nan"], "'nan' is not a number above 0"),
    (["--dropout", "1"], "'1' is not a number in 0..1"),
    (["--width", "7"], "'7' is not an even whole number"),
    (["--n-trian", "3"], "unrecognized arguments: --n-trian 3"),
    (["--dataset", "mars"], "python3 download.py --dataset mars"),
    (["--dataset", "tiny", "--data", "elsewhere"], "download.py --dataset tiny --out elsewhere"),
    (["--dataset", "tiny", "--task", "gray"], "has no gray: run download.py again with all the options that made"),
    (["--dataset", "../datasets/tiny"], "cannot name a data set"),
    (["--dataset", ""], "cannot name a data set"),
    (["--dataset", "tiny", "--n-train", "13"], "13 tiles are wanted and"),
    (["--dataset", "tiny", "--n-train", "12", "--draw", "1"], "24 tiles are wanted and"),
    (["--dataset", "tiny", "--n-train", "2"], "come from one image"),
    (["--dataset", "tiny", "--n-train", "12", "--n-test", "9"], "9 tiles are wanted and"),
    (["evaluate", "nowhere.keras", "--dataset", "tiny", "--task", "sr_x4"], "there is no network nowhere.keras"),
    (["restore", "a.png", "--weights", "nowhere.keras"], "there is no network nowhere.keras"),
    (["restore", "a.png", "--weights", "nothing"], "there is no network nothing: give one"),
    (["gallery"], "no training in runs/ has ended"),
    (["gallery", "nothing"], "there is no network nothing: give one"),
    (["export", "gif", "--weights", "nothing"], "invalid choice: 'gif'"),
])
def test_wrong_options_get_one_clear_sentence(workplace, capsys, arguments, said):
    assert run(*arguments) == 2
    output = capsys.readouterr().err
    assert said in output
    assert "Traceback" not in output
    assert sorted(path.name for path in workplace.iterdir()) == ["datasets"]


def test_a_pair_without_its_partner_is_found_before_training(workplace, capsys):
    (workplace / "datasets" / "tiny" / "test" / "sr_x4" / "00002.png").unlink()
    assert run(*ARGUMENTS) == 2
    assert "00002.png has no partner" in capsys.readouterr().err
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_pair_that_is_gone_is_found_before_training(workplace, capsys, split):
    for folder in ("hr", "sr_x4"):
        (workplace / "datasets" / "tiny" / split / folder / "00001.png").unlink()
    assert run(*ARGUMENTS) == 2
    assert "and its manifest names" in capsys.readouterr().err


def test_a_broken_test_tile_is_found_before_training(workplace, capsys):
    (workplace / "datasets" / "tiny" / "test" / "hr" / "00002.png").write_text("bad")
    assert run(*ARGUMENTS) == 2
    assert "00002.png cannot be read" in capsys.readouterr().err
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"tiles": {"train": [], "test": []}}'])
def test_a_broken_manifest_is_one_sentence(workplace, capsys, content):
    (workplace / "datasets" / "tiny" / "manifest.json").write_text(content)
    assert run(*ARGUMENTS) == 2
    assert "and run download.py again" in capsys.readouterr().err


def test_tiles_of_two_sizes_are_found_before_training(workplace, capsys):
    odd = np.zeros((16, 16, 3), np.uint8)
    tilefile.write_image(workplace / "datasets" / "tiny" / "train" / "hr" / "00003.png", odd)
    assert run(*ARGUMENTS) == 2
    assert "all tiles must be of one size" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["runs", "results", "assets"])
def test_an_output_folder_that_is_a_file_is_one_sentence(workplace, capsys, name):
    (workplace / name).write_text("mine")
    assert run(*ARGUMENTS) == 2
    assert name in capsys.readouterr().err
    assert (workplace / name).read_text() == "mine"


def test_a_full_disk_is_one_sentence(in_trained, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = (in_trained / "results" / f"{NAME}.json").read_bytes()
    monkeypatch.setattr(util, "write_json", full)
    assert run("evaluate", in_trained / "runs" / NAME / "model.keras") == 2
    assert "the disk is full" in capsys.readouterr().err
    assert (in_trained / "results" / f"{NAME}.json").read_bytes() == before


def test_no_dot_is_said_in_one_line_and_stops_nothing(in_trained, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run(*ARGUMENTS) == 0
    assert capsys.readouterr().out.count("needs graphviz's dot") == 1


def test_a_failing_dot_is_said_and_stops_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "dot").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    drawing.draw_diagram(keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]), tmp_path / "a.png")
    said = capsys.readouterr().out.splitlines()[-1]  # pydot repeats before what dot said
    assert said == f"{tmp_path / 'a.png'} is not drawn: graphviz's dot failed on this network"
    assert [path.name for path in tmp_path.iterdir()] == ["dot"]


@pytest.mark.skipif(not shutil.which("dot"), reason="graphviz's dot is not installed")
def test_the_diagram_is_drawn_where_dot_is(tmp_path):
    drawing.draw_diagram(keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]), tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").width > 50


def test_a_terminal_sees_the_same_status(workplace):
    command = [sys.executable, str(ROOT / "inception2.py"), "--dataset", "absent"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("inception2.py: error: there is no data set absent in datasets")


def test_a_quiet_start_says_why_it_fails(workplace):
    command = [sys.executable, str(ROOT / "inception2.py"), *ARGUMENTS]
    environment = os.environ | {"KERAS_BACKEND": "no_such_backend"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "no_such_backend" in done.stderr


def test_the_samples_show_the_named_tiles_and_their_scores():
    rows = drawing.choose_rows([0.5, 0.1, 0.3, 2.0, -1.0, 0.4])
    assert rows[:2] == [("tile 0", 0), ("tile 1", 1)]
    assert rows[2:] == [("best gain\ntile 3", 3), ("median gain\ntile 5", 5), ("worst gain\ntile 4", 4)]


def test_the_samples_put_each_method_in_its_own_column():
    images = {"input": np.full((2, 128, 128, 3), 40, np.uint8), "restored": np.full((2, 128, 128, 3), 80, np.uint8)}
    target = np.full((2, 128, 128, 3), 120, np.uint8)
    scores = {"psnr_tiles": [20.0, 21.0], "ssim_tiles": [0.5, 0.6]}
    columns = images | {"target": target}
    picture = np.asarray(drawing.draw_grid("title", [("tile 1", 1)], columns, dict.fromkeys(images, scores)))
    middle = picture[picture.shape[0] // 2, :, 0]
    assert [value for value in dict.fromkeys(middle.tolist()) if value in (40, 80, 120)] == [40, 80, 120]


@pytest.mark.parametrize("arguments", [["gallery"], ["gallery", NAME], ["gallery", "runs/" + NAME]])
def test_a_training_can_be_looked_at(in_trained, capsys, arguments):
    page = in_trained / "outputs" / "gallery.html"
    page.unlink(missing_ok=True)
    assert run(*arguments) == 0
    assert "written: outputs/gallery.html" in capsys.readouterr().out
    result = json.loads((in_trained / "results" / f"{NAME}.json").read_text())
    text = page.read_text()
    assert NAME in text
    assert all(f"{row['psnr']:.2f}</td>" in text for row in result["methods"].values())
    assert "PSNR of validation tiles" in text


def test_a_training_without_a_result_is_one_sentence(in_trained, capsys):
    before = {path: path.read_bytes() for path in (in_trained / "results").glob(f"{NAME}*.json")}  # of parts, too
    for path in before:
        path.unlink()
    assert run("gallery", NAME) == 2
    assert f"results/{NAME}.json is missing" in capsys.readouterr().err
    for path, content in before.items():
        path.write_bytes(content)


def test_what_does_not_train_does_not_load_the_trainer(in_trained):
    """One process for all commands: its imports take longer than they do."""
    tilefile.write_image(in_trained / "a.png", np.zeros((16, 16, 3), np.uint8))
    commands = [["evaluate", NAME], ["gallery", NAME], ["export", "tflite", "--weights", NAME],
                ["restore", "a.png", "--weights", NAME]]
    code = ("import sys, inception2\n"
            f"for command in {commands}:\n"
            "    inception2.main(command)\n"
            "    assert 'inception2_module.training' not in sys.modules, command")
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
