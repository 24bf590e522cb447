"""Methods that need no network, from Pillow, scikit-image and BM3D: what a network has to beat. No Keras in here.

Each has settings that are chosen, or filters that are learned, on tiles that the run may look at. Tiles are shared
among worker processes.
"""

import math
import os
from functools import lru_cache, partial
from importlib.util import find_spec

import numpy as np
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma

from download_module.degrade import LANCZOS, blur, defocus, degrade, downscale, task_of, upscale
from download_module.workers import worker_pool
from inception2_module import learned_filters, scores
from inception2_module.scores import EIGHT_BIT

N_CHOOSING = 20  # tiles that a setting is chosen on
STRONG = 40 / 255  # sigma above which the authors of BM3D take other settings


def lanczos(target, scale):
    """Enlarge the low-resolution image by Lanczos (window 3) where the input was enlarged by bicubic."""
    height, width = target.shape[:2]
    return upscale(downscale(target, scale), scale, LANCZOS)[:height, :width]


def non_local_means(degraded, sigma, strength):
    """Buades et al., CVPR 2005; `strength` is the filter's h in units of the noise sigma."""
    return denoise_nl_means(degraded, patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma, fast_mode=True,
                            channel_axis=-1)


def total_variation(degraded, sigma, weight):
    """Chambolle, JMIV 20, 2004, all channels together; `weight` is in units of the noise sigma."""
    return denoise_tv_chambolle(degraded, weight=weight * sigma, channel_axis=-1)


def wavelet(degraded, sigma, strength):
    """BayesShrink soft thresholds in YCbCr; `strength` multiplies the noise sigma given to it."""
    return denoise_wavelet(degraded, sigma=strength * sigma, method="BayesShrink", mode="soft",
                           convert2ycbcr=degraded.shape[2] == 3, channel_axis=-1)


def bm3d(degraded, sigma, strength):
    """Dabov et al., IEEE TIP 16(8), 2007, in opponent colours, with its authors' settings, "vn" for strong noise.

    From the package bm3d, whose licence allows non-commercial use only: optional. `strength` multiplies the sigma.
    """
    import bm3d as package

    profile = package.BM3DProfileVN() if sigma > STRONG else package.BM3DProfile()
    profile.num_threads = 1  # the tiles are shared among processes
    denoise = package.bm3d_rgb if degraded.shape[2] == 3 else package.bm3d
    return denoise(degraded, strength * sigma, profile=profile)


def wiener(channels, psf, balance):
    """Wiener-Hunt deconvolution with the known point spread; `balance` weighs the energy of the Laplacian.

    Hunt, IEEE Transactions on Computers C-22(9), 1973: `skimage.restoration.wiener` of a picture that is the tile and
    its mirror images. The blur of the tasks mirrors the edges too, so that it is undone exactly there.
    """
    transform, transfer = _mirrored(*channels.shape[1:])
    spread, laplacian = transfer(psf), transfer(LAPLACIAN)
    inverse = spread / (spread**2 + balance * laplacian**2)
    return transform(transform(channels) * inverse)


def richardson_lucy(channels, psf, n_iterations):
    """Richardson, JOSA 62(1), 1972, and Lucy, The Astronomical Journal 79(6), 1974, with the known point spread.

    `skimage.restoration.richardson_lucy` of a picture that is the tile and its mirror images, in an eighth of the time.
    """
    transform, transfer = _mirrored(*channels.shape[1:])
    spread, channels = transfer(psf), np.clip(channels, 0, None).astype(np.float32)
    restored = np.full_like(channels, 0.5)
    for _ in range(n_iterations):
        blurred = transform(transform(restored) * spread)
        restored *= transform(transform(channels / np.maximum(blurred, 1e-6)) * spread)
    return restored


LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])


