"""Fetch the data sets, check them, and cut them into pairs of 128x128 tiles for training and for the test.

    python3 download.py                                   # DIV2K (4 GB) and Mars (60 MB), 10,000 + 1,000 tiles each
    python3 download.py --dataset sample                  # no network: photographs that scikit-image carries
    python3 download.py --images FOLDER --dataset moon    # your own images
    python3 download.py --images TARGETS --inputs INPUTS  # your own pairs

Cutting takes one to two minutes for each set on two cores. The same command again does only what is missing.
"""

import util

if __name__ == "__main__":
    util.end_at_signals()  # its libraries load, and there is nothing to lose

import sys
from pathlib import Path

from download_module import build, datasets
from download_module.degrade import DEFAULT_TASKS, EXAMPLES, PAIRS, task_of
from download_module.split import TILE_SIZE
from util import UserError

N_OWN = {"train": 1_000, "test": 100}
N_MOST = 100_000  # the names of tiles have five digits
count = util.number(int, lambda n: 1 <= n <= N_MOST, f"a whole number from 1 to {N_MOST}")
tile_side = util.number(int, lambda n: 32 <= n <= 512 and n % 16 == 0, "a multiple of 16 from 32 to 512")


def main():
    options = parse()
    out = Path(options.out)
    names = [options.dataset] if options.dataset else ["div2k", "mars"]
    if options.images is not None:
        make_own(options, out)
    else:
        for name in names:
            make_known(name, options, out)


def parse():
    parser = util.Parser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--dataset", metavar="NAME", help="sample, div2k or mars (default: div2k and mars); or a name for --images")
    add("--images", metavar="DIR", help="cut your own images, at any depth of this folder, instead of a known data set")
    add("--inputs", metavar="DIR",
        help="with --images: what each of them, there under the same name, is to be restored from; the task is pairs")
    add("--test-images", metavar="DIR", help="images for the test (default: one in ten of --images, by its pixels)")
    add("--n-train", type=count, metavar="N", help="training tiles (default: up to 10,000; sample 100, own: 1,000)")
    add("--n-test", type=count, metavar="N", help="test tiles (default: up to 1,000; sample 24, own images 100)")
    of = f"degradations, steps joined by + such as {' '.join(EXAMPLES)} (default: {' '.join(DEFAULT_TASKS)})"
    add("--tasks", nargs="+", metavar="TASK", help=of)
    add("--pages", action="store_true", help="with --images: cut each page of a TIFF file of several, all on one side")
    add("--tile", type=tile_side, default=TILE_SIZE, metavar="N",
        help="side of a tile in pixels, a multiple of 16 from 32 to 512: small ones for small images (default: 128)")
    add("--range", type=util.finite, nargs=2, metavar=("LOW", "HIGH"),
        help="with --images deeper than 8 bits: the values that a network sees as 0 and 1 (default: those that the "
             "training images have, without outliers)")
    add("--seed", type=util.seed, default=0, help="of crops, rotations and noise (default: %(default)s)")
    add("--archives", metavar="DIR", help="take the archives from this folder instead of the network")
    add("--out", metavar="DIR", default="datasets", help="folder of all data sets (default: %(default)s)")
    unverified = "use archives whose size or SHA-256 is not the published one; the manifest says so"
    add("--allow-unverified", action="store_true", help=unverified)
    repeat = "when the distinct tiles are used up, add their other rotations (up to 4x)"
    add("--repeat", action="store_true", help=repeat)
    options = parser.parse_args()
    check(options)
    return options


