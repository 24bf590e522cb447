"""Measure the methods that need no network anew for all of results/, without any training.

    python3 -m wi2_paper.remeasure                 # after download.py: an hour or two on two CPU cores, BM3D most of it
    python3 -m wi2_paper.remeasure --only mars noise    # results with all of these words in their names

After a change of these methods, or where the package bm3d came later. The rows of the networks stay as they are; the
differences, the best of the other methods and the warning follow the new rows, and each test tile gets its scene and
group. Stop it at any moment: what was measured is in runs/classical, and the same command goes on from there.
"""

import argparse
import sys
from functools import lru_cache
from pathlib import Path

import util
from download_module.degrade import task_of
from inception2_module import classical, evaluation, provenance
from inception2_module.experiments import Experiment
from inception2_module.tileset import TileSet

RESULTS, CACHE = Path("results"), Path("runs") / "classical"


def main(argv=None):
    options = build_parser().parse_args(argv)
    results = {path: util.read_json(path) for path in sorted(RESULTS.glob("[!.]*.json"))}
    chosen = [path for path, result in results.items()
              if "n_test" in result and "methods" in result and all(word in path.stem for word in options.only)]
    if not chosen:
        raise util.UserError(f"no result in {RESULTS} has {' and '.join(options.only) or 'test tiles'} in its name")
    chosen.sort(key=lambda path: (task_of(results[path]["task"]).is_noisy, results[path]["dataset"] != "mars", path))
    missing = [name for name in classical.OPTIONAL if name not in classical.installed()]
    if missing:
        print(f"{' '.join(missing)} is not installed: its rows stay as they are, or are missing (pip install it)")
    for number, path in enumerate(chosen, 1):
        changed = remeasure(results[path], results.values())
        if changed != results[path]:
            util.write_json(path, changed)
        rows = changed["methods"]
        gains = "  ".join(f"{name} {rows[name]['psnr'] - rows['input']['psnr']:+.3f}" for name in rows)
        util.say(f"[{number}/{len(chosen)}] {path.stem}: {gains}")


def build_parser():
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD",
                        help="only the results with all of these words in their names")
    return parser


def remeasure(result, others=()):
    """Return a result with the rows of all methods that need no network measured anew, and what follows from them.

    Of a package that is missing here the rows stay; where there are none, and the method has no setting to choose, they
    are those of another result on the same test tiles, which would be the same.

    Parameters
    ----------
    result : dict
    others : iterable of dict, results that rows may be taken from

    Raises
    ------
    UserError
        When the data set is missing or is not the one that the result was measured on.
    """
    test, old = _read_test(result["dataset"], result["task"], result["n_test"]), result["methods"]
    settings, methods = _without_network(*(result[key] for key in ("dataset", "task", "n_test")), *_draw(result))
    if methods["input"] != old["input"]:
        raise util.UserError(f"datasets/{result['dataset']} is not the set that results/{result['name']}.json was "
                             "measured on: make it again with the options of then")
    kept = {}
    for name in classical.OPTIONAL:
        found = [one for one in (result, *others) if name in one.get("classical_settings", ())
                 and one["task"] == result["task"] and one["methods"]["input"] == old["input"]]
        if found and name not in methods and len(classical.choices(name, result["task"])) == 1:
            kept[name], settings = found[0]["methods"][name], settings | {name: found[0]["classical_settings"][name]}
    ours = {name: scores for name, scores in old.items() if name.startswith("restored")}
    collapsed = evaluation.has_collapsed(result)
    fields = evaluation.about_tiles(test) | {"classical_settings": settings}
    fields |= evaluation.compare(methods | kept | ours, test.scenes, collapsed)
    if all(result.get(key) == value for key, value in fields.items()):
        return result
    measured = {"versions": provenance.versions(evaluation.PACKAGES), "git_commit": provenance.git_commit()}
    return result | fields | {"remeasured": measured}


def _draw(result):
    """The n_train and draw that say which tiles the run may look at, as `inception2.py evaluate` does."""
    trained_on = result.get("trained_on", {})
    if all(trained_on.get(key, result[key]) == result[key] for key in ("dataset", "task")):
        return result["n_train"], result["draw"]
    return result.get("n_seen", Experiment.n_train), 0


@lru_cache(maxsize=1)
def _read_test(dataset, task, n_test):
    return TileSet("datasets", dataset, task).read_test(n_test)


@lru_cache(maxsize=16)
def _without_network(dataset, task, n_test, n_train, draw):
    seen = TileSet("datasets", dataset, task).read_seen(n_train, draw)
    return evaluation.without_network(task, _read_test(dataset, task, n_test), seen, CACHE)[:2]


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
