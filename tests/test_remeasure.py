from pathlib import Path

import pytest

import util
from inception2_module import classical, evaluation
from inception2_module.tileset import TileSet
from wi2_paper import remeasure


@pytest.fixture
def result(workplace):
    """A result as it was before there were learned filters, of a network that adds one gray level to its input."""
    data = TileSet("datasets", "tiny", "sr_x4")
    test = data.read_test(None)
    restored = test.degraded + (test.degraded < 255)
    methods = {name: evaluation.score(test.target, image)
               for name, image in (("input", test.degraded), ("lanczos", test.degraded), ("restored", restored))}
    result = {"name": "old", "dataset": "tiny", "task": "sr_x4", "n_train": 6, "draw": 1, "seconds_train": 7,
              "n_test": 4, "classical_settings": {"lanczos": 4}, "scenes": list(test.scenes), "data": data.summary(),
              **evaluation.compare(methods, test.scenes, collapsed=True)}
    util.write_json(Path("results/old.json"), result)
    util.write_json(Path("results/speed.json"), {"milliseconds": 3})
    return result


def test_new_rows_are_added_and_what_follows_from_them_follows(result):
    remeasure.main([])
    new = util.read_json("results/old.json")
    assert list(new["methods"]) == ["input", "lanczos", "linear", "raisr", "restored"]
    for name in ("input", "restored"):
        assert new["methods"][name] == result["methods"][name]
    assert new["methods"]["lanczos"] != result["methods"]["lanczos"]
    best = max(("input", "lanczos", "linear", "raisr"), key=lambda name: new["methods"][name]["psnr"])
    assert new["best_without_network"] == best
    assert f"{best} is" in new["warning"]
    assert new["warning"].startswith(evaluation.COLLAPSED)
    assert set(new["differences"]) == {f"restored - {name}" for name in ("input", "lanczos", "linear", "raisr")}
    assert new["seconds_train"] == 7
    assert "git_commit" in new["remeasured"]
    seen = TileSet("datasets", "tiny", "sr_x4").read_seen(6, 1)
    test = TileSet("datasets", "tiny", "sr_x4").read_test(None)
    filters = classical.learn("sr_x4", seen)["linear"]
    row = evaluation.score(test.target, classical.filter_tiles(filters, test.degraded))
    assert new["methods"]["linear"] == row


def test_a_network_of_another_set_is_beside_filters_of_the_tiles_that_it_was_evaluated_with(result):
    few = {"trained_on": {"dataset": "photos", "task": "sr_x4"}, "n_train": 10_000, "draw": 0, "n_seen": 3}
    new = remeasure.remeasure({**result, **few})
    of_three = remeasure.remeasure({**result, "n_train": 3, "draw": 0})
    assert new["methods"] == of_three["methods"] != remeasure.remeasure(result)["methods"]


def test_twice_changes_nothing(result):
    remeasure.main([])
    once = Path("results/old.json").read_text()
    remeasure.main([])
    assert Path("results/old.json").read_text() == once


def test_rows_of_a_package_that_is_missing_here_are_kept(result, monkeypatch, capsys):
    bm3d = result["methods"]["lanczos"]
    changed = {**result, "classical_settings": {"lanczos": 4, "bm3d": 1.0},
               "methods": {"input": result["methods"]["input"], "bm3d": bm3d,
                           "restored": result["methods"]["restored"]}}
    util.write_json(Path("results/old.json"), changed)
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    remeasure.main([])
    new = util.read_json("results/old.json")
    assert new["methods"]["bm3d"] == bm3d
    assert new["classical_settings"]["bm3d"] == 1.0
    assert "bm3d is not installed" in capsys.readouterr().out


def test_rows_of_a_package_that_is_missing_here_are_taken_from_a_result_on_the_same_tiles(result, monkeypatch):
    monkeypatch.setattr(classical, "choices", lambda name, task, known=classical.choices: (
        (1.0,) if name == "bm3d" else known(name, task)))
    row = result["methods"]["lanczos"]
    same = {**result, "classical_settings": {"bm3d": 1.0}, "methods": {**result["methods"], "bm3d": row}}
    other = {**same, "methods": {**same["methods"], "input": row | {"psnr": 1}}}
    assert "bm3d" not in remeasure.remeasure(result, [result, other])["methods"]
    new = remeasure.remeasure(result, [result, other, same])
    assert new["methods"]["bm3d"] == row
    assert new["classical_settings"]["bm3d"] == 1.0
    assert "restored - bm3d" in new["differences"]


def test_other_test_tiles_are_refused(result):
    result["methods"]["input"]["psnr"] += 1
    util.write_json(Path("results/old.json"), result)
    with pytest.raises(util.UserError, match=r"not the set that results/old\.json was measured on"):
        remeasure.main([])


def test_only_takes_results_by_their_names(result):
    with pytest.raises(util.UserError, match="no result in results has mars and noise in its name"):
        remeasure.main(["--only", "mars", "noise"])
