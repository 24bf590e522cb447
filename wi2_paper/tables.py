"""Write the tables of the READMEs and the curve in assets/ from results/*.json and weights/*.json. No Keras in here.

    python3 -m wi2_paper.tables     # half a minute; only what stands between the markers changes

README.md and README.ja.md show the same three small tables (31.75 dB on Mars x4), wi2_paper/README.md all of them,
restore_module/README.md that of data, and inception2_module/README.md which networks there are. Rows and columns
without any result are left out and a line says how many experiments are missing; what was shortened or unverified is
said under the tables. Results of a user's own data set are not read.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import util
from inception2_module import evaluation, experiments
from inception2_module.experiments import NETWORKS, RECIPES
from wi2_paper import checking, matrix
from wi2_paper.matrix import BETTER, BUDGET, CELLS, CURVE, N_DRAWS, N_MAX, PUBLISHED, QUICK

MISSING = "—"
PAPER = experiments.Experiment.model
# What the predecessor of the paper published: DIV2K, x4, 128x128 tiles, inputs made with an aliased bilinear filter.
PREDECESSOR = {"input": (24.07, 0.759), 100: (24.10, 0.759), 1_000: (24.44, 0.771), 10_000: (24.70, 0.775)}
DATASETS = {"mars": "Mars", "div2k": "DIV2K"}
TASKS = {"sr_x4": "x4", "sr_x8": "x8", "noise_s64": "noise, sigma 64"}
CLASSICAL = {
    "lanczos": "Lanczos", "linear": "learned linear filter", "raisr": "RAISR-like filters", "bm3d": "BM3D",
    "non_local_means": "non-local means", "total_variation": "total variation", "wavelet": "wavelet",
}


def main():
    results, cards = read_results("results"), read_cards("weights")
    for name, result in results.items():
        checking.check_result(Path("results") / f"{name}.json", result)
    for name, blocks in pages(results, cards).items():
        path = Path(name)
        text = replace_blocks(path.read_text(encoding="utf-8"), blocks, path)
        with util.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"written: {path}")
    path = Path("assets") / "curve.png"
    with util.replacing(path) as temporary:
        draw_curve(results).savefig(temporary, dpi=120)
    print(f"written: {path}")


def read_results(directory):
    """Read those files of a folder that the tables are made of: {name: content}."""
    paths = {name: Path(directory) / f"{name}.json" for name in result_names()}
    return {name: util.read_json(path) for name, path in paths.items() if path.exists()}


def result_names():
    """Return the experiments of the matrix and three measurements: nothing of a user's own data."""
    chosen = [*_matrix(), *(experiment for own in matrix.OWN.values() for experiment in own)]
    return [*(experiment.name for experiment in chosen), "benchmark_speed", "ablation", "ablation_longer"]


def read_cards(directory):
    """Read the cards of the published networks that are there, in their order."""
    paths = (Path(directory) / f"{experiment.dataset}_{experiment.task}.json" for experiment in PUBLISHED)
    return [util.read_json(path) for path in paths if path.exists()]


def pages(results, cards):
    """Lay out all tables: {file: {block: Markdown}}, from `read_results` and `read_cards`."""
    hall = {
        "networks you get": gain_block(cards), "how many images": images_block(results),
        "predecessor": predecessor_block(results),
    }
    return {"README.md": hall, "README.ja.md": hall, "inception2_module/README.md": {
        "list of networks": models_block(),
    }, "restore_module/README.md": {
        "data of other kinds": own_block(results),
    }, "wi2_paper/README.md": {
        "goals": goals_block(results), "gains over the input": gains_block(results, over_input),
        "gains over the best classical": gains_block(results, over_classical), "draws": draws_block(results),
        "remarks": remarks_block(results), "scores": scores_block(results), "networks": networks_block(results),
        "ablation": ablation_block(results.get("ablation", {}), results.get("ablation_longer", {})),
    }}


def markers(block):
    return f"<!-- {block}: written by python3 -m wi2_paper.tables -->", f"<!-- end of {block} -->"


def replace_blocks(text, new, path):
    """Return `text` with what stands between the markers of each block replaced; without markers `UserError`."""
    for name, block in new.items():
        begin, end = markers(name)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise util.UserError(f"{path} needs the lines {begin} and {end}, once each: put them where the table goes")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{block}\n\n{end}{rest.split(end)[1]}"
    return text


def find(results, **options):
    """Return the result of the experiment of the matrix with these fields (draw 0 unless said), or None."""
    wanted = {"model": PAPER, "draw": 0} | options
    for experiment in _matrix():
        if all(getattr(experiment, field) == value for field, value in wanted.items()):
            return results.get(experiment.name)
    return None


