"""How an input is made from its target: the only place that says so, and the only one that resizes.

A task is a chain of steps joined by `+`, in the order in which a camera applies them; its name is that chain:

    sr_x4                                   shrunk by 4 and enlarged again
    blur_s1.6+sr_x4+noise_s5+jpeg_q75       an optical blur, a small sensor, its noise, its file
    noise_s0..100                           a range is drawn from anew for each input

Images are arrays (H, W, C) of any real type, C = 1 or 3; an output has the size and the type of its target. After
`sr_x4` the later steps act on the small image; at the end it is enlarged to the target's size.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

import util

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
DEFAULT_TASKS = ("sr_x4", "sr_x8", "noise_s64")
PAIRS = "pairs"  # the task of a user's own pairs, whose inputs nobody here can make


def resize(image, height, width, resample=BICUBIC):
    """Resize by one of Pillow's anti-aliased filters; its bicubic one (a = -0.5) is MATLAB's within 0.02 dB.

    Parameters
    ----------
    image : array (H, W, C), uint8 or any other real type

    Returns
    -------
    array (height, width, C) of the same type; integers are rounded and clipped to what the type can hold
    """
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize((width, height), resample))
    exact = image.dtype if image.dtype == np.uint8 else np.float32
    channels = [Image.fromarray(np.ascontiguousarray(channel, exact)) for channel in np.moveaxis(image, -1, 0)]
    return _like(image, np.stack([channel.resize((width, height), resample) for channel in channels], axis=-1))


def downscale(image, scale):
    """Shrink by an integer factor, bicubic; sides that are not multiples of it are first mirrored up to one."""
    missing = [(0, -side % scale) for side in image.shape[:2]]
    if any(after for _, after in missing):
        image = np.pad(image, (*missing, (0, 0)), "symmetric")
    height, width = image.shape[:2]
    return resize(image, height // scale, width // scale)


def pick(image, scale, rng):
    """Shrink (H, W, C) by an integer factor without averaging: of each square one pixel beside its middle is kept.

    Which one of those that are as near is drawn from `rng`, for all squares alike. The output has the size and the type
    of `downscale`'s.
    """
    y, x = (scale - 1) // 2 + rng.integers(0, 2 - scale % 2, 2)
    height, width = (-(-side // scale) for side in image.shape[:2])
    padded = np.pad(image, [(0, -side % scale) for side in image.shape[:2]] + [(0, 0)], "symmetric")
    return np.ascontiguousarray(padded[y::scale, x::scale][:height, :width])


def upscale(image, scale, resample=BICUBIC):
    """Enlarge by an integer factor, bicubic unless another Pillow filter is given."""
    height, width = image.shape[:2]
    return resize(image, height * scale, width * scale, resample)


def add_noise(image, sigma, rng, low=0, high=255):
    """Add N(0, sigma) to every pixel and channel; clip to low..high, round integers."""
    return _like(image, np.clip(image + rng.normal(0, sigma, image.shape), low, high))


def add_photon_noise(image, photons, rng, low=0, high=255):
    """Count photons: Poisson noise where `photons` of them make the value `high` and none the value `low`."""
    expected = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1) * photons
    return _like(image, np.clip(rng.poisson(expected) / photons * (high - low) + low, low, high))


def blur(image, sigma, radius=None):
    """Blur each channel with a Gaussian, edges mirrored; the kernel ends at 4 sigma, or at `radius` pixels."""
    from skimage.filters import gaussian  # a second that most commands need not wait for

    if not sigma:
        return image
    truncate = 4.0 if radius is None else radius / sigma
    values = image.astype(np.float64)
    return _like(image, gaussian(values, sigma, mode="mirror", truncate=truncate, channel_axis=-1, preserve_range=True))


def defocus(image, radius):
    """Blur each channel with a disc, the image of a point that is out of focus, edges mirrored."""
    from scipy.ndimage import convolve

    if not radius:
        return image
    return _like(image, convolve(image.astype(np.float64), disc(radius)[..., None], mode="mirror"))


def disc(radius, finer=16):
    """Return the point spread of a disc of `radius` pixels (above 0), float64 (n, n), n odd, sum 1.

    A pixel at the rim weighs what part of it lies inside, to 1 in `finer` ** 2.
    """
    half = int(np.ceil(radius - 0.5)) if radius > 0.5 else 0
    places = (np.arange((2 * half + 1) * finer) + 0.5) / finer - half - 0.5
    inside = places[:, None] ** 2 + places**2 <= radius**2
    weights = inside.reshape(2 * half + 1, finer, 2 * half + 1, finer).mean(axis=(1, 3))
    return weights / weights.sum()


def to_luma(image):
    """Replace the channels by the luma, ITU-R BT.601 full range: the three channels become equal."""
    luma = image @ np.array([0.299, 0.587, 0.114]) if image.shape[2] == 3 else image[..., 0]
    return np.repeat(_like(image, luma)[..., None], image.shape[2], axis=-1)


def compress(image, quality):
    """Write as JPEG of that quality, colours at half the sides, and read again; for uint8 only (`UserError`)."""
    if image.dtype != np.uint8:
        raise util.UserError(f"jpeg is for 8-bit images, and these are {image.dtype}: leave it out of --tasks")
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file)).reshape(image.shape)


def _like(image, values):
    """Give computed values the type of `image`: rounded and clipped for integers."""
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(image.dtype)


@dataclass(frozen=True)
class Kind:
    """One kind of step: how it is written, which numbers it takes, what it does."""

    form: str  # its name with {} for the number
    help: str
    limits: tuple  # the smallest and the largest number
    apply: Callable | None  # (image, number, rng, low, high) -> image; None: sr and what comes after it
    whole: bool = False  # whole numbers only
    ranges: bool = True


KINDS = {
    "blur": Kind("blur_s{}", "Gaussian point spread, sigma in pixels", (0, 20), lambda image, s, *_: blur(image, s)),
    "defocus": Kind("defocus_r{}", "disc point spread, radius in pixels", (0, 50),
                    lambda image, r, *_: defocus(image, r)),
    "sr": Kind("sr_x{}", "shrunk by a whole factor, enlarged again at the end (bicubic)", (2, 8), None, True, False),
    "noise": Kind("noise_s{}", "Gaussian noise, sigma in gray levels of 0..255 (other sets: in their own units)",
                  (0, 1e6), add_noise),
    "poisson": Kind("poisson_p{}", "photon noise, photons at the top of the range", (0.1, 1e9), add_photon_noise),
    "jpeg": Kind("jpeg_q{}", "JPEG of a quality, 8-bit sets only", (1, 100),
                 lambda image, q, *_: compress(image, q), True),
}
LUMA = "gray"  # the step without a number
NUMBER = r"\d+(?:\.\d+)?"
# Two names that are older than the language: a 5x5 blur (sigma 1.1 = 0.3 * ((5 - 1) / 2 - 1) + 0.8, the usual choice
# for this size) after the noise, and noise after the enlargement.
OLD = {
    "noise_s64_blur": (("noise", 64, 64), ("blur5", 1.1, 1.1)),
    "sr_x4_noise_s64": (("sr", 4, 4), ("enlarge", 1, 1), ("noise", 64, 64)),
}
EXAMPLES = ("sr_x4", "sr_x8", "noise_s64", *OLD, LUMA, "defocus_r3", "blur_s0.5..2+sr_x4+noise_s0..10+jpeg_q50..95")


@dataclass(frozen=True)
class Task:
    """A degradation: its name and its steps, tuples (kind, smallest, largest number); see `task_of`."""

    name: str
    steps: tuple

    @property
    def scale(self):
        """The factor of a super-resolution task, or None."""
        return next((low for kind, low, _ in self.steps if kind == "sr"), None)

    @property
    def sigma(self):
        """The standard deviation of the Gaussian noise, a float, or None where there is none or a range of it."""
        return next((float(low) for kind, low, high in self.steps if kind == "noise" and low == high), None)

    @property
    def is_noisy(self):
        """Whether noise is part of it."""
        return any(kind in ("noise", "poisson") for kind, *_ in self.steps)

    @property
    def is_noisy_at_full_size(self):
        """Whether there is noise at the size of the target, not only on a small image."""
        small = False
        for kind, *_ in self.steps:
            small = kind == "sr" or (small and kind != "enlarge")
            if kind in ("noise", "poisson") and not small:
                return True
        return False

    @property
    def is_pairs(self):
        """Whether the inputs were given together with their targets."""
        return self.name == PAIRS

    @property
    def is_random(self):
        """Whether two inputs made of one target differ."""
        return self.is_noisy or any(low != high for _, low, high in self.steps)

    def covers(self, other):
        """Whether a network for this task has seen another one too: the same steps, in ranges that hold its numbers."""
        return [kind for kind, *_ in self.steps] == [kind for kind, *_ in other.steps] and all(
            low <= least and most <= high
            for (_, low, high), (_, least, most) in zip(self.steps, other.steps, strict=True)
        )

    @property
    def is_luma(self):
        """Whether colours are taken away, so that the channels may not be permuted."""
        return any(kind == LUMA for kind, *_ in self.steps)


@lru_cache
def task_of(name):
    """Read the name of a task.

    Parameters
    ----------
    name : str, steps joined by `+`: those of `KINDS` with a number or a range `a..b`, and `gray`; or `PAIRS`

    Returns
    -------
    Task

    Raises
    ------
    util.UserError
        When the name is not one, or a number is out of its limits.
    """
    if name in OLD:
        return Task(name, OLD[name])
    if name == PAIRS:
        return Task(name, ())
    steps = tuple(_read_step(part, name) for part in name.split("+"))
    if sum(kind == "sr" for kind, *_ in steps) > 1:
        raise util.UserError(f"the task {name} shrinks twice: write one sr_x step")
    return Task(name, steps)


def _read_step(text, name):
    if text == LUMA:
        return LUMA, 0, 0
    for kind, rule in KINDS.items():
        before = rule.form.removesuffix("{}")
        number = re.fullmatch(f"{re.escape(before)}({NUMBER})(?:\\.\\.({NUMBER}))?", text)
        if not number:
            continue
        low, high = (float(part) for part in (number[1], number[2] or number[1]))
        least, most = rule.limits
        if not least <= low <= high <= most or (number[2] and (low == high or not rule.ranges)):
            ranges = " or a range a..b of them" if rule.ranges else ""
            raise util.UserError(f"{text} in the task {name} is out of its limits: {before} takes numbers from "
                                 f"{least:g} to {most:g}{ranges}")
        if rule.whole and (low % 1 or high % 1):
            raise util.UserError(f"{text} in the task {name} needs whole numbers")
        written = rule.form.format("..".join(f"{value:.15g}" for value in ((low, high) if number[2] else (low,))))
        if written != text:  # one degradation has one name, and so one folder
            raise util.UserError(f"{text} in the task {name} has a shorter form: write {written}")
        return (kind, int(low), int(high)) if rule.whole else (kind, low, high)
    forms = " ".join([rule.form.format("N") for rule in KINDS.values()] + [LUMA])
    raise util.UserError(f"{text!r} is not a step of a task: join these with +, N a number or a range a..b: {forms}")


def degrade(target, task, rng, low=0, high=255, power=1, picked=0):
    """Make the network's input from its target.

    Parameters
    ----------
    target : array (H, W, C), uint8 in 0..255 or another real type in about low..high
    task : str, the name of a task, see `task_of`
    rng : numpy.random.Generator, drawn from only by random steps
    low, high : float, the range to which noise is clipped
    power : float >= 1, of the uniform number by which a range of noise is drawn: more than 1 for weak noise more often
    picked : float in 0..1, how often `pick` shrinks instead of `downscale`

    Returns
    -------
    array (H, W, C) of the type of `target`

    Raises
    ------
    ValueError
        For the task of pairs.
    """
    if task_of(task).is_pairs:
        raise ValueError("nobody knows how the inputs of pairs were made")
    height, width = target.shape[:2]
    image, scale = target, 1
    for kind, smallest, largest in task_of(task).steps:
        if kind == "sr":
            is_picked = picked and rng.random() < picked
            image, scale = pick(image, smallest, rng) if is_picked else downscale(image, smallest), smallest
        elif kind == "enlarge":
            image, scale = _enlarged(image, scale, height, width), 1
        elif kind == "blur5":
            image = blur(image, smallest, radius=2)
        elif kind == LUMA:
            image = to_luma(image)
        else:
            image = KINDS[kind].apply(image, _draw(kind, smallest, largest, rng, power), rng, low, high)
    return _enlarged(image, scale, height, width)


def _draw(kind, smallest, largest, rng, power):
    if smallest == largest:
        return smallest
    if kind == "noise" and power != 1:
        return smallest + (largest - smallest) * rng.random() ** power
    return rng.integers(smallest, largest + 1) if KINDS[kind].whole else rng.uniform(smallest, largest)


def _enlarged(image, scale, height, width):
    return image if scale == 1 else upscale(image, scale)[:height, :width]
