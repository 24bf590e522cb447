"""The tables, numbers and verdicts of the paper as LaTeX, from results/*.json. No Keras in here.

The rows are those of tables.py, with their words in Japanese; `\\result{NAME}` in paper.tex is a number of `numbers`.
paper.py writes all of it into generated/.
"""

import re

import util
from inception2_module import evaluation
from inception2_module.experiments import ABLATION, CHANGES, NETWORKS, RECIPES
from wi2_paper import matrix, tables
from wi2_paper.matrix import BETTER, BRANCHES, BUDGET, N_BRANCHES, N_MAX, updates_of

NOT_RUN = "未実行"
EQUAL = 0.1  # dB: one draw that differs by less says nothing, draws of one cell differ by as much
WORDS = (  # of the rows of tables.py, in the words of the paper; a longer one before what is part of it
    ("DIV2K, the predecessor", "DIV2K，先行研究"), ("Inception-Unet+SRCNN535", "元のネットワーク"),
    ("Inception-Unet, halved", "軽量版"), ("EDSR, 8 blocks", "EDSR（8ブロック）"), ("CARE-like U-Net", "CARE風U-Net"),
    ("learned linear filter", "線形"), ("RAISR-like filters", "RAISR風"), ("non-local means", "NLM"),
    ("total variation", "全変動"), ("elevation", "標高"), ("terrain", "地面"), ("rover", "探査車"),
    ("noise, sigma 64", "雑音"), ("noise_s64", "雑音"), ("sr_", ""), ("x4", "4倍"), ("x8", "8倍"), ("Mars", "火星"),
    ("mars", "火星"), ("div2k", "DIV2K"), ("srcnn535", "SRCNN535"), ("bypass", "バイパス"), ("fewdata", "提案"),
    ("paper", "従来"), ("∞", r"$\infty$"), (", ", "，"),
)
GAIN = re.compile(r"(?P<mean>[+-]\d+\.\d+)(?P<draw>\*?)(?P<dead>†?)(?: \[(?P<low>[^,]+), (?P<high>[^]]+)])?"
                  r"(?P<equal>(?: =)?)(?P<rest>.*)")
SHORT = {"sr_x4": "x4", "sr_x8": "x8", "noise_s64": "noise"}  # in the names of numbers
GROUPS = {"": None, "-terrain": "terrain", "-rover": "rover"}
INGREDIENTS = {  # the changes to fewdata that the paper shows
    "none: mean gain over the input": "変更なし（利得）", "Adam instead of Muon, 0.001": r"Muon$\to$Adam",
    "dropout 0.2": "ドロップアウト0.2", "not started as the identity": "恒等写像から始めない",
    "whole tiles, batch 1, low-resolution grid fixed": "切り出しなし", "no turning and mirroring": "回転・反転なし",
    "fixed inputs": "入力を作り直さない", "mean squared error": "二乗誤差",
}
# What the predecessor published of single tiles, PSNR in dB, by number of tiles (10,000, 1,000, 100).
PREDECESSOR = {
    "noise-whole": (26.8, 26.6, 26.1), "noise-without": (22.7, 23.1, 22.7),
    "x8-whole": (20.3, 20.2, 19.3), "x8-without": (18.4, 17.3, 18.0), "x8-input": (19.14,),
}


def fragments(results, text):
    """Lay out what paper.tex reads.

    Parameters
    ----------
    results : {name: content}, see `tables.read_results`
    text : str, paper.tex: of the numbers only those that it asks for are written

    Returns
    -------
    {file of generated/: LaTeX}
    """
    known = numbers(results)
    wanted = sorted(set(re.findall(r"\\result\{([^}#]+)\}", text)))
    if unknown := [name for name in wanted if name not in known]:
        raise util.UserError(rf"paper.tex asks for \result{{{unknown[0]}}}, which wi2_paper/latex.py does not know")
    return {
        "numbers.tex": "".join(rf"\defresult{{{name}}}{{{known[name]}}}" + "\n" for name in wanted),
        "branches.tex": branches_table(results), "predecessor.tex": predecessor_table(results),
        "goals.tex": goals_table(results), "terrain.tex": terrain_table(results),
        "photographs.tex": photographs_table(results), "networks.tex": networks_table(results),
        "ingredients.tex": ingredients_table(results),
        "claim-srcnn535.tex": claim_of_srcnn535(results), "claim-bypass.tex": claim_of_bypass(results),
        "claim-few.tex": claim_of_few(results),
    }


