"""The manifest of a data set as both commands trust it: nothing in it was changed by hand, nor were the tiles.

Manifests from before there were digests have none: their tiles are taken as they are.
"""

import hashlib
from pathlib import Path, PurePosixPath

from download_module import datasets
from download_module.split import LARGEST_SCALE
from util import UserError, is_plain_name, read_json

KEYS = ("name", "seed", "tasks", "counts", "verified", "archives", "versions", "tiles")
SPLITS = ("train", "test")
DIGITS = 16  # of the SHA-256 of each tile's file


def read_manifest(folder):
    """Read and check the manifest of the set in `folder`, see `check_manifest`."""
    manifest = read_json(Path(folder) / "manifest.json")
    check_manifest(folder, manifest)
    return manifest


def check_manifest(folder, manifest):
    """Refuse a manifest that is damaged or was changed by hand: `UserError`."""
    try:
        trouble = _find_trouble(manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        trouble = f"it lacks something ({error!r})"
    if trouble:
        raise UserError(f"{Path(folder) / 'manifest.json'} is damaged or was changed by hand, {trouble}: remove "
                        f"{folder} and run download.py again")


def _find_trouble(manifest):
    """Return what is wrong with a manifest, or None."""
    missing = [key for key in KEYS if key not in manifest]
    if missing:
        return f"it has no {missing[0]}"
    if not is_plain_name(manifest["name"]) or not all(is_plain_name(task) for task in manifest["tasks"]):
        return "its name or a task leads elsewhere"
    if manifest.get("input_scale") not in (None, *range(1, LARGEST_SCALE + 1)):
        return f"its inputs were enlarged by {manifest['input_scale']!r}"
    for digest, side in manifest.get("exceptions", {}).items():
        if side not in SPLITS:
            return f"the image {digest} is on the side {side!r}"
    for split in SPLITS:
        tiles = manifest["tiles"][split]
        if len(tiles) != manifest["counts"][split]["made"]:
            return f"it names {len(tiles)} {split} tiles and counts {manifest['counts'][split]['made']}"
        for tile in tiles:
            parts = PurePosixPath(tile["source"]).parts
            if not parts or ".." in parts or parts[0] == "/":
                return f"the source {tile['source']!r} leads elsewhere"
            if not all(type(tile[key]) is int and tile[key] >= 0 for key in ("y", "x")):
                return f"a tile of {tile['source']!r} has no place"
            if tile["rotation"] not in (0, 90, 180, 270):
                return f"a tile of {tile['source']!r} is turned by {tile['rotation']!r}"
        for name, digests in manifest.get("digest", {}).get(split, {}).items():
            if len(digests) != len(tiles) or not all(isinstance(digest, str) for digest in digests):
                return f"it has not one digest for each {split} tile of {name}"
    return _find_false_claim(manifest)


def _find_false_claim(manifest):
    """Verified is what has the published SHA-256, and nothing else."""
    dataset = datasets.DATASETS.get(manifest["name"])
    published = {archive.file: archive.sha256 for archive in dataset.archives} if dataset else {}
    archives = manifest["archives"]
    for archive in archives:
        if archive["verified"] and archive["sha256"] != published.get(archive["file"], ""):
            return f"{archive['file']} is called verified and has not the published SHA-256"
    if manifest["verified"] and not (archives and all(archive["verified"] for archive in archives)):
        return "it is called verified and its archives are not"
    return None


def digest_folder(folder):
    """Return a folder, and the first digits of the SHA-256 of each tile in it: what the manifest's `digest` holds."""
    return folder, [_digest(path.read_bytes()) for path in sorted(folder.iterdir())]


def check_tiles(manifest, split, name, paths, numbers):
    """Refuse tiles that were changed after they were made.

    Parameters
    ----------
    manifest : dict; its `digest` holds, where it is there, {split: {"hr" or task: a digest of each tile}}
    split : "train" or "test"
    name : "hr" or the task
    paths : of tiles of that folder, to be read next: the system keeps their bytes for that
    numbers : of these tiles
    """
    known = manifest.get("digest", {}).get(split, {}).get(name)
    if known is None:
        return
    for path, number in zip(paths, numbers, strict=True):
        if _digest(Path(path).read_bytes()) != known[number]:
            raise UserError(f"{path} was changed after it was made: remove the data set and run download.py again")


def _digest(content):
    return hashlib.sha256(content).hexdigest()[:DIGITS]