@cache
def _matrix():
    return matrix.matrix()


def gain_block(cards):
    """What the networks of weights/ give on the test tiles, from their cards."""
    rows = []
    for card in cards:
        psnr = card["psnr"]
        best = best_classical(psnr)
        rows.append([TASKS[card["task"]], f"{psnr['input']:.2f}", f"{psnr[best]:.2f} ({CLASSICAL[best]})",
                     f"**{psnr['restored']:.2f}**"])
    return _table(["Mars, other Martian days", "input", "best classical", "network"], rows)


def best_classical(psnr):
    """Return the name of the best method that needs no network, of {method: PSNR}."""
    return max((name for name in psnr if name != "input" and not name.startswith("restored")), key=psnr.get)


def images_block(results):
    """Gains over the best classical method by number of training tiles: one number a cell, and what collapsed."""
    rows = []
    for dataset, task in CELLS:
        found = [find(results, dataset=dataset, task=task, recipe=recipe, n_train=n)
                 for recipe, n in (("fewdata", 10), ("fewdata", 100), ("paper", N_MAX[dataset]))]
        rows.append([f"{DATASETS[dataset]} {TASKS[task]}", *map(_brief, found)])
    return _table(["dB above the best classical method", "10 tiles", "100 tiles", "paper's recipe, all tiles"], rows)


def _brief(result):
    if not result:
        return MISSING
    dead = " (collapsed)" if "collapsed" in (result["warning"] or "") else ""
    return f"{_over(result, _best_classical(result))['mean']:+.2f}{dead}"


def predecessor_block(results):
    """The predecessor's table in its own form, and ours on Mars below it: PSNR of the mean error and mean SSIM."""
    columns = (10_000, 1_000, 100)
    series = {"DIV2K, the predecessor": [PREDECESSOR[key] for key in ("input", *columns)]}
    for recipe in ("paper", "fewdata"):
        found = [find(results, dataset="mars", task="sr_x4", recipe=recipe, n_train=n) for n in columns]
        if any(found):
            known = next(filter(None, found))
            series[f"Mars, {recipe}"] = [_scores(known, "input"), *(_scores(result, "restored") for result in found)]
    rows = []
    for name, scores in series.items():
        rows.append([name, "PSNR", "∞", *(f"{score[0]:.2f}" if score else MISSING for score in scores)])
        rows.append([name, "SSIM", "1", *(f"{score[1]:.3f}" if score else MISSING for score in scores)])
    return _table(["x4", "", "HR", "LR", *(f"{n:,}" for n in columns)], rows)


def over_input(result):
    return _gain(_over(result, "input"))


def over_classical(result):
    return _gain(_over(result, _best_classical(result))) if result else MISSING


def gains_block(results, over):
    """One row a cell, recipe and network, one column a number of tiles: gains of draw 0 with their intervals.

    over : `over_input` or `over_classical`
    """
    return _by_tiles(lambda **cell: over(find(results, **cell)))


def draws_block(results):
    """The range of the gains over the input where an experiment was repeated with other tiles and other seeds."""
    def spread(**cell):
        draws = [find(results, **cell, draw=draw) for draw in range(N_DRAWS)]
        means = [_over(result, "input")["mean"] for result in filter(None, draws)]
        return f"{min(means):+.2f} … {max(means):+.2f} ({len(means)} draws)" if len(means) > 1 else MISSING

    return _by_tiles(spread)


def _by_tiles(cell):
    """Lay out cell(dataset=, task=, recipe=, model=, n_train=) as a table, one column a number of tiles."""
    columns, rows = (10, 30, 100, 300, 1_000, 10_000), []
    for dataset, task in CELLS:
        for recipe in RECIPES:
            for model in (PAPER, BETTER):
                row = [cell(dataset=dataset, task=task, recipe=recipe, model=model, n_train=_n(dataset, n))
                       for n in columns]
                rows.append([dataset, task, recipe, NETWORKS[model].title, *row])
    return _table(["data", "task", "recipe", "network", *(f"n = {n:,}" for n in columns)], rows, n_labels=4)


def _n(dataset, n):
    """The most tiles of DIV2K stand in the column 1,000."""
    return N_MAX[dataset] if n == 1_000 and dataset == "div2k" else n


