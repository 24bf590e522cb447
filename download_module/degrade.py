"""The named degradations, pure functions on arrays: the only place that says how an input is made.

All functions take and return uint8 arrays (H, W, C) in 0..255. The input of a network always has the size of
its target: a super-resolution input has been enlarged again with the same bicubic filter.
"""

import numpy as np
from PIL import Image
from skimage.filters import gaussian

SIGMA = 64  # of the noise, in gray levels
BLUR_SIGMA = 1.1  # of the 5x5 Gaussian: 0.3 * ((5 - 1) / 2 - 1) + 0.8, the usual choice for this size


def downscale(image, scale):
    """Shrink by an integer factor with the anti-aliased bicubic filter (a = -0.5).

    Pillow's BICUBIC equals MATLAB's imresize within 0.02 dB of a round trip. Raises ValueError unless
    height and width are multiples of `scale`: a fractional factor would shift the pixels.
    """
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"{width}x{height} is not a multiple of the scale {scale}")
    return _resize(image, height // scale, width // scale, Image.Resampling.BICUBIC)


def upscale(image, scale, resample=Image.Resampling.BICUBIC):
    """Enlarge by an integer factor, bicubic (a = -0.5) unless another Pillow filter is given."""
    height, width = image.shape[:2]
    return _resize(image, height * scale, width * scale, resample)


def add_noise(image, rng, sigma=SIGMA):
    """Add N(0, sigma) to every pixel and channel, round, clip to 0..255."""
    noisy = image + rng.normal(0, sigma, image.shape)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def blur(image):
    """Blur each channel with a 5x5 Gaussian (sigma 1.1), edges mirrored."""
    radius = 2
    blurred = gaussian(
        image.astype(np.float64), BLUR_SIGMA, mode="mirror", truncate=radius / BLUR_SIGMA, channel_axis=-1,
        preserve_range=True,
    )  # fmt: skip
    return np.rint(blurred).astype(np.uint8)


def to_luma(image):
    """Replace the channels by the luma, ITU-R BT.601 full range: the three channels become equal."""
    luma = np.rint(image @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(luma.astype(np.uint8)[..., None], 3, axis=-1)


def scale_of(task):
    """Return the factor of a super-resolution task, or None for a task without one."""
    return {"sr_x4": 4, "sr_x8": 8, "sr_x4_noise_s64": 4}.get(task)


def is_noisy(task):
    """Return whether noise is part of a task."""
    return task in ("noise_s64", "noise_s64_blur", "sr_x4_noise_s64")


TASKS = {
    "sr_x4": lambda target, rng: upscale(downscale(target, 4), 4),
    "sr_x8": lambda target, rng: upscale(downscale(target, 8), 8),
    "noise_s64": lambda target, rng: add_noise(target, rng),
    "noise_s64_blur": lambda target, rng: blur(add_noise(target, rng)),
    "sr_x4_noise_s64": lambda target, rng: add_noise(upscale(downscale(target, 4), 4), rng),
    "gray": lambda target, rng: to_luma(target),
}
DEFAULT_TASKS = ("sr_x4", "sr_x8", "noise_s64")


def degrade(target, task, rng):
    """Make the network's input from its target.

    Parameters
    ----------
    target : uint8 array (H, W, 3), 0..255
    task : one of `TASKS`; anything else raises KeyError
    rng : numpy.random.Generator, drawn from only by the tasks with noise

    Returns
    -------
    uint8 array (H, W, 3), 0..255
    """
    return TASKS[task](target, rng)


def _resize(image, height, width, resample):
    return np.asarray(Image.fromarray(image).resize((width, height), resample))



def resize(image, height, width):
    """Resize float32 (H, W, C) by Pillow's anti-aliased bicubic filter, the one of `download_module.degrade`."""
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0)]
    return np.stack([channel.resize((width, height), Image.Resampling.BICUBIC) for channel in channels], axis=-1)
