"""Write the tables of README.md and README.ja.md from results/*.json. No Keras in here.

    python3 figures.py              # a second; only what stands between the markers changes

A result that is missing is shown as a dash; what was shortened or unverified is said under the table.
"""

import sys
from pathlib import Path

import util
from experiments import MATRIX, RECIPES

MISSING = "—"
BEGIN, END = "<!-- results: written by figures.py -->", "<!-- end of results -->"
TEXTS = {
    "README.md": {
        "header": ("data", "task", "recipe", "tiles", "updates", "seed", "input", "best classical", "network",
                   "gain over input", "gain over classical"),
        "unit": "PSNR in dB / SSIM, means over all test tiles ({n}) of 128x128, RGB, no border cut; gains in dB with "
                "95 % bootstrap intervals of the paired differences.",
        "shortened": "The recipe `{recipe}` trains {full:,} updates; these runs are shortened as the column says.",
        "warned": "{name}: {warning}.",
        "unverified": "Made from archives whose SHA-256 is not a published one: {names}.",
        "few": "{name}: {made:,} training tiles in the set, from {images:,} images.",
    },
    "README.ja.md": {
        "header": ("データ", "タスク", "レシピ", "タイル数", "更新回数", "種", "入力", "古典的手法の最良",
                   "ネットワーク", "入力との差", "古典的手法との差"),
        "unit": "PSNR (dB) / SSIM。128x128 の全テストタイル（{n} 枚）の平均、RGB、境界の切り落としなし。"
                "差は dB、対応のある差の 95 % ブートストラップ区間つき。",
        "shortened": "レシピ `{recipe}` は {full:,} 回更新する。ここでは表のとおり短縮した。",
        "warned": "{name}: プログラムの警告 “{warning}”。",
        "unverified": "SHA-256 を公開値で確かめられないアーカイブから作成: {names}。",
        "few": "{name}: 学習タイルは {made:,} 枚、画像 {images:,} 枚から作成。",
    },
}


def main():
    results = {path.stem: util.read_json(path) for path in sorted(Path("results").glob("[!.]*.json"))}
    for name, texts in TEXTS.items():
        path = Path(name)
        text = replace_block(path.read_text(encoding="utf-8"), results_block(results, texts), path)
        with util.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"written: {path}")


def replace_block(text, block, path):
    """Return `text` with what stands between the markers replaced; without markers `UserError`."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise util.UserError(f"{path} needs the lines {BEGIN} and {END}, once each: put them where the table goes")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{rest.split(END)[1]}"


def results_block(results, texts):
    """Lay out the matrix as a Markdown table with its notes.

    Parameters
    ----------
    results : {name: result}, the content of results/*.json
    texts : one of `TEXTS`
    """
    lines = [f"| {' | '.join(texts['header'])} |", "|" + "---|" * len(texts["header"])]
    lines += [f"| {' | '.join(_row(experiment, results.get(experiment.name)))} |" for experiment in MATRIX]
    found = [results[experiment.name] for experiment in MATRIX if experiment.name in results]
    n_tests = {result["dataset"]: result["n_test"] for result in found}
    notes = [texts["unit"].format(n=", ".join(f"{name} {n:,}" for name, n in n_tests.items()) or MISSING)]
    for recipe, full in RECIPES.items():
        if any(experiment.recipe == recipe and experiment.n_updates < full.n_updates for experiment in MATRIX):
            notes.append(texts["shortened"].format(recipe=recipe, full=full.n_updates))
    for result in found:
        if result["warning"]:
            name = f"{result['dataset']} {result['task']}, seed {result['seed']}"
            notes.append(texts["warned"].format(name=name, warning=result["warning"]))
    unverified = sorted({
        f"{result['dataset']} ({archive['file']})" for result in found
        for archive in result["data"]["archives"] if not archive["verified"]
    })
    if unverified:
        notes.append(texts["unverified"].format(names=", ".join(unverified)))
    counts = {result["dataset"]: result["data"]["counts"]["train"] for result in found}
    for name, count in sorted(counts.items()):
        notes.append(texts["few"].format(name=name, made=count["made"], images=count["n_images_used"]))
    return "\n".join(lines) + "\n\n" + "\n".join(f"- {note}" for note in notes)


def _row(experiment, result):
    cells = [experiment.dataset, experiment.task, experiment.recipe, f"{experiment.n_train:,}",
             f"{experiment.n_updates:,}", str(experiment.seed)]
    if not result:
        return cells + [MISSING] * 5
    methods, differences = result["methods"], result["differences"]
    classical = [name for name in methods if name not in ("input", "restored")]
    best = max(classical, key=lambda name: methods[name]["psnr"], default=None)
    return cells + [
        _score(methods["input"]), f"{_score(methods[best])} ({best.replace('_', ' ')})" if best else MISSING,
        _score(methods["restored"]), _gain(differences["restored - input"]),
        _gain(differences[f"restored - {best}"]) if best else MISSING,
    ]


def _score(scores):
    return f"{scores['psnr']:.2f} / {scores['ssim']:.3f}"


def _gain(difference):
    return f"{difference['mean']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}]"


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