def remarks_block(results):
    """What the gains are of, what is missing, shortened, collapsed or unverified."""
    wanted = [experiment.name for experiment in _matrix() if experiment != QUICK]
    found = [results[name] for name in wanted if name in results]
    tests = {result["dataset"]: f"{result['dataset']}: {result['n_test']:,} of {len(set(result['scenes']))} scenes"
             for result in found}
    updates = ", ".join(f"`{name}` {round(BUDGET * recipe.n_updates):,} / {recipe.n_updates:,}"
                        for name, recipe in RECIPES.items())
    seen = round(BUDGET * RECIPES["paper"].n_updates * RECIPES["paper"].batch_size)
    notes = [
        f"Gains in PSNR on the same tiles; dB, means over all test tiles ({', '.join(tests.values()) or MISSING}), "
        f"with 95 % bootstrap intervals of the paired differences. {len(wanted) - len(found)} of {len(wanted)} "
        f"experiments have not been run yet ({MISSING}, or no row or column at all).",
        f"Shortened runs: {BUDGET:.0%} of the updates of a recipe, that is {updates}; the halved network gets "
        f"{matrix.pace(BETTER)} times as many, which take as long. So `paper` with 10,000 tiles sees {seen:,} "
        "of them, once each.",
    ]
    notes += [
        f"{result['dataset']} {result['task']}, {result['recipe']}, {NETWORKS[result['model']].title}, "
        f"n = {result['n_train']:,}, draw {result['draw']}: {result['warning']}."
        for result in found if result["warning"]
    ]
    quick = results.get(QUICK.name)
    if quick:
        best = quick["best_without_network"]
        notes.append(
            f"`make run`: sample, n = {QUICK.n_train}, {QUICK.n_updates:,} updates: "
            f"{_gain(quick['differences']['restored - input'])} dB over bicubic, "
            f"{_gain(quick['differences'][f'restored - {best}'])} dB over {best}."
        )
        found.append(quick)
    unverified = sorted({
        f"{result['dataset']} ({archive['file']})" for result in found
        for archive in result["data"]["archives"] if not archive["verified"]
    })
    if unverified:
        notes.append(f"Made from archives whose SHA-256 is not a published one: {', '.join(unverified)}.")
    counts = {result["dataset"]: result["data"]["counts"]["train"] for result in found}
    for name, count in sorted(counts.items()):
        most = f"; n = {N_MAX[name]:,} stands in the column 1,000" if name == "div2k" else ""
        notes.append(f"{name}: {count['made']:,} training tiles in the set, from {count['n_images_used']:,} "
                     f"images{most}.")
    return "\n".join(f"- {note}" for note in notes)


def scores_block(results):
    """The predecessor's table, PSNR of the mean error and SSIM by number of tiles, for x4; ours beside it."""
    columns = (10_000, 1_000, 100, 10)
    rows = [["DIV2K of the predecessor, aliased input", "paper", NETWORKS[PAPER].title, _pair(PREDECESSOR["input"]),
             MISSING, *(_pair(PREDECESSOR.get(n)) for n in columns)]]
    for dataset in N_MAX:
        for recipe in RECIPES:
            for model in (PAPER, BETTER):
                found = [find(results, dataset=dataset, task="sr_x4", recipe=recipe, model=model,
                              n_train=_n(dataset, n)) for n in columns]
                known = next((result for result in found if result), None)
                classical = known and _best_classical(known)
                rows.append([
                    dataset, recipe, NETWORKS[model].title,
                    _pair(_scores(known, "input")), _pair(_scores(known, classical)),
                    *(_pair(_scores(result, "restored")) for result in found),
                ])
    heads = ["data", "recipe", "network", "input", "best classical", *(f"n = {n:,}" for n in columns)]
    return _table(heads, rows, n_labels=3) + (
        "\n\n- PSNR in dB of the mean squared error over all tiles, as in the predecessor's table, and mean SSIM. The "
        "predecessor's inputs were made with another filter and its tiles were others: its row stands beside ours, it "
        "cannot be compared number by number."
    )


def goals_block(results):
    """Paired differences between experiments on the same test tiles, one column a cell."""
    def few(cell, n, model=PAPER):
        return find(results, recipe="fewdata", n_train=n, model=model, **cell)

    def paper(cell, n):
        return find(results, recipe="paper", n_train=n, **cell)

    rows = [[name] for name in (
        "fewdata, n = 100, over paper, n = 100", "fewdata, n = 100, over paper, most tiles",
        "fewdata, n = 10, over paper, most tiles", "fewdata, n = 10, over the best classical",
        "fewdata, n = 100, over the best classical",
        "Inception-Unet, halved over the paper's network, fewdata, n = 100, equal seconds",
        "self-ensemble over a single run, Inception-Unet, halved, fewdata, n = 100",
    )]
    for dataset, task in CELLS:
        cell = {"dataset": dataset, "task": task}
        ten, hundred, better = few(cell, 10), few(cell, 100), few(cell, 100, BETTER)
        for row, value in zip(rows, (
            _difference(hundred, paper(cell, 100)), _difference(hundred, paper(cell, N_MAX[dataset])),
            _difference(ten, paper(cell, N_MAX[dataset])), over_classical(ten), over_classical(hundred),
            _difference(better, hundred), _ensemble(better),
        ), strict=True):
            row.append(value)
    heads = ["difference of PSNR on the same test tiles", *(" ".join(cell) for cell in CELLS)]
    return _table(heads, rows) + (
        "\n\n- dB, with 95 % intervals. The paper's network, unless said otherwise. Most tiles: 10,000 (mars), 799 "
        "(div2k)."
    )


