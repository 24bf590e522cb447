"""The tiles that download.py has put on disk, read into memory as pairs. No Keras in here."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import util
from download_module.datasets import sol_of
from download_module.manifest import check_tiles, read_manifest
from download_module.tilefile import read_tile
from inception2_module import tilecache
from inception2_module.scores import EIGHT_BIT, Kind

N_SEEN = 2_000  # tiles that the methods without a network look at, at most: more do not change a filter
# What decides the bytes of the tiles of one task.
IDENTITY = ("format", "seed", "tiles", "archives", "listing_sha256")


@dataclass(frozen=True)
class Tiles:
    """Tiles in memory: what always travels together.

    Attributes
    ----------
    target, degraded : (N, H, W, C), of the kind; thousands of training tiles are read as they are asked for, see
        tilecache.py
    scenes : tuple of int, for each tile the number of its scene. Tiles of one scene are alike: it is the source image
        or, on Mars, all images of one Martian day.
    kind : scores.Kind, what the values mean
    groups : tuple of str, for each tile what it shows, such as "terrain"; None where the set does not know
    input_scale : int, by which the inputs of pairs were enlarged; None where they differ, and of what are no pairs
    """

    target: np.ndarray
    degraded: np.ndarray
    scenes: tuple = ()
    kind: Kind = EIGHT_BIT
    groups: tuple | None = None
    input_scale: int | None = None

    def __len__(self):
        return len(self.target)

    def take(self, indices):
        """Return some of the tiles, in this order."""
        indices = list(indices)
        scenes, groups = (values and tuple(values[i] for i in indices) for values in (self.scenes, self.groups))
        return replace(self, target=self.target[indices], degraded=self.degraded[indices], scenes=scenes, groups=groups)


class TileSet:
    """The tiles of one data set and task on disk, and what its manifest says of them.

    Attributes
    ----------
    manifest : dict, see download_module.build
    n_train, n_test : int, numbers of tiles
    id : str, tells the bytes of these tiles apart from those of any other set or task
    kind : scores.Kind of the tiles; sets of before there were others are of 8-bit colour
    """

    def __init__(self, data_dir, dataset, task):
        if not util.is_plain_name(dataset):
            raise util.UserError(f"{dataset!r} cannot name a data set: give the name of a folder in {data_dir}")
        self.directory, self.task, self._listed = Path(data_dir) / dataset, task, {}
        manifest_path = self.directory / "manifest.json"
        if not manifest_path.is_file():
            out = "" if Path(data_dir) == Path("datasets") else f" --out {data_dir}"
            raise util.UserError(f"there is no data set {dataset} in {data_dir}: run download.py first: "
                                 f"python3 download.py --dataset {dataset}{out} (your own images: add --images DIR)")
        self.manifest = read_manifest(self.directory)
        self.n_train, self.n_test = (len(self.manifest["tiles"][split]) for split in ("train", "test"))
        if not (self.directory / "train" / task).is_dir():
            tasks = " ".join([*self.manifest["tasks"], task])
            raise util.UserError(f"{self.directory} has no {task}: run download.py again with all the options that "
                                 f"made this set, and --tasks {tasks}")
        self.id = self.id_of(task)
        self.kind = Kind(**{key: self.manifest[key] for key in ("dtype", "channels", "low", "high")
                            if key in self.manifest})

    def id_of(self, task):
        """Return what `id` is for another task of this set."""
        identity = {key: self.manifest.get(key) for key in IDENTITY} | {"task": task}
        identity["tiles"] = {  # a group changes no byte of a tile
            split: [{key: value for key, value in tile.items() if key != "group"} for tile in tiles]
            for split, tiles in self.manifest["tiles"].items()
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def read_train(self, n_train, draw):
        """Read a draw of n_train tiles: two `Tiles`, those to train on and those that validate."""
        first = n_train * draw
        self._pairs("train", first + n_train)  # so many there must be
        sources = [tile["source"] for tile in self.manifest["tiles"]["train"][first : first + n_train]]
        try:
            train, validation = split_validation(sources)
        except ValueError as error:
            more = len({tile["source"] for tile in self.manifest["tiles"]["train"]}) > 1
            raise util.UserError(
                f"the {n_train} training tiles come from one image, none is left to validate on: "
                f"{'ask for more tiles' if more else 'cut a large image into several files'}, or add images"
            ) from error
        return tuple(self._read("train", [first + i for i in side]) for side in (train, validation))

    def read_seen(self, n_train, draw):
        """Read what a run may look at, `Tiles`: those of its draw, where they are many the first `N_SEEN`."""
        first = n_train * draw
        self._pairs("train", first + n_train)  # so many there must be
        return self._read("train", range(first, first + min(n_train, N_SEEN)))

    def read_unseen(self, n_train, draw, n):
        """Read up to n training tiles, `Tiles`, of images that a draw holds no tile of, from the end."""
        sources = [tile["source"] for tile in self.manifest["tiles"]["train"]]
        seen = set(sources[n_train * draw : n_train * (draw + 1)])
        unseen = [i for i, source in enumerate(sources) if source not in seen][-n:]
        if not unseen:
            raise util.UserError(f"{self.directory} has no training image beside those of the {n_train} tiles")
        return self._read("train", unseen)

    def read_test(self, n_test):
        """Read the first n_test test tiles, `Tiles`; all of them for None."""
        return self._read("test", range(len(self._pairs("test", n_test))))

    def _scenes(self, split):
        sources = [tile["source"] for tile in self.manifest["tiles"][split]]
        names = [sol_of(Path(source)) for source in sources] if self.manifest["name"] == "mars" else sources
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return [numbers[name] for name in names]

    def summary(self):
        """Return what a result has to say about its data."""
        return {key: self.manifest[key] for key in ("seed", "counts", "verified", "archives", "versions")} | {
            "data_id": self.id,
        }

    def _pairs(self, split, n):
        """Return the first n pairs of paths (None: all), after a look whether the manifest's tiles are all there."""
        if split not in self._listed:  # a quarter of a second for 10,000 pairs
            self._listed[split] = list_pairs(self.directory / split / "hr", self.directory / split / self.task)
        pairs = self._listed[split]
        n_listed = len(self.manifest["tiles"][split])
        if len(pairs) != n_listed:
            raise util.UserError(f"{self.directory / split} holds {len(pairs)} pairs of tiles and its manifest names "
                                 f"{n_listed}: remove {self.directory} and run download.py again")
        if n is not None and n > n_listed:
            raise util.UserError(f"{n} tiles are wanted and {self.directory / split} holds {n_listed}: ask for fewer "
                                 "or make more with download.py")
        return pairs[:n]

    def _read(self, split, indices):
        """Read some tiles of a split: `Tiles`."""
        pairs, scenes = self._pairs(split, None), self._scenes(split)
        sides = zip(("hr", self.task), zip(*pairs, strict=True), strict=True)
        target, degraded = (self._read_side(split, name, paths, indices) for name, paths in sides)
        if target.shape != degraded.shape:
            raise util.UserError(f"the tiles of {self.directory} and its {self.task} differ in size: make them anew")
        if (str(target.dtype), target.shape[3]) != (self.kind.dtype, self.kind.channels):
            raise util.UserError(f"{self.directory} holds tiles of {target.shape[3]} channels of {target.dtype}, its "
                                 f"manifest says {self.kind.channels} of {self.kind.dtype}: make them anew")
        groups = tuple(self.manifest["tiles"][split][i].get("group") for i in indices)
        return Tiles(target, degraded, tuple(scenes[i] for i in indices), self.kind, groups if all(groups) else None,
                     self.manifest.get("input_scale"))

    def _read_side(self, split, name, paths, indices):
        """Read some tiles of one folder, of which `paths` are all."""
        def read(numbers):
            chosen = [paths[i] for i in numbers]
            check_tiles(self.manifest, split, name, chosen, numbers)
            return read_tiles(chosen)

        if split == "train":
            digests = self.manifest.get("digest", {}).get(split, {}).get(name)
            tiles = tilecache.read_cached(self.directory / split, name, digests, indices,
                                          lambda: read(range(len(paths))))
            if tiles is not None:
                return tiles
        return read(indices)


