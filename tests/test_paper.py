"""The paper: what is committed in generated/ is what results/ say, and paper.tex types no number of ours."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import util
from inception2_module import evaluation
from tests.test_tables import committed, in_git, result_of
from wi2_paper import figures, latex, matrix, paper, pictures, tables

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / paper.GENERATED
TEXT = (ROOT / "wi2_paper" / "paper.tex").read_text(encoding="utf-8")
WHOLE = next(e for e in matrix.matrix() if (e.task, e.recipe, e.n_train) == ("sr_x8", "paper", 100))


@pytest.fixture(scope="module")
def results():
    """The results that are committed: a run of one's own may have written others."""
    tracked = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, check=True, text=True)
    paths = {name: f"results/{name}.json" for name in tables.result_names()}
    return tables.with_dead_starts(
        {name: json.loads(committed(path)) for name, path in paths.items() if path in tracked.stdout.split()})


@in_git
def test_the_paper_says_what_results_say(results):
    """Run `make paper-figures` and `git add wi2_paper/generated` after a result or paper.tex has changed."""
    expected = latex.fragments(results, committed("wi2_paper/paper.tex"))
    listed = subprocess.run(["git", "ls-files", paper.GENERATED], cwd=ROOT, capture_output=True, check=True, text=True)
    assert {Path(path).name for path in listed.stdout.split() if path.endswith(".tex")} == set(expected)
    for name, text in expected.items():
        assert committed(paper.GENERATED / name) == text, name


@in_git
@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_shows_what_results_say(results, name):
    """As above: `make paper-figures`, on a machine with datasets/mars."""
    path = GENERATED / f"{name}.pdf"
    if name == "branches" and not path.exists():
        pytest.skip("the trainings of this figure were not at hand when the figures were drawn")
    data = path.read_bytes()
    content = {
        "curve": lambda: figures.draw_curve(results)[1], "network": lambda: figures.network_nodes(),
        "tiles": lambda: figures.tiles_content(results),
        "branches": lambda: {experiment: figures.tile_scores(results, experiment) for experiment
                             in re.search(rb"/Subject \((.*?)\)", data)[1].decode().split()},
    }[name]()
    assert figures.digest(content).encode() in data
    assert b"CreationDate" not in data
    assert len(data) < 1_000_000


def test_another_number_is_another_digest(tmp_path):
    results = {}
    for task in figures.HEADS:
        results[matrix.PUBLISHED[f"mars_{task}"].name] = scored(matrix.PUBLISHED[f"mars_{task}"])
    before = figures.digest(figures.tiles_content(results))
    results[matrix.PUBLISHED["mars_sr_x4"].name]["methods"]["restored"]["ssim_tiles"][1] = 0.25
    assert figures.digest(figures.tiles_content(results)) != before


def scored(experiment, gain=1.25):
    result = result_of(experiment, gain)
    for row in result["methods"].values():
        row["ssim_tiles"] = [0.5] * 4
    return result


def test_no_number_of_ours_is_typed_in_the_paper():
    text = re.sub(r"(?m)(?<!\\)%.*$", "", TEXT.split(r"\begin{document}")[1])
    text = re.sub(r"\\(result|input|includegraphics|IfFileExists|cite|ref)(\[.*?\])?\{.*?\}", "", text)
    assert not re.findall(r"[+-]\d+\.\d+|\d+(?:\.\d+)?\s*(?:\\,)?dB", text)


@in_git
def test_the_words_of_the_paper_hold(results):
    """What is said without a number: rewrite the sentence where new results say something else."""
    _, rows = tables.ablation_rows(results["ablation"])
    titles, *changes = zip(*rows[1:], strict=True)

    def worst(column, n):
        gains = [(float(text.split(" ")[0]), title) for title, text in zip(titles, changes[column], strict=True)
                 if text != tables.MISSING]
        return {title for _, title in sorted(gains)[:n]}

    assert "超解像では恒等写像から始めることが，雑音除去ではMuonを使うこととドロップアウトを使わないことが" in TEXT
    assert worst(0, 1) == worst(1, 1) == {"not started as the identity"}
    assert worst(2, 2) == {"Adam instead of Muon, 0.001", "dropout 0.2"}
    heads, rows = tables.networks_rows(results)
    gains = {task: [float(row[heads.index(task)].rstrip("*")) for row in rows] for task in tables.TASKS}
    assert "超解像では上の三つが\nほぼ等しく，雑音除去ではEDSR（8ブロック）が最も良い" in TEXT
    for task in ("sr_x4", "sr_x8"):  # they differ by less than draws do
        draws = tables.find_draws(results, dataset="mars", task=task, recipe="fewdata", n_train=100)
        assert np.ptp(gains[task][:3]) < np.ptp([evaluation.cell_gain([draw])["mean"] for draw in draws])
    assert rows[int(np.argmax(gains["noise_s64"]))][0] == "EDSR, 8 blocks"
    assert TEXT.count("従来レシピとの差より小さい") == 2
    assert "100枚の利得は従来レシピの全タイルの\n利得を上回った" in TEXT
    for dataset, task in matrix.CELLS:
        few, paper, most = (tables.find_draws(results, dataset=dataset, task=task, recipe=recipe, n_train=n)
                            for recipe, n in (("fewdata", 100), ("paper", 100), ("paper", matrix.N_MAX[dataset])))
        assert evaluation.cell_difference(few, most)["mean"] > 0
        assert task != "noise_s64" or {result["best_without_network"] for result in [*few, *paper, *most]} == {"bm3d"}
        if dataset == "mars":
            over_best = evaluation.cell_gain(few, few[0]["best_without_network"])["mean"]
            assert over_best < evaluation.cell_difference(few, paper)["mean"]
            assert "In super-resolution bare ground gains less than the rover" in TEXT
            gains = [evaluation.cell_gain(few, group=group)["mean"] for group in ("terrain", "rover")]
            assert (gains[0] < gains[1]) == (task != "noise_s64")


