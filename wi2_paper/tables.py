"""Write the tables of README.md and README.ja.md and the curve in assets/ from results/*.json. No Keras in here.

    python3 figures.py              # half a minute; only what stands between the markers changes

A result that is missing is shown as a dash; what was shortened or unverified is said under the tables.
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
from wi2_paper.matrix import BETTER, BUDGET, CELLS, CURVE, N_DRAWS, N_MAX, QUICK
from wi2_paper.texts import TEXTS

MISSING = "—"
PAPER = experiments.Experiment.model
# What the predecessor of the paper published: DIV2K, x4, 128x128 tiles, inputs made with an aliased bilinear filter.
PREDECESSOR = {"input": (24.07, 0.759), 100: (24.10, 0.759), 1_000: (24.44, 0.771), 10_000: (24.70, 0.775)}


def main():
    results = {path.stem: util.read_json(path) for path in sorted(Path("results").glob("[!.]*.json"))}
    for name, result in results.items():
        checking.check_result(Path("results") / f"{name}.json", result)
    for name, texts in TEXTS.items():
        path = Path(name)
        text = replace_blocks(path.read_text(encoding="utf-8"), blocks(results, texts), path)
        with util.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"written: {path}")
    path = Path("assets") / "curve.png"
    with util.replacing(path) as temporary:
        draw_curve(results).savefig(temporary, dpi=120)
    print(f"written: {path}")


def markers(block):
    return f"<!-- {block}: written by figures.py -->", f"<!-- end of {block} -->"


def replace_blocks(text, new, path):
    """Return `text` with what stands between the markers of each block replaced; without markers `UserError`."""
    for name, block in new.items():
        begin, end = markers(name)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise util.UserError(f"{path} needs the lines {begin} and {end}, once each: put them where the table goes")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{block}\n\n{end}{rest.split(end)[1]}"
    return text


def blocks(results, texts):
    """Lay out all blocks: {name: Markdown}, from {name: content} of results/*.json and one of `TEXTS`."""
    return {
        "gains": gains_block(results, texts), "goals": goals_block(results, texts),
        "scores": scores_block(results, texts), "networks": networks_block(results, texts),
        "ablation": ablation_block(results.get("ablation", {}), results.get("ablation_longer", {}), texts),
    }


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


def gains_block(results, texts):
    """One row a cell, recipe and network, one column a number of tiles: the gains, their intervals and draws."""
    columns = (10, 30, 100, 300, 1_000, 10_000)
    rows = []
    for dataset, task in CELLS:
        for recipe in RECIPES:
            for model in (PAPER, BETTER):
                cells = []
                for n in columns:
                    n = N_MAX[dataset] if n == 1_000 and dataset == "div2k" else n
                    draws = [find(results, dataset=dataset, task=task, recipe=recipe, model=model, n_train=n, draw=draw)
                             for draw in range(N_DRAWS)]
                    cells.append(_gains(draws))
                rows.append([dataset, task, recipe, NETWORKS[model].title, *cells])
    *heads, head = texts["gains"]
    lines = _table([*heads, *(head.format(f"{n:,}") for n in columns)], rows)
    names = [experiment.name for experiment in _matrix() if experiment != QUICK]
    found = [results[name] for name in names if name in results]
    tests = {result["dataset"]: texts["test"].format(
        name=result["dataset"], n=result["n_test"], scenes=len(set(result["scenes"])),
    ) for result in found}
    notes = [texts["gains_unit"].format(
        n=", ".join(tests.values()) or MISSING,
        missing=len(names) - len(found), all=len(names),
    )]
    updates = ", ".join(f"`{name}` {round(BUDGET * recipe.n_updates):,} / {recipe.n_updates:,}"
                        for name, recipe in RECIPES.items())
    notes.append(texts["budget"].format(
        budget=BUDGET, updates=updates, faster=matrix.pace(BETTER),
        seen=round(BUDGET * RECIPES["paper"].n_updates * RECIPES["paper"].batch_size),
    ))
    notes += [
        texts["warned"].format(warning=result["warning"], name=f"{result['dataset']} {result['task']}, "
                               f"{result['recipe']}, {NETWORKS[result['model']].title}, n = {result['n_train']:,}, "
                               f"draw {result['draw']}")
        for result in found if result["warning"]
    ]
    quick = results.get(QUICK.name)
    if quick:
        best = quick["best_without_network"]
        notes.append(texts["sample"].format(
            n=QUICK.n_train, updates=QUICK.n_updates, gain=_gain(quick["differences"]["restored - input"]),
            classical=_gain(quick["differences"][f"restored - {best}"]), best=best,
        ))
        found.append(quick)
    unverified = sorted({
        f"{result['dataset']} ({archive['file']})" for result in found
        for archive in result["data"]["archives"] if not archive["verified"]
    })
    if unverified:
        notes.append(texts["unverified"].format(names=", ".join(unverified)))
    counts = {result["dataset"]: result["data"]["counts"]["train"] for result in found}
    for name, count in sorted(counts.items()):
        most = texts["most"].format(n=N_MAX[name]) if name == "div2k" else ""
        notes.append(texts["few"].format(name=name, made=count["made"], images=count["n_images_used"], most=most))
    return lines + "\n\n" + "\n".join(f"- {note}" for note in notes)


def scores_block(results, texts):
    """The predecessor's table, PSNR of the mean error and SSIM by number of tiles, for x4; ours beside it."""
    columns = (10_000, 1_000, 100, 10)
    rows = [[texts["predecessor"], "paper", NETWORKS[PAPER].title, _pair(*PREDECESSOR["input"]), MISSING,
             *(_pair(*PREDECESSOR[n]) if n in PREDECESSOR else MISSING for n in columns)]]
    for dataset in N_MAX:
        for recipe in RECIPES:
            for model in (PAPER, BETTER):
                found = [find(results, dataset=dataset, task="sr_x4", recipe=recipe, model=model,
                              n_train=N_MAX[dataset] if n == 1_000 and dataset == "div2k" else n) for n in columns]
                known = next((result for result in found if result), None)
                classical = known and _best_classical(known)
                rows.append([
                    dataset, recipe, NETWORKS[model].title, _score(known, "input"), _score(known, classical),
                    *(_score(result, "restored") for result in found),
                ])
    *heads, head = texts["scores"]
    return _table([*heads, *(head.format(f"{n:,}") for n in columns)], rows) + f"\n\n- {texts['scores_unit']}"


def goals_block(results, texts):
    """Paired differences between experiments on the same test tiles, one column a cell."""
    def few(cell, n, model=PAPER):
        return find(results, recipe="fewdata", n_train=n, model=model, **cell)

    def paper(cell, n):
        return find(results, recipe="paper", n_train=n, **cell)

    rows = [[name] for name in texts["goal_rows"]]
    for dataset, task in CELLS:
        cell = {"dataset": dataset, "task": task}
        ten, hundred, better = few(cell, 10), few(cell, 100), few(cell, 100, BETTER)
        for row, value in zip(rows, (
            _difference(hundred, paper(cell, 100)), _difference(hundred, paper(cell, N_MAX[dataset])),
            _difference(ten, paper(cell, N_MAX[dataset])), _over_classical(ten), _over_classical(hundred),
            _difference(better, hundred), _ensemble(better),
        ), strict=True):
            row.append(value)
    return _table([*texts["goals"], *(" ".join(cell) for cell in CELLS)], rows) + f"\n\n- {texts['goals_unit']}"


def networks_block(results, texts):
    """The networks side by side at about the same seconds of training."""
    tasks = [task for dataset, task in CELLS if dataset == "mars"]
    rows, speed = [], results.get("benchmark_speed")
    for model in matrix.equal_seconds():
        found = [find(results, dataset="mars", task=task, recipe="fewdata", model=model, n_train=100) for task in tasks]
        known = next((result for result in found if result), None)
        about = [f"{known[key]:,}" if known else MISSING for key in ("n_parameters", "learning_rate", "n_updates")]
        seconds = known and speed and known["n_updates"] * speed["milliseconds_an_update"][model] / 1000
        about.append(f"{seconds:,.0f}" if seconds else MISSING)
        rows.append([NETWORKS[model].title, *about, *(_gain(_over(result, "input")) for result in found)])
    *heads, head = texts["models"]
    return _table([*heads, *(head.format(task) for task in tasks)], rows) + f"\n\n- {texts['models_unit']}"


def ablation_block(ablation, longer, texts):
    """What a change to the recipe adds to the gain on validation tiles, one column a cell; below it, longer runs."""
    entries = {(entry["recipe"], entry["dataset"], entry["task"]): entry for entry in ablation.values()}
    rows = []
    for recipe in experiments.ABLATION:
        change = recipe.removeprefix("fewdata").removeprefix("-")
        row = [texts["changes"][change] if change else texts["full"]]
        for cell in CELLS:
            entry, full = (entries.get((name, *cell)) for name in (recipe, "fewdata"))
            if not entry or not full:
                row.append(MISSING)
            elif not change:
                row.append(_gain(entry["gain"]))
            else:
                row.append(_gain(_added(entry, full)))
        rows.append(row)
    head, column = texts["ablation"]
    table = _table([head, *(column.format(*cell) for cell in CELLS)], rows)
    entry = next(iter(ablation.values()), None)
    notes = [texts["ablation_unit"].format(n=entry["n_unseen"], updates=entry["n_updates"]) if entry else MISSING]
    def place(entry):
        return entry["dataset"], entry["task"], entry["n_train"]

    full = {place(entry): entry for entry in longer.values() if entry["recipe"] == "fewdata"}
    for entry in longer.values():
        with_all = full[place(entry)]
        if entry is not with_all:
            difference = _added(entry, with_all)
            notes.append(texts["ablation_longer"].format(
                dataset=entry["dataset"], task=entry["task"], n=entry["n_train"], updates=entry["n_updates"],
                change=texts["changes"][entry["recipe"].removeprefix("fewdata-")], difference=_gain(difference),
            ))
    return table + "\n\n" + "\n".join(f"- {note}" for note in notes)


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
    known = find(results, dataset="mars", task="sr_x4", recipe="fewdata", n_train=100)
    if known:
        gain = known["methods"]["lanczos"]["psnr"] - known["methods"]["input"]["psnr"]
        axes.axhline(gain, color="gray", linestyle=":", label="Lanczos")
    axes.set(xscale="log", xlabel="training tiles of 128x128", ylabel="gain over bicubic, dB",
             title=f"Mars x4, {BUDGET:.0%} of the updates of each recipe")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure


def _table(heads, rows):
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _gains(draws):
    first, *others = draws
    if not first:
        return MISSING
    lines = [_gain(_over(first, "input")), _over_classical(first)]
    means = [_over(result, "input")["mean"] for result in (first, *filter(None, others))]
    if len(means) > 1:
        lines.append(f"({len(means)} draws: {min(means):+.2f} … {max(means):+.2f})")
    return "<br>".join(lines)


def _best_classical(result):
    names = result["classical_settings"]
    return max(names, key=lambda name: result["methods"][name]["psnr"], default=None)


def _over(result, method):
    return result and result["differences"][f"restored - {method}"]


def _over_classical(result):
    return _gain(_over(result, _best_classical(result))) if result else MISSING


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


def _score(result, method):
    scores = result and result["methods"][method]
    return _pair(scores["psnr_of_mean_mse"], scores["ssim"]) if scores else MISSING


def _pair(psnr, ssim):
    return f"{psnr:.2f} / {ssim:.3f}"


def _added(entry, other):
    """What an entry of an ablation has more than another, on the same unseen tiles."""
    return evaluation.paired_difference(entry["gain_tiles"], other["gain_tiles"], entry["scenes"])


def _gain(difference):
    return f"{difference['mean']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}]" if difference else MISSING


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
