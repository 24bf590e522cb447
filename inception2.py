"""Train, evaluate and apply Inception-Unet+SRCNN535 on the tiles that download.py made.

    python3 inception2.py                              # the paper's network on Mars, x4, 100 tiles
    python3 inception2.py --recipe paper               # as the paper trained it
    python3 inception2.py --task noise_s64 --n-train 1000
    python3 inception2.py --start photo_sr_x4 --dataset slides --n-train 10    # what photographs taught, adapted
    python3 inception2.py evaluate runs/NAME/model.keras --dataset div2k
    python3 inception2.py restore IMAGE... --weights mars_sr_x4 --out outputs
    python3 inception2.py export onnx --weights mars_sr_x4
    python3 inception2.py gallery NAME                 # a page to look at: did it work?

The 3,000 updates of the default recipe take six minutes on one CPU core, and give +1.6 dB on Mars x4; stop at any
moment, the same command goes on from the last checkpoint. A run writes runs/NAME/ (checkpoint, logs, model.keras),
results/NAME.json, assets/NAME.png.
"""

import util

if __name__ == "__main__":
    util.end_at_signals()  # its libraries load, and there is nothing to lose

import argparse
import sys
import time
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

from download_module.degrade import EXAMPLES, task_of
from inception2_module import hosts, networkfile
from inception2_module.experiments import (
    ADAPT,
    NETWORKS,
    OF_START,
    PRECISIONS,
    RECIPES,
    Experiment,
    name_of,
    recipe_of,
    with_recipe,
)
from inception2_module.known import read_known, read_log
from inception2_module.networkfile import RUNS
from inception2_module.tileset import TileSet
from restore_module import files

WEIGHTS_HELP = "a name in weights/, or a training: its name, its folder in runs/ or its .keras file"
RESULTS, ASSETS = Path("results"), Path("assets")


def main(argv=None):
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in (*COMMANDS, "-h", "--help"):
        argv.insert(0, "train")
    options = build_parser().parse_args(argv)
    COMMANDS[options.command](options)


def build_parser():
    parser = util.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{train,evaluate,restore,export,gallery}")

    train = commands.add_parser("train", help="train, measure, write samples (the default)")
    train.add_argument("--start", metavar="WEIGHTS",
                       help="adapt a trained network to the tiles; it stays as it is, or gives way to a network from "
                            f"nothing, where that is better on tiles that are held out: {WEIGHTS_HELP}")
    train.add_argument("--model", choices=NETWORKS,
                       help=f"the network, see inception2_module/README.md (default {Experiment.model})")
    train.add_argument("--recipe", choices=RECIPES, help=f"how it is trained (default {Experiment.recipe})")
    train.add_argument("--n-train", type=util.positive_int,
                       help="training tiles, a tenth of them held out for validation (default "
                            f"{Experiment.n_train}, or all where there are fewer)")
    train.add_argument("--n-updates", type=util.positive_int, help="updates of the weights (default: the recipe's)")
    train.add_argument("--batch-size", type=util.positive_int, help="tiles an update (default: the recipe's)")
    train.add_argument("--learning-rate", type=positive_float, help="of the optimizer (default: the recipe's)")
    train.add_argument("--dropout", type=rate, help="in 0..1 (default: the recipe's)")
    train.add_argument("--width", type=even_int,
                       help=f"channels of the hidden layers (default {Experiment.width})")
    train.add_argument("--precision", choices=PRECISIONS,
                       help="of the hidden layers while they learn; the result is float32. bfloat16 is faster where "
                            f"the processor has it (default {PRECISIONS[0]})")
    train.add_argument("--seed", type=util.seed, default=Experiment.seed,
                       help="of weights, order and dropout (default %(default)s)")
    train.add_argument("--draw", type=util.seed, default=Experiment.draw,
                       help="which n-train tiles: 0 the first, 1 the next, ... (default %(default)s)")
    add_data_options(train, Experiment.dataset, Experiment.task)

    evaluate = commands.add_parser("evaluate", help="measure a trained network again, or on other tiles",
                                   allow_abbrev=False)
    evaluate.add_argument("weights", metavar="WEIGHTS", help=WEIGHTS_HELP)
    add_data_options(evaluate, None, None)

    restore = commands.add_parser("restore", help="restore image files with a trained network")
    restore.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders, patterns such as 'a/*.png'")
    restore.add_argument("--weights", required=True, help=WEIGHTS_HELP)
    restore.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR",
                         help="folder for the restored images (default %(default)s)")
    restore.add_argument("--enlarge", action="store_true",
                         help="first enlarge each image by the scale of the network (default: restore an image that "
                              "is blurred by enlargement at its own size)")
    restore.add_argument("--ensemble", action="store_true",
                         help="mean of 8 turned and mirrored runs: 8 times slower, a little better")
    restore.add_argument("--trust", type=Path, metavar="FILE",
                         help="map of how uncertain each pixel is: a picture with a colour bar, or .npy in gray levels")
    restore.add_argument("--range", type=util.finite, nargs=2, metavar=("LOW", "HIGH"),
                         help="the values that the network sees as black and white (default: 0 255 for 8 bits; the "
                              "range of the values, without a few outliers, for deeper images and data)")
    restore.add_argument("--pages", action="store_true", help="restore each page of a TIFF file of several")
    restore.add_argument("--allow-large", action="store_true",
                         help="also read images above Pillow's limit against decompression bombs")
    restore.add_argument("--scheduler", metavar="ADDRESS",
                         help="restore on the workers of the Dask scheduler there, such as tcp://HOST:8786")

    export = commands.add_parser("export", help="write a network for other programs")
    export.add_argument("kind", choices=("onnx", "tflite", "savedmodel"), help="the format")
    export.add_argument("--weights", required=True, help=WEIGHTS_HELP)
    export.add_argument("--out", type=Path, metavar="PATH", help="default: outputs/ and the name of the weights")

    gallery = commands.add_parser("gallery", help="write a page of a result to look at, outputs/gallery.html")
    gallery.add_argument("weights", nargs="?", metavar="WEIGHTS", help=f"{WEIGHTS_HELP} (default: the last training)")
    add_data_dir(gallery)
    gallery.add_argument("--images", type=Path, metavar="DIR",
                         help="the images that were held out are in this folder: show some of them whole (known sets: "
                              "where download.py has put them)")
    return parser


