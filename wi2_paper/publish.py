"""Put the networks of `matrix.PUBLISHED` into weights/, each with a card that says where it comes from.

    python3 -m wi2_paper.publish    # after reproduce.py or remeasure.py; a second

A card is weights/NAME.json; weights/README.md shows all of them (31.75 dB for mars_sr_x4). Where runs/ does not hold a
network any more, that of weights/ stays, and its card takes the scores that its result has now.
"""

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

import util
from inception2_module.experiments import arguments
from wi2_paper import tables
from wi2_paper.matrix import CREDITS, PUBLISHED

WEIGHTS = Path("weights")


def main():
    cards = [publish(name, experiment) for name, experiment in PUBLISHED.items()]
    with util.replacing(WEIGHTS / "README.md") as temporary:
        temporary.write_text(describe(cards), encoding="utf-8")
    print(f"written: {WEIGHTS / 'README.md'}")


def publish(name, experiment):
    """Copy one network and write its card; return the card. Raises `UserError` when it is not trained."""
    model_path, card_path = Path("runs") / experiment.name / "model.keras", WEIGHTS / f"{name}.json"
    result_path = Path("results") / f"{experiment.name}.json"
    old = util.read_json(card_path) if card_path.exists() else {}
    is_published = old.get("result") == result_path.as_posix()
    for path in [result_path] if is_published else [model_path, result_path]:
        if not path.is_file():
            command = f"python3 inception2.py {' '.join(arguments(experiment))}"
            raise util.UserError(f"{path} is missing: {command} makes it")
    result = util.read_json(result_path)
    psnr = {"psnr": {method: scores["psnr"] for method, scores in result["methods"].items()}}
    if not model_path.is_file():
        util.write_json(card_path, old | psnr)
        print(f"{model_path} is missing: {name}.keras stays, its card has the scores of {result_path}")
        return old | psnr
    manifest = util.read_json(Path("datasets") / experiment.dataset / "manifest.json")
    licence, citation = CREDITS.get(experiment.dataset, (manifest["licence"], manifest["citation"]))
    content = model_path.read_bytes()
    card = {
        "name": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
        **{key: result[key] for key in (*asdict(experiment), "recipe_settings")},
        "result": result_path.as_posix(), "git_commit": result["git_commit"],
        "data_licence": licence, "data_citation": citation, "data_id": result["data"]["data_id"],
        **psnr, "n_test": result["n_test"],
    }
    with util.replacing(WEIGHTS / f"{name}.keras") as temporary:
        temporary.write_bytes(content)
    util.write_json(card_path, card)
    print(f"written: {WEIGHTS / name}.keras ({len(content) / 1e6:.1f} MB)")
    return card


def describe(cards):
    """Return the text of weights/README.md."""
    lines = [
        "# Trained networks",
        "",
        "Written by `python3 -m wi2_paper.publish`; used as `inception2.py restore IMAGE --weights NAME`. PSNR in dB:",
        "mean over the test tiles, see the [protocol](../wi2_paper/README.md#protocol) and the result file of each.",
        "",
        "| name | network | recipe | tiles | updates | PSNR: input | best without a network | network | SHA-256 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        psnr = card["psnr"]
        best = psnr[tables.best_classical(psnr)]
        lines.append(
            f"| `{card['name']}` | {card['model']} | {card['recipe']} | {card['n_train']:,} | {card['n_updates']:,} | "
            f"{psnr['input']:.2f} | {best:.2f} | {psnr['restored']:.2f} | `{card['sha256']}` |"
        )
    lines += ["", "Data and licence of each network, and the file with its result:", ""]
    lines += [
        f"- `{card['name']}`: trained on data under {card['data_licence']} ({card['data_citation']}); the network is "
        f"under the same licence. Result: `{card['result']}`."
        for card in cards
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