def tabular(columns, heads, rows):
    """Lay out rows of tables.py.

    columns : str, a letter a column; in those with c a gain has its interval beside it
    heads : list of str, LaTeX
    """
    lines = [" & ".join(heads) + r" \\ \midrule"]
    lines += [" & ".join(cell(text, kind == "c") for text, kind in zip(row, columns, strict=True)) + r" \\"
              for row in rows]
    body = "\n".join(lines)
    return rf"""\begin{{tabular}}{{@{{}}{columns}@{{}}}} \toprule
{body} \bottomrule
\end{{tabular}}
"""


def cell(text, with_interval=False):
    """Write one cell of a row of tables.py as LaTeX."""
    found = GAIN.fullmatch(text)
    if text == tables.MISSING:
        return r"\missing{}"
    if not found:
        return words(text)
    interval = rf"\interval{{{found['low']}}}{{{found['high']}}}" if with_interval and found["low"] else ""
    marks = "".join(rf"\{name}{{}}" for mark, name in (("draw", "onedraw"), ("dead", "dead"), ("equal", "equal"))
                    if found[mark])
    return f"${found['mean']}${marks}{interval}{words(found['rest'])}"


def words(text):
    for english, japanese in WORDS:
        text = text.replace(english, japanese)
    return re.sub(r" ?\((.+)\)", r"（\1）", text)


def branches_table(results):
    _, rows = tables.branches_rows(results)
    return tabular("lrrrc", ["課題", "$n$", "完全版", "分岐なし", "分岐の効果"],
                   [[name, *values] for name, _, *values in rows])


def predecessor_table(results):
    heads, rows = tables.predecessor_rows(results)
    return tabular("llrrrrr", ["4倍", "", "正解", "入力", *heads[4:]], rows)


def goals_table(results):
    (_, *heads), rows = tables.goals_rows(results)
    turned = [[words(head), *values[:5]] for head, *values in zip(heads, *([row[1:] for row in rows]), strict=True)
              if "terrain" not in head]
    return tabular("lccccc", ["データ，課題", "提案100 $-$ 従来100", "提案100 $-$ 従来（全）", "提案10 $-$ 従来（全）",
                              "提案10 $-$ ベースライン", "提案100 $-$ ベースライン"], turned)


def terrain_table(results):
    """Gains of fewdata over the best without a network on Mars: all tiles, bare ground, those that show the rover."""
    rows = []
    for task, name in tables.TASKS.items():
        few = [tables.find_draws(results, dataset="mars", task=task, recipe="fewdata", n_train=n) for n in (10, 100)]
        known = next(filter(None, few), None)
        for group in GROUPS.values() if known else ():
            psnr = evaluation.mean_of(known[0]["methods"]["input"], known[0], group)
            rows.append([name, group or "全体", f"{psnr:.2f}", *(tables.over_best(found, group) for found in few)])
    return tabular("llrcc", ["課題", "対象", "入力", "10枚", "100枚"], rows)


def photographs_table(results):
    _, rows = tables.photographs_rows(results)
    rows = [[name, best.split(" ")[0], *gains] for name, best, *gains in rows  # its name is in the caption
            if set(gains[:2]) != {tables.MISSING}]
    return tabular("lrrrrrr", ["", "BL", "10枚", "100枚", "写真", "$+$10", "$+$100"], rows)