def add_data_options(parser, dataset, task):
    """Add the options that say what is measured; None as a default stands for what the model was trained on."""
    default = "default %(default)s" if dataset else "default: what it was trained on"
    parser.add_argument("--dataset", default=dataset, metavar="NAME",
                        help=f"a folder of --data, made by download.py ({default})")
    parser.add_argument("--task", type=lambda name: task_of(name).name, default=task,
                        help=f"the degradation to undo ({default}), such as {' '.join(EXAMPLES)}")
    add_data_dir(parser)
    parser.add_argument("--n-test", type=util.positive_int, help="test tiles, the first n (default: all)")
    parser.add_argument("--ensemble", action="store_true",
                        help="measure the mean of 8 turned and mirrored runs too: that takes 8 times as long")


def add_data_dir(parser):
    parser.add_argument("--data", type=Path, default=Path("datasets"), metavar="DIR",
                        help="where download.py has put the data sets (default %(default)s)")


def experiment_of(options):
    """Return the `Experiment` that the options of a training ask for."""
    settings = {field.name: getattr(options, field.name) for field in fields(Experiment)}
    if not options.start:
        return with_recipe(**settings)
    given = [f"--{name}" for name in OF_START if settings[name] is not None]
    if given:
        raise util.UserError(f"{' and '.join(given)} cannot be chosen with --start, whose network it is: leave it out")
    if options.precision:
        raise util.UserError("--precision is for trainings from nothing, --start takes minutes: leave one of them out")
    model_path = networkfile.find_weights(options.start)[0]
    start = name_of(model_path)
    try:
        found, known = networkfile.find_weights(start)
    except util.UserError:
        found, known = None, {}
    if found is None or not found.samefile(model_path) or known.get("model") not in NETWORKS:
        raise util.UserError(f"{model_path} is neither of weights/ nor of runs/, which say what network it is: put the "
                             "folder of its training into runs/")
    if not task_of(known["task"]).covers(task_of(options.task)):
        raise util.UserError(f"{start} is a network for {known['task']}, not for {options.task}: add --task "
                             f"{known['task']}, or start from another one")
    return with_recipe(**settings | {"recipe": ADAPT, "start": start, "model": known["model"], "width": known["width"]})


