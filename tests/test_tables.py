import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import util
from inception2_module import evaluation, experiments
from wi2_paper import matrix, pictures, publish, reproduce, tables

ROOT = Path(__file__).parents[1]


FIRST = matrix.matrix()[0]


def result_of(experiment, gain=1.25):
    """A result whose tiles all gain the same over an input of 20 dB; the classical method gains half a dB."""
    def scores(psnr):
        return {"psnr": psnr, "psnr_of_mean_mse": psnr - 1, "ssim": 0.5, "psnr_tiles": [psnr] * 4}

    return asdict(experiment) | {
        "name": experiment.name, "n_test": 1000, "scenes": [0, 0, 1, 1], "n_parameters": 1000,
        "warning": None if gain > 0.5 else "it is worse",
        "classical_settings": {"lanczos": 4}, "best_without_network": "lanczos",
        "methods": {"input": scores(20.0), "lanczos": scores(20.5), "restored": scores(20 + gain)},
        "differences": {
            "restored - input": {"mean": gain, "low": gain - 0.25, "high": gain + 0.25},
            "restored - lanczos": {"mean": gain - 0.5, "low": gain - 0.75, "high": gain - 0.25},
        },
        "data": {
            "archives": [{"file": "a.zip", "verified": False}],
            "counts": {"train": {"made": 800, "n_images_used": 790}},
        },
    }


def committed(path):
    """Return a file as it is in git's index: `make run` may have written another result of its own."""
    return subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True, check=True, text=True).stdout


PAGES = ("README.md", "README.ja.md", *(f"{folder}/README.md" for folder in (
    "download_module", "inception2_module", "restore_module", "wi2_paper", "weights", "tests")), "CONTRIBUTING.md")
in_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what is committed is known to git only")


