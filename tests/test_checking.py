"""Every edit of a result by hand that could reach a table is noticed."""

import copy
from pathlib import Path

import pytest

import util
from inception2_module.experiments import Experiment
from wi2_paper import checking

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
NAME = "sample-sr_x4-inception_unet_srcnn535-fewdata-n100-u1000-draw0-seed0"


@pytest.fixture(scope="module")
def good():
    return util.read_json(RESULTS / f"{NAME}.json")


def set_to(*keys, value):
    def edit(result):
        for key in keys[:-1]:
            result = result[key]
        result[keys[-1]] = value(result[keys[-1]]) if callable(value) else value
    return edit


def lose(*keys):
    def edit(result):
        for key in keys[:-1]:
            result = result[key]
        del result[keys[-1]]
    return edit


def swap_methods(result):
    methods = result["methods"]
    methods["input"], methods["restored"] = methods["restored"], methods["input"]


def better_and_its_mean(result):
    scores = result["methods"]["restored"]
    scores["psnr_tiles"] = [value + 1 for value in scores["psnr_tiles"]]
    scores["psnr"] += 1


def more(value):
    return value + 0.01


TILES = ("methods", "restored", "psnr_tiles")
EDITS = {
    "mean": set_to("methods", "restored", "psnr", value=more),
    "ssim": set_to("methods", "restored", "ssim", value=more),
    "psnr of mean mse": set_to("methods", "restored", "psnr_of_mean_mse", value=more),
    "mean of the input": set_to("methods", "input", "psnr", value=lambda value: value - 0.01),
    "a tile": set_to(*TILES, 0, value=more),
    "ssim of a tile": set_to("methods", "restored", "ssim_tiles", 0, value=0.1),
    "a tile of lanczos": set_to("methods", "lanczos", "psnr_tiles", 3, value=lambda value: value - 1),
    "all tiles and their mean": better_and_its_mean, "swapped methods": swap_methods,
    "difference": set_to("differences", "restored - input", "mean", value=more),
    "low": set_to("differences", "restored - input", "low", value=more),
    "high": set_to("differences", "restored - lanczos", "high", value=more),
    "scenes": set_to("scenes", value=lambda scenes: [0] * len(scenes)),
    "fewer scenes": set_to("scenes", value=lambda scenes: scenes[1:]),
    "text as scene": set_to("scenes", 0, value="a"), "n_test": set_to("n_test", value=7),
    "fewer tiles": set_to(*TILES, value=lambda tiles: tiles[1:]), "no tiles": set_to(*TILES, value=[]),
    "name": set_to("name", value="mars-sr_x4-another"), "dataset": set_to("dataset", value="mars"),
    "task": set_to("task", value="sr_x8"), "model": set_to("model", value="edsr_8"),
    "recipe": set_to("recipe", value="paper"), "unknown recipe": set_to("recipe", value="mine"),
    "n_train": set_to("n_train", value=10), "n_updates": set_to("n_updates", value=50_000),
    "draw": set_to("draw", value=1), "seed": set_to("seed", value=1), "width": set_to("width", value=32),
    "rate": set_to("learning_rate", value=1.0), "text as number": set_to("n_train", value="100"),
    "text as mean": set_to("methods", "restored", "psnr", value="31.2"),
    "text as tile": set_to(*TILES, 0, value="31.2"), "null as tile": set_to(*TILES, 0, value=None),
    "true as tile": set_to(*TILES, 0, value=True), "nan": set_to(*TILES, 0, value=float("nan")),
    "infinity": set_to("methods", "restored", "psnr", value=float("inf")),
    "huge": set_to(*TILES, 0, value=10**400), "above 100 dB": set_to(*TILES, 0, value=200),
    "no methods": set_to("methods", value=None), "no object": set_to("methods", "restored", value=3),
    "no mean": lose("methods", "restored", "psnr"), "no ssim": lose("methods", "restored", "ssim_tiles"),
    "no input": lose("methods", "input"), "no scenes": lose("scenes"), "no seed": lose("seed"),
    "best": set_to("best_without_network", value="input"),
    "html": set_to("device", value="<img src=x onerror=alert(1)>"),
    "marker": set_to("warning", value="<!-- end of results -->"), "bar": set_to("device", value="a | b"),
    "escape": set_to("device", value="\x1b[2J"), "newline": set_to("git_commit", value="a\nb"),
    "key": set_to("versions", value={"<b>": "1"}), "path as dataset": set_to("dataset", value="../x"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_by_hand_is_one_sentence_that_names_the_file(good, edit):
    result = copy.deepcopy(good)
    edit(result)
    with pytest.raises(util.UserError, match=NAME) as caught:
        checking.check_result(RESULTS / f"{NAME}.json", result)
    assert "\n" not in util.describe_error(caught.value)


@pytest.mark.parametrize("value", [None, [], 3, "text", True])
def test_a_result_that_is_no_object_is_refused(value):
    with pytest.raises(util.UserError, match="no object"):
        checking.check_result(RESULTS / f"{NAME}.json", value)


def test_a_file_under_another_name_is_refused(good):
    with pytest.raises(util.UserError, match="is called"):
        checking.check_result(RESULTS / f"{NAME.replace('sample', 'mars')}.json", good)


def test_the_committed_results_are_as_they_were_measured():
    for path in RESULTS.glob("*.json"):
        checking.check_result(path, util.read_json(path))


def test_a_gain_of_a_sweep_follows_from_its_tiles():
    path = RESULTS / "ablation.json"
    result = util.read_json(path)
    next(iter(result.values()))["gain"]["mean"] += 0.01
    with pytest.raises(util.UserError, match="mean of gain"):
        checking.check_result(path, result)


@pytest.mark.parametrize(("place", "suffix", "n_test"), [({}, "", 24), ({}, "-test24", 24),
                                                         ({"dataset": "div2k"}, "-on-div2k-sr_x4", 24)])
def test_a_part_of_the_tiles_and_another_set_have_names_of_their_own(good, place, suffix, n_test):
    name = Experiment(dataset="sample", n_updates=1000).name + suffix
    result = copy.deepcopy(good) | {"name": name, "n_test": n_test} | place
    result["trained_on"] = {"dataset": "sample", "task": "sr_x4"}
    checking.check_result(Path(f"{name}.json"), result)


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*.json")), ids=lambda path: path.stem)
def test_the_committed_cards_say_what_their_results_say(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    card = util.read_json(path)
    checking.check_card(path, card)
    for edit in (set_to("psnr", "restored", value=40.0), set_to("psnr", "input", value="20"), set_to("n_test", value=7),
                 set_to("psnr", value={"mine": 50.0}), set_to("n_train", value=10), set_to("result", value="none.json"),
                 set_to("data_licence", value="<b>"), lose("psnr"), set_to("psnr", value=3)):
        edited = copy.deepcopy(card)
        edit(edited)
        with pytest.raises(util.UserError, match=path.stem):
            checking.check_card(path, edited)