def networks_table(results):
    heads, rows = tables.networks_rows(results)
    chosen = [heads.index(head) for head in ("network", "parameters", "updates", *tables.TASKS)]
    return tabular("lrrrrr", ["ネットワーク", "パラメータ数", "更新回数", "4倍", "8倍", "雑音"],
                   [[row[i] for i in chosen] for row in rows if set(row[5:]) - {tables.MISSING}])


def ingredients_table(results):
    heads, rows = tables.ablation_rows(results.get("ablation", {}))
    chosen = [heads.index(f"mars {task}") for task in tables.TASKS]
    return tabular("lrrr", ["変更", "4倍", "8倍", "雑音"],
                   [[INGREDIENTS[row[0]], *(row[i] for i in chosen)] for row in rows if row[0] in INGREDIENTS])


def numbers(results):
    """Return what the running text may ask for: {name: LaTeX}."""
    return {**_settings(results), **_gains(results), **_goals(results), **_others(results)}


def _settings(results):
    """What was done: sizes, updates, counts."""
    found = {}
    for name, network in NETWORKS.items():
        found[f"parameters-{name.replace('_', '-')}"] = whole(network.n_parameters)
    for short, recipe in (("old", "paper"), ("few", "fewdata")):
        found[f"updates-{short}"] = whole(updates_of(recipe))
        found[f"full-updates-{short}"] = whole(RECIPES[recipe].n_updates)
    found["budget"] = f"{BUDGET['paper']:.0%}".replace("%", r"\%")
    found["pace"] = f"{matrix.pace(BETTER):.2f}"
    for dataset, n in N_MAX.items():
        result = tables.find(results, dataset=dataset, task="sr_x4", recipe="fewdata", n_train=100)
        counts = result and result["data"]["counts"]["train"]
        found |= {
            f"most-{dataset}": whole(n),
            f"test-{dataset}": whole(result["n_test"]) if result else NOT_RUN,
            f"scenes-{dataset}": whole(len(set(result["scenes"]))) if result else NOT_RUN,
            f"images-{dataset}": whole(counts["n_images_used"]) if result else NOT_RUN,
        }
        for task, short in SHORT.items():
            measured = tables.find(results, dataset=dataset, task=task, recipe="fewdata", n_train=100)
            found[f"input-{dataset}-{short}"] = \
                f"{measured['methods']['input']['psnr']:.2f}\\,dB" if measured else NOT_RUN
            found[f"best-{dataset}-{short}"] = \
                words(tables.CLASSICAL[measured["best_without_network"]]) if measured else NOT_RUN
        for group in ("terrain", "rover") if dataset == "mars" else ():
            n = result["groups"].count(group) if result else 0
            found[f"tiles-{group}"] = whole(n) if result else NOT_RUN
            found[f"part-{group}"] = f"{n / result['n_test']:.0%}".replace("%", r"\%") if result else NOT_RUN
    for name, network in matrix.PHOTO_NETWORKS.items():
        found[f"updates-{name.replace('_', '-')}"] = whole(network.n_updates)
    for name, result in (("photos", results.get(matrix.PHOTO_NETWORKS["photo_sr_x4"].name)),
                         ("elevation", results.get(matrix.OWN["elevation"][0].name))):
        counts = result and result["data"]["counts"]
        found |= {f"most-{name}": whole(counts["train"]["made"]) if result else NOT_RUN,
                  f"images-{name}": whole(counts["train"]["n_images_used"]) if result else NOT_RUN,
                  f"test-{name}": whole(counts["test"]["made"]) if result else NOT_RUN}
    found |= {"updates-halved": whole(round(matrix.pace(BETTER) * updates_of("fewdata"))),
              "updates-elevation": whole(matrix.OWN["elevation"][0].n_updates),
              "updates-adapted": whole(matrix.adapted("mars", "sr_x4", 10).n_updates)}
    wanted = [e.name for e in matrix.matrix() if e != matrix.QUICK]
    found |= {"experiments": whole(len(wanted)), "not-run": whole(sum(name not in results for name in wanted))}
    collapsing = [result for n in matrix.CURVE for result in
                  tables.find_draws(results, dataset="mars", task="sr_x8", recipe="paper", n_train=n)]
    found |= {"runs-old-mars-x8": whole(len(collapsing)),
              "collapsed-old-mars-x8": whole(sum(map(evaluation.has_collapsed, collapsing)))}
    for name, values in PREDECESSOR.items():
        found[f"predecessor-{name}"] = "/".join(f"{value}" for value in values) + r"\,dB"
    for name, (psnr, _) in tables.PREDECESSOR.items():
        found[f"predecessor-{name}"] = rf"{psnr:.2f}\,dB"
    return found


