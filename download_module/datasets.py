"""What is special to each data set: where it comes from, who may use it, which images are for the test.

Everything here ends in a `Sources`: the image files of both sides and what the manifest says about them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import skimage

from download_module import disk, fetch, unpack
from download_module.imagefile import count_pages, page_of
from util import UserError, list_images


@dataclass(frozen=True)
class Archive:
    file: str
    url: str
    n_bytes: int
    sha256: str | None  # None: its makers publish none


@dataclass(frozen=True)
class Sources:
    """The images of one data set. `test=None`: whole images of `train` are to be held out for the test."""

    train: list[Path]
    test: list[Path] | None
    train_root: Path  # the manifest names an image relative to its root
    test_root: Path | None
    is_known: bool = False  # a set of `DATASETS`: its images are fixed, and not looked at before they are cut
    archives: tuple = ()  # of the dicts that `fetch` returns
    licence: str = "that of its owner"
    citation: str = ""
    groups: dict = field(default_factory=dict)  # {path: what it shows}, where that is known
    inputs: dict = field(default_factory=dict)  # {path: its input}: pairs, which are not degraded
    inputs_root: Path | None = None


@dataclass(frozen=True)
class Dataset:
    archives: tuple[Archive, ...]
    licence: str
    citation: str
    list_sides: Callable  # folders of the archives -> (train paths, test paths, train root, test root)
    list_groups: Callable = lambda *folders: {}  # folders of the archives -> {path: what the image shows}
    n_train: int = 10_000
    n_test: int = 1_000


def _list_div2k(train_dir, test_dir):
    """The official split; its 100 validation images are the test (the real test images are not public)."""
    return list_images(train_dir), list_images(test_dir), train_dir, test_dir


def _list_mars(directory):
    """The split by sol that comes in the archive; its validation list (1,640 images) is not used."""
    train, test = (_read_list(directory, side) for side in ("train", "test"))
    check_sols(train, test)
    return train, test, directory, directory


def _lines_of(directory, side):
    """Lines of an image and the number of its class, of one list of the archive."""
    path = directory / f"{side}-calibrated-shuffled.txt"
    if not path.is_file():
        raise UserError(f"the Mars archive lacks {path.name}: download it again")
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    return [line for line in text.splitlines() if line.strip()]


def _read_list(directory, side):
    listed = f"{side}-calibrated-shuffled.txt"
    names = sorted({line.split()[0] for line in _lines_of(directory, side)})
    for name in names:
        if name[0] in "/\\" or ":" in name or ".." in re.split(r"[/\\]", name):
            raise UserError(f"{listed} of the Mars archive names {name}, outside of it: do not use this archive")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing or not names:
        what = f"{missing[0]}, which {listed} names" if missing else f"any image in {listed}"
        raise UserError(f"the Mars archive lacks {what}: download it again")
    return [directory / name for name in names]


# Classes of the archive that show no part of the rover; `drill holes` are holes in rocks.
TERRAIN = ("ground", "horizon", "drill holes", "sun")


def _group_mars(directory):
    """Say of each image whether it shows `terrain` or the `rover`: from its class in the archive's lists, if there."""
    words = directory / "msl_synset_words-indexed.txt"
    if not words.is_file():
        return {}
    lines = words.read_text(encoding="utf-8", errors="replace").splitlines()
    classes = dict(parts for parts in (line.strip().split(maxsplit=1) for line in lines) if len(parts) == 2)
    listed = (line.split() for side in ("train", "test") for line in _lines_of(directory, side))
    return {
        directory / name: "terrain" if classes[numbers[0]] in TERRAIN else "rover"
        for name, *numbers in listed if numbers and numbers[0] in classes
    }


def check_sols(train, test):
    """Raise `UserError` when images of one sol, the Martian day that opens a file's name, are on both sides.

    Images of one sol often show one scene, so such a test would measure memory.
    """
    sols = [{sol_of(path) for path in side} for side in (train, test)]
    both = sorted(sols[0] & sols[1])
    if both:
        raise UserError(f"sol {both[0]} is in both lists of Mars, train and test: they leak, mend them")