@in_git
@pytest.mark.parametrize("page", PAGES)
def test_a_page_links_to_committed_files(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", committed(page))
    paths = {os.path.normpath(Path(page).parent / link) for link in links}
    listed = subprocess.run(["git", "ls-files", "."], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    files = {Path(name) for name in listed.split()}
    assert not [path for path in paths if not any(Path(path) in (file, *file.parents) for file in files)]


@in_git
@pytest.mark.parametrize("page", PAGES)
def test_the_modules_that_a_page_tells_to_run_are_there(page):
    for module in re.findall(r"python3 -m ([\w.]+)", committed(page)):
        assert (ROOT / (module.rstrip(".").replace(".", "/") + ".py")).exists(), module


@in_git
def test_the_pages_show_what_results_say():
    """Run `make figures` and `git add` after a result has changed."""
    tracked = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, check=True, text=True)
    paths = {name: f"results/{name}.json" for name in tables.result_names()}
    paths = {name: path for name, path in paths.items() if path in tracked.stdout.split()}
    results = tables.with_dead_starts({name: json.loads(committed(path)) for name, path in paths.items()})
    for page, blocks in tables.pages(results, tables.read_cards(ROOT / "weights")).items():
        text = committed(page)
        assert tables.replace_blocks(text, blocks, page) == text


def test_the_page_of_the_weights_shows_what_the_cards_say():
    assert (ROOT / "weights" / "README.md").read_text() == publish.describe(tables.read_cards(ROOT / "weights"))


@in_git
def test_the_hall_is_read_in_two_minutes():
    text = committed("README.md")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1_300


@in_git
@pytest.mark.parametrize("page", PAGES)
def test_no_table_has_two_lines_in_a_cell_or_a_line_of_dashes_only(page):
    text = committed(page)
    assert "<br>" not in text
    for row in re.findall(r"^\| .* \|$", text, re.MULTILINE):
        assert set(row.strip("|").replace(" ", "").split("|")[1:]) != {tables.MISSING}, row


def test_results_of_other_data_sets_are_ignored_by_git_and_not_read(tmp_path):
    own = replace(FIRST, dataset="slides")
    for name in (own.name, FIRST.name):
        util.write_json(tmp_path / f"{name}.json", {})
    assert list(tables.read_results(tmp_path)) == [FIRST.name]
    if (ROOT / ".git").exists():
        paths = [f"results/{name}.json" for name in (own.name, FIRST.name, "benchmark_speed", "trust_mars_sr_x4")]
        done = subprocess.run(["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.split() == paths[:1]


def test_without_results_there_is_no_number():
    for page in tables.pages({}, []).values():
        for block, content in page.items():
            rows = [line for line in content.splitlines() if line.startswith("|") and "predecessor" not in line]
            assert not re.findall(r"[+-]\d", "".join(rows)), block


def test_a_cell_is_the_mean_of_its_draws_with_an_interval_and_its_faults():
    loser = replace(FIRST, draw=1, seed=1)
    results = {FIRST.name: result_of(FIRST), loser.name: result_of(loser, gain=0.25) | {"dead_channels": 0.75}}
    row = f"| mars | sr_x4 | fewdata | {tables.NETWORKS[tables.PAPER].title} |"
    head = "| data | task | recipe | network | n = 100 |\n|---|---|---|---|---|\n"
    assert tables.gains_block(results, tables.over_input) == f"{head}{row} +0.75† [-5.59, +7.09] = |"
    assert tables.gains_block(results, tables.over_best) == f"{head}{row} +0.25† [-6.09, +6.59] = |"
    assert tables.draws_block(results) == f"{head}{row} +0.25 … +1.25 (2 draws) |"
    content = tables.remarks_block(results)
    assert "not a published one: mars (a.zip)" in content
    assert "`paper` 6,000 of its 100,000" in content
    assert "half or more: mars sr_x4, fewdata, Inception-Unet+SRCNN535, n = 100, draw 1: 75%." in content


def test_a_branch_is_the_whole_network_over_the_one_without_it_and_has_its_row_before_it_is_run():
    whole = next(e for e in matrix.matrix() if (e.task, e.recipe, e.n_train) == ("sr_x8", "paper", 100))
    without = replace(whole, model="unet_srcnn535")
    assert without in matrix.matrix()
    results = {whole.name: result_of(whole, gain=0.0), without.name: result_of(without, gain=-1.5)}
    rows = tables.branches_block(results).splitlines()
    assert "| x8 | bypass | 100 | +0.00* | -1.50* | +1.50* |" in rows
    assert "| x8 | bypass | 1,000 | — | — | — |" in rows
    assert "| noise, sigma 64 | srcnn535 | 10,000 | — | — | — |" in rows


def test_one_draw_has_a_mark_and_no_interval():
    content = tables.gains_block({FIRST.name: result_of(FIRST)}, tables.over_input)
    assert content.endswith("| +1.25* |")


def test_mars_has_the_bare_ground_beside_all_tiles():
    result = result_of(FIRST) | {"groups": ["terrain", "rover", "terrain", "rover"]}
    result["methods"]["restored"]["psnr_tiles"] = [20.5, 22.0, 20.5, 22.0]
    rows = tables.gains_block({FIRST.name: result}, tables.over_input).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["mars", "mars, terrain"]
    assert [row.split("|")[-2].strip() for row in rows] == ["+1.25*", "+0.50*"]
    card = {"dataset": "mars", "task": "sr_x4", "result": f"results/{FIRST.name}.json",
            "psnr": {"input": 20.0, "lanczos": 20.5, "restored": 21.25}}
    block = tables.gain_block([card], {FIRST.name: result})
    assert "| x4 | 20.00 | 20.50 (Lanczos) | **21.25** |" in block
    assert "| x4, terrain | 20.00 | **20.50** (Lanczos) | 20.50 |" in block  # who is not ahead is not in bold
    photographs = result_of(FIRST, gain=1.5) | {"groups": result["groups"]}
    block = tables.gain_block([card], {FIRST.name: result, matrix.unseen("photo_sr_x4", "mars", "sr_x4"): photographs})
    assert "| x4 | 20.00 | 20.50 (Lanczos) | 21.25 | **21.50** |" in block
    assert "| x4, terrain | 20.00 | 20.50 (Lanczos) | 20.50 | **21.50** |" in block


def test_the_best_without_a_network_is_the_best_over_all_draws():
    other = replace(FIRST, draw=1, seed=1)
    results = {FIRST.name: result_of(FIRST), other.name: result_of(other)}
    for result, psnr in zip(results.values(), (20.75, 20.0), strict=True):  # the best of draw 0 only
        result["classical_settings"]["linear"] = {}
        result["methods"]["linear"] = {"psnr": psnr, "psnr_tiles": [psnr] * 4}
    assert "| +0.75 [+0.75, +0.75] |" in tables.gains_block(results, tables.over_best)


def test_the_small_tables_say_what_is_best_and_what_collapsed():
    psnr = {"input": 12.0, "wavelet": 20.0, "non_local_means": 25.25, "restored": 28.0}
    card = {"dataset": "mars", "task": "noise_s64", "result": "results/gone.json", "psnr": psnr}
    assert "| noise, sigma 64 | 12.00 | 25.25 (non-local means) | **28.00** |" in tables.gain_block([card], {})
    paper = experiments.with_recipe("paper", n_updates=6_000, n_train=10_000)
    dead = result_of(paper, gain=0.0) | {"warning": evaluation.COLLAPSED}
    block = tables.images_block({FIRST.name: result_of(FIRST), paper.name: dead})
    assert "| Mars x4 | +0.75* | -0.50* (collapsed) |" in block
    block = tables.predecessor_block({FIRST.name: result_of(FIRST)})
    assert "| Mars, fewdata | PSNR | ∞ | 19.00 | — | — | 20.25 |" in block


def test_goals_are_differences_on_the_same_tiles():
    paper = experiments.with_recipe("paper", n_updates=6_000, n_train=100)
    results = {FIRST.name: result_of(FIRST), paper.name: result_of(paper, gain=0.5)}
    rows = tables.goals_block(results).splitlines()
    assert rows[2].split("|")[2].strip() == "+0.75*"
    assert len(rows) == 6  # without those that lack a result: with its heads, the best without a network, and a note


def test_results_of_other_tiles_are_not_subtracted():
    paper = experiments.with_recipe("paper", n_updates=6_000, n_train=100)
    other = result_of(paper, gain=0.5)
    other["methods"]["input"]["psnr_tiles"] = [20.0, 20.0, 20.0, 21.0]
    with pytest.raises(util.UserError, match="are of other test tiles"):
        tables.goals_block({FIRST.name: result_of(FIRST), paper.name: other})


def test_the_curve_is_drawn_of_what_there_is():
    for results in ({}, {FIRST.name: result_of(FIRST)}):
        axes = tables.draw_curve(results).axes[0]
        assert len(axes.containers) == len(results)


def test_longer_trainings_stand_beside_those_of_the_tables():
    assert FIRST.name in {e.name for e in matrix.matrix()}
    longer = matrix.FULL[0]
    results = {FIRST.name: result_of(FIRST), longer.name: result_of(longer, gain=1.5)}
    rows = tables.full_block(results).splitlines()
    assert "| fewdata | 100 | 3,000 | 0.002 | +1.25* | — | +0.75* | — |" in rows
    assert "| fewdata | 100 | 50,000 | 0.002 | +1.50* | — | +1.00* | — |" in rows
    assert "| paper | 10,000 | 100,000 | 0.0005 | — | — | — | — |" in rows
    assert rows[-1].endswith("In bfloat16: fewdata, n = 10,000, 50,000 updates.")
    panels = tables.draw_curve(results).axes
    assert [len(axes.containers) for axes in panels] == [1, 1]
    assert panels[1].lines[0].get_xydata().tolist() == [[3_000, 1.25], [50_000, 1.5]]
    part = next(one for one in matrix.FULL if one.recipe == "paper")  # the longest of its lengths has no result
    panels = tables.draw_curve(results | {part.name: result_of(part, gain=1.4)}).axes
    assert [len(axes.containers) for axes in panels] == [1, 2]


def test_pictures_of_what_is_not_there_stay_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(pictures.PICTURES)
    assert all("stays as it is: " in line and "run" in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_a_readme_without_markers_is_not_written():
    with pytest.raises(util.UserError, match=r"README\.md needs the lines"):
        tables.replace_blocks("no markers", {"gains": "block"}, "README.md")


def test_reproduce_skips_what_has_a_result_and_stops_at_a_failure(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    first, second = matrix.matrix()[:2]
    (tmp_path / "results" / f"{first.name}.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    command, env = [sys.executable, "-m", "wi2_paper.reproduce"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert f"1 of {len(matrix.matrix())} experiments have a result" in done.stdout
    assert first.name not in done.stdout
    assert "there is no data set mars" in done.stderr
    assert f"{second.name} failed" in done.stderr


def test_networks_are_compared_with_their_seconds():
    speed = {"milliseconds_an_update": {tables.PAPER: 110.0}}
    results = {FIRST.name: result_of(FIRST), "benchmark_speed": speed}
    content = tables.networks_block(results)
    row = next(line for line in content.splitlines() if line.startswith(f"| {tables.NETWORKS[tables.PAPER].title} |"))
    assert row.startswith(f"| {tables.NETWORKS[tables.PAPER].title} | 1,000 | 0.002 | 3,000 | 330 | +1.25* ")


@in_git
def test_networks_train_for_about_the_same_seconds_and_ours_not_for_more():
    times = json.loads(committed("results/benchmark_speed.json"))["milliseconds_an_update"]
    for model in matrix.equal_seconds():
        assert matrix.pace(model) * times[model] == pytest.approx(times[tables.PAPER], rel=0.1)
    assert matrix.pace(matrix.BETTER) * times[matrix.BETTER] < 1.005 * times[tables.PAPER]


def test_what_is_left_to_do_counts_checkpoints_and_the_time_of_an_update(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    halved = replace(FIRST, model=matrix.BETTER)
    assert reproduce.work_left(FIRST) == 3_000
    assert reproduce.work_left(halved) == pytest.approx(3_000 / matrix.pace(matrix.BETTER))
    log = tmp_path / "runs" / FIRST.name / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("{}\n{}\n")
    assert reproduce.work_left(FIRST) == 2_000


def test_reproduce_lists_and_chooses_by_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    reproduce.main(["--list", "--only", "mars", "fewdata", "n100-", "--budget", "0.5"])
    *lines, summary = capsys.readouterr().out.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("missing  mars-")
        assert "-fewdata-n100-u" in line
    updates = round(1_500 * matrix.pace(matrix.BETTER))
    assert any(f"-{matrix.BETTER}-fewdata-n100-u{updates}-" in line for line in lines)
    assert summary == f"0 of {len(lines)} experiments have a result"
    with pytest.raises(util.UserError, match="no experiment has nothing"):
        reproduce.main(["--only", "nothing"])
    for budget in ("0", "2", "x"):
        with pytest.raises(util.UserError, match="is not a number above 0"):
            reproduce.main(["--budget", budget])


def test_an_experiment_survives_the_command_line(monkeypatch):
    import inception2

    experiment = matrix.matrix()[2]
    options = inception2.build_parser().parse_args(["train", *experiments.arguments(experiment)])
    assert all(getattr(options, field) == value for field, value in vars(experiment).items())


def test_make_run_is_the_row_of_the_table():
    makefile = (ROOT / "Makefile").read_text()
    command = makefile.split("inception2.py ", 1)[1].splitlines()[0].split()
    import inception2

    options = vars(inception2.build_parser().parse_args(["train", *command]))
    fields = {field: value for field, value in options.items() if field in asdict(matrix.QUICK)}
    assert experiments.with_recipe(**fields) == matrix.QUICK