def _gains(results):
    """Gains by cell, recipe and number of tiles, over the input and (`-best`) over the best without a network."""
    found = {}
    for dataset, task in matrix.CELLS:
        for short, recipe, model in (("old", "paper", tables.PAPER), ("few", "fewdata", tables.PAPER),
                                     ("halved", "fewdata", BETTER)):
            for n in sorted({*matrix.CURVE, N_MAX[dataset]}):
                draws = tables.find_draws(results, dataset=dataset, task=task, recipe=recipe, model=model, n_train=n)
                has_groups = dataset == "mars" and all("groups" in result for result in draws)
                for end, group in (GROUPS if has_groups else {"": None}).items():
                    name = f"{short}-{dataset}-{SHORT[task]}-{n}{end}"
                    found |= _both(name, tables.over_input(draws, group))
                    found |= _both(f"{name}-best", tables.over_best(draws, group))
    for (recipe, n, rate), cells in tables.by_updates(results).items():
        for n_updates, draws in cells.items():
            if rate == RECIPES[recipe].learning_rate:
                for end, group in GROUPS.items():
                    found |= _both(f"{recipe}-{n}-updates-{n_updates}{end}", tables.over_input(draws, group))
    return found


def _goals(results):
    (_, *heads), rows = tables.goals_rows(results)
    names = ("few100-old100", "few100-oldall", "few10-oldall", None, None, "halved-whole", "ensemble")
    return {
        key: value for name, row in zip(names, rows, strict=True) if name
        for head, text in zip(heads, row[1:], strict=True) if "terrain" not in head
        for key, value in _both(f"{name}-{head.split()[0]}-{SHORT[head.split()[1]]}", text).items()
    }


def _others(results):
    """Photographs, the ingredients of fewdata, the networks of the literature."""
    found = {}
    for dataset in ("mars", "div2k", "elevation"):
        columns = tables.photographs_cells(results, dataset, "sr_x4")
        for name, column in zip(("10", "100", "only", "then10", "then100"), columns, strict=True):
            found |= _both(f"photos-{dataset}-{name}", tables.over_input(column))
        many = tables.find_draws(results, dataset=dataset, task="sr_x4", recipe="fewdata", model=BETTER, n_train=1_000)
        found |= _photos_beside(dataset, columns[2], many)
    for task in ("sr_x8", "noise_s64"):
        only = tables.photographs_cells(results, "mars", task)[2]
        found |= _both(f"photos-mars-{SHORT[task]}-only", tables.over_input(only))
        found |= _both(f"photos-mars-{SHORT[task]}-only-best", tables.over_best(only))
    weak = results.get(matrix.unseen("photo_noise", "mars", "noise_s10"))
    found |= _both("photos-mars-weak-best", tables.over_best([weak] if weak else []))
    heads, rows = tables.ablation_rows(results.get("ablation", {}))
    for row in rows:
        for head, text in zip(heads[1:], row[1:], strict=True):
            dataset, task = head.split()
            found |= _both(f"change-{_slug(row[0])}-{dataset}-{SHORT[task]}", text)
    longer = {(entry["recipe"], entry["learning_rate"], entry["dataset"], entry["task"], entry["n_train"]): gain
              for entry, gain in tables.longer_gains(results.get("ablation_longer", {}))}
    for change in CHANGES:
        recipe = f"fewdata-{change}"
        for dataset, task in matrix.CELLS:
            gain = longer.get((recipe, ABLATION[recipe].learning_rate, dataset, task, 100), tables.MISSING)
            found |= _both(f"longer-{change}-{dataset}-{SHORT[task]}", gain)
    heads, rows = tables.networks_rows(results)
    for row in rows:
        for task, short in SHORT.items():
            found |= _both(f"network-{_slug(row[0])}-{short}", row[heads.index(task)])
    return found


