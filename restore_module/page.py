"""What the page does: look at an uploaded image, propose a network, restore it. app.py lays it out; no Gradio in here.

What restores is the code of the command line, see files.py; here is what a visitor may ask of it, and what is shown.
Image files are read by one thread at a time: while a reader decodes the blocks of a TIFF file, Pillow's limit against
decompression bombs is lifted for the whole process.
"""

import shutil
import tempfile
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import util
from download_module import imagefile
from download_module.degrade import task_of, upscale
from inception2_module import networkfile
from inception2_module.networkfile import scale_of
from inception2_module.scores import DATA_RANGE, Kind
from restore_module import arrays, files, guard

LARGEST_FILE = 100_000_000  # bytes
LARGEST_RESULT = 25_000_000  # pixels: a minute or so on two cores, ten with the trust map
LARGEST_VIEW = 3000  # pixels, the longer side of what is shown
USUAL_SCALE = 4  # that of the tables


def limits():
    return {"megabytes": LARGEST_FILE // 10**6, "megapixels": LARGEST_RESULT // 10**6}


def networks():
    """Return what is known of the networks that can be chosen: {name: dict}, weights/ first, then ended trainings."""
    names = [*sorted(card.stem for card in networkfile.WEIGHTS.glob("*.json")),
             *sorted(path.parent.name for path in networkfile.RUNS.glob("*/model.keras"))]
    known = {}
    for name in dict.fromkeys(names):
        with suppress(util.UserError):  # one that is damaged cannot be chosen
            known[name] = networkfile.find_weights(name)[1]
    return known


def is_own(name):
    """Whether a network is a training of runs/, none of weights/."""
    return not (networkfile.WEIGHTS / f"{name}.json").exists()


def describe(name, known, texts):
    """Return the line of a network in the list."""
    steps = task_of(known["task"]).steps if known.get("task") else ()
    done = [texts["does_pairs"]] if known.get("task") and task_of(known["task"]).is_pairs else []
    for kind, low, high in steps:
        if kind == "sr":
            done.append(texts["enlarges"].format(scale=low))
        elif kind == "noise":
            done.append(texts["denoises"].format(noise=f"{low:g}" if low == high else f"{low:g}–{high:g}"))
        elif kind in guard.STRONG_BLUR:
            done.append(texts["deblurs"])
    about = ([texts["own_run"]] if is_own(name) else []) + done
    return f"{name} · {', '.join(about)}" if about else name


@contextmanager
def copied(upload, texts):
    """Yield the path of a copy of an uploaded file, in a folder and of a name that no visitor chose; then remove it.

    Raises `util.UserError` for a file of another type, one that is too large, or that is there no more.
    """
    suffix = Path(upload).suffix.lower()
    if suffix not in util.IMAGE_SUFFIXES:
        raise util.UserError(texts["wrong_type"].format(suffixes=" ".join(sorted(util.IMAGE_SUFFIXES))))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"image{suffix}"
        try:
            if Path(upload).stat().st_size > LARGEST_FILE:
                raise util.UserError(texts["too_many_bytes"].format(**limits()))
            shutil.copyfile(upload, path)
        except FileNotFoundError as error:
            raise util.UserError(texts["gone"]) from error
        yield path


def read(path, texts, scale=1):
    """Read a picture that is to be restored `scale` times as large: imagefile.Picture, or `util.UserError`."""
    n_pages = imagefile.count_pages(path)
    if n_pages > 1:
        raise util.UserError(texts["several_pages"].format(pages=n_pages))
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, LARGEST_RESULT // 2  # Pillow refuses twice as much
    try:
        picture = imagefile.read_picture(path)
    except util.ImageError as error:
        if error.reason == "larger than is safe to decode":
            raise util.UserError(texts["too_large"].format(**limits())) from error
        raise _without_path(error, path, texts) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if picture.pixels.shape[0] * picture.pixels.shape[1] * scale**2 > LARGEST_RESULT:
        raise util.UserError(texts["too_large"].format(**limits()))
    return picture


def propose(picture):
    """Choose a network of weights/ for a picture, by its noise and its sharpness.

    Where it seems to have been enlarged, that of the largest scale which it seems to have been enlarged by; else, where
    noise is seen, one that takes it away; else one that enlarges. Each only if it was trained for the like.

    Returns
    -------
    (name, whether to enlarge), or None where none suits
    """
    cards = {name: known for name, known in networks().items() if not is_own(name)}
    tasks = {name: task_of(known["task"]) for name, known in cards.items()}
    # More tiles have shown it more of the world; of two that saw as many, the one with fewer steps does less besides.
    names = sorted(tasks, key=lambda name: (-cards[name]["n_train"], len(tasks[name].steps)))
    scales = {name: tasks[name].scale for name in names if tasks[name].scale}
    n_pixels, image = picture.pixels.shape[0] * picture.pixels.shape[1], guard.middle(picture)
    tried = []
    if image is not None and min(image.shape[:2]) >= guard.IN_FOCUS:
        tried += [(name, False) for name in sorted(scales, key=lambda name: -scales[name])
                  if guard.sharpness(image, scales[name]) <= guard.STILL_ENLARGED]
    noise, is_sure = noise_of(picture) or (0, False)
    if is_sure and noise > guard.NOISE:
        tried += [(name, False) for name in names if tasks[name].is_noisy and name not in scales]
    tried += [(name, True) for name in sorted(scales, key=lambda name: abs(scales[name] - USUAL_SCALE))
              if n_pixels * scales[name] ** 2 <= LARGEST_RESULT]
    return next(((name, enlarge) for name, enlarge in tried
                 if guard.judge(picture, cards[name]["task"], enlarge, cards[name].get("range")) is None), None)


def noise_of(picture):
    """Estimate the noise: (part of the range, whether that is noise and no texture); None where too little is seen."""
    image = guard.middle(picture)
    if image is None or min(image.shape[:2]) < guard.SMALLEST:
        return None
    colour, gray = guard.noise_of(image)
    if colour > gray / 2:
        return colour, True
    return gray, gray > guard.TEXTURE + guard.NOISE


def describe_noise(picture, texts):
    """Return a sentence about the noise of a picture."""
    found = noise_of(picture)
    if found is None:
        return texts["noise_unknown"]
    noise, is_sure = found
    return texts["noise_about" if is_sure else "noise_at_most"].format(noise=_amount(noise, picture, texts))


def _amount(noise, picture, texts):
    if picture.pixels.dtype == np.uint8:
        return texts["gray_levels"].format(levels=f"{noise * DATA_RANGE:.0f}")
    return texts["of_range"].format(percent=f"{noise:.0%}")


def warn(picture, known, enlarge, texts):
    """Return a sentence about a picture that is unlike those that a network was trained for, or None."""
    found = guard.judge(picture, known.get("task"), enlarge, known.get("range"))
    if found is None:
        return None
    scale = scale_of(known)
    if found.kind.endswith("noise"):
        key = "unsuited_noise" if found.trained else "unsuited_noise_free"
        return texts[key].format(trained=_amount(found.trained, picture, texts), consequence=texts[found.consequence])
    if found.kind == "enlarged":
        return texts["unsuited_enlarged"].format(scale=scale)
    return texts["unsuited_large" if scale else "unsuited_sharp"].format(scale=scale)


def restore(upload, name, enlarge, with_trust, strength, texts, out_dir):
    """Restore an uploaded file as the command line does, or less strongly.

    Parameters
    ----------
    upload : path of the file
    name : str, one of `networks()`
    enlarge : bool, heeded by networks of super-resolution only
    with_trust : bool, whether a map of how uncertain each pixel is is drawn too
    strength : float in 0..1, how much of what the network changes is taken; 1 for the result of the command line
    texts : dict, see page_texts.py
    out_dir : path of a folder for the results

    Returns
    -------
    restored : path of a file of the same type
    trust : path of a picture, or None
    before, after : imagefile.Picture, the former not enlarged

    Raises
    ------
    util.UserError
        A sentence in the language of `texts`; in English where it comes from the reader of the file.
    """
    known = networks().get(name)
    if known is None:
        raise util.UserError(texts["no_network"])
    scale = scale_of(known)
    trust_path = Path(out_dir) / "trust.png" if with_trust else None
    options = files.Options(enlarge=bool(enlarge and scale), trust_path=trust_path, set_range=known.get("range"),
                            scale=scale)
    with copied(upload, texts) as path:
        before = read(path, texts, scale if options.enlarge else 1)
        output_path = Path(out_dir) / f"restored{path.suffix}"
        predict, reach = arrays.network(name)
        if strength < 1:
            predict = partial(weakened, predict, strength)
        restore_file = files.restorer(predict, reach, known.get("task"), options)
        try:
            restore_file(path, output_path)
        except util.UserError as error:
            raise _without_path(error, path, texts) from error
    return output_path, trust_path, before, imagefile.read_picture(output_path)


def weakened(predict, strength, images):
    """Take a part of what a network changes: images float32 (N, H, W, C), of the size that it returns."""
    return images + np.float32(strength) * (predict(images) - images)


def _without_path(error, path, texts):
    """The error without the path of the copy, which means nothing to a visitor."""
    start, path_said, reason = str(error).partition(f"{path} ")
    return util.UserError(texts["unusable"].format(reason=reason)) if path_said and not start else error


def views(*pictures):
    """Return what is shown of pictures of one scene, all of the size of the last: uint8 (H, W, 3) each, and a divisor.

    8 bits are shown as they are. Of deeper values black and white are those between which 96 % of the first picture
    lie, as in all pictures of this project. Sides beyond `LARGEST_VIEW` are divided by the number that is returned.
    """
    shown = [_colours(picture) for picture in pictures]
    kind = Kind(str(shown[0].dtype), shown[0].shape[2], *_ends(shown[0]))
    shown = [kind.view(values[None], shown[0][None])[0] for values in shown]
    height, width = shown[-1].shape[:2]
    shown = [image if image.shape[0] == height else upscale(image, height // image.shape[0]) for image in shown]
    step = -(-max(height, width) // LARGEST_VIEW)
    return [np.asarray(Image.fromarray(image).reduce(step)) for image in shown], step


def is_stretched(picture):
    """Whether a picture is shown with another contrast than it has."""
    return picture.pixels.dtype != np.uint8


def _colours(picture):
    """The values (H, W, 1 or 3) that are shown of a picture: of one with further channels the first."""
    try:
        return imagefile.to_cut(picture)[0]
    except util.ImageError:
        return picture.pixels[..., :3 if picture.n_colours == 3 else 1]


def _ends(values):
    if values.dtype == np.uint8:
        return 0.0, float(DATA_RANGE)
    low, high = float(values.min()), float(values.max())
    return low, max(high, np.nextafter(low, np.inf))
