"""Training from the weights of a network: what is chosen, and that it is never chosen on tiles it has seen."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import names, write_dataset

import inception2
import util
from inception2_module import adapting, networkfile, networks, scores, training
from inception2_module.experiments import arguments, with_recipe
from inception2_module.tileset import Tiles

pytestmark = pytest.mark.slow  # networks are trained

OPTIONS = ["--n-updates", "4", "--n-train", "6"]


def run(*options):
    """Run in this process, as the terminal would: the exit status."""
    return util.run_cli(lambda: inception2.main([str(option) for option in options]))


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A place with a trained network and two data sets: its own, tiny, and another, mine."""
    place = tmp_path_factory.mktemp("started")
    for name in ("tiny", "mine"):
        write_dataset(place / "datasets", name, n_train=12 if name == "tiny" else 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run("--dataset", "tiny", "--n-train", 12, "--n-updates", 4, "--width", 4) == 0
    (start,) = names(place / "runs")[1:] if (place / "runs" / "classical").exists() else names(place / "runs")
    return place, start


def test_the_start_gives_network_and_task_and_its_name(started, monkeypatch, capsys):
    place, start = started
    monkeypatch.chdir(place)
    assert run("--start", start, "--dataset", "mine", *OPTIONS) == 0
    assert "gain on tiles held out: start " in capsys.readouterr().out
    (path,) = (place / "results").glob("mine-*.json")
    result = util.read_json(path)
    assert path.stem == result["name"] and f"start_{start}" in path.stem
    assert (result["start"], result["width"], result["recipe"]) == (start, 4, "adapt")
    assert set(result["blend"]) <= {"start", "adapted", "own"} and sum(result["blend"].values()) == pytest.approx(1)
    assert {"start", "adapted"} & set(result["gain_on_unseen"])
    config = util.read_json(place / "runs" / result["name"] / "config.json")
    assert config["start_sha256"] == util.sha256_of(place / "runs" / start / "model.keras")
    # Again from the run's folder: the same name, and nothing is trained.
    monkeypatch.setattr(training, "train", None)
    before = path.read_bytes()
    assert run("--start", place / "runs" / start, "--dataset", "mine", *OPTIONS) in (0, 2)
    assert json.loads(before)["methods"] == util.read_json(path)["methods"]


@pytest.mark.parametrize(("options", "said"), [
    (["--task", "sr_x8"], "is a network for sr_x4, not for sr_x8"),
    (["--model", "unet"], "--model cannot be chosen with --start"),
    (["--width", "8", "--recipe", "paper"], "--recipe and --width cannot be chosen"),
    (["--precision", "bfloat16"], "--precision is for trainings from nothing"),
])
def test_what_does_not_fit_the_start_is_one_sentence(started, monkeypatch, capsys, options, said):
    place, start = started
    monkeypatch.chdir(place)
    assert run("--start", start, "--dataset", "mine", *options) == 2
    assert said in capsys.readouterr().err


def test_another_network_of_the_same_name_is_not_mixed_in(started, monkeypatch, capsys):
    place, start = started
    monkeypatch.chdir(place)
    assert run("--start", start, "--dataset", "mine", *OPTIONS) == 0
    path = place / "runs" / start / "model.keras"
    model = networkfile.load_model(path)
    content = path.read_bytes()
    model.set_weights([weight + 0.01 for weight in model.get_weights()])
    networkfile.save_model(model, path)
    try:
        assert run("--start", start, "--dataset", "mine", *OPTIONS) == 2
        assert "another configuration" in capsys.readouterr().err
    finally:
        path.write_bytes(content)


def test_the_command_of_an_experiment_with_a_start_is_one_that_is_taken():
    experiment = with_recipe("adapt", start="photo_sr_x4", dataset="mine", model="unet", width=8, n_train=10)
    given = arguments(experiment)
    assert given[given.index("--start") + 1] == "photo_sr_x4"
    assert not {"--model", "--width", "--recipe", "--dropout"} & set(given)
    assert "--start" not in arguments(replace(experiment, start=None))


def test_folds_hold_out_whole_scenes_once_each():
    scenes = (0, 0, 1, 2, 2, 2, 3, 4, 4, 5)
    folds = adapting.folds_of(scenes)
    assert sorted(i for fold in folds for i in fold) == list(range(10))
    assert len(folds) == 3
    held_out = [{scenes[i] for i in fold} for fold in folds]
    assert all(not a & b for a in held_out for b in held_out if a is not b)
    assert len(adapting.folds_of((7, 8, 8))) == 2
    assert len(adapting.folds_of((7, 7))) == 1


def test_tiles_of_one_scene_cannot_judge_a_start(started, monkeypatch, capsys):
    """Two source images of one Martian day are one scene: nothing is left to train on where it is held out."""
    place, start = started
    monkeypatch.chdir(place)
    monkeypatch.setattr(adapting, "folds_of", lambda scenes: [list(range(len(scenes)))])
    assert run("--start", start, "--dataset", "mine", "--n-train", 4, "--n-updates", 3) == 2
    assert "show one scene" in capsys.readouterr().err


def tiles_with_errors(*errors):
    """Targets of gray 100 and networks that are off by the given patterns, each (8, 8)."""
    target = np.full((4, 8, 8, 3), 100, np.uint8)
    return target, [(target + error[..., None]).astype(np.uint8) for error in errors]


def test_errors_that_cancel_are_blended_and_a_useless_network_is_not():
    rng = np.random.default_rng(0)
    noise, other = (rng.integers(-9, 10, (8, 8)) for _ in range(2))
    target, restored = tiles_with_errors(noise, -noise, 3 * other)
    weights = adapting.choose_blend(adapting.error_products(target, restored), 255)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0])


