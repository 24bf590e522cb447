import numpy as np
import pytest

import util
from inception2_module import exporting, networks


@pytest.fixture(scope="module")
def model():
    return networks.build_model(width=4, dropout=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", exporting.SUFFIXES)
def test_the_export_gives_the_same_output(model, tmp_path, kind):
    path = tmp_path / f"network{exporting.SUFFIXES[kind]}"
    if kind == "onnx":
        for package in ("onnx", "onnxruntime"):
            pytest.importorskip(package)
    assert exporting.export(model, path, kind) <= exporting.TOLERANCE
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_an_export_that_differs_is_thrown_away(model, tmp_path, monkeypatch):
    write, packages, _ = exporting._KINDS["savedmodel"]
    monkeypatch.setitem(exporting._KINDS, "savedmodel", (write, packages, lambda path, image: image + 1))
    (tmp_path / "network").write_text("good")
    with pytest.raises(util.UserError, match="gives other output"):
        exporting.export(model, tmp_path / "network", "savedmodel")
    assert (tmp_path / "network").read_text() == "good"


def test_an_output_that_is_nan_is_thrown_away(model, tmp_path, monkeypatch):
    write, packages, _ = exporting._KINDS["savedmodel"]
    monkeypatch.setitem(exporting._KINDS, "savedmodel", (write, packages, lambda path, image: image * np.nan))
    with pytest.raises(util.UserError, match="gives other output"):
        exporting.export(model, tmp_path / "network", "savedmodel")


def test_what_is_not_installed_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting._KINDS, "onnx", (None, ("no_such_package",), None))
    with pytest.raises(util.UserError, match="pip install no_such_package"):
        exporting.export(model, tmp_path / "network.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_an_exporter_that_fails_is_one_sentence(tmp_path):
    class Broken:
        def export(self, path, **_):
            raise RuntimeError("first line\nsecond line")

    with pytest.raises(util.UserError, match=r"cannot be exported to savedmodel here \(first line\)"):
        exporting.export(Broken(), tmp_path / "network", "savedmodel")
