"""Cut source images into tiles and write them, with their degraded twins, as a data set.

First a plan is made, then it is cut. Tile k depends on the seed, the side and the sorted list of images only:
not on how many tiles are made (the first n of many are the n-tile set) nor on how many processes make them.
10,000 tiles of 800 images of 2040x1356 take one to two minutes on two cores (benchmarks/tiles.py measures it).
"""

import shutil
import zlib
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np

from download_module.degrade import degrade, task_of
from download_module.split import SPLITS, Form, all_equal, free_positions, read_pair
from download_module.tilefile import write_tile
from download_module.workers import results, stopping
from util import ImageError, UserError

TILES_A_JOB, JOBS_AN_IMAGE = 100, 16  # an image with many tiles is decoded several times, to use all cores
FORM = Form()  # 8-bit RGB
FEW_POSITIONS = 2**16  # up to here all positions of an image are shuffled; beyond, drawn until new


@dataclass(frozen=True)
class Job:
    """What one process does at a time: tiles of one image."""

    path: Path
    image: int  # its number in the sorted list of its side
    tiles: tuple  # of (k, j, turn): tile k of the side is the j-th position of the image, turned further
    folder: Path
    split: int
    seed: int
    tasks: tuple
    form: Form = FORM
    upright: bool = False  # turn no tile, except to repeat it
    write: bool = True  # False: only find out whether the image has that many tiles
    input: Path | None = None  # of a pair
    kept: Path | None = None  # see split.Look


@dataclass(frozen=True)
class Done:
    image: int
    capacity: int  # how many tiles the image has, at least
    enough: bool
    places: tuple = ()  # of (k, y, x, rotation)
    n_constant: int = 0
    unreadable: bool = False


def positions(seed, split, image, height, width, size=FORM.size, missing=None):
    """Yield all distinct crops of an image as (y, x, rotation), rotation counting quarter turns.

    Crops in which something of `missing`, bool (height, width), lies are left out.
    """
    rng = np.random.default_rng([seed, split, image])
    n_y, n_x = height - size + 1, width - size + 1
    free = None if missing is None else free_positions(missing, size)
    n = n_y * n_x if free is None else len(free)
    drawn = _draw_new(rng, n) if n > FEW_POSITIONS else _with_rotations(rng, rng.permutation(n))
    for position, rotation in drawn:
        y, x = divmod(position if free is None else int(free[position]), n_x)
        yield y, x, rotation


def _draw_new(rng, n):
    """Positions out of many: drawn until new, and when half are used up the rest is shuffled."""
    seen = set()
    while len(seen) < n // 2:
        for position, rotation in _with_rotations(rng, rng.integers(n, size=64)):
            if position not in seen:
                seen.add(position)
                yield position, rotation
    yield from _with_rotations(rng, rng.permutation(np.setdiff1d(np.arange(n), list(seen))))


def _with_rotations(rng, drawn):
    return zip(drawn.tolist(), rng.integers(4, size=len(drawn)).tolist(), strict=True)


def plan_tiles(order, capacities, n):
    """Return the first n tiles as (image, j): rounds over the images, each leaves when it has no more.

    So few tiles touch as many images as they can. Fewer than n come back when there are no more.
    """
    tiles, j = [], 0
    left = [i for i in order if capacities[i]]
    while left and len(tiles) < n:
        tiles += [(i, j) for i in left[: n - len(tiles)]]
        j += 1
        left = [i for i in left if capacities[i] > j]
    return tiles


def noise_rng(seed, split, k, task):
    """The random numbers of one degraded tile: no two tiles and no two tasks share them."""
    return np.random.default_rng([seed, split, k, zlib.crc32(task.encode())])


def cut(job):
    """Cut, degrade and write the tiles of one job; the image is decoded once. Returns a `Done`."""
    try:
        image, degraded, missing, _ = (np.load(job.kept, mmap_mode="r"), None, None, 1) if job.kept else \
            read_pair(job.path, job.input)
    except ImageError:
        return Done(job.image, 0, False, unreadable=True)
    size = job.form.size
    wanted = defaultdict(list)
    for k, j, turn in job.tiles:
        wanted[j].append((k, turn))
    last, places, n_usable, n_constant = max(wanted), [], 0, 0
    for y, x, rotation in positions(job.seed, job.split, job.image, *image.shape[:2], size, missing):
        crop = image[y : y + size, x : x + size]
        if all_equal(crop, crop[:1, :1]):  # nothing to restore, and its PSNR is infinite
            if not n_constant and all_equal(image, image[:1, :1]):
                break
            n_constant += 1
            continue
        for k, turn in wanted.get(n_usable, ()):
            turns = (turn if job.upright else rotation + turn) % 4
            if job.write:
                given = None if degraded is None else np.rot90(degraded[y : y + size, x : x + size], turns)
                _write_tile(job, k, np.rot90(crop, turns), given)
            places.append((k, y, x, 90 * turns))
        n_usable += 1
        if n_usable > last or stopping():
            break
    return Done(job.image, n_usable, n_usable > last, tuple(places), n_constant)


