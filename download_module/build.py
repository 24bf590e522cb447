"""A whole data set on disk: both sides, cut beside the old set, and a manifest that says what it is.

`<out>/<name>/{train,test}/hr/00000.png` is the target, `<out>/<name>/{train,test}/<task>/00000.png` the input.
"""

import functools
import hashlib
import os
import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from download_module import disk, split, tiles, workers
from download_module.degrade import DEFAULT_TASKS, task_of
from download_module.imagefile import describe_fill, split_page
from download_module.manifest import check_manifest, digest_folder
from util import UserError, check_writable, read_json, sha256_of, write_json

SHOWN = 10  # images of which something is said
FORMAT = 1  # raise it when the same seed gives other tiles: sets of another format are made anew
FARTHEST = 1  # pixels that an input may lie beside its target
KEPT, KEPT_BYTES = ".decoded", 2_000_000_000  # folder of images that were looked at, until they are cut, and its size
FEW = 200  # tiles, or images to look at: up to here in this process, for starting others takes as long


@dataclass(frozen=True)
class Wish:
    """What is asked for. `exact` names the sides on which fewer tiles than asked for are an error."""

    n: dict  # side -> number of tiles
    tasks: tuple | None  # None: those of `default_tasks`
    seed: int = 0
    size: int = split.TILE_SIZE
    value_range: tuple | None = None
    repeat: bool = False
    exact: frozenset = frozenset()


def make_set(out, name, sources, wish, n_workers=None, progress=None):
    """Make the set `out`/`name` in a folder beside it and let it take its place when it is complete.

    Parameters
    ----------
    out : path
    name : str
    sources : datasets.Sources
    wish : Wish
    n_workers : int, optional
        Processes; by default one for each core, and none for a small set.
    progress : bool, optional
        Show a bar on stderr; by default only on a terminal.

    Returns
    -------
    dict, bool
        The manifest, and whether a finished set fulfilled the wish: then nothing is written.

    Raises
    ------
    UserError
        When the sides leak, a wish cannot be fulfilled, the folder holds something that was not made here, or
        another process is making this set.
    """
    out = Path(out)
    folder = out / name
    listing = listing_of(sources)
    if (manifest := find_finished(out, name, wish, sources.archives, listing)) is not None:
        return manifest, True
    check_writable(out)
    with disk.locked(_beside(folder, "lock"), folder):
        _restore(folder)
        manifest, differences = _compare(folder, wish, sources.archives, listing)
        if manifest is not None and not differences:  # another process has just made it
            return manifest, True
        before = manifest.get("exceptions", {}) if manifest and manifest["format"] == FORMAT else {}
        return _make(folder, sources, wish, listing, differences, before, n_workers, progress), False


