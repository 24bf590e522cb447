"""Restore image files with a trained network: which files, which weights, what is written. Keras comes as a function.

    python3 inception2.py restore photo.jpg --weights mars_sr_x4
"""

import pickle
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import util
from download_module import cluster, imagefile
from download_module.degrade import task_of
from inception2_module import symmetries
from restore_module import blocks, guard
from restore_module.picture import restore_picture


@dataclass(frozen=True)
class Options:
    """How images are restored: see the help of `inception2.py restore`."""

    enlarge: bool = False
    ensemble: bool = False
    trust_path: Path | None = None
    allow_large: bool = False
    value_range: tuple[float, float] | None = None
    set_range: tuple[float, float] | None = None  # of the set that the network was trained on
    pages: bool = False
    scale: int | None = None  # that --enlarge enlarges by


def find_images(inputs, out_dir, on_error):
    """Expand files, folders (at any depth) and glob patterns to (path, path below the output folder).

    What lies in the output folder is nobody's input, unless it is named itself. Names that lead nowhere are kept, so
    that each gets its own sentence when it is read; `on_error` gets one for each folder that may not be read.
    """
    found = {}
    for name in map(str, inputs):
        path = Path(name)
        if _is_seen(path.is_dir):
            found |= {p: p.relative_to(path) for p in util.list_images(path, out_dir, on_error)}
        elif not _is_seen(path.exists) and (matches := _glob(path)):
            out = Path(out_dir).resolve()
            found |= {match: Path(match.name) for match in matches if not match.resolve().is_relative_to(out)}
        else:
            found[path] = Path(path.name)
    twice = next((output for output, n in Counter(found.values()).items() if n > 1), None)
    if twice:
        raise util.UserError(f"two of the images would be written as {twice}: restore them to two folders")
    return list(found.items())


def _is_seen(question):
    """Ask Path.exists or Path.is_dir: in a folder that may not be entered nothing is seen, and they raise."""
    try:
        return question()
    except PermissionError:
        return False


def _glob(pattern):
    """Return the sorted files that a pattern means, for shells that leave that to the program.

    A folder that is there is meant itself, whatever brackets its name holds.
    """
    start, parts = Path(pattern.anchor), list(pattern.relative_to(pattern.anchor).parts)
    while parts and _is_seen((start / parts[0]).is_dir):
        start /= parts.pop(0)
    return sorted(p for p in start.glob("/".join(parts)) if _is_seen(p.is_file) and not p.name.startswith("._"))


def restore_files(inputs, out_dir, load, task, options, reach=None, scheduler=None):
    """Restore each image into `out_dir`; one that fails gets its sentence on stderr and the others go on.

    Parameters
    ----------
    inputs : list of files, folders, glob patterns
    out_dir : path
    load : function -> the network, a function of float32 (N, H, W, 3) in 0..1 -> float32 (N, H, W, 3); called once the
        files have been looked for
    task : what the network was trained for, or None: not known
    options : Options
    reach : int, how far the network sees, see blocks.reach_of
    scheduler : str, address of a Dask scheduler whose workers restore the images, see `cluster.outcomes`

    Raises
    ------
    util.UserError
        When an option does not fit, or at the end when any image failed.
    """
    unread = []  # a sentence for each folder
    images = find_images(inputs, out_dir, unread.append)
    if options.enlarge and not options.scale:
        raise util.UserError("--enlarge needs weights of super-resolution, or of pairs whose inputs were all smaller "
                             f"by one factor, and these are for {task or 'no known task'}")
    if options.trust_path and len(images) > 1:
        raise util.UserError(f"--trust takes one image at a time and these are {len(images)}")
    util.check_writable(out_dir)
    there = [(path, name) for path, name in images if _is_seen(path.exists)]
    missing = set(images) - set(there)
    for sentence in [*unread, *(f"{path} does not exist, or its folder may not be entered: check the path"
                                for path, _ in sorted(missing))]:
        util.say(sentence, sys.stderr)
    n_failed = len(missing)
    jobs = [(path, Path(out_dir) / name) for path, name in there]
    if there and scheduler:
        jobs = [tuple(path.absolute() for path in job) for job in jobs]
        if options.trust_path:
            options = replace(options, trust_path=options.trust_path.absolute())
        restore = partial(_restore_there, pickle.dumps((load, reach, task, options)))
    elif there:
        predict = load()
        restore = restorer(predict, blocks.reach_of(predict, reach), task, options)
    for _, sentences, error in cluster.outcomes(restore, jobs, scheduler, out_dir) if there else ():
        if error:
            n_failed += 1
            util.say(util.describe_error(error), sys.stderr)
        for sentence in sentences or ():
            util.say(sentence)
    if n_failed or unread:
        folders = f"{len(unread)} folders could not be read and " if unread else ""
        raise util.UserError(f"{folders}{n_failed} of {len(images)} images could not be restored, see above")


