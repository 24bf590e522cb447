"""What several test files need: a data set small enough to train on in seconds, a disk that is full."""

import shutil
import signal
from collections import namedtuple

import numpy as np
import pytest

import util
from download_module import tilefile
from download_module.degrade import degrade

# Ctrl-C is ignored, also by the commands that tests start, where tests run side by side or behind a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
TILE = 32
DiskUsage = namedtuple("DiskUsage", "total used free")


def write_dataset(data_dir, name="tiny", task="sr_x4", n_train=12, n_test=4, tile=TILE):
    """Write smooth random tiles and their degraded partners, two a source image named like those of Mars."""
    tiles = {}
    for split, n in {"train": n_train, "test": n_test}.items():
        for i in range(n):
            rng = np.random.default_rng([n_train, i, split == "test"])
            target = np.clip(rng.normal(128, 60, (tile // 8, tile // 8, 3)), 0, 255).astype(np.uint8)
            target = np.kron(target, np.ones((8, 8, 1), np.uint8))
            tilefile.write_image(data_dir / name / split / "hr" / f"{i:05}.png", target)
            tilefile.write_image(data_dir / name / split / task / f"{i:05}.png", degrade(target, task, rng))
        tiles[split] = [{"source": f"{split}/{i // 2:04}.png", "y": 0, "x": 0, "rotation": 0} for i in range(n)]
    util.write_json(data_dir / name / "manifest.json", {
        "name": name, "seed": 0, "tasks": [task], "verified": False, "archives": [], "versions": {},
        "counts": {"train": {"made": n_train, "n_images_used": n_train // 2}, "test": {"made": n_test}}, "tiles": tiles,
    })


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current folder with one tiny data set in datasets/tiny."""
    write_dataset(tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def no_disk(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(free, 0, free))