def networks_block(results):
    """The networks side by side at about the same seconds of training."""
    tasks = [task for dataset, task in CELLS if dataset == "mars"]
    rows, speed = [], results.get("benchmark_speed")
    for model in matrix.equal_seconds():
        found = [find(results, dataset="mars", task=task, recipe="fewdata", model=model, n_train=100) for task in tasks]
        known = next((result for result in found if result), None)
        about = [f"{known[key]:,}" if known else MISSING for key in ("n_parameters", "learning_rate", "n_updates")]
        seconds = known and speed and known["n_updates"] * speed["milliseconds_an_update"][model] / 1000
        about.append(f"{seconds:,.0f}" if seconds else MISSING)
        rows.append([NETWORKS[model].title, *about, *map(over_input, found)])
    return _table(["network", "parameters", "learning rate", "updates", "seconds", *tasks], rows) + (
        "\n\n- Mars, n = 100, recipe fewdata: gain over the input in dB with 95 % intervals. The number of updates is "
        "chosen so that all train for about the same time: the seconds are the updates times the time of one, as "
        "results/benchmark_speed.json has it (one core, the other one busy). The learning rates of the networks of the "
        "literature are the best of four on validation tiles of x4, in runs a fifth as long (results/rates.json), for "
        "all tasks; the first two networks take that of the recipe. For DnCNN these runs were too short to tell rates "
        "apart, and the recipe's average of weights over about 200 updates is long for its few. One seed: draws of one "
        "network differ by more than some networks do."
    )


def models_block():
    """The networks of `--model`."""
    return _table(["`--model`", "branches that are summed, or its source", "parameters"], [
        [f"`{name}`", network.summary, f"{network.n_parameters:,}"] for name, network in NETWORKS.items()
    ])


def ablation_block(ablation, longer):
    """What a change to the recipe adds to the gain on validation tiles, one column a cell; below it, longer runs."""
    entries = {(entry["recipe"], entry["dataset"], entry["task"]): entry for entry in ablation.values()}
    rows = []
    for recipe in experiments.ABLATION:
        change = recipe.removeprefix("fewdata").removeprefix("-")
        row = [experiments.CHANGES[change].title if change else "none: mean gain over the input"]
        for cell in CELLS:
            entry, full = (entries.get((name, *cell)) for name in (recipe, "fewdata"))
            if not entry or not full:
                row.append(MISSING)
            else:
                row.append(_gain(_added(entry, full) if change else entry["gain"]))
        rows.append(row)
    table = _table(["change to fewdata", *(" ".join(cell) for cell in CELLS)], rows)
    if not ablation:
        return table
    entry = next(iter(ablation.values()))
    notes = [
        f"Validation tiles ({entry['n_unseen']}), not test tiles; n = 100, {entry['n_updates']:,} updates, half the "
        "width, one seed. First row: gain over the input in dB. Other rows: what the change adds to it, with 95 % "
        "intervals.",
    ]

    def place(entry):
        return entry["dataset"], entry["task"], entry["n_train"]

    full = {place(entry): entry for entry in longer.values() if entry["recipe"] == "fewdata"}
    notes += [
        "A run as long and as wide as those of the tables of gains, for an ingredient that a short run speaks against: "
        f"{entry['dataset']} {entry['task']}, n = {entry['n_train']}, {entry['n_updates']:,} updates, "
        f"{experiments.CHANGES[entry['recipe'].removeprefix('fewdata-')].title}: "
        f"{_gain(_added(entry, full[place(entry)]))} dB."
        for entry in longer.values() if entry["recipe"] != "fewdata"
    ]
    return table + "\n\n" + "\n".join(f"- {note}" for note in notes)


