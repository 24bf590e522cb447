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
from inception2_module.known import read_known
from wi2_paper import camera, checking, matrix, mismatch
from wi2_paper.matrix import (
    ADAPTED,
    BETTER,
    BLIND,
    BRANCHES,
    CELLS,
    COMPARED,
    CURVE,
    MARS_CAMERA,
    N_BRANCHES,
    N_MAX,
    OTHER_TASKS,
    PHOTO_NETWORKS,
    PUBLISHED,
    QUICK,
    STARTS,
    updates_of,
)  # fmt: skip

MISSING = "—"
PAPER = experiments.Experiment.model
# What the predecessor of the paper published: DIV2K, x4, 128x128 tiles, inputs made with an aliased bilinear filter.
PREDECESSOR = {"input": (24.07, 0.759), 100: (24.10, 0.759), 1_000: (24.44, 0.771), 10_000: (24.70, 0.775)}
DATASETS = {"mars": "Mars", "div2k": "DIV2K"}
TASKS = {"sr_x4": "x4", "sr_x8": "x8", "noise_s64": "noise, sigma 64"}
CLASSICAL = {
    "lanczos": "Lanczos", "linear": "learned linear filter", "raisr": "RAISR-like filters", "bm3d": "BM3D",
    "non_local_means": "non-local means", "total_variation": "total variation", "wavelet": "wavelet",
    "wiener": "Wiener filter", "richardson_lucy": "Richardson-Lucy",
}


def main():
    results, cards = read_results("results"), read_cards("weights")
    for name, result in results.items():
        checking.check_result(Path("results") / f"{name}.json", result)
    for card in cards:
        checking.check_card(Path("weights") / f"{card.get('name')}.json", card)
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
    """Read those files of a folder that the tables are made of: {name: content}, see `with_dead_starts`."""
    paths = {name: Path(directory) / f"{name}.json" for name in result_names()}
    return with_dead_starts({name: util.read_json(path) for name, path in paths.items() if path.exists()})


def with_dead_starts(results):
    """Give what is measured with a network of photographs, or a blend that holds it, the dead channels of that."""
    for start, network in PHOTO_NETWORKS.items():
        for name, result in results.items():
            is_in_blend = result.get("start") == start and {"start", "adapted"} & set(result["blend"])
            if network.name in results and (name.startswith(f"{network.name}-on-") or is_in_blend):
                result["dead_channels"] = results[network.name].get("dead_channels")
    return results


def result_names():
    """Return the experiments of the matrix and other measurements: nothing of a user's own data."""
    chosen = [*_matrix(), *(experiment for own in matrix.OWN.values() for experiment in own)]
    measured = ("benchmark_speed", "ablation", "ablation_longer", "lengths", "mismatch", "camera")
    chosen += [*PHOTO_NETWORKS.values(), matrix.HALVED_NOISE, *matrix.FULL]
    chosen += [matrix.adapted("elevation", "sr_x4", n, draw) for n, draws in ADAPTED.items() for draw in range(draws)]
    unseen = [matrix.unseen(STARTS[task], dataset, task) for dataset, task in _started()]
    unseen += [matrix.unseen("photo_noise", *cell) for cell in BLIND]
    return [*(experiment.name for experiment in chosen), *unseen, *measured]


def read_cards(directory):
    """Read the cards of the published networks that are there, in their order."""
    paths = (Path(directory) / f"{name}.json" for name in PUBLISHED)
    return [read_known(path, "restore it with git checkout weights") for path in paths if path.exists()]


