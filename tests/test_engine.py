"""`restore` by ONNX Runtime and by Keras: the same output; files are looked for before either starts."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import data

import inception2
import util
from download_module import tilefile
from inception2_module import networkfile
from restore_module import blocks

pytestmark = pytest.mark.slow  # both engines start

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in networkfile.WEIGHTS.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_give_the_same_output(name):
    pytest.importorskip("onnxruntime")
    path, card = networkfile.find_weights(name)
    predict = networkfile.load_predict(path, card)
    model = networkfile.load_model(path)
    image = data.astronaut()[None, :128, :160].astype(np.float32) / 255
    np.testing.assert_allclose(predict(image), networkfile.predict(model, image), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_how_far_its_network_sees(name):
    path, card = networkfile.find_weights(name)
    assert card["reach"] == blocks.measure_reach(networkfile.load_predict(path, card))


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_its_graph(name):
    path, card = networkfile.find_weights(name)
    graph_path = path.with_suffix(".onnx")
    assert card["onnx"] == {"sha256": util.sha256_of(graph_path), "bytes": graph_path.stat().st_size}
    assert graph_path.stat().st_size < 8_000_000


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A copy of one published network."""
    for path in networkfile.WEIGHTS.glob(f"{NAMES[0]}.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(networkfile, "WEIGHTS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")])
def test_a_graph_that_is_not_that_of_its_card_is_refused(weights, harm):
    pytest.importorskip("onnxruntime")
    harm(weights / f"{NAMES[0]}.onnx")
    with pytest.raises(util.UserError, match="not the file of its card"):
        networkfile.load_predict(*networkfile.find_weights(NAMES[0]))


def test_a_graph_that_puts_out_no_numbers_restores_nothing(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from inception2_module import networks, onnxgraph

    model = networks.build_model("srcnn535", 4, 0.0)
    model.set_weights([np.full(weight.shape, 1e20, np.float32) for weight in model.get_weights()])
    path = tmp_path / "a.onnx"
    path.write_bytes(onnxgraph.build(model).SerializeToString())
    predict = networkfile.load_predict(tmp_path / "a.keras", {"onnx": {"sha256": util.sha256_of(path)}})
    with pytest.raises(util.UserError, match="not finite numbers"):
        predict(np.ones((1, 16, 16, 3), np.float32))


def test_without_onnxruntime_keras_restores(weights, monkeypatch):
    monkeypatch.setattr(networkfile, "find_spec", lambda name: None)
    (weights / f"{NAMES[0]}.onnx").unlink()
    image = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    assert networkfile.load_predict(*networkfile.find_weights(NAMES[0]))(image).shape == image.shape


def loaded(place, *arguments):
    """Run inception2.py in a process of its own; return (status, which large libraries it loaded, stderr)."""
    code = f"""
import sys
sys.argv = ["inception2.py", *{arguments!r}]
import inception2, util
status = util.run_cli(inception2.main)
print(status, *[name for name in ("keras", "tensorflow", "onnxruntime", "skimage.metrics", "requests", "matplotlib")
                if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True)
    status, *names = done.stdout.splitlines()[-1].split()
    return int(status), set(names), done.stderr


@pytest.mark.parametrize(("arguments", "said"), [
    (("no.png", "--weights", NAMES[0]), "no.png does not exist"),
    (("no.png", "no2.png", "--weights", "small.keras"), "no2.png does not exist"),
    (("empty", "--weights", "small.keras"), "holds no image"),
    (("a.png", "--weights", "no_such_network"), "there is no network no_such_network"),
    (("a.png", "--weights", "mars_noise_s64", "--enlarge"), "--enlarge needs weights of super-resolution"),
    (("a.png", "b.png", "--weights", NAMES[0], "--trust", "map.png"), "--trust takes one image"),
    (("a.png", "--weights", NAMES[0], "--range", "3", "1"), "is no range"),
    (("a.png", "--weights", NAMES[0], "--esnemble"), "--esnemble"),
])
def test_what_cannot_work_is_said_before_anything_large_is_loaded(tmp_path, arguments, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "small.keras").write_bytes(b"never read")
    for name in ("a.png", "b.png"):
        tilefile.write_image(tmp_path / name, np.zeros((16, 16, 3), np.uint8))
    status, names, errors = loaded(tmp_path, "restore", *arguments)
    assert (status, names) == (2, set()) and said in errors and "Traceback" not in errors


def test_restoring_by_a_network_of_weights_needs_no_keras(tmp_path):
    pytest.importorskip("onnxruntime")
    tilefile.write_image(tmp_path / "a.png", np.zeros((40, 30, 3), np.uint8))
    status, names, _ = loaded(tmp_path, "restore", "a.png", "--weights", NAMES[0])
    assert (status, names) == (0, {"onnxruntime"})
    assert (tmp_path / "outputs" / "a.png").exists()


def test_one_missing_image_is_said_and_the_others_are_restored(workplace, capsys):
    tilefile.write_image(workplace / "a.png", np.zeros((20, 20, 3), np.uint8))
    arguments = ["restore", "no.png", "a.png", "--weights", NAMES[0]]
    assert util.run_cli(lambda: inception2.main(arguments)) == 2
    errors = capsys.readouterr().err
    assert "no.png does not exist, or its folder may not be entered: check the path\n" in errors
    assert "1 of 2 images could not be restored" in errors
    assert (workplace / "outputs" / "a.png").exists()
