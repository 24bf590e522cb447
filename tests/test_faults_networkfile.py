"""Model files made to do harm: each is one sentence, and costs no memory."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import util
from inception2_module import networkfile, networks
from inception2_module.backend import keras

pytestmark = pytest.mark.slow  # each loads networks

ROOT = Path(__file__).parents[1]
MEMORY = 200_000_000  # bytes that a refusal may take beside those of Keras


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "model.keras"
    networkfile.save_model(networks.build_model("inception_unet_srcnn535", 8, 0.2), path)
    return path


def rewritten(good, path, change, compression=zipfile.ZIP_STORED):
    """Write the members of a good file after `change(dict of name -> bytes)`."""
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_config(good, path, change):
    """Write a good file whose configuration went through `change(list of layers)`."""
    def edit(members):
        config = json.loads(members["config.json"])
        change(config["config"]["layers"])
        members["config.json"] = json.dumps(config).encode()

    return rewritten(good, path, edit)


def with_weights(good, path, change):
    """Write a good file whose weights went through `change(h5py.File)`."""
    def edit(members):
        file = io.BytesIO(members["model.weights.h5"])
        with h5py.File(file, "r+") as weights:
            change(weights)
        members["model.weights.h5"] = file.getvalue()

    return rewritten(good, path, edit)


def first_dataset(weights):
    found = []
    weights.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found[0]


def refused(path, message):
    with pytest.raises(util.UserError, match=message) as caught:
        networkfile.load_model(path)
    assert "\n" not in str(caught.value)


def test_a_good_file_is_loaded(good):
    assert networkfile.load_model(good).count_params() > 0


@pytest.mark.parametrize("name", ["mars_noise_s64", "mars_sr_x4", "mars_sr_x8"])
def test_the_networks_of_the_repository_are_loaded(name):
    assert networkfile.load_model(ROOT / "weights" / f"{name}.keras").count_params() > 0


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5", "model", "model.keras.zip"])
def test_other_names_are_not_opened(good, tmp_path, name):
    (tmp_path / name).write_bytes(good.read_bytes())
    refused(tmp_path / name, r"is not a \.keras file")


def test_an_hdf5_file_with_a_zip_at_its_end_is_not_opened(good, tmp_path):
    with h5py.File(tmp_path / "model.keras", "w") as file:
        file.attrs["model_config"] = "{}"
    with (tmp_path / "model.keras").open("ab") as file:
        file.write(good.read_bytes())
    try:
        assert networkfile.load_model(tmp_path / "model.keras").count_params() > 0  # it is the zip that was read
    except util.UserError as error:
        assert "cannot be loaded" in str(error) or "broken" in str(error)


def code(members):
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] = {
        "module": "os", "class_name": "function", "config": "system", "registered_name": "system",
    }
    members["config.json"] = json.dumps(config).encode()


def lambda_of_a_module(members):
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] = {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None, "config": {
            "name": "evil", "arguments": {"args": ["touch evil"]},
            "function": {"module": "subprocess", "class_name": "function", "config": "run", "registered_name": "run"},
        }, "inbound_nodes": config["config"]["layers"][1]["inbound_nodes"],
    }
    members["config.json"] = json.dumps(config).encode()


def saved_model_layer(members):
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] = {
        "module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None,
        "config": {"name": "evil", "filepath": "evil", "call_endpoint": "serve"},
        "inbound_nodes": config["config"]["layers"][1]["inbound_nodes"],
    }
    members["config.json"] = json.dumps(config).encode()


@pytest.mark.parametrize("change", [code, lambda_of_a_module, saved_model_layer])
def test_a_file_that_would_run_code_is_refused(good, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    refused(rewritten(good, tmp_path / "model.keras", change), "cannot be loaded")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def set_first(class_name, **values):
    def change(layers):
        next(layer for layer in layers if layer["class_name"] == class_name)["config"] |= values
    return change


def all_filters(layers):
    for layer in layers:
        layer.pop("build_config", None)
        if "filters" in layer["config"] and layer["config"]["filters"] > 3:
            layer["config"]["filters"] = 100_000_000


def enlarge_and_shrink(layers):
    """A layer that makes 100,000x100,000 pixels of each, in the place of a dropout."""
    layer = next(layer for layer in layers if layer["class_name"] == "Dropout")
    layer["class_name"] = "ZeroPadding2D"
    layer["config"] = {"name": layer["config"]["name"], "padding": [100_000, 100_000]}


ABSURD = {
    "filters": all_filters, "one layer": set_first("Conv2D", filters=100_000_000),
    "kernel": set_first("Conv2D", kernel_size=[100_000, 100_000]), "padding": enlarge_and_shrink,
    "no number": set_first("Conv2D", filters="many"), "negative": set_first("Conv2D", filters=-1),
    "not finite": set_first("Conv2D", filters=float("inf")),
}


@pytest.mark.parametrize("change", ABSURD.values(), ids=ABSURD)
def test_an_absurd_configuration_is_refused_before_memory_is_taken(good, tmp_path, change):
    path = with_config(good, tmp_path / "model.keras", change)
    script = """