def sol_of(path):
    """Return the first four digits of a Mars image's name; a name without them raises `UserError`."""
    sol = re.match(r"\d{4}", path.name)
    if not sol:
        raise UserError(f"{path.name} does not begin with a sol (four digits): this is not a Mars image")
    return sol.group()


# Photographs and scientific images in scikit-image's wheel; no drawings, no test charts. Left out on purpose:
# motorcycle_right, the stereo twin of motorcycle_left, and cell, which is out of focus nearly everywhere.
SAMPLE_TRAIN = (
    "astronaut.png", "brick.png", "camera.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg",
)  # fmt: skip
SAMPLE_TEST = ("chelsea.png", "coffee.png", "ihc.png", "moon.png", "motorcycle_left.png")


def _list_sample():
    """A fixed split of what is in the installed wheel: no network, and no call that would use one."""
    root = Path(skimage.__file__).parent / "data"
    for name in SAMPLE_TRAIN + SAMPLE_TEST:
        if not (root / name).is_file():
            raise UserError(f"scikit-image {skimage.__version__} lacks {name}: install version 0.22 or newer")
    return [root / name for name in SAMPLE_TRAIN], [root / name for name in SAMPLE_TEST], root, root


DATASETS = {
    "div2k": Dataset(
        archives=(
            Archive(
                "DIV2K_train_HR.zip",
                "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip",
                3_530_603_713,
                "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
            ),
            Archive(
                "DIV2K_valid_HR.zip",
                "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_valid_HR.zip",
                448_993_893,
                "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
            ),
        ),
        licence="academic research purpose only; do not redistribute",
        citation="Agustsson and Timofte, NTIRE 2017 Challenge on Single Image Super-Resolution: Dataset and "
        "Study, CVPR Workshops 2017",
        list_sides=_list_div2k,
    ),
    "mars": Dataset(
        archives=(
            Archive(
                "msl-images.zip",
                "https://zenodo.org/record/1049137/files/msl-images.zip?download=1",
                60_635_475,
                None,
            ),
        ),
        licence="CC BY-SA 4.0",
        citation="Stanboli and Wagstaff, Mars surface image (Curiosity rover) labeled data set, 2017, "
        "doi:10.5281/zenodo.1049137; Wagstaff et al., Deep Mars: CNN Classification of Mars Imagery for the "
        "PDS Imaging Atlas, IAAI 2018",
        list_sides=_list_mars,
        list_groups=_group_mars,
    ),
    "sample": Dataset(
        archives=(),
        licence="CC0, public domain or no known restriction, image by image in the docstrings of skimage.data; "
        "those of moon and motorcycle (Middlebury 2014) state none",
        citation="van der Walt et al., scikit-image: image processing in Python, PeerJ 2:e453, 2014; for motorcycle "
        "Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014",
        list_sides=_list_sample,
        n_train=100,
        n_test=24,
    ),
}


def test_root_of(name, out):
    """Return the folder from which the manifest of a known set names its test images; None where they are not there."""
    dataset = DATASETS[name]
    folders = [Path(out) / "_sources" / Path(archive.file).stem for archive in dataset.archives]
    return dataset.list_sides(*folders)[3] if all(folder.is_dir() for folder in folders) else None


def get_archives(dataset, out, archives_dir=None, allow_unverified=False, progress=True):
    """Download the archives of a data set to `out/_archives`, or take them from `archives_dir`.

    Returns
    -------
    list of (path, dict): where each archive lies, and its {"file", "url", "bytes", "sha256", "verified"}.
    """
    if archives_dir is None:
        _check_disk(dataset, Path(out))
    got = []
    for archive in dataset.archives:
        if archives_dir is None:
            path = Path(out) / "_archives" / archive.file
            facts = fetch.fetch(archive.url, path, archive.n_bytes, archive.sha256, progress, unpack.check)
        else:
            path = Path(archives_dir) / archive.file
            facts = fetch.take_archive(path, archive.n_bytes, archive.sha256, allow_unverified)
        got.append((path, facts))
    return got


