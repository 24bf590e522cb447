"""How long a tile takes: our cutting against the plain way, on the same generated photographs.

    python3 -m wi2_paper.benchmarks.tiles        # two minutes; writes results/benchmark_tiles.json

The plain way opens the source anew for each tile, in one process, with Pillow's default PNG settings. Ours is
`build.make_set` as download.py calls it, survey, worker processes and manifest included: `own` of a user's images, all
of which are looked at first, `known` of a set whose images are fixed. The ways take turns, and the least seconds count:
by the clock, with a process on each core that is free to us, and of the CPU, in all processes together. These are what
one core gives, and other programs disturb them less.

All files lie in a RAM disk, lest the disk be measured. For Linux: /proc and /dev/shm are needed, the latter with 1 GB.
"""

import contextlib
import os
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import util
from download_module import build, datasets, tiles
from download_module.degrade import DEFAULT_TASKS, degrade
from download_module.split import TILE_SIZE
from inception2_module import provenance

HEIGHT, WIDTH = 1356, 2040  # the usual size in DIV2K
N_ROUNDS = 3
RAM_DISK = "/dev/shm"
RESULT = Path("results/benchmark_tiles.json")


def main():
    parser = util.Parser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--n-images", type=int, default=64, help="generated photographs (default: %(default)s)")
    add("--n-tiles", type=int, help="tiles cut our way (default: 12.5 an image, as in 10,000 of 800)")
    add("--n-plain", type=int, default=48, help="tiles cut the plain way (default: %(default)s)")
    add("--n-memory", type=int, default=10_000, help="tiles of the run that measures memory (default: %(default)s)")
    add("--out", type=Path, default=RESULT, help="default: %(default)s")
    options = parser.parse_args()
    n_tiles = options.n_tiles or int(12.5 * options.n_images)
    if min(options.n_images, n_tiles, options.n_plain, options.n_memory) < 2:
        raise util.UserError("a count is below 2: give more")
    machine, n_workers = describe_machine(), n_cores()
    with tempfile.TemporaryDirectory(dir=RAM_DISK) as folder:
        folder = Path(folder)
        paths = make_photographs(folder / "images", options.n_images)
        ways = {
            "plain": partial(cut_plain, paths, folder / "plain", options.n_plain),
            "own": partial(cut_ours, paths, folder, n_tiles, n_workers),
            "known": partial(cut_ours, paths, folder, n_tiles, n_workers, is_known=True),
        }
        rounds = [{way: timed(cut) for way, cut in ways.items()} for _ in range(N_ROUNDS)]
        with PeakMemory() as memory:
            cut_ours(paths, folder, options.n_memory, n_workers)
        megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
    result = {}
    for way in ways:
        n = options.n_plain if way == "plain" else n_tiles
        seconds, cpu_seconds = (min(values) / n for values in zip(*(one[way] for one in rounds), strict=True))
        plain = result.get("plain", {"seconds_per_tile": seconds, "cpu_seconds_per_tile": cpu_seconds})
        result[way] = {
            "n_tiles": n, "seconds_per_tile": seconds, "cpu_seconds_per_tile": cpu_seconds,
            "speed_up": plain["seconds_per_tile"] / seconds,
            "speed_up_of_a_core": plain["cpu_seconds_per_tile"] / cpu_seconds,
        }
        print(f"{way:<8}{1e3 * seconds:>8.1f} ms a tile, {result[way]['speed_up']:.1f} times the plain way; "
              f"{1e3 * cpu_seconds:.1f} ms of the CPU, {result[way]['speed_up_of_a_core']:.1f} times", flush=True)
    print(f"peak memory of {options.n_memory} tiles: {memory.megabytes:.0f} MB")
    util.write_json(options.out, {
        "name": "benchmark_tiles", "n_images": options.n_images, "image_size": [HEIGHT, WIDTH],
        "image_megabytes": megabytes, "tasks": list(DEFAULT_TASKS), "n_rounds": N_ROUNDS, "n_workers": n_workers,
        "ways": result, "peak_memory": {"n_tiles": options.n_memory, "megabytes": memory.megabytes}, "machine": machine,
    })


