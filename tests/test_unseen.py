from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_dataset

import util
from inception2_module.experiments import ABLATION, NETWORKS, Experiment
from wi2_paper import matrix as matrix_of
from wi2_paper import tables, unseen
from wi2_paper.matrix import BETTER, equal_seconds, matrix

pytestmark = pytest.mark.slow  # networks are trained

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tiny(workplace, monkeypatch):
    write_dataset(workplace / "datasets", name="mars")
    monkeypatch.setattr(unseen, "CELLS", (("mars", "sr_x4"),))
    monkeypatch.setattr(unseen, "ABLATION", {name: ABLATION[name] for name in ("fewdata", "fewdata-no-averaging")})
    longer = [experiment for experiment in unseen.LONGER if experiment.task == "sr_x4" and experiment.n_train == 10]
    longer += [experiment for experiment in unseen.LONGER if experiment.recipe == "fewdata-adam"][:2]
    longer = [replace(experiment, n_train=4, n_updates=3, width=4) for experiment in longer]
    for name, value in {"N_TRAIN": 4, "N_UPDATES": 2, "WIDTH": 4, "LONGER": longer}.items():
        monkeypatch.setattr(unseen, name, value)
    return workplace


def test_an_ablation_measures_on_unseen_tiles_and_goes_on(tiny, monkeypatch):
    unseen.main(["ablation"])
    result = util.read_json(Path("results/ablation.json"))
    assert [entry["recipe"] for entry in result.values()] == ["fewdata", "fewdata-no-averaging"]
    for entry in result.values():
        assert entry["n_unseen"] == len(entry["gain_tiles"]) == 8  # 12 tiles, 4 of them seen
        assert entry["gain"]["mean"] == pytest.approx(np.mean(entry["gain_tiles"]), abs=1e-4)
    monkeypatch.setattr(unseen, "measure", lambda experiment: pytest.fail("measured twice"))
    unseen.main(["ablation"])
    assert util.read_json(Path("results/ablation.json")) == result
    longer = util.read_json(Path("results/ablation_longer.json"))
    block = tables.ablation_block(result, longer)
    assert "| last weights, no averaging or choice | " in block
    assert "Validation tiles (8)" in block
    assert "(3 updates):" in block
    for change in ("no permuted channels", "Adam instead of Muon, 0.002", "Adam instead of Muon, 0.001"):
        assert f"| mars sr_x4 | 4 | {change} | " in block


def test_an_ingredient_is_left_out_where_it_does_something():
    assert unseen.applies(ABLATION["fewdata-no-fresh-degradation"], "sr_x4")
    assert unseen.applies(ABLATION["fewdata-shrunk"], "sr_x8")
    assert not unseen.applies(ABLATION["fewdata-shrunk"], "noise_s64")
    assert not unseen.applies(ABLATION["fewdata-no-standardising"], "noise_s64")
    assert unseen.applies(ABLATION["fewdata-no-standardising"], "sr_x8")
    assert unseen.applies(ABLATION["fewdata-standardising-noise"], "noise_s64")
    assert not unseen.applies(ABLATION["fewdata-standardising-noise"], "sr_x4")
    assert unseen.applies(ABLATION["fewdata-mse"], "sr_x4")


def test_the_networks_of_the_literature_take_the_rates_that_were_best_on_validation_tiles():
    entries = sorted(util.read_json(ROOT / "results" / "rates.json").values(), key=lambda entry: entry["gain"]["mean"])
    rates = {name: NETWORKS[name].learning_rate for name in equal_seconds() if NETWORKS[name].learning_rate}
    assert rates.items() <= {entry["model"]: entry["learning_rate"] for entry in entries}.items()  # the last one stays
    assert set(rates) == set(equal_seconds()) - {BETTER, Experiment.model}
    taken = {experiment.model: experiment.learning_rate for experiment in matrix()}
    assert rates.items() <= taken.items()


def test_each_network_of_the_literature_is_measured_at_each_rate(workplace, monkeypatch):
    monkeypatch.setattr(unseen, "measure", lambda experiment: [experiment.model, experiment.learning_rate])
    unseen.main(["rates"])
    measured = util.read_json(Path("results/rates.json")).values()
    assert sorted(measured) == sorted(
        [model, rate] for model in equal_seconds() if NETWORKS[model].learning_rate for rate in unseen.RATES
    )


def test_each_length_is_measured_at_each_of_its_rates(tiny, monkeypatch):
    short = [replace(one, n_train=4, n_updates=n, width=4) for n, one in enumerate(matrix_of.LENGTHS[:2], 2)]
    for module in (unseen, matrix_of):
        monkeypatch.setattr(module, "LENGTHS", short)
    unseen.main(["lengths"])
    measured = util.read_json(Path("results/lengths.json"))
    assert list(measured) == [experiment.name for experiment in short]
    rows = tables.lengths_block(measured).splitlines()[2:4]
    for row, entry in zip(rows, measured.values(), strict=True):
        settings = f"| Mars x4, n = 4, draw 0 | {entry['n_updates']} | {entry['learning_rate']:g} | "
        assert row.startswith(f"{settings}{entry['gain']['mean']:+.2f} [")
        assert f" | {entry['dead_channels']:.0%} | 0 |" in row
    assert "| Mars x4, n = 4, draw 0 | 2 | 0.002 | — | — | — |" in tables.lengths_block({short[1].name: entry})
