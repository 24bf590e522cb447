import errno
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

import inception2
import util
from inception2_module import networkfile, networks
from inception2_module.experiments import with_recipe
from wi2_paper import publish

EXPERIMENT = with_recipe("fewdata", dataset="tiny", n_train=12, n_updates=2, width=8)


@pytest.fixture
def trained(workplace, monkeypatch):
    """A training that has ended, its result and its data set; the networks of weights/ are those of this folder."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    train(1)
    psnr = {name: {"psnr": value} for name, value in {"input": 20, "lanczos": 21, "restored": 22}.items()}
    util.write_json(Path("results") / f"{EXPERIMENT.name}.json", asdict(EXPERIMENT) | {
        "recipe_settings": {"n_updates": 2}, "git_commit": "0", "n_test": 4, "methods": psnr, "data": {"data_id": "1"},
    })
    path = Path("datasets/tiny/manifest.json")
    util.write_json(path, util.read_json(path) | {"licence": "CC0", "citation": "nobody"})
    monkeypatch.setattr(publish, "PUBLISHED", {"tiny_sr_x4": EXPERIMENT})
    monkeypatch.setattr(networkfile, "WEIGHTS", workplace / "weights")


def train(bias):
    model = networks.build_model("srcnn535", 8, 0.0)
    model.set_weights([weight + bias / 1000 for weight in model.get_weights()])
    networkfile.save_model(model, Path("runs") / EXPERIMENT.name / "model.keras")


def contents():
    return {path.name: path.read_bytes() for path in Path("weights").iterdir()}


def test_a_network_is_published_with_its_graph_and_how_far_it_sees(trained):
    publish.main()
    assert sorted(contents()) == ["README.md", "tiny_sr_x4.json", "tiny_sr_x4.keras", "tiny_sr_x4.onnx"]
    path, card = networkfile.find_weights("tiny_sr_x4")
    assert card["reach"] == 16
    command, script, *options = card["command"].split()
    assert (command, script) == ("python3", "inception2.py")
    assert inception2.experiment_of(inception2.build_parser().parse_args(["train", *options])) == EXPERIMENT
    networkfile.load_predict(path, card)
    (Path("runs") / EXPERIMENT.name / "model.keras").unlink()
    before = contents()
    publish.main()
    assert contents() == before


def test_what_is_not_trained_is_said_and_left_out(trained, monkeypatch, capsys):
    later = with_recipe("fewdata", dataset="tiny", n_train=12, n_updates=9, width=8)
    monkeypatch.setattr(publish, "PUBLISHED", {"later": later, "tiny_sr_x4": EXPERIMENT})
    publish.main()
    assert "later is left out: " in capsys.readouterr().out and "later.json" not in contents()
    monkeypatch.setattr(publish, "PUBLISHED", {"later": later})
    assert util.run_cli(publish.main) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
@pytest.mark.parametrize("suffix", [".keras", ".onnx", ".json"])
def test_a_full_disk_in_weights_leaves_the_old_network_whole(trained, monkeypatch, capsys, suffix, number):
    publish.main()
    before = contents()
    train(2)

    def full(path, target, function):
        if Path(target).suffix == suffix:
            raise OSError(number, "failed", str(target))
        return function(path, target)

    with monkeypatch.context() as patch:
        copy, replace = shutil.copyfile, Path.replace
        if suffix == ".json":
            patch.setattr(Path, "replace", lambda path, target: full(path, target, replace))
        else:
            patch.setattr(shutil, "copyfile", lambda path, target: full(path, target, copy))
        assert util.run_cli(publish.main) == 2
    assert util.FILE_SYSTEM_ERRORS[number] in capsys.readouterr().err
    assert contents() == before
    assert util.run_cli(publish.main) == 0
    after = contents()
    assert after.keys() == before.keys() and all(after[name] != before[name] for name in after)
    networkfile.load_predict(*networkfile.find_weights("tiny_sr_x4"))
