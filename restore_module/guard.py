"""Does an image look like those that a network was trained for? Its noise and its sharpness, from its middle.

`python3 -m wi2_paper.mismatch` measures how often this is right, and what a network does to an image that differs. The
bounds for the noise of flat places were chosen on other images, those of its `--choosing`; those for sharpness and for
noise in colours on images of the sets that it measures.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from download_module import imagefile
from download_module.degrade import downscale, task_of, upscale
from inception2_module.scores import DATA_RANGE

SMALLEST, LARGEST = 32, 1024  # sides, in pixels, of what is looked at: fewer say nothing, more say nothing new
LEVEL = 1 / DATA_RANGE
LITTLE, MUCH = 0.65, 1.4  # parts of the noise of the training from and up to which noise is like it
NOISE = 3.5 * LEVEL  # less than this does no harm that would be worth a word
TEXTURE = 8 * LEVEL  # what the texture of sharp gray images passes for; colours part it from noise
MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6  # of white noise it keeps the deviation
# Of the noise in flat places: their part of the image, the side in which they are looked for, in pixels, and the energy
# of texture at most, in parts of that at half the size.
FLATTEST, WINDOW, FINE = 0.3, 5, 2.8
FLAT_NOISE = 4.5 * LEVEL  # more than what is left of the texture of images that were shrunk by averaging
DETAIL = LEVEL**2 / 2  # coarse detail, mean square: below it nothing is said of the fine
ROUNDING = LEVEL**2 / 12  # mean square of what rounding to 8 bits adds
# Fine detail in parts of the coarse (see `sharpness`): at most, of an image that was enlarged, by any usual filter; at
# most, of one that was blurred; at least, of a small one that is worth enlarging.
STILL_ENLARGED, STILL_BLURRED, STILL_SMALL = 0.33, 0.2, 0.25
IN_FOCUS = 64  # pixels: smaller images may well show nothing that is in focus
HARDLY_CLIPPED = 8 * LEVEL
MARGIN = 8  # pixels at the edge of the middle that filters do not see whole
UNSEEN = 0.1  # part of the middle that may be holes or transparent
STRONG_BLUR = {"blur": 1, "defocus": 2}  # from here on nothing is left at half the frequencies


@dataclass(frozen=True)
class Mismatch:
    """What is wrong with an image for a network.

    Attributes
    ----------
    kind : "little noise", "much noise", "sharp" or "enlarged"
    noise : float, the standard deviation estimated, in parts of the range
    trained : float, that of the training nearest to it
    """

    kind: str
    noise: float = 0.0
    trained: float = 0.0

    @property
    def consequence(self):
        """What is to be expected: "harm", "lost detail" or "some of it to stay"."""
        if self.kind == "much noise" and self.trained:
            return "some of it to stay"
        return "lost detail" if self.noise > self.trained / 3 and self.trained else "harm"


def warn(picture, task, enlarge, set_range=None):
    """Return a sentence about a picture that is far from what a network was trained for, or None.

    Parameters
    ----------
    picture : imagefile.Picture, of which the first plane is looked at
    task : str, what the network was trained for, see `download_module.degrade.task_of`; None: not known
    enlarge : bool, whether it is to be enlarged first
    set_range : (low, high) of the set that the network was trained on, None for 8 bits
    """
    found = judge(picture, task, enlarge, set_range)
    if found is None:
        return None
    task = task_of(task)
    if found.kind.endswith("noise"):
        is_8_bit = picture.pixels.dtype == np.uint8
        noise, trained = (f"{value * DATA_RANGE:.0f}" if is_8_bit else f"{value:.0%} of the range"
                          for value in (found.noise, found.trained))
        of = trained if found.trained else "none"
        return f"noise of about {noise} is estimated, the network was trained for {of}: expect {found.consequence}"
    if found.kind == "enlarged":
        return f"nothing finer than {task.scale} pixels is seen: if it has been enlarged already, leave out --enlarge"
    if task.scale:
        return (f"it is sharp, and the network was trained for images that were enlarged by {task.scale}: expect harm, "
                "--enlarge is for small images")
    return "it is sharp, and the network was trained for blurred images: expect harm"


def judge(picture, task, enlarge, set_range=None):
    """Return the Mismatch of a picture and a network, or None: parameters as for `warn`."""
    if task is None or task_of(task).is_pairs:  # nothing is known of what it was trained for
        return None
    task = task_of(task)
    image = middle(picture, task.scale or 1)
    if image is None:
        return None
    return find(image, task, enlarge, set_range[1] - set_range[0] if set_range else DATA_RANGE)


def find(image, task, enlarge=False, unit=DATA_RANGE):
    """Compare the noise and the sharpness of an image with those of a task.

    Parameters
    ----------
    image : float array (H, W, 3), 0..1; gray as three equal channels
    task : degrade.Task
    enlarge : bool, whether the image is one that is to be enlarged first
    unit : float, the range of the set that the network was trained on, in the units of the sigma of its noise

    Returns
    -------
    Mismatch or None. Where an image has sides below `SMALLEST`, nothing is found.
    """
    if min(image.shape[:2]) < SMALLEST:
        return None
    low, trained = image, _trained_noise(task)
    if task.scale and not enlarge and not task.is_noisy_at_full_size:
        # Of an image that was enlarged, the pixels beside the low-resolution ones, which hardly differ from these.
        low = image[task.scale // 2 :: task.scale, task.scale // 2 :: task.scale]
    if min(low.shape[:2]) < SMALLEST // 2:
        trained = None
    if trained is not None:
        least, most = (sigma / unit for sigma in trained)
        colour, gray = noise_of(low)
        noise = colour if colour > gray / 2 else gray
        if gray < LITTLE * least - NOISE:
            return Mismatch("little noise", noise, least)
        if max(colour, gray - TEXTURE) > MUCH * most + NOISE:
            return Mismatch("much noise", noise, most)
    if not task.is_noisy_at_full_size and (blur := _find_blur(image, task, enlarge)):
        return blur
    # Last, for pixels that were never averaged, of a sharp image, differ as if by noise.
    if trained is not None and (flat := flat_noise_of(low)) > MUCH * most + FLAT_NOISE:
        return Mismatch("much noise", flat, most)
    return None


def _find_blur(image, task, enlarge):
    blurs = {kind: (least, most) for kind, least, most in task.steps if kind in STRONG_BLUR}
    if task.scale is None:
        is_blurred = any(least >= STRONG_BLUR[kind] for kind, (least, _) in blurs.items())
        if is_blurred and sharpness(image, 2) > STILL_BLURRED:
            return Mismatch("sharp")
    elif not enlarge:
        if sharpness(image, task.scale) > STILL_ENLARGED:
            return Mismatch("sharp")
    elif (min(image.shape[:2]) >= IN_FOCUS and all(most <= task.scale / 2 for _, most in blurs.values())
          and sharpness(image, task.scale) < STILL_SMALL):
        return Mismatch("enlarged")
    return None


def _trained_noise(task):
    """The least and the most noise that a task leaves at the size where it is added; None where that is not known."""
    least = most = 0
    for kind, low, high in task.steps:
        if kind == "poisson":
            return None
        if kind == "noise":
            least, most = low, max(most, high)
        elif kind != "enlarge":  # whatever comes later leaves less of it
            least = 0
    return least, most


def noise_of(image):
    """Estimate the noise of an image.

    Parameters
    ----------
    image : float array (H, W, 3), 0..1

    Returns
    -------
    colour, gray : float, standard deviations in parts of the range. `colour` is that of the differences of channels,
        in which there is hardly any texture, but no noise either that all channels share. `gray` is that of each
        channel, texture included.

    References
    ----------
    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994: the median of the
    finest wavelet coefficients, as `skimage.restoration.estimate_sigma` takes it. What clipping takes away is undone.
    """
    differences = (image[..., [0, 2]] - image[..., [1]]) / np.sqrt(2)
    means = downscale(np.clip(image, 0, 1).astype(np.float32), MARGIN)
    return tuple(_unclipped(_estimate(planes), means) for planes in (differences, image))


def _estimate(planes):
    from skimage.restoration import estimate_sigma  # a second that most commands need not wait for

    with warnings.catch_warnings(action="ignore"):  # of a plane without any detail
        return float(np.nan_to_num(estimate_sigma(planes, channel_axis=-1, average_sigmas=True)))


def flat_noise_of(image):
    """Estimate the noise that all channels of an image share, from two sizes of detail in its flattest places.

    At half the size noise has a quarter of its energy, and texture about as much as at full size: so the one is told
    from the other, also in gray. It is too little, or 0, where there are no flat places or noise was clipped.

    Parameters
    ----------
    image : float array (H, W, 3), 0..1

    Returns
    -------
    float, a standard deviation in parts of the range

    References
    ----------
    The mask is that of Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64(2),
    1996.
    """
    from scipy.ndimage import convolve, uniform_filter

    gray = image.mean(-1, dtype=np.float64)
    edge, wide = WINDOW // 2 + 1, np.zeros((5, 5))
    wide[::2, ::2] = MASK
    halves = uniform_filter(gray, 2, origin=-1)
    fine, coarse, apart = (
        uniform_filter(convolve(image, mask) ** 2, WINDOW)[edge:-edge, edge:-edge]
        for image, mask in ((gray, MASK), (halves, wide), (gray, wide))
    )
    places = coarse <= np.quantile(coarse, FLATTEST)
    noise = np.median(fine[places] - FINE * coarse[places]) / (1 - FINE / 4)
    return float(np.sqrt(max(min(noise, apart.mean()), 0)))  # apart: a pattern of every second pixel has none of it


def _unclipped(sigma, means):
    """The noise that, clipped to 0..1 where the means after it are these, has a deviation of sigma."""
    if sigma < HARDLY_CLIPPED:
        return sigma
    sigmas, clipped_means, clipped = _clipping()
    left = [np.interp(means.ravel(), mean, deviation).mean()
            for mean, deviation in zip(clipped_means, clipped, strict=True)]
    return float(np.interp(sigma, left, sigmas))


@lru_cache(maxsize=1)
def _clipping():
    """Sigmas and, for each, what clipping to 0..1 makes of noise around means of 0..1: means and deviations."""
    from scipy.stats import norm

    sigmas, places = np.linspace(0, 0.7, 71), np.linspace(-1, 2, 97)[:, None]
    drawn = norm.ppf((np.arange(200) + 0.5) / 200)
    noisy = np.clip(places + sigmas[:, None, None] * drawn, 0, 1)
    return sigmas, noisy.mean(-1), noisy.std(-1)


def sharpness(image, scale):
    """Return the detail finer than `scale` pixels in parts of that of `scale` to twice as many; nan where it has none.

    An image that was enlarged by `scale` has hardly any of it, one of a camera about as much.
    """
    gray = image.mean(-1, keepdims=True, dtype=np.float32)
    height, width = (side // (2 * scale) * 2 * scale for side in gray.shape[:2])
    gray = gray[:height, :width]
    once, twice = (upscale(downscale(gray, s), s) for s in (scale, 2 * scale))
    inner = slice(MARGIN, -MARGIN)
    with np.errstate(over="ignore", invalid="ignore"):  # a hot pixel of 1e30 makes it nan
        fine, coarse = (np.square(a - b)[inner, inner].mean() for a, b in ((gray, once), (once, twice)))
        return max(fine - ROUNDING, 0) / coarse if coarse > DETAIL else np.nan


def middle(picture, step=1):
    """The middle of a picture as a network sees it, float32 (h, w, 3); None where too little of it is seen.

    It begins at multiples of `step`, where the blocks of an enlarged image begin.
    """
    slices = []
    for side in picture.pixels.shape[:2]:
        length = min(side, LARGEST)
        start = (side - length) // 2 // step * step
        slices.append(slice(start, start + length))
    unseen = [*([] if picture.hidden is None else [picture.hidden[tuple(slices)]]),
              *([] if picture.holes is None else [picture.holes[tuple(slices)].any(-1)])]
    if any(mask.mean() > UNSEEN for mask in unseen):
        return None
    return imagefile.planes(picture)[0].read(*slices)
