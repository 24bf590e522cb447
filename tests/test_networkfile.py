"""How a network is named on the command line: by a name in weights/, a training, its folder, or its file."""

import pytest

import util
from inception2_module import networkfile

CONFIG = {"dataset": "tiny", "task": "sr_x4", "n_train": 12}


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    util.write_json(tmp_path / "runs" / "mine-sr_x4-n12" / "config.json", CONFIG)
    (tmp_path / "runs" / "mine-sr_x4-n12" / "model.keras").write_bytes(b"a network")
    return tmp_path / "runs" / "mine-sr_x4-n12"


@pytest.mark.parametrize("name", ["mine-sr_x4-n12", "runs/mine-sr_x4-n12", "runs/mine-sr_x4-n12/",
                                  "runs/mine-sr_x4-n12/model.keras"])
def test_a_training_is_found_by_its_name_its_folder_and_its_file(run_dir, name):
    path, config = networkfile.find_weights(name)
    assert path.resolve() == run_dir / "model.keras"
    assert config == CONFIG


def test_a_training_of_a_long_task_is_found_by_its_name(run_dir):
    name = run_dir.name + "+blur_s0.5..2" * 12
    run_dir.rename(run_dir.with_name(name))
    assert networkfile.find_weights(name)[1] == CONFIG


def test_a_training_that_has_not_ended_is_said(run_dir):
    (run_dir / "model.keras").unlink()
    with pytest.raises(util.UserError, match="has not ended, run the same command"):
        networkfile.find_weights("mine-sr_x4-n12")


def test_an_unknown_name_says_which_there_are(run_dir):
    with pytest.raises(util.UserError, match=r"no network other: .*mars_sr_x4.* or a training in runs/ \(1 there\)"):
        networkfile.find_weights("other")


def test_a_name_in_weights_comes_before_a_training(run_dir):
    (run_dir.parent / "mars_sr_x4").mkdir()
    path, card = networkfile.find_weights("mars_sr_x4")
    assert path.parent == networkfile.WEIGHTS
    assert card["sha256"]


@pytest.mark.parametrize("name", ["../runs", ".", "", "a/../../b", "x" * 300, "a\0b"])
def test_odd_names_are_one_sentence(run_dir, name):
    with pytest.raises((util.UserError, OSError)) as error:  # a name may be too long for the file system
        networkfile.find_weights(name)
    assert "\n" not in util.describe_error(error.value)
