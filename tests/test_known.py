"""What is known of a network, changed by hand: one sentence, and nothing is written."""

import json
from pathlib import Path

import numpy as np
import pytest

import inception2
import util
from download_module import tilefile
from inception2_module import networkfile, networks
from inception2_module.known import read_known

GOOD = {"dataset": "tiny", "task": "sr_x4", "n_train": 4, "draw": 0}


def read(tmp_path, edit):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**GOOD, **edit} if isinstance(edit, dict) else edit))
    return read_known(path, "train again")


@pytest.mark.parametrize("edit", [
    {}, {"task": None}, {"range": None}, {"range": [-1.5, 3]}, {"reach": 64}, {"learning_rate": 1},
    {"recipe_settings": {"n_updates": 5}}, {"recipe_settings": None}, {"task": "blur_s1.6+sr_x4+noise_s0..5"},
    {"task": "pairs", "input_scale": 2},
])
def test_what_a_training_may_have_written_is_read(tmp_path, edit):
    assert read(tmp_path, edit) == {**GOOD, **edit}


def test_without_a_file_nothing_is_known(tmp_path):
    assert read_known(tmp_path / "config.json", "") == {}


@pytest.mark.parametrize("edit", [
    [], 3, "text", {"task": 3}, {"task": "../x"}, {"task": ["a"]}, {"dataset": 3}, {"dataset": "a/b"},
    {"n_train": "x"}, {"n_train": -1}, {"n_train": 0}, {"n_train": True}, {"n_train": 1.5}, {"draw": "x"},
    {"draw": -3}, {"range": "ab"}, {"range": [1]}, {"range": [3, 1]}, {"range": [None, 1]}, {"range": {"a": 1, "b": 2}},
    {"recipe_settings": 3}, {"recipe_settings": {"n_updates": "a"}}, {"recipe_settings": {}}, {"n_updates": 0},
    {"model": "\x1b[2J"}, {"recipe": "a\nb"}, {"reach": "a"}, {"reach": -16}, {"reach": 10**9}, {"onnx": 3},
    {"onnx": {}}, {"onnx": {"sha256": 5}}, {"learning_rate": "fast"}, {"width": []},
    {"input_scale": "2"}, {"input_scale": 0}, {"input_scale": True}, {"input_scale": None},
])
def test_what_was_changed_by_hand_is_refused(tmp_path, edit):
    with pytest.raises(util.UserError, match=r"config\.json is damaged .*, .*: train again$") as caught:
        read(tmp_path, edit)
    assert "\n" not in str(caught.value) and "\x1b" not in util.describe_error(caught.value)


@pytest.mark.parametrize("name", ["config.json", "trained.json"])
@pytest.mark.parametrize("content", ["[1]", "{", '{"n_train": "x"}'])
def test_both_commands_say_so(workplace, capsys, name, content):
    run_dir = Path("runs/small")
    networkfile.save_model(networks.build_model("srcnn535", 4, 0.0), run_dir / "model.keras")
    util.write_json(run_dir / "config.json", GOOD)
    (run_dir / name).write_text(content)
    tilefile.write_image(Path("a.png"), np.zeros((16, 16, 3), np.uint8))
    before = sorted(Path().rglob("*"))
    commands = [["evaluate", "small"]] + ([["restore", "a.png", "--weights", "small"]] if name == "config.json" else [])
    if name == "trained.json" and content.startswith('{"'):
        commands = []  # whatever it says is taken into the result, whose tables check it
    for arguments in commands:
        assert util.run_cli(lambda arguments=arguments: inception2.main(arguments)) == 2
        assert f"{name} is" in capsys.readouterr().err
        assert {path for path in Path().rglob("*") if path.is_file()} <= set(before)