def run_train(options):
    experiment = experiment_of(options)
    data = TileSet(options.data, experiment.dataset, experiment.task)
    if options.n_train is None:
        experiment = replace(experiment, n_train=min(experiment.n_train, data.n_train))
    train_tiles, validation_tiles = data.read_train(experiment.n_train, experiment.draw)
    # Now, so that a broken tile is found before hours of training.
    test_tiles, seen_tiles = data.read_test(options.n_test), data.read_seen(experiment.n_train, experiment.draw)
    for directory in (RESULTS, ASSETS):
        util.check_writable(directory)
    print(f"{experiment.name}\n{experiment.n_train:,} of {data.n_train:,} tiles (--n-train): {len(train_tiles):,} to "
          f"train on, {len(validation_tiles):,} to validate")
    run_dir, sides = RUNS / experiment.name, (train_tiles, validation_tiles)
    with hosts.joined():
        from inception2_module import adapting, backend, drawing, training

        print(f"on {backend.describe()['device']}", flush=True)
        if experiment.precision == "bfloat16" and not backend.has_bfloat16():
            util.say("WARNING: this processor has no arithmetic for bfloat16, which makes each update slower here: "
                     "leave --precision out")
        if experiment.start:
            model = adapting.adapt(experiment, seen_tiles, sides, run_dir, data.id)
        else:
            model = training.train(experiment, *sides, run_dir, data.id)
    if not hosts.is_first():
        print("trained: process 0 measures the network and has all files")
        return
    name = experiment.name + subset_suffix(data, test_tiles)
    described = asdict(experiment) | {"recipe_settings": asdict(recipe_of(experiment))}
    measure(name, described, run_dir, model, data, test_tiles, seen_tiles, options.ensemble)
    if experiment.model == Experiment.model:
        drawing.draw_diagram(model, ASSETS / f"{experiment.model}.png")
    enlarge = " --enlarge" if networkfile.scale_of(asdict(experiment) | {"input_scale": seen_tiles.input_scale or 1}) \
        else ""
    print(f"restore other images with it: python3 inception2.py restore IMAGE{enlarge} --weights {experiment.name}")
    print(f"look at what it does: python3 inception2.py gallery {experiment.name}")


def run_evaluate(options):
    model_path, config = networkfile.find_weights(options.weights)
    run_dir = model_path.resolve().parent
    dataset, task = (getattr(options, field) or config.get(field) for field in ("dataset", "task"))
    if not dataset or not task:
        raise util.UserError(f"nothing beside {model_path} says what it is for: add --dataset and --task")
    data = TileSet(options.data, dataset, task)
    here = (dataset, task) == (config.get("dataset"), config.get("task"))
    if dataset == config.get("dataset") and config.get("data_id") not in (None, data.id_of(config.get("task"))):
        raise util.UserError(f"{data.directory} is not the data set that {model_path} was trained on, and its test may "
                             "hold what the training saw: make it again with the options of then")
    test_tiles = data.read_test(options.n_test)
    # Elsewhere than in its own data these tiles are only for the methods that need no network.
    n_train, draw = (config["n_train"], config.get("draw", 0)) if here else (min(Experiment.n_train, data.n_train), 0)
    seen_tiles = data.read_seen(n_train, draw)
    for directory in (RESULTS, ASSETS):
        util.check_writable(directory)
    model = networkfile.load_model(model_path)
    name = run_dir.name if (run_dir / "config.json").exists() else model_path.stem
    if not here:
        name = f"{Path(config.get('result', name)).name.removesuffix('.json')}-on-{dataset}-{task}"
    name += subset_suffix(data, test_tiles)
    described = {name: config.get(name) for name in (*(field.name for field in fields(Experiment)), "recipe_settings")}
    described |= {"dataset": dataset, "task": task, "trained_on": {k: config.get(k) for k in ("dataset", "task")}}
    measure(name, described, run_dir, model, data, test_tiles, seen_tiles, options.ensemble)


def subset_suffix(data, test_tiles):
    """Keep the result of a part of the test tiles apart from that of all of them."""
    return "" if len(test_tiles) == data.n_test else f"-test{len(test_tiles)}"


def run_restore(options):
    if options.range and not options.range[0] < options.range[1]:
        low, high = options.range
        raise util.UserError(f"--range {low:g} {high:g} is no range: give the lower value first")
    model_path, known = networkfile.find_weights(options.weights)
    chosen = files.Options(options.enlarge, options.ensemble, options.trust, options.allow_large,
                           options.range, known.get("range"), options.pages, networkfile.scale_of(known))
    load = partial(networkfile.load_predict, model_path, known)
    if options.scheduler:
        load = partial(networkfile.load_predict, model_path.absolute(), known, util.sha256_of(model_path))
    files.restore_files(options.images, options.out, load, known.get("task"), chosen, known.get("reach"),
                        options.scheduler)