def test_each_figure_has_its_command_before_it():
    shown = re.findall(r"% python3 -m wi2_paper\.paper (\w+)\n.*?\\includegraphics\[.*?\]\{generated/(\w+)\.pdf\}",
                       TEXT, re.DOTALL)
    assert {command for command, _ in shown} == set(figures.FIGURES)
    assert all(command == file for command, file in shown)
    assert TEXT.count(r"\includegraphics") == len(shown)


def test_what_is_cited_is_in_the_list_and_the_other_way_round():
    cited = {key for keys in re.findall(r"\\cite\{(.*?)\}", TEXT) for key in keys.split(",")}
    listed = re.findall(r"(?m)^@\w+\{(.*),$", (ROOT / "wi2_paper" / "paper.bib").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(cited)


def test_an_unknown_number_is_a_sentence():
    with pytest.raises(util.UserError, match=r"\\result\{few-mars-x5-10\}"):
        latex.fragments({}, r"gains \result{few-mars-x5-10}")


def test_without_results_the_paper_says_that_nothing_was_run():
    written = latex.fragments({}, TEXT)
    assert r"\defresult{few-mars-x4-100-best}{未実行}" in written["numbers.tex"].splitlines()
    assert not re.findall(r"\$[+-]\d", "".join(written.values()))


@pytest.mark.parametrize(("text", "expected"), [
    ("+0.12 [-0.06, +0.32] =", r"$+0.12$\equal{}\interval{-0.06}{+0.32}"),
    ("-0.64*", r"$-0.64$\onedraw{}"), ("-0.64*†", r"$-0.64$\onedraw{}\dead{}"),
    ("—", r"\missing{}"),
    ("+1.06 (RAISR-like filters)", "$+1.06$（RAISR風）"),
    ("x4, terrain", "4倍，地面"),
    ("28.66", "28.66"),
])
def test_a_cell_in_latex(text, expected):
    assert latex.cell(text, with_interval=True) == expected


@pytest.mark.parametrize(("gains", "word"), [
    ((0.9, 1.1, 1.0), "を上回る"), ((0.4, 0.7), "と区別がつかない"), ((0.1, 0.2, 0.15), "を下回る"),
    ((0.52,), "と区別がつかない"), ((), "未実行"),
])
def test_a_word_says_which_is_better_as_far_as_the_interval_does(gains, word):
    """The classical method gains 0.5 dB."""
    first = next(e for e in matrix.matrix() if (e.task, e.recipe, e.n_train) == ("sr_x4", "fewdata", 10))
    draws = {replace(first, draw=i, seed=i): gain for i, gain in enumerate(gains)}
    numbers = latex.numbers({e.name: result_of(e, gain) for e, gain in draws.items()})
    assert word in numbers["few-mars-x4-10-best-word"]


@pytest.mark.parametrize(("whole", "without", "verdict"), [
    (None, None, "まだ判断できない"),
    (1.0, None, "まだ判断できない"),
    (1.0, -1.0, "この主張は支持される"),
    (0.0, -1.0, "半分だけ支持される"),
    (1.0, 0.5, "この主張は支持されない"),
    (-1.0, -2.0, "この主張は支持されない"),
    (1.0, 0.02, "まだ判断できない"),
])
def test_the_verdict_on_the_bypass(whole, without, verdict):
    results = branch(WHOLE, whole, without, "unet_srcnn535")
    sentence = latex.claim_of_bypass(results)
    assert verdict in sentence
    assert ("$n=1{,}000$，$n=10{,}000$は未実行" in sentence) == (without is not None)


@pytest.mark.parametrize(("whole", "without", "verdict"), [
    (13.0, None, "まだ判断できない"),
    (13.0, 12.0, "この主張は支持される"),
    (13.0, 13.02, "まだ判断できない"),
    (12.0, 13.0, "この主張は支持されない"),
])
def test_the_verdict_on_srcnn535(whole, without, verdict):
    experiment = replace(WHOLE, task="noise_s64")
    assert verdict in latex.claim_of_srcnn535(branch(experiment, whole, without, "inception_unet"))


def branch(experiment, whole, without, model):
    pair = {experiment: whole, replace(experiment, model=model): without}
    return {e.name: result_of(e, gain) for e, gain in pair.items() if gain is not None}


@pytest.mark.parametrize(("gains", "verdicts"), [((0.4, 1.4), (1, 1)), ((1.2, 1.4), (0, 2))])
def test_the_verdict_on_few_tiles(gains, verdicts):
    few, most = gains
    found = {("paper", n): few if n == 10 else most for n in (10, 100, 10_000)}
    found |= {("fewdata", n): 1.5 for n in (10, 100, 10_000)}
    results = {e.name: result_of(e, found[e.recipe, e.n_train]) for e in matrix.matrix()
               if (e.recipe, e.n_train) in found and (e.dataset, e.task, e.model) == ("mars", "sr_x4", tables.PAPER)}
    sentence = latex.claim_of_few(results)
    assert (sentence.count("主張は支持される"), sentence.count("主張は支持されない")) == verdicts


def test_the_branches_are_drawn_as_far_as_they_are_at_hand(monkeypatch, tmp_path):
    tile = np.full((2, 16, 16, 3), 128, np.uint8)
    monkeypatch.setattr(pictures, "read_tiles", lambda task: (tile, tile + 26))  # 20 dB
    monkeypatch.setattr(figures, "TOLERANCE", 1.0)
    monkeypatch.chdir(tmp_path)  # without runs/
    without = replace(WHOLE, model="unet_srcnn535")
    results = {e.name: scored(e, gain=0.0) for e in (WHOLE, without)}
    with pytest.raises(util.UserError, match="is missing"):
        figures.draw_branches(results)
    monkeypatch.setattr(pictures, "restored", lambda experiment, degraded: degraded)
    figure, content = figures.draw_branches(results)
    assert sorted(content) == sorted(results)
    figures.save(figure, tmp_path / "branches.pdf", content)
    assert f"/Subject ({' '.join(content)})".encode() in (tmp_path / "branches.pdf").read_bytes()
    monkeypatch.setattr(pictures, "restored", untrained)
    assert figures.draw_branches(results)[1] == content  # the tiles were kept
    for result in results.values():
        result["methods"]["restored"]["psnr_tiles"][0] = 30.0
    with pytest.raises(util.UserError, match="of another data set or network"):
        figures.draw_branches(results)
    kept = {path: path.read_bytes() for path in figures.KEPT.iterdir()}
    monkeypatch.setattr(pictures, "restored", lambda experiment, degraded: degraded + 50)
    with pytest.raises(util.UserError, match="of another data set or network"):
        figures.draw_branches(results)
    assert kept == {path: path.read_bytes() for path in figures.KEPT.iterdir()}  # not by one of another network


@in_git
def test_the_tiles_that_are_kept_are_those_of_the_figure():
    listed = subprocess.run(["git", "ls-files", GENERATED / "branches"], cwd=ROOT, capture_output=True, check=True,
                            text=True).stdout.split()
    shown = re.search(rb"/Subject \((.*?)\)", (GENERATED / "branches.pdf").read_bytes())[1].decode().split()
    assert sorted(Path(path).stem for path in listed) == sorted(shown)


def untrained(experiment, degraded):
    raise util.UserError(f"runs/{experiment.name}/model.keras is missing")


def test_of_several_seeds_the_first_at_hand_is_drawn(monkeypatch, tmp_path):
    tile = np.full((2, 16, 16, 3), 128, np.uint8)
    monkeypatch.setattr(pictures, "read_tiles", lambda task: (tile, tile + 26))
    monkeypatch.setattr(figures, "TOLERANCE", 1.0)
    monkeypatch.chdir(tmp_path)
    seeds = pictures.find_seeds("sr_x8", "paper", tables.PAPER, 10_000)
    assert [seed.seed for seed in seeds] == [0, *matrix.SEEDS_X8]
    without = replace(seeds[0], model="unet_srcnn535")
    results = {e.name: scored(e, gain=0.0) for e in (*seeds[:2], without)}
    monkeypatch.setattr(pictures, "restored", lambda experiment, degraded: (
        untrained(experiment, degraded) if experiment == seeds[0] else degraded))
    assert list(figures.draw_branches(results)[1]) == [seeds[1].name, without.name]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_paper_names_what_it_needs(tmp_path):
    for name in ("sh", "make"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(["make", "paper"], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2
    sentence, = done.stdout.splitlines()
    assert "apt install latexmk texlive-luatex texlive-lang-japanese" in sentence


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("latexmk") or not shutil.which("lualatex"), reason="LaTeX is not installed")
def test_the_paper_is_built_without_a_line_too_long(tmp_path):
    folder = tmp_path / "wi2_paper"
    shutil.copytree(ROOT / "wi2_paper" / "generated", folder / "generated")
    for name in ("paper.tex", "paper.bib"):
        shutil.copy(ROOT / "wi2_paper" / name, folder)
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "paper"], cwd=tmp_path, env=os.environ, capture_output=True, check=True)
    log = (tmp_path / "outputs" / "paper" / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert not re.findall(r"Overfull \\hbox \(\d\d+\.|Missing character|undefined", log)
    assert (folder / "paper.pdf").stat().st_size > 100_000