def n_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def make_photographs(folder, n):
    """Write n PNGs with the spectrum and the file size of photographs: smooth noise of several scales."""
    folder.mkdir(parents=True)
    paths = []
    for i in tqdm(range(n), desc="photographs", disable=None):
        rng = np.random.default_rng(i)
        image = 128 + rng.normal(0, 2, (HEIGHT, WIDTH, 3))  # the sensor
        for size, contrast in ((8, 50), (32, 30), (128, 15), (512, 8)):
            for channel in range(3):
                coarse = Image.fromarray(rng.normal(0, contrast, (size, size)).astype(np.float32))
                image[..., channel] += np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        paths.append(folder / f"{i:04d}.png")
        Image.fromarray(np.rint(image.clip(0, 255)).astype(np.uint8)).save(paths[-1], compress_level=1)
    return paths


def timed(cut):
    """Seconds of a call by the clock, and of the CPU in this process and in those that it has ended."""
    began, began_cpu = time.perf_counter(), _cpu_seconds()
    cut()
    return time.perf_counter() - began, _cpu_seconds() - began_cpu


def _cpu_seconds():
    """Seconds of the CPU of this process, of those that it has ended, and of its descendants with those they have."""
    return sum(int(value) for fields in _processes() for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def cut_plain(paths, folder, n):
    """Cut n tiles with one `open` each, the images taken in turn."""
    for name in ("hr", *DEFAULT_TASKS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for k in tqdm(range(n), desc="plain", disable=None):
        image = np.asarray(Image.open(paths[k % len(paths)]).convert("RGB"))
        y, x = rng.integers(HEIGHT - TILE_SIZE + 1), rng.integers(WIDTH - TILE_SIZE + 1)
        target = np.ascontiguousarray(np.rot90(image[y : y + TILE_SIZE, x : x + TILE_SIZE], rng.integers(4)))
        Image.fromarray(target).save(folder / "hr" / tiles.tile_name(k))
        for task in DEFAULT_TASKS:
            Image.fromarray(degrade(target, task, rng)).save(folder / task / tiles.tile_name(k))


def cut_ours(paths, folder, n, n_workers, is_known=False):
    """Make a whole set of n tiles; one tile and one image are for the test."""
    root = paths[0].parent
    sources = datasets.Sources(paths[1:], paths[:1], root, root, is_known)
    wish = build.Wish({"train": n - 1, "test": 1}, DEFAULT_TASKS, exact=frozenset({"train", "test"}))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        build.make_set(out, "set", sources, wish, n_workers=n_workers)


class PeakMemory:
    """Sum of the resident memory of this process and its descendants, looked at 20 times a second.

    Pages that processes share are counted in each, so this is an upper bound.
    """

    megabytes = 0.0

    def __enter__(self):
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _watch(self):
        while not self._end.wait(0.05):
            self.megabytes = max(self.megabytes, _resident_megabytes())


def _resident_megabytes():
    return sum(int(fields[21]) for fields in _processes()) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processes():
    """What /proc says of this process and of its descendants: the fields of `stat` behind the name, as text."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                found[int(process.name)] = (process / "stat").read_text().rpartition(")")[2].split()
    ours = {os.getpid()}
    while more := {pid for pid, fields in found.items() if int(fields[1]) in ours} - ours:
        ours |= more
    return [found[pid] for pid in ours]


def describe_machine():
    """What a reader needs to judge the seconds; nothing that names the machine or its owner."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else None
    return {
        "cpu": provenance.cpu(),
        "memory_gigabytes": memory and round(memory, 1),
        # Above 0 other programs took their share, which costs our way more: the plain one needs one core only.
        "load_average_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": provenance.versions(("numpy", "pillow")),
        "git_commit": provenance.git_commit(),
    }


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