def test_a_network_that_gives_next_to_nothing_leaves_the_start_alone():
    noise = np.random.default_rng(0).integers(-9, 10, (64, 64))
    better = noise.copy()
    better[0, 0] = 0
    target = np.full((4, 64, 64, 3), 100, np.uint8)
    restored = [(target + error[..., None]).astype(np.uint8) for error in (noise, better)]
    np.testing.assert_array_equal(adapting.choose_blend(adapting.error_products(target, restored), 255), [1, 0])


def test_products_of_errors_give_the_error_of_a_blend():
    rng = np.random.default_rng(1)
    target = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    restored = [rng.integers(0, 256, target.shape, dtype=np.uint8) for _ in range(2)]
    products = adapting.error_products(target, restored)
    np.testing.assert_allclose(products[:, 0, 0], scores.mse(target, restored[0]))
    weights = np.array([0.3, 0.7])
    error = 0.3 * restored[0] + 0.7 * restored[1] - target
    np.testing.assert_allclose(np.einsum("i,nij,j->n", weights, products, weights), (error**2).mean(axis=(1, 2, 3)))


def test_a_blend_is_the_weighted_sum_and_is_loaded_again(tmp_path):
    models = [networks.build_model("srcnn535", width=4, dropout=0.0) for _ in range(2)]
    images = np.random.default_rng(0).random((1, 16, 32, 3), np.float32)
    networkfile.save_model(networks.blend(models, [0.3, 0.7]), tmp_path / "model.keras")
    outputs = [networkfile.predict(model, images) for model in models]
    blended = networkfile.predict(networkfile.load_model(tmp_path / "model.keras"), images)
    np.testing.assert_allclose(blended, 0.3 * outputs[0] + 0.7 * outputs[1], atol=1e-6)
    assert networks.blend(models[:1], [1.0]) is models[0]


def test_own_tiles_win_where_the_start_knows_nothing_of_them(started, monkeypatch, tmp_path):
    """Each network is judged on tiles of sources that it was not trained on."""
    place, start = started
    monkeypatch.chdir(place)
    asked = []
    real = training.train

    def train(experiment, train_tiles, validation_tiles, run_dir, data_id, choose=True):
        asked.append((run_dir.name, set(train_tiles.scenes), set(validation_tiles.scenes), choose))
        return real(experiment, train_tiles, validation_tiles, run_dir, data_id, choose)

    monkeypatch.setattr(training, "train", train)
    assert run("--start", start, "--dataset", "mine", "--n-updates", 5, "--n-train", 6) == 0
    judged = [entry for entry in asked if entry[0].startswith("fold")]
    assert {name.split("-")[1] for name, *_ in judged} == {"adapted", "own"}
    assert all(not seen & held_out and not choose for _, seen, held_out, choose in judged)


def test_more_tiles_of_the_same_set_only_adapt_the_start(started, monkeypatch):
    """The start has seen some of the tiles, so no fold could judge it."""
    place, start = started
    monkeypatch.chdir(place)
    assert run("--start", start, "--dataset", "tiny", "--n-train", 12, "--n-updates", 6) == 0
    (path,) = (place / "results").glob("tiny-*start_*.json")
    result = util.read_json(path)
    assert (result["blend"], result["gain_on_unseen"]) == ({"adapted": 1.0}, {})


def test_take_keeps_what_belongs_to_a_tile():
    target = np.arange(4 * 3).reshape(4, 1, 1, 3)
    tiles = Tiles(target, np.zeros_like(target), (5, 6, 7, 8), groups=("a", "b", "c", "d"))
    some = tiles.take([3, 1])
    assert (some.target[0, 0, 0, 0], some.scenes, some.groups, len(some)) == (9, (8, 6), ("d", "b"), 2)