def _check_disk(dataset, out):
    """Raise `UserError` before an hour of download when not all archives, and what is in them, have room."""
    here, there = out / "_archives", out / "_sources"  # either may be a link to another disk
    missing = sum(fetch.n_missing(here / a.file, a.n_bytes) for a in dataset.archives)
    if not missing:
        return
    # An archive of PNG or JPEG files unpacks to about its own size.
    unpacked = sum(a.n_bytes for a in dataset.archives if not (there / Path(a.file).stem).exists())
    for folder in (here, there):
        folder.mkdir(parents=True, exist_ok=True)
    if here.stat().st_dev == there.stat().st_dev:
        disk.check_disk(here, missing + unpacked)
    else:
        disk.check_disk(here, missing)
        disk.check_disk(there, unpacked)


def open_sources(dataset, got, out, progress=True):
    """Extract archives (from `get_archives`) to `out/_sources/<stem>` and list the images: a `Sources`."""
    folders = []
    for path, facts in got:
        try:
            folders.append(unpack.extract(path, Path(out) / "_sources" / path.stem, progress))
        except unpack.DamagedError as error:
            if facts["url"] is None:  # from --archives: the user's own
                raise
            fetch.discard(path)
            raise UserError(f"{error.__cause__ or error}: {path} was damaged and is thrown away, run the same command "
                            "again to download it anew") from error
    train, test, train_root, test_root = dataset.list_sides(*folders)
    archives = tuple(facts for _, facts in got)
    groups = dataset.list_groups(*folders)
    return Sources(train, test, train_root, test_root, True, archives, dataset.licence, dataset.citation, groups)


def own_images(images_dir, test_dir=None, pages=False, inputs_dir=None):
    """List the user's own images, at any depth, with `pages` each page of one.

    `inputs_dir` holds the input of each, of the same name in the same sub-folder, with any suffix. Equal or nested
    folders, and images without a partner, raise `UserError`.
    """
    folders = [Path(folder) for folder in (images_dir, test_dir, inputs_dir) if folder is not None]
    for i, folder in enumerate(folders):
        for other in folders[i + 1 :]:
            inner, outer = folder.resolve(), other.resolve()
            if inner == outer:
                raise UserError(f"{folder} is given twice: train and test, targets and inputs must not share an image")
            if inner.is_relative_to(outer) or outer.is_relative_to(inner):
                raise UserError(f"{folder} and {other} lie inside each other: move one of them out")
    train = _list_own(folders[0], pages)
    test = None if test_dir is None else _list_own(Path(test_dir), pages)
    inputs = {}
    if inputs_dir is not None:
        targets = [(path, path.relative_to(folders[0])) for path in train]
        targets += [(path, path.relative_to(test_dir)) for path in test or ()]
        inputs = _partners(targets, Path(inputs_dir))
    return Sources(train, test, folders[0], None if test_dir is None else Path(test_dir), inputs=inputs,
                   inputs_root=inputs_dir and Path(inputs_dir))


def _partners(targets, inputs_dir):
    """Find the input of each target: {path: path in inputs_dir}, from tuples (path, path below its own folder)."""
    given = {}
    for path, below in [(path, path.relative_to(inputs_dir)) for path in list_images(inputs_dir)]:
        if (other := given.setdefault(below.with_suffix(""), path)) != path:
            raise UserError(f"{other} and {path} would be the input of one target: leave one of them")
    found = {}
    for path, below in targets:
        name = below.with_suffix("")
        if name in found:
            raise UserError(f"{found[name]} and {path} have one name, and one input: give them two")
        found[name] = path
    alone = [str(found[name]) for name in found if name not in given]
    alone += [str(given[name]) for name in given if name not in found]
    if alone:
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise UserError(f"{alone[0]}{more} has no partner: give a target and its input one name, suffixes may differ")
    return {path: given[name] for name, path in found.items()}


def _list_own(directory, pages):
    listed = []
    for path in list_images(directory):
        n_pages = count_pages(path) if pages else 1
        listed += [path] if n_pages == 1 else [page_of(path, page) for page in range(n_pages)]
    return listed