def own_block(results):
    """Error, in the units of the data, and gain over bicubic of each method on data that are no photographs."""
    methods = {name: CLASSICAL[name] for name in ("lanczos", "linear", "raisr")} | {"restored": "network"}
    rows = []
    for experiment in (experiment for own in matrix.OWN.values() for experiment in own):
        if result := results.get(experiment.name):
            base = result["methods"]["input"]
            gains = [f"{row['rmse']:.3g} ({row['psnr'] - base['psnr']:+.2f})"
                     for row in (result["methods"][name] for name in methods)]
            rows.append([f"{experiment.dataset.replace('_', ' ')} x4", f"{experiment.n_train:,}",
                         f"{base['rmse']:.3g}", *gains])
    return _table(["data", "tiles", "bicubic (input)", *methods.values()], rows, n_labels=2)


def draw_curve(results):
    """Draw the gain on Mars x4 over the number of tiles: means over the test tiles with 95 % intervals, draws as dots.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    series = [(recipe, model) for recipe in RECIPES for model in (PAPER, BETTER)]
    for (recipe, model), marker in zip(series, "osD^", strict=True):
        found = {n: find(results, dataset="mars", task="sr_x4", recipe=recipe, model=model, n_train=n) for n in CURVE}
        found = {n: result["differences"]["restored - input"] for n, result in found.items() if result}
        if not found:
            continue
        middle, low, high = ([difference[key] for difference in found.values()] for key in ("mean", "low", "high"))
        errors = [np.subtract(middle, low), np.subtract(high, middle)]
        label = f"{recipe}, {NETWORKS[model].title}"
        line = axes.errorbar(list(found), middle, errors, marker=marker, capsize=3, label=label)
        for n in CURVE:
            draws = [find(results, dataset="mars", task="sr_x4", recipe=recipe, model=model, n_train=n, draw=draw)
                     for draw in range(1, N_DRAWS)]
            for result in filter(None, draws):
                axes.plot(n, _over(result, "input")["mean"], ".", color=line[0].get_color(), zorder=3)
    known = {n: find(results, dataset="mars", task="sr_x4", recipe="fewdata", n_train=n) for n in CURVE}
    for method, style in (("lanczos", ":"), ("raisr", "--")):  # what the networks have to beat, on the same tiles
        gains = {n: result["methods"][method]["psnr"] - result["methods"]["input"]["psnr"]
                 for n, result in known.items() if result and method in result["methods"]}
        if gains:
            axes.plot(list(gains), list(gains.values()), style, color="gray", label=CLASSICAL[method])
    axes.set(xscale="log", xlabel="training tiles of 128x128", ylabel="gain over bicubic, dB",
             title=f"Mars x4, {BUDGET:.0%} of the updates of each recipe")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure


def _table(heads, rows, n_labels=1):
    """Lay out a table without the rows and columns that hold no result beside the first `n_labels` columns."""
    rows = [row for row in rows if set(row[n_labels:]) - {MISSING}]
    if not rows:
        return "No result yet."
    kept = [i for i in range(len(heads)) if i < n_labels or {row[i] for row in rows} != {MISSING}]
    lines = [f"| {' | '.join(line[i] for i in kept)} |" for line in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(kept), *lines[1:]])


def _best_classical(result):
    names = result["classical_settings"]
    return max(names, key=lambda name: result["methods"][name]["psnr"], default=None)


def _over(result, method):
    return result and result["differences"][f"restored - {method}"]


def _difference(result, other):
    if not result or not other:
        return MISSING
    values, inputs = ([r["methods"][method]["psnr_tiles"] for r in (result, other)] for method in ("restored", "input"))
    if inputs[0] != inputs[1]:
        raise util.UserError(f"results/{result['name']}.json and results/{other['name']}.json are of other test tiles: "
                             "measure both again with inception2.py evaluate")
    return _gain(evaluation.paired_difference(*values, result["scenes"]))


def _ensemble(result):
    if not result or "restored_ensemble" not in result["methods"]:
        return MISSING
    values = (result["methods"][method]["psnr_tiles"] for method in ("restored_ensemble", "restored"))
    return _gain(evaluation.paired_difference(*values, result["scenes"]))


def _scores(result, method):
    """(PSNR of the mean error, mean SSIM) of a method, or None."""
    scores = result and result["methods"][method]
    return scores and (scores["psnr_of_mean_mse"], scores["ssim"])


def _pair(scores):
    return f"{scores[0]:.2f} / {scores[1]:.3f}" if scores else MISSING


def _added(entry, other):
    """What an entry of an ablation has more than another, on the same unseen tiles."""
    return evaluation.paired_difference(entry["gain_tiles"], other["gain_tiles"], entry["scenes"])


def _gain(difference):
    return f"{difference['mean']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}]" if difference else MISSING


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
