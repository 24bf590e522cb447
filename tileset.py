"""The tiles that download.py has put on disk, read into memory as pairs. No Keras in here."""

import hashlib
from pathlib import Path

import util
from experiments import split_validation


class TileSet:
    """The tiles of one data set and task on disk, and what its manifest says of them."""

    def __init__(self, data_dir, dataset, task):
        self.directory, self.task = Path(data_dir) / dataset, task
        out = "" if str(data_dir) == "datasets" else f" --out {data_dir}"
        command = f"python3 download.py --dataset {dataset}{out}"
        manifest_path = self.directory / "manifest.json"
        if not manifest_path.is_file():
            raise util.UserError(f"there is no data set {dataset} in {data_dir}: run download.py first: {command}")
        self.manifest = util.read_json(manifest_path)
        if not (self.directory / "train" / task).is_dir():
            tasks = " ".join([*self.manifest["tasks"], task])
            raise util.UserError(f"{self.directory} has no {task}: run {command} --tasks {tasks}")
        self.n_train = len(self.manifest["tiles"]["train"])
        self.id = hashlib.sha256(manifest_path.read_bytes()).hexdigest()

    def read_train(self, n_train, draw):
        """Read a draw of n_train tiles: (train pair, validation pair), each (target, degraded)."""
        first = n_train * draw
        pairs = self._pairs("train", first + n_train)[first:]
        sources = [tile["source"] for tile in self.manifest["tiles"]["train"][first : first + n_train]]
        try:
            train, validation = split_validation(sources)
        except ValueError as error:
            raise util.UserError(
                f"the {n_train} training tiles come from one image, none is left to validate on: "
                "ask for more tiles or add images"
            ) from error
        return self._read([pairs[i] for i in train]), self._read([pairs[i] for i in validation])

    def check_test(self, n_test):
        """Raise at once what reading the test tiles after the training would raise."""
        self._pairs("test", n_test)

    def read_test(self, n_test):
        """Read the first n_test test tiles, all of them for None: (target, degraded)."""
        return self._read(self._pairs("test", n_test))

    def summary(self):
        """Return what a result has to say about its data."""
        return {key: self.manifest[key] for key in ("seed", "counts", "verified", "archives", "versions")} | {
            "manifest_sha256": self.id,
        }

    def _pairs(self, split, n):
        return util.list_pairs(self.directory / split / "hr", self.directory / split / self.task, n)

    def _read(self, pairs):
        targets, degraded = (util.read_tiles(paths) for paths in zip(*pairs, strict=True))
        if targets.shape != degraded.shape:
            raise util.UserError(f"the tiles of {self.directory} and its {self.task} differ in size: make them anew")
        return targets, degraded
