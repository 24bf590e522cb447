"""Put the networks of `matrix.PUBLISHED` into weights/, each with a card that says where it comes from.

    python3 -m wi2_paper.publish    # after reproduce.py or remeasure.py; half a minute

A card is weights/NAME.json; weights/README.md shows all of them (31.75 dB for mars_sr_x4). Beside each network lies its
graph, NAME.onnx, by which `restore` starts in a moment, and the card says how far the network sees. Where runs/ does
not hold a network any more, that of weights/ stays, and its card takes the scores that its result has now.
"""

import shutil
import sys
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import util
from inception2_module import networkfile
from inception2_module.experiments import arguments
from restore_module import blocks
from wi2_paper import tables
from wi2_paper.matrix import CREDITS, PUBLISHED

WEIGHTS = Path("weights")


def main():
    cards = []
    for name, experiment in PUBLISHED.items():
        if path := find_lacking(name, experiment):
            util.say(f"{name} is left out: {path} is missing, which python3 inception2.py "
                     f"{' '.join(arguments(experiment))} makes")
        else:
            cards.append(publish(name, experiment))
    if not cards:
        raise util.UserError("nothing is trained that could be published: see make reproduce")
    with util.replacing(WEIGHTS / "README.md") as temporary:
        temporary.write_text(describe(cards), encoding="utf-8")
    print(f"written: {WEIGHTS / 'README.md'}")


def find_lacking(name, experiment):
    """Return the path of what a network lacks to be published, its training or its result, or None."""
    model_path, result_path, old = _known(name, experiment)
    is_published = old.get("result") == result_path.as_posix()
    return next((path for path in ([] if is_published else [model_path]) + [result_path] if not path.is_file()), None)


def _known(name, experiment):
    """Return the paths of a network's training and of its result, and its card, empty where there is none."""
    card_path = WEIGHTS / f"{name}.json"
    return (Path("runs") / experiment.name / "model.keras", Path("results") / f"{experiment.name}.json",
            util.read_json(card_path) if card_path.exists() else {})


def publish(name, experiment):
    """Copy one network, which lacks nothing, and write its card; return the card."""
    model_path, result_path, old = _known(name, experiment)
    result = util.read_json(result_path)
    known = {"psnr": {method: scores["psnr"] for method, scores in result["methods"].items()},
             "command": f"python3 inception2.py {' '.join(arguments(experiment))}"}
    if not model_path.is_file():
        print(f"{model_path} is missing: {name}.keras stays, its card has the scores of {result_path}")
        return write(old | known, WEIGHTS / f"{name}.keras")
    manifest = util.read_json(Path("datasets") / experiment.dataset / "manifest.json")
    licence, citation = CREDITS.get(experiment.dataset, (manifest["licence"], manifest["citation"]))
    return write({
        "name": name,
        **{key: result.get(key) for key in (*asdict(experiment), "recipe_settings")},  # some the oldest have not
        "result": result_path.as_posix(), "git_commit": result["git_commit"],
        "data_licence": licence, "data_citation": citation, "data_id": result["data"]["data_id"],
        **known, "n_test": result["n_test"],
    }, model_path)


def write(card, model_path):
    """Write the network at `model_path`, its graph and its card, all or nothing; return the card."""
    path = WEIGHTS / f"{card['name']}.keras"
    digest = util.sha256_of(model_path)
    is_new = card.get("sha256") != digest or "onnx" not in card
    with TemporaryDirectory() as directory, ExitStack() as stack:
        copies = {} if model_path == path else {path: model_path}
        if is_new:
            from inception2_module import exporting

            model, graph_path = networkfile.load_model(model_path), Path(directory) / "network.onnx"
            exporting.export(model, graph_path, "onnx")
            copies[path.with_suffix(".onnx")] = graph_path
            card = card | {
                "sha256": digest, "bytes": model_path.stat().st_size,
                "onnx": {"sha256": util.sha256_of(graph_path), "bytes": graph_path.stat().st_size},
                "reach": blocks.measure_reach(partial(networkfile.predict, model)),
            }
            print(f"written: {path} and its .onnx ({card['onnx']['bytes'] / 1e6:.1f} MB)")
        for to, source in copies.items():
            shutil.copyfile(source, stack.enter_context(util.replacing(to)))
        util.write_json(WEIGHTS / f"{card['name']}.json", card)  # the others get their names at once after it
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
    lines += ["", "Data, licence and result of each network; its card, NAME.json, has the command that trained it:", ""]
    lines += [
        f"- `{card['name']}`: trained on data under {card['data_licence']} ({card['data_citation']}); the network is "
        f"under the same licence. Result: `{card['result']}`."
        for card in cards
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
