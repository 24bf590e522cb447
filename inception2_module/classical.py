"""Classical methods, from Pillow and scikit-image: what a network has to beat. No Keras in here.

Each denoiser has one setting, chosen on validation tiles. Tiles are shared among worker processes.
"""

import os
from functools import partial

import numpy as np
from PIL import Image
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from tqdm import tqdm

import util
from download_module.degrade import downscale, task_of, upscale
from download_module.workers import worker_pool
from inception2_module import scores

SIGMA_UNIT = 64 / scores.DATA_RANGE  # of the noise, in 0..1


def lanczos(target, degraded, scale):
    """Enlarge the low-resolution tile by Lanczos (window 3) where the input was enlarged by bicubic."""
    return upscale(downscale(target, scale), scale, Image.Resampling.LANCZOS)


def non_local_means(target, degraded, strength):
    """Buades et al., CVPR 2005; `strength` is the filter's h in units of the noise sigma."""
    return scores.to_uint8(denoise_nl_means(
        degraded / scores.DATA_RANGE, patch_size=5, patch_distance=6, h=strength * SIGMA_UNIT, sigma=SIGMA_UNIT,
        fast_mode=True, channel_axis=-1,
    ))


def total_variation(target, degraded, weight):
    """Chambolle, JMIV 20, 2004, all channels together."""
    return scores.to_uint8(denoise_tv_chambolle(degraded / scores.DATA_RANGE, weight=weight, channel_axis=-1))


def wavelet(target, degraded, strength):
    """BayesShrink soft thresholds in YCbCr; `strength` multiplies the noise sigma given to it."""
    return scores.to_uint8(denoise_wavelet(
        degraded / scores.DATA_RANGE, sigma=strength * SIGMA_UNIT, method="BayesShrink", mode="soft",
        convert2ycbcr=True, channel_axis=-1,
    ))


METHODS = {method.__name__: method for method in (lanczos, non_local_means, total_variation, wavelet)}
_DENOISER_SETTINGS = {  # strengths below 0.05 give what 0.05 gives
    "non_local_means": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    "total_variation": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8),
    "wavelet": (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 2.5),
}


def settings_for(task):
    """Return {method's name: settings to choose from} for a task: denoisers, an enlarger, or none."""
    if task_of(task).is_noisy:
        return _DENOISER_SETTINGS
    return {"lanczos": (task_of(task).scale,)} if task_of(task).scale else {}


def choose_settings(task, validation, pool):
    """Choose each method's setting by mean PSNR on validation tiles.

    Parameters
    ----------
    task : a task of `download_module.degrade.TASKS`
    validation : tileset.Tiles, of which the first 20 are used
    pool : what `workers` returns

    Returns
    -------
    {method's name: setting}
    """
    target, degraded = validation.target[:20], validation.degraded[:20]

    def score(name, setting):
        return np.mean(scores.psnr_of_mse(scores.mse(target, restore(name, setting, target, degraded, pool))))

    return {
        name: settings[0] if len(settings) == 1 else max(settings, key=partial(score, name))
        for name, settings in settings_for(task).items()
    }


def restore(name, setting, target, degraded, pool, progress=False):
    """Apply one method to tiles, each alone: uint8 (N, H, W, 3), 0..255, as the inputs."""
    tiles = pool.map(partial(_restore_one, name, setting), target, degraded, chunksize=4)
    return np.stack(list(tqdm(
        tiles, total=len(target), unit="tile", desc=name, disable=not progress, mininterval=util.bar_interval()
    )))


def workers():
    """Start the worker processes for `restore`, a context manager."""
    return worker_pool(max(2, os.cpu_count() or 1))


def _restore_one(name, setting, target, degraded):
    return METHODS[name](target, degraded, setting)