def check(options):
    """Raise `UserError` for values that cannot work, before anything is fetched."""
    for task in options.tasks or ():
        if task_of(task).is_pairs:
            raise UserError(f"{PAIRS} is the task of inputs that you have: give their folder with --inputs")
    if options.inputs is not None and (options.tasks or options.pages):
        name = "--tasks" if options.tasks else "--pages"
        raise UserError(f"{name} does not go with --inputs, which are taken as they are, file by file: leave one out")
    for name in ("archives", "images", "inputs", "test_images"):
        value = getattr(options, name)
        if value is not None and not Path(value).is_dir():
            raise UserError(f"{value} is not a folder: check --{name.replace('_', '-')}")
    known = " ".join(datasets.DATASETS)
    if options.range and not options.range[0] < options.range[1]:
        raise UserError("--range {:g} {:g} is no range: give the lower value first".format(*options.range))
    if options.images is None:
        if options.range or options.pages:
            name = "--range" if options.range else "--pages"
            raise UserError(f"{name} is for your own images: give them with --images")
        if options.test_images is not None:
            raise UserError("--test-images needs --images: give the training images too")
        if options.inputs is not None:
            raise UserError("--inputs needs --images: give the targets too")
        if options.dataset is not None and options.dataset not in datasets.DATASETS:
            raise UserError(f"{options.dataset} is not a known data set ({known}): give its folder with --images")
        if options.archives is not None and options.dataset == "sample":
            raise UserError("sample has no archive: leave out --archives")
        return
    if options.archives is not None:
        raise UserError("--archives is for known data sets: leave it out, or leave out --images")
    if options.dataset is None:
        options.dataset = Path(options.images).resolve().name
    name = options.dataset
    if name in datasets.DATASETS:
        raise UserError(f"{name} is the name of a known data set: give your images another one with --dataset")
    if not util.is_plain_name(name):
        raise UserError(f"{name!r} cannot be the name of a data set: give a short plain one, without . or _ in front")
    folder = (Path(options.out) / name).resolve()
    for given in filter(None, (options.images, options.inputs, options.test_images)):
        source = Path(given).resolve()
        if folder.is_relative_to(source) or source.is_relative_to(folder):
            raise UserError(f"{folder} and {source} lie inside each other: choose another --out or --dataset")


def build_wish(options, n_default):
    given = {"train": options.n_train, "test": options.n_test}
    return build.Wish(
        n={key: n_default[key] if n is None else n for key, n in given.items()},
        tasks=(PAIRS,) if options.inputs else tuple(dict.fromkeys(options.tasks)) if options.tasks else None,
        seed=options.seed,
        size=options.tile,
        value_range=options.range and tuple(options.range),
        repeat=options.repeat,
        exact=frozenset(key for key, n in given.items() if n is not None),
    )


def make_known(name, options, out):
    """Make a data set of `datasets.DATASETS`."""
    dataset = datasets.DATASETS[name]
    wish = build_wish(options, {"train": dataset.n_train, "test": dataset.n_test})
    got = []
    if dataset.archives:
        if options.archives is None:  # a finished set needs no archive any more
            facts = [{"file": a.file, "bytes": a.n_bytes, "sha256": a.sha256} for a in dataset.archives]
        else:
            got = datasets.get_archives(dataset, out, options.archives, options.allow_unverified)
            facts = [facts for _, facts in got]
        if (manifest := build.find_finished(out, name, wish, facts)) is not None:
            report(manifest, out / name, True, dataset.archives)
            return
        got = got or datasets.get_archives(dataset, out)
    sources = datasets.open_sources(dataset, got, out)
    manifest, finished = build.make_set(out, name, sources, wish)
    report(manifest, out / name, finished, dataset.archives)


def make_own(options, out):
    """Make a data set from the user's own images."""
    sources = datasets.own_images(options.images, options.test_images, options.pages, options.inputs)
    wish = build_wish(options, N_OWN)
    manifest, finished = build.make_set(out, options.dataset, sources, wish)
    report(manifest, out / options.dataset, finished)


def report(manifest, folder, finished, archives=()):
    """Say what was made on stdout, and on stderr what a user may not expect."""
    first, *remarks = build.describe(manifest, folder)
    util.say(f"{first} (already made)" if finished else first)
    for remark in remarks:
        util.say(f"{manifest['name']} {remark}", sys.stderr)
    published = {archive.file: archive for archive in archives}
    for made in manifest["archives"]:
        if made["verified"]:
            continue
        archive = published[made["file"]]
        if archive.sha256 is None and made["bytes"] == archive.n_bytes:
            what = "no SHA-256 is published to compare its own with, only its size is checked"
        else:
            what = "its size or SHA-256 is not the published one, and the manifest says so"
        util.say(f"{manifest['name']} {made['file']}: {what}", sys.stderr)


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