def _both(name, text):
    """A gain with its unit, (`-ci`) with its interval too, and (`-word`, `-en`) what that says of which is better."""
    gain = GAIN.fullmatch(text)
    if not gain:
        return {name: NOT_RUN, f"{name}-ci": NOT_RUN, f"{name}-word": f"との比較は{NOT_RUN}である", f"{name}-en": ""}
    mean = cell(gain["mean"] + gain["draw"] + gain["dead"]) + r"\,dB"
    interval = f"（区間$[{gain['low']}, {gain['high']}]$）" if gain["low"] else ""
    sign = _sign({"mean": float(gain["mean"]), "equal": bool(gain["equal"]) if gain["low"] else None})
    return {name: mean, f"{name}-ci": mean + interval,
            f"{name}-word": ("と区別がつかない", "を上回る", "を下回る")[sign],
            f"{name}-en": ("which cannot be told from zero", "more than chance", "less than nothing")[sign]}


def _photos_beside(dataset, photographs, many):
    """Words for a network of photographs beside that of 1,000 tiles, in the middle and at the end of a sentence."""
    name = f"photos-beside-{dataset}"
    if not photographs or not many:
        return {name: f"との比較は{NOT_RUN}である", f"{name}-and": f"との比較は{NOT_RUN}であり", f"{name}-en": NOT_RUN}
    sign = _sign(evaluation.cell_difference(photographs, many))
    return {name: ("に並ぶ", "を上回る", "に及ばない")[sign], f"{name}-and": ("に並び", "を上回り", "に及ばず")[sign],
            f"{name}-en": ("as much as", "more than", "less than")[sign]}


def _slug(text):
    return "-".join(re.findall(r"\w+", text.lower()))


def whole(number):
    return f"{number:,}".replace(",", "{,}")


def claim_of_srcnn535(results):
    """Does SRCNN535 help against noise? A sentence, and one with the verdict."""
    cells = _branch_cells(results, "noise_s64")
    differences = {n: evaluation.cell_difference(*pair) for n, pair in cells.items() if all(pair)}
    if not differences:
        return "SRCNN535を除いたネットワークの学習は未実行であり，この主張は本稿の数値ではまだ判断できない．%\n"
    told = _listed("完全版とSRCNN535なしの差は", differences)
    signs = [_sign(gain) for gain in differences.values()]
    verdict = ("この主張は支持される" if set(signs) == {1} else "この主張はまだ判断できない" if set(signs) == {0}
               else "この主張は支持されない" if 1 not in signs else "この主張は一部の枚数でしか支持されない")
    return f"{told}{_not_run(cells, differences)}{_dead(cells)}{verdict}．%\n"


def claim_of_bypass(results):
    """Does the bypass keep x8 above its input? As `claim_of_srcnn535`."""
    cells = _branch_cells(results, "sr_x8")
    entire, without = ({n: evaluation.cell_gain(pair[i]) for n, pair in cells.items() if pair[i]} for i in (0, 1))
    told = _listed("完全版の入力に対する利得は", entire) if entire else ""
    collapsed = [n for n, pair in cells.items() if any(map(evaluation.has_collapsed, pair[0]))]
    if collapsed:
        told += f"{_tiles(collapsed)}には，学習が崩壊して入力をそのまま返した抽出がある．"
    both = [n for n in cells if n in entire and n in without]
    if not both:
        return told + "バイパスを除いたネットワークの学習は未実行であり，この主張はまだ判断できない．%\n"
    told += _listed("バイパスなしの利得は", without) + _not_run(cells, both) + _dead(cells)
    undecided = [n for n in both if _sign(without[n]) == 0]
    if undecided:
        told += f"{_tiles(undecided)}ではバイパスなしと入力を区別できない．"
    if any(_sign(without[n]) == 1 for n in both):
        verdict = "バイパスがなくても入力を上回る場合があり，この主張は支持されない"
    elif any(_sign(entire[n]) == -1 for n in both):
        verdict = "バイパスがあっても入力を下回る場合があり，この主張は支持されない"
    elif undecided == both:
        verdict = "この主張はまだ判断できない"
    elif all(_sign(entire[n]) == 1 for n in both):
        verdict = "この主張は支持される"
    else:
        verdict = ("バイパスは出力が入力を下回るのを防ぐが，この更新回数では入力を上回るとは言えない枚数がある．"
                   "この主張は半分だけ支持される")
    return f"{told}{verdict}．%\n"