def _write_tile(job, k, target, given):
    """Write a target and its inputs: of a pair the one `given`, made from the target all others."""
    form, name = job.form, tile_name(k, job.form.dtype)
    target = in_form(target, form)
    write_tile(job.folder / "hr" / name, target)
    for task in job.tasks:
        rng = noise_rng(job.seed, job.split, k, task)
        made = in_form(given, form) if task_of(task).is_pairs else degrade(target, task, rng, form.low, form.high)
        write_tile(job.folder / task / name, made)


def in_form(crop, form):
    """Give a crop (H, W, C) the channels and the type of a form."""
    crop = crop if crop.shape[2] == form.channels else crop.repeat(form.channels, axis=-1)
    return np.ascontiguousarray(crop, form.dtype)


def tile_name(k, dtype="uint8"):
    """The name of tile k: 8 bits are PNG files, all other types `.npy`, whose values come back as they were."""
    return f"{k:05d}{'.png' if dtype == 'uint8' else '.npy'}"


def cut_side(side, split, n, folder, *, seed, tasks, form=FORM, upright=False, repeat=False,
             require=False, pool=None, bar=None):
    """Plan and cut one side of a set into `folder`/hr and `folder`/<task>.

    Parameters
    ----------
    side : split.Side; its capacities and skips are corrected by what the decoding finds
    split : 0 for train, 1 for test
    n : tiles wanted; where there are fewer distinct ones, all of them are made
    form : split.Form of the tiles
    upright : turn no tile, except to repeat it
    repeat : go on with the other rotations of the same places when the distinct ones are used up
    require : raise when n is out of reach
    pool : from `workers.worker_pool`
    bar : tqdm, optional

    Returns
    -------
    list of (source path, y, x, rotation in degrees) for each tile, and how many of them are distinct.

    Raises
    ------
    UserError
        When no image can be used, or n is required and out of reach.
    """
    order = np.random.default_rng([seed, split]).permutation(len(side.paths)).tolist()
    n_before, total_before = (bar.n, bar.total) if bar is not None else (0, 0)
    while True:
        distinct = plan_tiles(order, side.capacities, n)
        _check_enough(side, SPLITS[split], len(distinct), n, repeat, require, form.size)
        tiles = repeat_tiles(distinct, n) if repeat else [(i, j, 0) for i, j in distinct]
        for name in ("hr", *tasks):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)
        if bar is not None:
            bar.n, bar.total = n_before, total_before + len(tiles)
            bar.refresh()
        jobs = _make_jobs(side, tiles, folder, split, seed, tuple(tasks), form, upright)
        done = _cut_all(pool, jobs, bar)
        if done is not None:
            break
        # An image has less than its header promised, and every later tile moves up. Before cutting anew, see
        # whether that is true of others too.
        for one in results(pool, cut, [replace(job, write=False) for job in jobs]):
            _correct(side, one)
    constant = Counter()
    for one in done:  # each job of an image begins with its first crop
        constant[one.image] = max(constant[one.image], one.n_constant)
    side.n_constant = constant.total()
    places = sorted((k, one.image, *place) for one in done for k, *place in one.places)
    return [(side.paths[image], *place) for _, image, *place in places], len(distinct)


def repeat_tiles(distinct, n):
    """Return n tiles as (image, j, turn): the distinct ones, then the same ones turned by 90, 180, 270."""
    d = len(distinct)
    return [(*distinct[k % d], k // d) for k in range(min(n, 4 * d))]


def _check_enough(side, name, n_distinct, n, repeat, require, size):
    if not n_distinct:
        why = side.describe_skipped() or "there is no image"
        raise UserError(f"no {name} tile can be cut ({why}): give images of at least {size}x{size}, or "
                        "cut smaller tiles with --tile")
    n_most = 4 * n_distinct if repeat else n_distinct
    if require and n > n_most:
        hint = "ask for fewer" if repeat else "ask for fewer, or let --repeat add their other rotations"
        raise UserError(f"{n} {name} tiles are wanted and {n_distinct} distinct ones can be cut: {hint}")


def _make_jobs(side, tiles, folder, split, seed, tasks, form, upright):
    """Group tiles by image, the images in the order in which they come."""
    of_image = defaultdict(list)
    for k, (image, j, turn) in enumerate(tiles):
        of_image[image].append((k, j, turn))
    jobs = []
    for image, mine in of_image.items():
        size = max(TILES_A_JOB, ceil(len(mine) / JOBS_AN_IMAGE))
        for start in range(0, len(mine), size):
            part = tuple(mine[start : start + size])
            path = side.paths[image]
            jobs.append(Job(path, image, part, folder, split, seed, tasks, form, upright,
                            input=side.inputs.get(path), kept=side.looks[image].kept))
    return jobs


def _cut_all(pool, jobs, bar):
    """Return the `Done` of all jobs, or None as soon as one image has not enough tiles."""
    done = []
    with closing(results(pool, cut, jobs)) as coming:
        for one in coming:
            if not one.enough:
                return None
            done.append(one)
            if bar is not None:
                bar.update(len(one.places))
    return done


def _correct(side, one):
    """Put down what the decoding of an image found, when it is less than its header promised."""
    if one.unreadable and side.capacities[one.image]:
        side.skipped["unreadable"] += 1
    elif not one.enough and not one.capacity and side.capacities[one.image]:
        side.skipped["of one colour"] += 1
    if not one.enough:
        side.capacities[one.image] = one.capacity