def _make(folder, sources, wish, listing, differences, before, n_workers, progress):
    """Cut both sides beside `folder` and put them in its place; say so first when a set is there already."""
    name = folder.name
    partial = _beside(folder, "partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    if n_workers is None:
        n_images = 0 if sources.is_known else len([*sources.train, *(sources.test or ())])
        n_workers = (os.cpu_count() or 1) if max(sum(wish.n.values()), n_images) > FEW else 1
    made = {}
    try:
        with (
            tqdm(total=0, desc=name, unit="tile", disable=None if progress is None else not progress) as bar,
            workers.worker_pool(n_workers, tiles.__name__) as pool,
        ):
            sides, form = _survey(sources, wish, pool, before, partial / KEPT)
            tasks = wish.tasks or default_tasks(form.dtype)
            if differences:
                tqdm.write(f"{folder} is made anew, what is wanted differs: {'; '.join(differences)}", sys.stderr)
            for i, (key, side) in enumerate(zip(split.SPLITS, sides, strict=True)):
                made[key] = tiles.cut_side(
                    side,
                    i,
                    wish.n[key],
                    partial / key,
                    seed=wish.seed,
                    tasks=tasks,
                    form=form,
                    upright=key == "test" and not sources.is_known,  # people look at them
                    repeat=wish.repeat,
                    require=key in wish.exact,
                    pool=pool,
                    bar=bar,
                )
            folders = [partial / key / name for key in split.SPLITS for name in ("hr", *tasks)]
            digests = dict(workers.results(pool, digest_folder, folders))
        shutil.rmtree(partial / KEPT, ignore_errors=True)
        manifest = _manifest(name, sources, wish, listing, dict(zip(split.SPLITS, sides, strict=True)), made)
        manifest |= _described(form, tasks)
        manifest["digest"] = {
            key: {name: digests[partial / key / name] for name in ("hr", *tasks)} for key in split.SPLITS
        }
        write_json(partial / "manifest.json", manifest)
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def find_finished(out, name, wish, archives=(), listing=None):
    """Return the manifest of a complete set that fulfils the wish, or None.

    `archives` are dicts with "file", "bytes" and "sha256" (None: not known); `listing` is left out while the
    archives are not unpacked. Raises `UserError` when the folder was not made here, or its manifest is broken.
    """
    folder = Path(out) / name
    if _beside(folder, "old").exists():
        with disk.locked(_beside(folder, "lock"), folder):
            _restore(folder)
    manifest, differences = _compare(folder, wish, archives, listing)
    return None if differences else manifest


def _restore(folder):
    """Mend what a run left that was killed while it put the new set in the place of the old one."""
    old = _beside(folder, "old")
    if old.exists():
        shutil.rmtree(old) if folder.exists() else old.rename(folder)


def _compare(folder, wish, archives, listing):
    """Return the manifest of the set in `folder` (None: there is no set) and in what it fails the wish."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None, []
    manifest = _read_manifest(folder)
    if manifest["format"] != FORMAT:
        return manifest, ["the old one is of another version of this program"]
    differences = []
    if manifest["seed"] != wish.seed:
        differences.append(f"seed {wish.seed}, not {manifest['seed']}")
    tasks = wish.tasks or default_tasks(manifest.get("dtype", "uint8"))
    if not set(tasks) <= set(manifest["tasks"]):
        differences.append(f"tasks {' '.join(tasks)}, not {' '.join(manifest['tasks'])}")
    if wish.size != manifest.get("tile_size", split.TILE_SIZE):
        differences.append(f"tiles of {wish.size} pixels, not {manifest['tile_size']}")
    if wish.value_range and list(wish.value_range) != [manifest.get("low"), manifest.get("high")]:
        differences.append("the range {:g} {:g}".format(*wish.value_range))
    if not (
        listing in (None, manifest["listing_sha256"])
        and len(archives) == len(manifest["archives"])
        and all(map(_is_same_archive, archives, manifest["archives"]))
    ):
        differences.append("other sources")
    for key in split.SPLITS:
        counts = manifest["counts"][key]
        if not _has_enough(counts, wish, key):
            differences.append(f"{wish.n[key]} {key} tiles, not {counts['made']}")
        elif not _has_files(folder / key, counts, tasks, manifest["tasks"]):
            differences.append(f"all {key} tiles, and some are lost")
    return manifest, differences


_INTEGERS = ("requested", "made", "distinct", "n_images", "n_images_used", "constant_crops")
_ARCHIVE = {"file": str, "bytes": int, "sha256": str, "verified": bool}


def _read_manifest(folder):
    """Read the manifest of a set, all that is used here checked; of another format, its number only."""
    path = folder / "manifest.json"
    broken = UserError(f"{path} is broken: remove the folder {folder} and run the same command again")
    try:
        manifest = read_json(path) if path.is_file() else None
    except UserError as error:
        raise broken from error
    if not isinstance(manifest, dict) or not {"format", "counts", "tiles"} <= manifest.keys():
        raise UserError(f"{folder} was not made by download.py: move it away, or choose another --out or --dataset")
    if not (isinstance(manifest["format"], int) and (manifest["format"] != FORMAT or _is_sound(manifest))):
        raise broken
    if manifest["format"] == FORMAT:
        check_manifest(folder, manifest)
    return manifest


def _is_sound(manifest):
    fields = {"name": str, "seed": int, "tasks": list, "archives": list, "listing_sha256": str, "counts": dict}
    return (
        _has_fields(manifest, fields)
        and all(isinstance(task, str) for task in manifest["tasks"])
        and all(_has_fields(archive, _ARCHIVE) for archive in manifest["archives"])
        and manifest["counts"].keys() == set(split.SPLITS)
        and all(
            _has_fields(counts, {**dict.fromkeys(_INTEGERS, int), "skipped": dict})
            and all(isinstance(n, int) for n in counts["skipped"].values())
            for counts in manifest["counts"].values()
        )
        and _has_fields(manifest["tiles"], dict.fromkeys(split.SPLITS, list))
    )


def _has_fields(value, types):
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in types.items())


def _is_same_archive(wanted, made):
    return (
        wanted["file"] == made["file"]
        and wanted["bytes"] == made["bytes"]
        and wanted["sha256"] in (None, made["sha256"])
    )


def _has_enough(counts, wish, key):
    n = wish.n[key]
    has_all = counts["distinct"] < counts["requested"]  # there are no more
    if not wish.repeat:
        return n <= counts["distinct"] or (has_all and key not in wish.exact)
    return n <= counts["made"] or (counts["made"] == 4 * counts["distinct"] and key not in wish.exact)


def _has_files(folder, counts, wanted, made):
    folders = [folder / task for task in ("hr", *wanted) if task == "hr" or task in made]
    return all(f.is_dir() and len(list(f.iterdir())) == counts["made"] for f in folders)


def listing_of(sources):
    """SHA-256 over all source images: it changes when one is added, removed or edited.

    Images out of an archive go in with their names and sizes, for the archive has a SHA-256 of its own; others
    with their names and contents.
    """
    digest = hashlib.sha256()
    folders = [(sources.train_root, sources.train), (sources.test_root, sources.test or ())]
    if sources.inputs:
        folders.append((sources.inputs_root, sorted(sources.inputs.values())))
    with ThreadPoolExecutor() as threads:  # a digest holds no lock
        for root, paths in folders:
            contents = threads.map(functools.partial(_content, is_known=bool(sources.archives)), paths)
            for path, content in zip(paths, contents, strict=True):
                digest.update(os.fsencode(path.relative_to(root).as_posix()) + f"\t{content}\n".encode())
            digest.update(b"\n")
    return digest.hexdigest()


def _content(path, is_known):
    file, page = split_page(path)
    return path.stat().st_size if is_known else page or sha256_of(file)


def default_tasks(dtype):
    """The tasks of a set for which none are given: a sigma of 64 means nothing where values are not gray levels."""
    return DEFAULT_TASKS if dtype == "uint8" else tuple(task for task in DEFAULT_TASKS if not task_of(task).is_noisy)


def _survey(sources, wish, pool, before, keep_in):
    """The sides of the split, checked for leaks, and the form of their tiles; `before` see split.hold_out.

    Decoded images go into `keep_in`.
    """
    if sources.is_known:
        sides = [split.survey(paths, pool=pool, size=wish.size) for paths in (sources.train, sources.test)]
        split.check_no_leak(*sides)
        return sides, split.Form(wish.size)
    n_images = len([*sources.train, *(sources.test or ())])
    look = functools.partial(split.look_at_pixels, keep_in=keep_in, n_bytes=KEPT_BYTES // max(1, n_images))
    train = split.survey(sources.train, look, pool, wish.size, sources.inputs)
    if sources.test is None:
        split.keep_one_kind(train)
        sides = split.hold_out(train, wish.size, before)  # copies have no tiles, so none can be on the other side
    else:
        sides = train, split.survey(sources.test, look, pool, wish.size, sources.inputs)
        split.keep_one_kind(*sides)
        split.check_no_leak(*sides)
    return sides, split.form_of(sides, wish.size, wish.value_range)


def _manifest(name, sources, wish, listing, sides, made):
    roots = {"train": sources.train_root, "test": sources.test_root or sources.train_root}
    counts = {}
    for key, (placed, n_distinct) in made.items():
        side = sides[key]
        counts[key] = {
            "requested": wish.n[key],
            "made": len(placed),
            "distinct": n_distinct,
            "n_images": len(side.paths),
            "n_images_used": len({path for path, *_ in placed}),
            "skipped": dict(sorted(side.skipped.items())),
            "constant_crops": side.n_constant,
        }
    return {
        "format": FORMAT,
        "name": name,
        "seed": wish.seed,
        "verified": all(a["verified"] for a in sources.archives) if sources.archives else None,
        "counts": counts,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
        "archives": list(sources.archives),
        "licence": sources.licence,
        "citation": sources.citation,
        "listing_sha256": listing,
        **({} if sources.is_known or sources.test else {"exceptions": split.exceptions_of(*sides.values())}),
        **({"shifted": _shifted(sides, roots), "input_scale": _input_scale(sides)} if sources.inputs else {}),
        **({"filled": filled} if (filled := _filled(sides, roots)) else {}),
        "tiles": {
            key: [
                {**_source(path, roots[key]), "y": y, "x": x, "rotation": rotation}
                | ({"group": sources.groups[path]} if path in sources.groups else {})
                for path, y, x, rotation in placed
            ]
            for key, (placed, _) in made.items()
        },
    }


def _shifted(sides, roots):
    """The images whose input lies more than a pixel beside them."""
    return [
        {**_source(path, roots[key]), "y": one.shift[0], "x": one.shift[1]}
        for key, side in sides.items() for path, one in zip(side.paths, side.looks, strict=True)
        if one.shift is not None and max(map(abs, one.shift)) > FARTHEST
    ]


def _filled(sides, roots):
    """The images that are cut and in which a value seems to stand for none."""
    return [
        {**_source(path, roots[key]), "value": one.fill[0], "share": one.fill[1]}
        for key, side in sides.items() for path, one, n in zip(side.paths, side.looks, side.capacities, strict=True)
        if n and one.fill
    ]


def _input_scale(sides):
    """How many times as large as their inputs the targets are, if all are alike; else None."""
    scales = {one.scale for side in sides.values() for one, n in zip(side.looks, side.capacities, strict=True) if n}
    return scales.pop() if len(scales) == 1 else None


def _source(path, root):
    """How the manifest names an image: pages of a file are one source; what is no UTF-8 is escaped."""
    file, page = split_page(path)
    name = os.fsencode(file.relative_to(root).as_posix()).decode(errors="backslashreplace")
    return {"source": name} if page is None else {"source": name, "page": page}


def _described(form, tasks):
    """What the manifest says of the tiles: `low` and `high` are the values that a network sees as 0 and 1."""
    return {
        "tile_size": form.size,
        "tasks": list(tasks),
        "dtype": form.dtype,
        "channels": form.channels,
        "low": form.low,
        "high": form.high,
        "noise_unit": "gray levels of 0..255" if form.dtype == "uint8" else "units of the data",
    }


def _swap(partial, folder):
    """Let the complete set take its place. Killed in between, the next run restores the old set."""
    old = _beside(folder, "old")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder, what):
    return folder.with_name(f".{folder.name}.{what}")


def describe(manifest, folder):
    """Return the lines that tell a user what is in a set: first what it is, then what was left out."""
    counts = manifest["counts"]
    sizes = " and ".join(f"{c['made']} {key}" for key, c in counts.items())
    lines = [f"{folder}: {sizes} tiles, from {' and '.join(str(c['n_images_used']) for c in counts.values())} images"]
    if manifest.get("dtype", "uint8") != "uint8":
        lines.append(f"values of {manifest['dtype']}, {manifest['low']:g} to {manifest['high']:g} are what a network "
                     "sees as 0 to 1 (--range), noise is in these units")
    for one in manifest.get("shifted", ())[:SHOWN]:
        lines.append(f"{one['source']}: its input seems to lie {one['y']:+g} pixels lower, {one['x']:+g} more right: "
                     "align the pair")
    if len(manifest.get("shifted", ())) > SHOWN:
        lines.append(f"and {len(manifest['shifted']) - SHOWN} pairs more, see its manifest.json")
    for one in manifest.get("filled", ())[:SHOWN]:
        lines.append(f"{one['source']}: {describe_fill(one['value'], one['share'])}")
    if len(manifest.get("filled", ())) > SHOWN:
        lines.append(f"and {len(manifest['filled']) - SHOWN} images more of that kind, see its manifest.json")
    for key, c in counts.items():
        if c["skipped"]:
            reasons = ", ".join(f"{n} {reason}" for reason, n in c["skipped"].items())
            lines.append(f"{key}: skipped {sum(c['skipped'].values())} of {c['n_images']} images: {reasons}")
        if key == "train" and c["n_images_used"] == 1 < c["made"]:
            lines.append("train: all tiles are of one image, and a training validates on another: add images, or cut "
                         "a large one into several files")
        if c["constant_crops"]:
            lines.append(f"{key}: passed over {c['constant_crops']} crops of one colour")
        if c["made"] > c["distinct"]:
            lines.append(f"{key}: {c['distinct']} of the {c['made']} tiles are distinct, the others are rotations")
        elif c["made"] < c["requested"]:
            lines.append(
                f"{key}: {c['made']} distinct tiles are all there are, {c['requested']} were wanted "
                "(--repeat adds their other rotations)"
            )
    return lines