def split_validation(sources):
    """Hold out a tenth of the tiles (1 to 50), by source image, for validation.

    Parameters
    ----------
    sources : list of str, the source image of each tile

    Returns
    -------
    (train, validation) : two sorted lists of indices into `sources`; they share no source image. Tiles of
        a held-out image beyond the tenth are in neither list.

    Raises
    ------
    ValueError
        When all tiles come from one image: nothing could be held out.
    """
    n_validation = min(50, max(1, len(sources) // 10))
    order = list(dict.fromkeys(sources))
    held_out, n_held_out = set(), 0
    while n_held_out < n_validation and len(order) > 1:
        source = order.pop()
        held_out.add(source)
        n_held_out += sources.count(source)
    if not held_out:
        raise ValueError("all tiles come from one image")
    validation = [i for i, source in enumerate(sources) if source in held_out]
    train = [i for i, source in enumerate(sources) if source not in held_out]
    return train, validation[:n_validation]


def list_pairs(target_dir, degraded_dir):
    """Pair the tiles of two folders by file name.

    Parameters
    ----------
    target_dir, degraded_dir : path
        Folders of `00000.png`, `00001.png`, ... with the same names.

    Returns
    -------
    list of (target path, degraded path), in the order of their names.

    Raises
    ------
    UserError
        When a tile has no partner or a folder is missing.
    """
    targets = {p.name: p for p in util.list_images(target_dir)}
    degraded = {p.name: p for p in util.list_images(degraded_dir)}
    alone = sorted(targets.keys() ^ degraded.keys())
    if alone:
        has, lacks = (target_dir, degraded_dir) if alone[0] in targets else (degraded_dir, target_dir)
        raise util.UserError(f"{Path(has) / alone[0]} has no partner in {lacks}: make the tiles anew with download.py")
    return [(targets[name], degraded[name]) for name in sorted(targets)]


def read_tiles(paths):
    """Read equally sized tiles into one array (N, H, W, C); another size or type raises `UserError`."""
    first = read_tile(paths[0])
    tiles = np.empty((len(paths), *first.shape), first.dtype)
    for i, path in enumerate(paths):
        tile = read_tile(path)
        if (tile.shape, tile.dtype) != (first.shape, first.dtype):
            size, other = (f"{a.shape[1]}x{a.shape[0]}" for a in (tile, first))
            raise util.UserError(f"{path} is {size} and {paths[0]} is {other}: all tiles must be of one size")
        tiles[i] = tile
    return tiles