import resource, sys
import util
from inception2_module import backend, networkfile
n = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    networkfile.load_model(sys.argv[1])
except util.UserError as error:
    print(str(error).count("\\n"), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - n) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, check=True)
    n_lines, n_bytes = map(int, done.stdout.split())
    assert n_lines == 0 and n_bytes < MEMORY


def zeros(members):
    members["model.weights.h5"] = bytes(700_000_000)


def long_config(members):
    members["config.json"] = b" " * 11_000_000 + members["config.json"]


def deep_config(members):
    members["config.json"] = b"[" * 100_000 + b"]" * 100_000


def another_config(text):
    def change(members):
        members["config.json"] = text
    return change


@pytest.mark.parametrize(("change", "compression"), [
    (zeros, zipfile.ZIP_DEFLATED), (long_config, zipfile.ZIP_STORED), (deep_config, zipfile.ZIP_STORED),
    (another_config(b"{"), zipfile.ZIP_STORED), (another_config(b"\xff"), zipfile.ZIP_STORED),
    (another_config(b"[]"), zipfile.ZIP_STORED), (another_config(b"3"), zipfile.ZIP_STORED),
    (lambda members: members.pop("config.json"), zipfile.ZIP_STORED),
    (lambda members: members.pop("model.weights.h5"), zipfile.ZIP_STORED),
    (lambda members: members.update({"../evil": b"x"}), zipfile.ZIP_STORED),
])
def test_a_container_made_to_do_harm_is_refused(good, tmp_path, change, compression):
    refused(rewritten(good, tmp_path / "model.keras", change, compression), r"model\.keras")
    assert not (tmp_path.parent / "evil").exists()


def external(weights):
    name = first_dataset(weights)
    shape = weights[name].shape
    del weights[name]
    weights.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def linked_outside(weights):
    name = first_dataset(weights)
    del weights[name]
    weights[name] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(weights):
    name = first_dataset(weights)
    del weights[name]
    weights[name] = h5py.SoftLink("/nothing")


def virtual(weights):
    name = first_dataset(weights)
    shape = weights[name].shape
    del weights[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/tmp/other.h5", "x", shape)
    weights.create_virtual_dataset(name, layout)


def declared_only(weights):
    weights.create_dataset("_layer/huge", (100_000, 100_000), "f4")


def squeezed(weights):
    weights.create_dataset("_layer/huge", data=np.zeros((3000, 3000), "f4"), chunks=True, compression="gzip")


@pytest.mark.parametrize("change", [external, linked_outside, soft_link, virtual, declared_only, squeezed])
def test_weights_that_are_not_in_the_file_are_refused(good, tmp_path, change):
    refused(with_weights(good, tmp_path / "model.keras", change), "another file or nowhere")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(good, tmp_path, value):
    def spoil(weights):
        weights[first_dataset(weights)][..., 0] = value

    refused(with_weights(good, tmp_path / "model.keras", spoil), "not finite numbers")


def test_missing_weights_are_refused(good, tmp_path):
    def lose(weights):
        del weights[first_dataset(weights)]

    refused(with_weights(good, tmp_path / "model.keras", lose), "declares")


def test_a_refusal_leaves_keras_usable(good, tmp_path):
    refused(with_config(good, tmp_path / "model.keras", all_filters), "declares")
    image = np.zeros((1, 16, 16, 3), np.float32)
    assert keras.ops.shape(networkfile.load_model(good)(image)) == (1, 16, 16, 3)