_one_at_a_time = threading.Lock()


def _restore_there(pickled, path, output_path):
    """Restore one file on a worker of a cluster; several threads of it would need the memory several times."""
    with _one_at_a_time:
        return _kept_restorer(pickled)(path, output_path)


@lru_cache(maxsize=1)
def _kept_restorer(pickled):
    load, reach, task, options = pickle.loads(pickled)
    predict = load()
    return restorer(predict, blocks.reach_of(predict, reach), task, options)


def restorer(predict, reach, task, options):
    """Return a function of (path, output path) that restores one file by a network, see `restore_file`.

    Parameters
    ----------
    predict, task, options : see `restore_files`
    reach : function -> int, see blocks.reach_of
    """
    scale = task_of(task).scale if task else None  # by bicubic, in which a pair need not have been made smaller
    return partial(
        restore_file, reach=reach, scale=options.scale if options.enlarge else 1, options=options,
        restore=symmetries.with_symmetries(predict, options.ensemble, options.trust_path is not None, scale),
        warn=partial(guard.warn, task=task, enlarge=options.enlarge, set_range=options.set_range),
    )


def restore_file(path, output_path, restore, reach, scale, options, warn):
    """Restore one file, `scale` times as large.

    Returns sentences: how fast that was with, once, what `warn` has to say of it; then what else there is to say.
    """
    if output_path.exists() and output_path.samefile(path):
        raise util.UserError(f"{path} would be overwritten: choose another --out")
    n_pages = imagefile.count_pages(path) if options.pages else 1
    if n_pages > 1 and options.trust_path:
        raise util.UserError(f"{path} has {n_pages} pages and --trust takes one picture: leave it out")
    began, n_pixels, notes, warnings = time.perf_counter(), 0, {}, []

    def restored(page=None):
        nonlocal n_pixels
        picture = imagefile.read_picture(path, options.allow_large, options.value_range, page)
        if options.value_range is None:
            picture.take_range(options.set_range)
        name = util.terminal_text(path.name if page is None else f"{path.name}, page {page + 1} of {n_pages}")
        bar = partial(tqdm, unit="block", desc=name, dynamic_ncols=True, mininterval=util.bar_interval())
        output, trust = restore_picture(picture, restore, reach, scale, options.trust_path is not None, bar)
        n_pixels += output.pixels.shape[0] * output.pixels.shape[1]
        notes.update(dict.fromkeys(output.notes))
        warnings.append(warn(picture))
        return output, trust

    if n_pages > 1:
        imagefile.write_pages(output_path, (restored(page)[0] for page in range(n_pages)), n_pages)
        size, trust = f"{n_pages} pages", None
    else:
        output, trust = restored()
        imagefile.write_picture(output_path, output)
        size = f"{output.pixels.shape[1]}x{output.pixels.shape[0]}"
    speed = n_pixels / 1e6 / (time.perf_counter() - began)
    warning = next((f": {sentence}" for sentence in warnings if sentence), "")
    sentences = [f"{path} -> {output_path} ({size}, {speed:.2f} megapixels a second){warning}"]
    sentences += [f"{path}: {note}" for note in notes]
    if trust is not None:
        save_trust(options.trust_path, trust)
        sentences.append(f"written: {options.trust_path}")
    return sentences


def save_trust(path, trust):
    """Write the map (H, W) in gray levels: a .npy file as it is, any other suffix as a picture with a colour bar."""
    path = Path(path)
    if path.suffix.lower() == ".npy":
        with util.replacing(path) as temporary:
            np.save(temporary, trust)
        return
    from matplotlib.figure import Figure

    step = -(-max(trust.shape) // 2000)  # a picture to look at, not to compute with
    figure = Figure(figsize=(7, 1 + 5.5 * trust.shape[0] / trust.shape[1]), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(trust[::step, ::step], cmap="magma", vmin=0, vmax=max(np.percentile(trust, 99.5), 1e-3))
    axes.set_axis_off()
    figure.colorbar(drawn, label="uncertainty in gray levels of 0..255: bright pixels are to be doubted", shrink=0.9)
    with util.replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