@lru_cache(maxsize=4)
def _mirrored(*shape):
    """For pictures of a shape that are continued by their mirror images (the pixels at the edge are not repeated).

    Returns
    -------
    transform : function, (..., H, W) -> their cosine transform, of the same shape (type I, its own inverse)
    transfer : function, symmetric kernel (n, m), n and m odd -> what convolving with it multiplies each cosine by
    """
    angles = [np.pi * np.arange(side) / (side - 1) for side in shape]
    matrices = []
    for side, angle in zip(shape, angles, strict=True):
        matrix = np.cos(np.outer(angle, np.arange(side))) * np.sqrt(2 / (side - 1))
        matrix[:, [0, -1]] /= 2
        matrices.append(matrix.astype(np.float32))

    def transform(images):
        return matrices[0] @ images @ matrices[1].T

    def transfer(kernel):
        first, second = (np.cos(np.outer(angle, np.arange(n) - n // 2))
                         for angle, n in zip(angles, kernel.shape, strict=True))
        return (first @ kernel @ second.T).astype(np.float32)

    return transform, transfer


def point_spread(task):
    """Return the point spread that a task (a str) is known to have, float64 (n, m), sum 1, n and m odd; or None.

    That is what all its blurs make of a point, if each has one size and comes before any noise.
    """
    task, radius = task_of(task), 0
    if task.scale or task.is_luma:
        return None
    blurs, is_noisy = [], False
    for kind, size, largest in task.steps:
        if kind in ("noise", "poisson"):
            is_noisy = True
        if kind not in ("blur", "blur5", "defocus"):
            continue
        if is_noisy or size != largest:
            return None
        blurs.append((defocus if kind == "defocus" else blur, size))
        radius += math.ceil(size if kind == "defocus" else 4 * size) + 1
    if not radius:
        return None
    spread = np.zeros((2 * radius + 1, 2 * radius + 1, 1))
    spread[radius, radius] = 1
    for apply, size in blurs:
        spread = apply(spread, size)
    inside = [np.flatnonzero(spread.sum(axis)) for axis in ((1, 2), (0, 2))]
    return spread[inside[0][0] : inside[0][-1] + 1, inside[1][0] : inside[1][-1] + 1, 0]


def expected_clipped(mean, sigma):
    """Closed form of E[clip(N(mean, sigma), 0, 1)], float arrays; the pull of clipping towards the middle."""
    def below(z):  # Phi(z) and its density
        return (np.vectorize(math.erf)(z / math.sqrt(2)) + 1) / 2, np.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    (under, density_0), (up_to_1, density_1) = below((0 - mean) / sigma), below((1 - mean) / sigma)
    return mean * (up_to_1 - under) + sigma * (density_0 - density_1) + 1 - up_to_1


def unclip(denoised, sigma):
    """Undo the bias of noise that was clipped: a black pixel's mean is 0.4 sigma, not 0.

    Parameters
    ----------
    denoised : float array in 0..1, an estimate of the mean of the clipped noisy pixels
    sigma : of the noise before it was clipped, in 0..1

    Returns
    -------
    float array in 0..1, the estimate of the pixels without noise

    References
    ----------
    Foi, "Clipped noisy images: Heteroskedastic modeling and practical denoising", Signal Processing 89(12), 2009.
    """
    mean = np.linspace(0, 1, 4 * scores.DATA_RANGE + 1)
    return np.interp(denoised, expected_clipped(mean, sigma), mean)


# Settings to choose from; strengths of non-local means below 0.05 give what 0.05 gives.
DENOISERS = {
    non_local_means: (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    total_variation: (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.4, 3.2),
    wavelet: (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0),
    bm3d: (1.0,),  # it takes several CPU seconds a tile and is told the sigma
}
# Balances and numbers of iterations: 300 take half a second a tile.
DECONVOLVERS = {
    wiener: (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    richardson_lucy: (1, 3, 10, 30, 100, 200, 300, 500),
}
LEARNED = ("linear", "raisr")
OPTIONAL = ("bm3d",)  # need a package of their name
_METHODS = {method.__name__: method for method in (lanczos, *DENOISERS, *DECONVOLVERS)}


def methods_for(task):
    """Return the names of the methods for a task, a str.

    Denoisers where there is noise at the size of the target (BM3D where it is installed), else learned filters, and
    Lanczos where nothing but the resolution is missing; none for a task that takes colours away. Where the point spread
    is known, deconvolution too, and learned filters whether there is noise or not. For pairs of whatever damage all
    that need not know it.
    """
    deconvolvers = () if point_spread(task) is None else tuple(method.__name__ for method in DECONVOLVERS)
    task = task_of(task)
    if task.is_noisy_at_full_size:
        return (*installed(), *deconvolvers, *LEARNED) if deconvolvers else installed()
    if task.is_luma:
        return ()
    if task.is_pairs:
        return (*installed(), *LEARNED)
    first = ("lanczos",) if [kind for kind, *_ in task.steps] == ["sr"] else deconvolvers
    return (*first, *LEARNED)


def installed():
    """Return the names of the denoisers whose packages are there."""
    names = (method.__name__ for method in DENOISERS)
    return tuple(name for name in names if name not in OPTIONAL or find_spec(name))


def choices(name, task):
    """Return the settings to choose from of a method that learns nothing."""
    return (task_of(task).scale,) if name == "lanczos" else (DENOISERS | DECONVOLVERS)[_METHODS[name]]


def choose_setting(name, task, tiles, pool=None):
    """Choose the setting of a method that learns nothing, by mean PSNR.

    Parameters
    ----------
    name : one of `methods_for(task)`, not of `LEARNED`
    task : str, see `download_module.degrade.task_of`
    tiles : tileset.Tiles, `N_CHOOSING` of those that the run may look at
    pool : what `workers` yields
    """
    def mean_psnr(setting):
        restored = restore(name, task, setting, tiles.target, tiles.degraded, tiles.kind, pool)
        return scores.psnr(tiles.target, restored, tiles.kind).mean()

    settings = choices(name, task)
    return settings[0] if len(settings) == 1 else max(settings, key=mean_psnr)


def learn(task, tiles):
    """Learn the filters of a task, {name in `LEARNED`: learned_filters.Filters}, from `Tiles` the run may look at."""
    rng, kind = np.random.default_rng(0), tiles.kind
    again = None if task_of(task).is_pairs else lambda target: degrade(target, task, rng, kind.low, kind.high)
    return learned_filters.learn(tiles.target, tiles.degraded, task_of(task).scale or 1, tiles.scenes, again,
                                 kind.data_range / scores.DATA_RANGE)


def filter_tiles(filters, degraded, kind=EIGHT_BIT):
    """Restore tiles (N, H, W, C) of a kind by learned filters."""
    return kind.from_unit(kind.to_unit(learned_filters.restore(filters, degraded)))


def restore(name, task, setting, target, degraded, kind=EIGHT_BIT, pool=None):
    """Apply a method that learns nothing to tiles, each alone: (N, H, W, C) of a kind, as the inputs.

    The bias of clipped noise is undone in the output of every denoiser, where the sigma is known.
    """
    share = partial(pool.map, chunksize=4) if pool else map
    return np.stack(list(share(partial(_restore_one, name, task, setting, kind), target, degraded)))


def restore_as(result, seen, tiles):
    """Restore tiles as the best method without a network of a result did: (N, H, W, C) of their kind.

    result : dict with `task`, `best_without_network` and `classical_settings`
    seen, tiles : tileset.Tiles, those that the run may look at, and those to restore
    """
    task, best = result["task"], result["best_without_network"]
    if best in LEARNED:
        return filter_tiles(learn(task, seen)[best], tiles.degraded, tiles.kind)
    return restore(best, task, result["classical_settings"][best], tiles.target, tiles.degraded, tiles.kind)


def workers():
    """Start worker processes for `restore`, a context manager: as many as this process may use cores."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return worker_pool(n_cores, __name__)


def _restore_one(name, task, setting, kind, target, degraded):
    if name == "lanczos":
        return lanczos(target, setting)
    if _METHODS[name] in DECONVOLVERS:
        psf = point_spread(task)
        channels = np.moveaxis(kind.to_unit(degraded), -1, 0).astype(np.float32)
        return kind.from_unit(np.moveaxis(_METHODS[name](channels, psf, setting), 0, -1))
    clipped, left = _sigmas(task_of(task), kind.data_range)
    image = kind.to_unit(degraded)
    # The right one for each tile where it is not known, as that of photon noise.
    left = left or max(estimate_sigma(image, average_sigmas=True, channel_axis=-1), 0.1 / scores.DATA_RANGE)
    denoised = _METHODS[name](image, left, setting)
    # Blurred after it was clipped, noise keeps the bias in its mean, exactly so where the image is flat.
    denoised = denoised.reshape(image.shape)  # some drop a single channel
    return kind.from_unit(unclip(denoised, clipped) if clipped else denoised)


def _sigmas(task, data_range):
    """Sigma of the noise when it was clipped and, after later blurs, in the input, in 0..1; None where not known."""
    if not task.sigma:
        return None, None
    impulse = np.zeros((65, 65, 1))
    impulse[32, 32] = 1
    kinds = [kind for kind, *_ in task.steps]
    for kind, size, _ in task.steps[kinds.index("noise") :]:
        if kind in ("blur", "blur5"):
            impulse = blur(impulse, size, radius=2 if kind == "blur5" else None)
    clipped = task.sigma / data_range
    return clipped, clipped * np.sqrt(np.sum(impulse**2))