def claim_of_few(results):
    """Does over-fitting eat the gain below about 100 tiles? As `claim_of_srcnn535`, for both recipes.

    It does where the whole interval at ten tiles is below half of the gain with the most tiles, and does not where it
    is above; one draw has no interval and says neither.
    """
    told = []
    for name, recipe in (("従来レシピ", "paper"), ("提案レシピ", "fewdata")):
        found = {n: tables.find_draws(results, dataset="mars", task="sr_x4", recipe=recipe, n_train=n)
                 for n in (10, 100, N_MAX["mars"])}
        if not all(found.values()):
            told.append(f"{name}の結果は揃っていない．")
            continue
        gains = {n: evaluation.cell_gain(draws) for n, draws in found.items()}
        most = gains[N_MAX["mars"]]["mean"]
        kept, low, high = gains[10]["mean"] / most, gains[10]["low"], gains[10]["high"]
        verdict = "大半が失われたかどうかは，この抽出の数では判断できない"
        if low is not None and high < most / 2:
            verdict = "利得の大半が失われ，この主張は支持される"
        elif low is not None and low > most / 2:
            verdict = "利得の多くが残り，この主張は支持されない"
        part = f"{kept:.0%}".replace("%", r"\%")
        told.append(_listed(f"{name}での4倍の利得は", gains) +
                    f"10枚での利得は{whole(N_MAX['mars'])}枚での利得の{part}であり，{verdict}．"
                    + _dead({n: [draws] for n, draws in found.items()}))
    return "".join(told) + "%\n"


def _branch_cells(results, task):
    """{number of tiles: (draws of the whole network, draws of the one without the branch)}"""
    return {n: [tables.find_draws(results, dataset="mars", task=task, recipe="paper", n_train=n, model=model)
                for model in (tables.PAPER, BRANCHES[task])] for n in N_BRANCHES}


def _dead(cells):
    """How many of the trainings have a dead layer or collapsed."""
    found = [result for pair in cells.values() for side in pair for result in side]
    n_dead = sum(evaluation.has_died(result) or evaluation.has_collapsed(result) for result in found)
    if not n_dead:
        return ""
    part = "すべてに" if n_dead == len(found) else f"うち{n_dead}回に"
    return f"ただし{len(found)}回の学習の{part}，半分以上のチャネルが死んだ層がある（$\\dagger$）．"


def _listed(subject, gains):
    return subject + "，".join(
        rf"$n={whole(n)}$で${gain['mean']:+.2f}$" + r"\onedraw{}" * (gain["n_draws"] == 1) + r"\,dB"
        for n, gain in gains.items()) + "である．"


def _tiles(numbers):
    return "，".join(f"$n={whole(n)}$" for n in numbers)


def _not_run(cells, known):
    missing = [n for n in cells if n not in known]
    return f"（{_tiles(missing)}は未実行．）" if missing else ""


def _sign(gain):
    """1 or -1, or 0 where nothing is said of which is better."""
    no_difference = abs(gain["mean"]) < EQUAL if gain["equal"] is None else gain["equal"]
    return 0 if no_difference else 1 if gain["mean"] > 0 else -1