def run_export(options):
    model_path, _ = networkfile.find_weights(options.weights)
    from inception2_module import exporting

    model = networkfile.load_model(model_path)
    path = options.out or Path("outputs") / f"{name_of(model_path)}{exporting.SUFFIXES[options.kind]}"
    difference = exporting.export(model, path, options.kind)
    util.say(f"written: {path} (largest difference of an output in 0..1: {difference:.1e})")


def run_gallery(options):
    trained = sorted(RUNS.glob("*/trained.json"), key=lambda path: path.stat().st_mtime)
    if not options.weights and not trained:
        raise util.UserError(f"no training in {RUNS}/ has ended: train a network, or name one of weights/")
    model_path, known = networkfile.find_weights(options.weights or trained[-1].parent)
    name = Path(known.get("result", name_of(model_path))).name.removesuffix(".json")
    paths = [RESULTS / f"{name}.json", *sorted(RESULTS.glob(f"{name}-test*.json"))]  # of a part where there is no whole
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise util.UserError(f"{paths[0]} is missing: make it with python3 inception2.py evaluate {model_path}")
    result = read_known(path, "measure it again with inception2.py evaluate")
    data = TileSet(options.data, result["dataset"], result["task"])
    run_dir = model_path.resolve().parent
    logs = {name: read_log(run_dir / name / "log.jsonl") for name in ("", "adapted", "own")}
    from inception2_module import gallery

    restore = partial(networkfile.restore_tiles, networkfile.load_model(model_path), kind=data.kind)
    page = Path("outputs") / "gallery.html"
    gallery.write(page, result, data, restore, {name: log for name, log in logs.items() if log}, options.images)
    util.say(f"written: {page}")


COMMANDS = {"train": run_train, "evaluate": run_evaluate, "restore": run_restore, "export": run_export,
            "gallery": run_gallery}


def measure(name, described, run_dir, model, data, test_tiles, seen_tiles, ensemble):
    """Evaluate `model` on the test tiles; write results/NAME.json and assets/NAME.png, print the table."""
    from inception2_module import backend, drawing, evaluation

    trained_path = run_dir / "trained.json"
    unknown = dict.fromkeys((
        "seconds_train", "chosen_update", "dead_channels", "device", "backend", "versions", "git_commit",
    ))
    trained = util.read_json(trained_path) if trained_path.exists() else unknown
    if not isinstance(trained, dict):
        raise util.UserError(f"{trained_path} is damaged or was changed by hand: remove it, or train again")
    began = time.perf_counter()
    restore = partial(networkfile.restore_tiles, model, kind=data.kind)
    measured, images, restore_best = evaluation.evaluate(
        described["task"], test_tiles, seen_tiles, restore, RUNS / "classical",
        partial(restore, ensemble=True) if ensemble else None,
    )
    result = {
        "name": name, **described, "n_parameters": model.count_params(), "n_seen": len(seen_tiles),
        "budget": budget_of(described), **trained,
        "evaluated": {"seconds": round(time.perf_counter() - began, 1), **backend.describe()},
        "data": data.summary(), **measured,
    }
    title = f"{described['dataset']} {described['task']}, {described['n_train'] or '?'} training tiles, " \
            f"{described['n_updates'] or '?'} updates ({described['model'] or name})"
    util.write_json(RESULTS / f"{name}.json", result)
    drawing.save_samples(ASSETS / f"{name}.png", title, images, result, test_tiles, restore_best)
    about = result["protocol"]
    print(f"{len(test_tiles):,} test tiles, {about['channels']}, whole tile, data range {about['data_range']:g}\n"
          f"{evaluation.table(result['methods'])}")
    if result["warning"]:
        util.say(f"WARNING: {result['warning']}")
    util.say(f"written: {RESULTS / f'{name}.json'} and {ASSETS / f'{name}.png'}")


def budget_of(described):
    """Return which part of its recipe's updates a run was given, or None where that is not known."""
    settings = described["recipe_settings"]
    return settings and described["n_updates"] / settings["n_updates"]


even_int = util.number(int, lambda value: value > 0 and value % 2 == 0, "an even whole number above 0")
positive_float = util.number(float, lambda value: 0 < value < float("inf"), "a number above 0")
rate = util.number(float, lambda value: 0 <= value < 1, "a number in 0..1, below 1")


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