def pages(results, cards):
    """Lay out all tables: {file: {block: Markdown}}, from `read_results` and `read_cards`."""
    hall = {
        "networks you get": gain_block(cards, results), "how many images": images_block(results),
        "predecessor": predecessor_block(results),
    }
    return {"README.md": hall, "README.ja.md": hall, "inception2_module/README.md": {
        "list of networks": models_block(),
    }, "restore_module/README.md": {
        "data of other kinds": own_block(results), "mismatch": mismatch_block(results.get("mismatch")),
    }, "wi2_paper/README.md": {
        "goals": goals_block(results), "gains over the input": gains_block(results, over_input),
        "gains over the best without a network": gains_block(results, over_best), "draws": draws_block(results),
        "photographs": photographs_block(results), "blind": blind_block(results),
        "remarks": remarks_block(results), "other damage": damage_block(results), "scores": scores_block(results),
        "camera": camera_block(results.get("camera")), "networks": networks_block(results),
        "branches": branches_block(results),
        "ablation": ablation_block(results.get("ablation", {}), results.get("ablation_longer", {})),
        "lengths": lengths_block(results.get("lengths", {})), "full length": full_block(results),
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


def find_draws(results, **options):
    """Return the results of all draws of an experiment of the matrix with these fields, as far as there are any."""
    wanted = {"model": PAPER} | options
    return [results[experiment.name] for experiment in _matrix() if experiment.name in results
            and all(getattr(experiment, field) == value for field, value in wanted.items())]


def find(results, **options):
    """Return the result of draw 0, or None."""
    return next(iter(find_draws(results, draw=0, **options)), None)


@cache
def _matrix():
    return matrix.matrix()


def gain_block(cards, results):
    """What the networks of weights/ give on Mars: those of Mars from their cards, beside those of photographs alone."""
    rows = []
    for card in (card for card in cards if card["dataset"] == "mars"):
        found = results.get(Path(card["result"]).stem)
        start = STARTS.get(card["task"])
        of_photographs = start and results.get(matrix.unseen(start, "mars", card["task"]))
        for group in _groups(found and [found], card["dataset"]):
            psnr = card["psnr"] if not group else {
                name: evaluation.mean_of(row, found, group) for name, row in found["methods"].items()
            }
            best = best_classical(psnr)
            values = [psnr[best], psnr["restored"]]
            if of_photographs:
                values.append(evaluation.mean_of(of_photographs["methods"]["restored"], of_photographs, group))
            cells = [f"{value:.2f}" for value in values]
            ahead = cells.index(f"{max(values):.2f}")  # of equal ones the first, which needs no network
            cells[ahead] = f"**{cells[ahead]}**"
            cells += [MISSING] * (3 - len(cells))
            cells[0] += f" ({CLASSICAL[best]})"
            rows.append([_named(TASKS[card["task"]], group), f"{psnr['input']:.2f}", *cells])
    return _table(["Mars, other Martian days", "input", "best without a network", "1,000 Mars tiles",
                   "photographs only"], rows)


def best_classical(psnr):
    """Return the name of the best method that needs no network, of {method: PSNR}."""
    return max((name for name in psnr if name != "input" and not name.startswith("restored")), key=psnr.get)


def images_block(results):
    """Gains over the best method without a network, by number of tiles: one number a cell, and what collapsed."""
    rows = []
    for dataset, task in CELLS:
        cells = [find_draws(results, dataset=dataset, task=task, recipe=recipe, n_train=n)
                 for recipe, n in (("fewdata", 10), ("fewdata", 100), ("paper", N_MAX[dataset]))]
        for group in _groups([result for cell in cells for result in cell], dataset):
            rows.append([_named(f"{DATASETS[dataset]} {TASKS[task]}", group), *(_brief(cell, group) for cell in cells)])
    return _table(["dB above the best without a network", "10 tiles", "100 tiles", "paper's recipe, all tiles"], rows)


def _brief(cell, group):
    if not cell:
        return MISSING
    gain = evaluation.cell_gain(cell, _best_without(cell, group), group=group)
    has_collapsed = any(map(evaluation.has_collapsed, cell))
    remark = " (collapsed)" if has_collapsed else " (equal)" if gain["equal"] else ""
    return f"{gain['mean']:+.2f}{_marks(gain, () if has_collapsed else cell)}{remark}"


def predecessor_block(results):
    """The predecessor's table in its own form, and ours on Mars below it: PSNR of the mean error and mean SSIM."""
    return _table(*predecessor_rows(results))


def predecessor_rows(results):
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
    return ["x4", "", "HR", "LR", *(f"{n:,}" for n in columns)], rows


def over_input(cell, group=None):
    return _gain(cell and evaluation.cell_gain(cell, group=group), cell)


def over_best(cell, group=None):
    """Over the strongest method without a network."""
    return _gain(cell and evaluation.cell_gain(cell, _best_without(cell, group), group=group), cell)


def gains_block(results, over):
    """One row a cell, recipe and network, one column a number of tiles: means over draws with their intervals.

    over : `over_input` or `over_best`
    """
    return _by_tiles(results, over)


def draws_block(results):
    """The range of the gains over the input where an experiment was repeated with other tiles and other seeds."""
    def spread(cell, group):
        means = [evaluation.cell_gain([result], group=group)["mean"] for result in cell]
        return f"{min(means):+.2f} … {max(means):+.2f} ({len(means)} draws)" if len(means) > 1 else MISSING

    return _by_tiles(results, spread)


def _by_tiles(results, show):
    """Lay out show(draws of a cell, group) as a table, one column a number of tiles."""
    columns, rows = (10, 30, 100, 300, 1_000, 10_000), []
    for dataset, task in CELLS:
        for recipe in COMPARED:
            for model in (PAPER, BETTER):
                cells = [find_draws(results, dataset=dataset, task=task, recipe=recipe, model=model,
                                    n_train=_n(dataset, n)) for n in columns]
                for group in _groups([result for cell in cells for result in cell], dataset):
                    rows.append([_named(dataset, group), task, recipe, NETWORKS[model].title,
                                 *(show(cell, group) for cell in cells)])
    return _table(["data", "task", "recipe", "network", *(f"n = {n:,}" for n in columns)], rows, n_labels=4)


def _groups(cell, dataset):
    """All tiles and, where the results know which they are, the bare ground of Mars apart."""
    return (None, "terrain") if dataset == "mars" and cell and all("groups" in result for result in cell) else (None,)


def _described(result):
    return f"{result['dataset']} {result['task']}, {result['recipe']}, {NETWORKS[result['model']].title}, " \
        f"n = {result['n_train']:,}, draw {result['draw']}" \
        + f", seed {result['seed']}" * (result["seed"] != result["draw"])


def _counted(result, group):
    """Number of test tiles of a result and of the scenes that they show."""
    scenes = [scene for scene, of in zip(result["scenes"], result.get("groups") or result["scenes"], strict=True)
              if group in (None, of)]
    return f"{len(scenes):,} of {len(set(scenes))} scenes"


def _named(name, group):
    return f"{name}, {group}" if group else name


def _n(dataset, n):
    """The most tiles of DIV2K stand in the column 1,000."""
    return N_MAX[dataset] if n == 1_000 and dataset == "div2k" else n


def photographs_block(results):
    """What photographs are worth, and ten or a hundred tiles beside them: gains over the input, one row a cell."""
    (head, best, *heads), rows = photographs_rows(results)
    many = [over_input(many, group) for *_, many, group in _photographs(results)]
    rows = [[*row[:4], gain, *row[4:]] for row, gain in zip(rows, many, strict=True)]
    blends = "; ".join(
        f"{_title(dataset, task)}, {n} tiles: " + " / ".join(
            ", ".join(f"{part:g} {name}" for name, part in one["blend"].items()) for one in draws
        )
        for dataset, task in _started() for n in ADAPTED if (draws := find_adapted(results, dataset, task, n))
    )
    return _table([head, best, *heads[:2], "1,000 own tiles, halved network", *heads[2:]], rows) + (
        "\n\n- The best without a network learned from 10 tiles, from 100 where none of 10 were tried. What the tiles "
        "made of the network of photographs as it is (start), the same adapted to them, and one trained on them alone "
        f"(own), draws parted by /: {blends or MISSING}."
    )


def photographs_rows(results):
    rows = []
    for dataset, task, columns, _, group in _photographs(results):
        known = next(filter(None, columns))
        best = _best_without(known, group)
        without = evaluation.cell_gain(known, method=best, group=group)
        rows.append([_named(_title(dataset, task), group), f"{without['mean']:+.2f} ({CLASSICAL[best]})",
                     *(over_input(column, group) for column in columns)])
    return ["gain over the input, dB", "best without a network", "10 own tiles", "100 own tiles", "photographs only",
            "photographs, then 10 tiles", "photographs, then 100 tiles"], rows


def _photographs(results):
    """Yield (data, task, results of each column, those of 1,000 tiles, group) of each row about photographs."""
    for dataset, task in _started():
        columns = photographs_cells(results, dataset, task)
        many = find_draws(results, dataset=dataset, task=task, recipe="fewdata", model=BETTER, n_train=1_000)
        for group in _groups([result for column in columns for result in column], dataset) if any(columns) else ():
            yield dataset, task, columns, many, group


def _title(dataset, task):
    return f"{DATASETS.get(dataset, dataset)} {TASKS.get(task, task.removeprefix('sr_'))}"


def photographs_cells(results, dataset, task):
    """Return the results of 10 and of 100 own tiles, of photographs only, and of these and then 10 and 100 tiles."""
    elevation = dataset == "elevation"
    of_set = matrix.OWN["elevation"] if elevation else [e for e in _matrix() if e.recipe == "fewdata"]

    def found(experiments, n, model):
        wanted = {"dataset": dataset, "task": task, "model": model, "n_train": n}
        return [results[e.name] for e in experiments if e.name in results and wanted.items() <= vars(e).items()]

    seen_none = [result for result in [results.get(matrix.unseen(STARTS[task], dataset, task))] if result]
    return [*(found(of_set, n, BETTER if elevation else PAPER) for n in (10, 100)), seen_none,
            *(find_adapted(results, dataset, task, n) for n in ADAPTED)]


def _started():
    """The cells of which there is a network of photographs to start from; of x2 none is trained on tiles alone."""
    return [("mars", "sr_x2"), ("div2k", "sr_x2"), *CELLS, ("elevation", "sr_x4")]


def find_adapted(results, dataset, task, n):
    """Return the results of the draws of a network of photographs that was adapted to n tiles."""
    names = [matrix.adapted(dataset, task, n, draw).name for draw in range(ADAPTED[n])]
    return [results[name] for name in names if name in results]


def blind_block(results):
    """A denoiser that is not told how much noise there is, beside those that are, on the same test tiles."""
    rows = []
    for dataset, task in BLIND:
        name = matrix.unseen("photo_noise", dataset, task)
        cell = [results[name]] if name in results else []
        for group in _groups(cell, dataset) if cell else ():
            psnr = {name: f"{evaluation.mean_of(row, cell[0], group):.2f}" for name, row in cell[0]["methods"].items()}
            of_set = f"{DATASETS[dataset]}, `{task}`" if dataset in DATASETS else "real photographs (PolyU)"
            rows.append([_named(of_set, group), f"{cell[0]['n_test']:,}",
                         *(psnr.get(name, MISSING) for name in ("input", *CLASSICAL, "restored")),
                         over_best(cell, group)])
    heads = ["PSNR, dB", "test tiles", "input", *CLASSICAL.values(), "`photo_noise`", "`photo_noise` over the best"]
    table = _table(heads, rows, n_labels=2)
    both = [results.get(experiment.name) for experiment in (PHOTO_NETWORKS["photo_noise"], matrix.HALVED_NOISE)]
    if not all(both):
        return table
    deep, halved = (evaluation.cell_gain([result])["mean"] for result in both)
    return table + (
        f"\n\n- On {both[0]['n_test']} test tiles of photographs (noise of all strengths) the deep network gains "
        f"{deep:+.2f} dB, the halved one after as many updates, in float32, {halved:+.2f} dB (one training of each)."
    )


def remarks_block(results):
    """What the gains are of, what is missing, shortened, collapsed or unverified."""
    wanted = [experiment.name for experiment in _matrix() if experiment != QUICK]
    found = [results[name] for name in wanted if name in results]
    photographs = [results[e.name] for e in PHOTO_NETWORKS.values() if e.name in results]
    own = [results[e.name] for e in matrix.OWN["elevation"] if e.name in results]
    tests = ", ".join(dict.fromkeys(
        f"{_named(result['dataset'], group)}: {_counted(result, group)}"
        for result in [*found, *own] for group in _groups([result], result["dataset"])
    ))
    paper = RECIPES["paper"]
    notes = [
        f"Gains in PSNR on the same tiles; dB, means over draws and test tiles ({tests or MISSING}; "
        "terrain: the tiles without the rover), with 95 % intervals over draws and scenes. * is one draw, of which no "
        "interval is known; = is equal: the interval holds 0; † a network of the cell has a layer that is mostly dead "
        f"(see below) or has collapsed, and {sum(result.get('dead_channels') is None for result in found)} results, "
        f"most of them older, do not say whether theirs has. {len(wanted) - len(found)} of {len(wanted)} experiments "
        f"have not been run yet ({MISSING}, or no row or column at all).",
        f"`fewdata` has its {updates_of('fewdata'):,} updates, `paper` {updates_of('paper'):,} of its "
        f"{paper.n_updates:,} (shortened: of 10,000 tiles it sees {updates_of('paper') * paper.batch_size:,}, once "
        f"each); the halved network gets {matrix.pace(BETTER)} times as many, which take as long.",
    ]
    collapsed = [_described(result) for result in found if evaluation.has_collapsed(result)]
    dead = [f"{_described(result)}: {result['dead_channels']:.0%}"
            for result in filter(evaluation.has_died, [*found, *photographs])]
    if collapsed:
        notes.append(f"Collapsed, so that the input comes back but for rounding: {'; '.join(collapsed)}.")
    if dead:
        notes.append(f"The part of its channels that is dead in the worst layer, where it is half or more: "
                     f"{'; '.join(dead)}.")
    quick = results.get(QUICK.name)
    if quick:
        best = quick["best_without_network"]
        notes.append(
            f"`make run`: sample, n = {QUICK.n_train}, {QUICK.n_updates:,} updates: "
            f"{_gain(quick['differences']['restored - input'])} dB over bicubic, "
            f"{_gain(quick['differences'][f'restored - {best}'])} dB over {best} (one draw, intervals over scenes)."
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
        for recipe in COMPARED:
            for model in (PAPER, BETTER):
                found = [find(results, dataset=dataset, task="sr_x4", recipe=recipe, model=model,
                              n_train=_n(dataset, n)) for n in columns]
                known = next((result for result in found if result), None)
                classical = known and _best_without([known])
                rows.append([
                    dataset, recipe, NETWORKS[model].title,
                    _pair(_scores(known, "input")), _pair(_scores(known, classical)),
                    *(_pair(_scores(result, "restored")) for result in found),
                ])
    heads = ["data", "recipe", "network", "input", "best without a network", *(f"n = {n:,}" for n in columns)]
    return _table(heads, rows, n_labels=3) + (
        "\n\n- PSNR in dB of the mean squared error over all tiles, as in the predecessor's table, and mean SSIM. The "
        "predecessor's inputs were made with another filter and its tiles were others: its row stands beside ours, it "
        "cannot be compared number by number."
    )


def goals_block(results):
    """Paired differences between experiments on the same test tiles, one column a cell."""
    return _table(*goals_rows(results)) + (
        "\n\n- dB, with 95 % intervals over draws and scenes; * one draw, = equal. The paper's network, unless said "
        "otherwise. Most tiles: 10,000 (mars), 799 (div2k)."
    )


def goals_rows(results):
    def few(cell, n, model=PAPER):
        return find_draws(results, recipe="fewdata", n_train=n, model=model, **cell)

    def paper(cell, n):
        return find_draws(results, recipe="paper", n_train=n, **cell)

    rows = [[name] for name in (
        "fewdata, n = 100, over paper, n = 100", "fewdata, n = 100, over paper, most tiles",
        "fewdata, n = 10, over paper, most tiles", "fewdata, n = 10, over the best without a network",
        "fewdata, n = 100, over the best without a network",
        "Inception-Unet, halved over the paper's network, fewdata, n = 100, equal seconds",
        "self-ensemble over a single run, Inception-Unet, halved, fewdata, n = 100",
    )]
    heads = ["difference of PSNR on the same test tiles"]
    for dataset, task in CELLS:
        cell = {"dataset": dataset, "task": task}
        ten, hundred, better = few(cell, 10), few(cell, 100), few(cell, 100, BETTER)
        short, long = paper(cell, 100), paper(cell, N_MAX[dataset])
        for group in _groups([*ten, *hundred, *better, *short, *long], dataset):
            heads.append(_named(f"{dataset} {task}", group))
            for row, value in zip(rows, (
                _difference(hundred, short, group), _difference(hundred, long, group), _difference(ten, long, group),
                over_best(ten, group), over_best(hundred, group), _difference(better, hundred, group),
                _ensemble(better, group),
            ), strict=True):
                row.append(value)
    return heads, rows


def damage_block(results):
    """Damage beside that of the cells: every method on the same test tiles."""
    rows = []
    others = [experiment for experiment in _matrix() if experiment.task in OTHER_TASKS]
    for experiment in [*others, MARS_CAMERA, PHOTO_NETWORKS["photo_camera_x4"]]:
        cell = [results[experiment.name]] if experiment.name in results else []
        for group in _groups(cell, experiment.dataset) if cell else ():
            psnr = {name: f"{evaluation.mean_of(row, cell[0], group):.2f}" for name, row in cell[0]["methods"].items()}
            rows.append([f"`{experiment.task}`", _named(experiment.dataset, group), f"{experiment.n_train:,}",
                         *(psnr.get(name, MISSING) for name in ("input", *CLASSICAL, "restored")),
                         over_best(cell, group)])
    heads = ["PSNR, dB", "data", "tiles", "input", *CLASSICAL.values(), "network",
             "network over the best of the others"]
    return _table(heads, rows, n_labels=3) + (
        f"\n\n- {NETWORKS[BETTER].title}, recipe fewdata, for a camera {MARS_CAMERA.recipe}; "
        "one draw. The Wiener filter and Richardson-Lucy are told the point spread and the mirrored edges of the "
        "tiles, as the degradation makes them, and their settings are chosen on tiles that the run may look at; the "
        "learned filters and the network learn from these."
    )


def camera_block(measured):
    """One damage a row: for each set the PSNR of the input and the gain of each network."""
    if not measured:
        return "No result yet."
    rows = []
    for damage in mismatch.SMALL:
        row = [damage]
        for dataset, networks in camera.NETWORKS.items():
            found = [measured.get(f"{dataset}, {title}, {damage}") for title in networks]
            known = next(filter(None, found), None)
            row += [f"{known['input']:.2f}" if known else MISSING,
                    *(f"{one['gain']['mean']:+.2f}" if one else MISSING for one in found)]
        rows.append(row)
    heads = ["damage of the small image", *(
        f"{DATASETS.get(dataset, 'photographs')}: {head}" for dataset, networks in camera.NETWORKS.items()
        for head in ("input, dB", *networks))]
    return _table(heads, rows) + "\n\n" + "\n".join(f"- {sentence}." for sentence in camera.verdicts(measured))


def mismatch_block(measured):
    """What a network does to inputs that are not those of its training, and how often restore warns of them."""
    if not measured:
        return "No result yet."
    rows, inputs = [], measured["rows"]
    for name, row in inputs.items():
        if name.replace(" --enlarge", "") in inputs and "--enlarge" in name:
            continue  # it stands in the row without
        small = inputs.get(name.replace("sr_x4,", "sr_x4 --enlarge,")) if name.startswith("sr_x4,") else None
        gains = [row.get("gains", {}).get(key) for key in ("mars", "photographs")]
        rows.append([
            name, *(f"{found['input']:.2f}, {found['gain']['mean']:+.2f}" if found else MISSING for found in gains),
            *(" / ".join(f"{one['warned'][key]:.0%}" for one in (row, small) if one) for key in measured["n"]),
            {True: "yes", False: "no", None: MISSING}[row["wrong"]],
        ])
    sets = ", ".join(f"{n} {key}" for key, n in measured["n"].items())
    heads = ["network for, input", "Mars: input, gain", "photographs: input, gain",
             *(f"warned of, {key}" for key in measured["n"]), "it should be"]
    return _table(heads, rows) + (
        "\n\n- PSNR of the input and gain of the network of weights/ in dB, on test tiles of Mars and on crops of "
        "photographs. Warned of: part of the images that get a sentence, behind the stroke of the small ones with "
        f"`--enlarge` ({sets}; gray ones for microscopy). Should be: {MISSING} where it is in between, or not looked "
        "for. An image that equals its target counts as 100 dB."
    )


def networks_block(results):
    """The networks side by side at about the same seconds of training."""
    return _table(*networks_rows(results)) + (
        "\n\n- Mars, n = 100, draw 0, recipe fewdata: gain over the input in dB. The number of updates is "
        "chosen so that all train for about the same time: the seconds are the updates times the time of one, as "
        "results/benchmark_speed.json has it (one core, the other one busy). The learning rates of the networks of the "
        "literature are the best of four on validation tiles of x4, in runs a fifth as long (results/rates.json), for "
        "all tasks; the first two networks take that of the recipe. DnCNN makes too few updates in that time to mean "
        "something. One seed each (*): draws of one network differ by more than some networks do."
    )


def networks_rows(results):
    tasks = [task for dataset, task in CELLS if dataset == "mars"]
    rows, speed = [], results.get("benchmark_speed")
    groups = _groups([r for r in results.values() if r.get("dataset") == "mars"], "mars")
    for model in matrix.equal_seconds():
        found = [find_draws(results, dataset="mars", task=task, recipe="fewdata", model=model, n_train=100, draw=0)
                 for task in tasks]
        known = next((cell[0] for cell in found if cell), None)
        both = [(cell, group) for cell in found for group in groups]
        about = [f"{known[key]:,}" if known else MISSING for key in ("n_parameters", "learning_rate", "n_updates")]
        seconds = known and speed and known["n_updates"] * speed["milliseconds_an_update"][model] / 1000
        about.append(f"{seconds:,.0f}" if seconds else MISSING)
        rows.append([NETWORKS[model].title, *about, *(over_input(*one) for one in both)])
    heads = [_named(task, group) for task in tasks for group in groups]
    return ["network", "parameters", "learning rate", "updates", "seconds", *heads], rows


def branches_block(results):
    """What a branch of the paper's network is worth: the whole one, the one without it, and their difference."""
    heads, rows = branches_rows(results)
    return _lay_out(heads, rows) + (
        f"\n\n- Mars, recipe paper, {updates_of('paper'):,} updates: gain over the input in dB, "
        f"and the whole network over the one without the branch. {MISSING} has not been run yet."
    )


def branches_rows(results):
    """Return (heads, rows) of what a branch is worth; a row is there before its results are."""
    rows = []
    for task, model in BRANCHES.items():
        branch = left_out(model)
        cells = {n: [find_draws(results, dataset="mars", task=task, recipe="paper", n_train=n, model=name)
                     for name in (PAPER, model)] for n in N_BRANCHES}
        for group in _groups([result for pair in cells.values() for cell in pair for result in cell], "mars"):
            rows += [[_named(TASKS[task], group), branch, f"{n:,}", over_input(whole, group),
                      over_input(without, group), _difference(whole, without, group)]
                     for n, (whole, without) in cells.items()]
    return ["task", "branch", "n", "whole network", "without the branch", "what the branch gives"], rows


def left_out(model):
    """Return the branch of the paper's network that a network does without."""
    branch, = set(NETWORKS[PAPER].options["branches"]) - set(NETWORKS[model].options["branches"])
    return branch


def models_block():
    """The networks of `--model`."""
    return _table(["`--model`", "branches that are summed, or its source", "parameters"], [
        [f"`{name}`", network.summary, f"{network.n_parameters:,}"] for name, network in NETWORKS.items()
    ])


def ablation_block(ablation, longer):
    """What a change to the recipe adds to the gain on validation tiles, one column a cell; below it, longer runs."""
    table = _table(*ablation_rows(ablation))
    if not ablation:
        return table
    entry = next(iter(ablation.values()))
    notes = [
        f"Validation tiles ({entry['n_unseen']}), not test tiles; n = 100, {entry['n_updates']:,} updates, half the "
        "width, one seed. First row: gain over the input in dB. Other rows: what the change adds to it, with 95 % "
        "intervals.",
    ]
    table += "\n\n" + "\n".join(f"- {note}" for note in notes)
    if longer:
        rows = [[f"{entry['dataset']} {entry['task']}", f"{entry['n_train']:,}",
                 change_title(entry["recipe"], entry["learning_rate"]), gain] for entry, gain in longer_gains(longer)]
        n_updates = next(iter(longer.values()))["n_updates"]
        table += f"\n\nThe same, as long and as wide as in the tables of gains ({n_updates:,} updates):\n\n"
        table += _table(["data", "n", "change to fewdata", "what it adds, dB"], rows, n_labels=3)
    return table


def longer_gains(longer):
    """Return [(entry, what its change adds)] of the longer runs of an ablation."""
    def place(entry):
        return entry["dataset"], entry["task"], entry["n_train"]

    full = {place(entry): entry for entry in longer.values() if entry["recipe"] == "fewdata"}
    return [(entry, _gain(_added(entry, full[place(entry)]))) for entry in longer.values()
            if entry["recipe"] != "fewdata"]


def change_title(recipe, learning_rate):
    """What a recipe of the ablation changes, with the learning rate where that goes with the change."""
    change = experiments.CHANGES[recipe.removeprefix("fewdata-")]
    return f"{change.title}, {learning_rate:g}" if "learning_rate" in change.fields else change.title


def ablation_rows(ablation):
    entries = {(entry["recipe"], entry["dataset"], entry["task"]): entry for entry in ablation.values()}
    rows = []
    for recipe, values in experiments.ABLATION.items():
        is_change = recipe != "fewdata"
        row = [change_title(recipe, values.learning_rate) if is_change else "none: mean gain over the input"]
        for cell in CELLS:
            entry, full = (entries.get((name, *cell)) for name in (recipe, "fewdata"))
            if not entry or not full:
                row.append(MISSING)
            else:
                row.append(_gain(_added(entry, full) if is_change else entry["gain"]))
        rows.append(row)
    return ["change to fewdata", *(" ".join(cell) for cell in CELLS)], rows


def lengths_block(lengths):
    """What more updates of the default network give, on validation tiles, at several learning rates."""
    if not lengths:
        return "No result yet."
    rows = []
    for experiment in matrix.LENGTHS:
        entry = lengths.get(experiment.name)
        found = [_gain(entry["gain"]), f"{entry['dead_channels']:.0%}", f"{entry['seconds_train'] / 60:.0f}"] \
            if entry else [MISSING] * 3
        cell = f"{_title(experiment.dataset, experiment.task)}, n = {experiment.n_train}, draw {experiment.draw}"
        rows.append([cell, f"{experiment.n_updates:,}", f"{experiment.learning_rate:g}", *found])
    heads = ["tiles", "updates", "learning rate", "gain over the input, dB", "dead channels, worst layer", "minutes"]
    return _table(heads, rows) + (
        f"\n\n- Validation tiles, not test tiles; one seed a draw, one core. {MISSING} has not been run yet."
    )


def by_updates(results):
    """Return {(recipe, n, learning rate): {updates: draws}} of Mars x4, of what was trained longer than the tables."""
    found = {}
    for one in matrix.FULL:
        draws = found.setdefault((one.recipe, one.n_train, one.learning_rate), {})
        if one.learning_rate == RECIPES[one.recipe].learning_rate:
            draws[updates_of(one.recipe)] = find_draws(results, dataset="mars", task="sr_x4", recipe=one.recipe,
                                                       n_train=one.n_train)
        draws.setdefault(one.n_updates, [results[one.name]] if one.name in results else [])
    return found


def full_block(results):
    """Gains on the test tiles of Mars x4 after more updates, beside those of the tables."""
    rows = []
    for (recipe, n, rate), found in by_updates(results).items():
        for n_updates, cell in found.items():
            seconds = cell and cell[0].get("seconds_train")
            terrain = over_input(cell, "terrain") if "terrain" in _groups(cell, "mars") else MISSING
            rows.append([recipe, f"{n:,}", f"{n_updates:,}", f"{rate:g}", over_input(cell), terrain, over_best(cell),
                         f"{seconds / 60:.0f}" if seconds else MISSING])
    in_bfloat16 = "; ".join(f"{one.recipe}, n = {one.n_train:,}, {one.n_updates:,} updates" for one in matrix.FULL
                            if one.precision == "bfloat16")
    heads = ["recipe", "n", "updates", "learning rate", "gain over bicubic, dB", "terrain",
             "over the best without a network", "minutes"]
    return _lay_out(heads, rows) + (
        "\n\n- Mars x4, test tiles, the paper's network. Minutes of the first draw, on a machine that did other work "
        f"too. {MISSING} has not been run yet. In bfloat16: {in_bfloat16}."
    )


def own_block(results):
    """Error, in the units of the data, and gain over bicubic of each method on data that are no photographs."""
    methods = {name: CLASSICAL[name] for name in ("lanczos", "linear", "raisr")} | {"restored": "network"}
    cells = {}
    for experiment in (experiment for own in matrix.OWN.values() for experiment in own):
        if experiment.name in results:
            cells.setdefault((experiment.dataset, experiment.n_train), []).append(results[experiment.name])
    rows = []
    for (dataset, n), cell in cells.items():
        def error(name, cell=cell):
            return f"{np.sqrt(np.mean([result['methods'][name]['rmse'] ** 2 for result in cell])):.3g}"

        rows.append([f"{dataset.replace('_', ' ')} x4", f"{n:,}", error("input"), *(
            f"{error(name)} ({_gain(evaluation.cell_gain(cell, method=name))})" for name in methods)])
    return _table(["data", "tiles", "bicubic (input)", *methods.values()], rows, n_labels=2)


def draw_curve(results):
    """Draw the gain on Mars x4 over the number of tiles and, where there are longer runs, over that of updates.

    Returns
    -------
    matplotlib.figure.Figure
    """
    longer = {what: found for what, found in by_updates(results).items()
              if any(draws for n_updates, draws in found.items() if n_updates != updates_of(what[0]))}
    figure = Figure(figsize=(7.5 + 4.5 * bool(longer), 4.6), layout="constrained")
    axes = figure.subplots(1, 1 + bool(longer), squeeze=False, sharey=True, gridspec_kw={
        "width_ratios": [7.5, 4.5][: 1 + bool(longer)]})[0]
    draw_gains_by_tiles(axes[0], results)
    for number, (recipe, n, rate) in enumerate(longer):
        _draw_gains(axes[1], longer[recipe, n, rate], f"{recipe}, n = {n:,}, rate {rate:g}", "<>PXp"[number],
                    color=("C5", "C6", "C8", "C9", "C4")[number])
    if longer:
        axes[1].set(xscale="log", xlabel="updates", title="Mars x4, longer trainings", xlim=(1_000, 200_000))
        axes[1].tick_params(which="minor", labelbottom=False)
        axes[1].grid(alpha=0.3)
        axes[1].legend(loc="lower right")
    return figure


def draw_gains_by_tiles(axes, results):
    """Draw the gain on Mars x4 over the number of tiles: means over draws with 95 % intervals, draws as dots."""
    series = {f"{recipe}, {NETWORKS[model].title}": {
        n: find_draws(results, dataset="mars", task="sr_x4", recipe=recipe, model=model, n_train=n) for n in CURVE
    } for recipe in COMPARED for model in (PAPER, BETTER)}
    series["photographs, then tiles (adapt)"] = {n: find_adapted(results, "mars", "sr_x4", n) for n in ADAPTED}
    for (label, cells), marker in zip(series.items(), "osD^v", strict=True):
        _draw_gains(axes, cells, label, marker)
    known = {n: find(results, dataset="mars", task="sr_x4", recipe="fewdata", n_train=n) for n in CURVE}
    for method, style in (("lanczos", ":"), ("raisr", "--")):  # what the networks have to beat, on the same tiles
        gains = {n: result["methods"][method]["psnr"] - result["methods"]["input"]["psnr"]
                 for n, result in known.items() if result and method in result["methods"]}
        if gains:
            axes.plot(list(gains), list(gains.values()), style, color="gray", label=CLASSICAL[method])
    photographs = results.get(matrix.unseen(STARTS["sr_x4"], "mars", "sr_x4"))
    if photographs:
        gain = evaluation.cell_gain([photographs])["mean"]
        axes.axhline(gain, linestyle="-.", color="gray", label="photographs only")
    axes.set(xscale="log", xlabel="training tiles of 128x128", ylabel="gain over bicubic, dB",
             title=f"Mars x4, paper {updates_of('paper'):,} updates, fewdata {updates_of('fewdata'):,}")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _draw_gains(axes, cells, label, marker, **options):
    """Draw a line of {place: draws} with its intervals, and the draws as dots."""
    gains = {place: evaluation.cell_gain(cell) for place, cell in cells.items() if cell}
    if not gains:
        return
    middle = [gain["mean"] for gain in gains.values()]
    low, high = ([gain["mean"] if gain[key] is None else gain[key] for gain in gains.values()]
                 for key in ("low", "high"))
    errors = [np.subtract(middle, low), np.subtract(high, middle)]
    line = axes.errorbar(list(gains), middle, errors, marker=marker, capsize=3, label=label, **options)
    for place in gains:
        draws = [evaluation.cell_gain([result])["mean"] for result in cells[place]]
        axes.plot([place] * len(draws), draws, ".", color=line[0].get_color(), zorder=3)


def _table(heads, rows, n_labels=1):
    """Lay out a table without the rows and columns that hold no result beside the first `n_labels` columns."""
    rows = [row for row in rows if set(row[n_labels:]) - {MISSING}]
    if not rows:
        return "No result yet."
    kept = [i for i in range(len(heads)) if i < n_labels or {row[i] for row in rows} != {MISSING}]
    heads, *rows = ([line[i] for i in kept] for line in (heads, *rows))
    return _lay_out(heads, rows)


def _lay_out(heads, rows):
    head, *lines = (f"| {' | '.join(line)} |" for line in (heads, *rows))
    return "\n".join([head, "|" + "---|" * len(heads), *lines])


def _best_without(cell, group=None):
    """The strongest method without a network: the best mean over the draws of a cell that all of them have."""
    names = set.intersection(*(set(result["classical_settings"]) for result in cell))
    return max(sorted(names), default="input", key=lambda name: np.mean([
        evaluation.mean_of(result["methods"][name], result, group) for result in cell
    ]))


def _difference(cell, other, group):
    return _gain(cell and other and evaluation.cell_difference(cell, other, group=group), [*cell, *other])


def _ensemble(cell, group):
    cell = [result for result in cell if "restored_ensemble" in result["methods"]]
    return _gain(cell and evaluation.cell_gain(cell, "restored", "restored_ensemble", group))


def _scores(result, method):
    """(PSNR of the mean error, mean SSIM) of a method, or None."""
    scores = result and result["methods"][method]
    return scores and (scores["psnr_of_mean_mse"], scores["ssim"])


def _pair(scores):
    return f"{scores[0]:.2f} / {scores[1]:.3f}" if scores else MISSING


def _added(entry, other):
    """What an entry of an ablation has more than another, on the same unseen tiles."""
    return evaluation.paired_difference(entry["gain_tiles"], other["gain_tiles"], entry["scenes"])


def _gain(gain, cell=()):
    """Show a gain with its interval, and the marks of the results of its networks."""
    if not gain:
        return MISSING
    shown = f"{gain['mean']:+.2f}{_marks(gain, cell)}"
    if gain["low"] is None:
        return shown
    return f"{shown} [{gain['low']:+.2f}, {gain['high']:+.2f}]" + " =" * bool(gain.get("equal"))


def _marks(gain, cell):
    """* for one draw, whose spread is not known; a dagger where a network of the cell has mostly died, or collapsed."""
    is_dead = any(evaluation.has_died(result) or evaluation.has_collapsed(result) for result in cell)
    return "*" * (gain.get("n_draws") == 1) + "†" * is_dead


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
