"""Restore arrays with a trained network, from Python:

    from restore_module import restore

    restored = restore(image, "mars_sr_x4")
    large = restore([first, second], "runs/NAME/model.keras", enlarge=True)
"""

from functools import lru_cache

import numpy as np

from download_module.imagefile import picture_of
from inception2_module import networkfile, symmetries
from restore_module import blocks
from restore_module.picture import restore_picture
from util import UserError

SHAPES = "(H, W), (H, W, 1) or (H, W, 3); several as (N, H, W, 1), (N, H, W, 3) or a list"


def restore(array, weights, enlarge=False, ensemble=False, value_range=None):
    """Restore images that are in memory, of any size.

    Parameters
    ----------
    array : array (H, W), (H, W, 1), (H, W, 3) or (N, H, W, 1 or 3), or a list of images
        Integers or floats of any type (uint8, uint16, int16, float32, ...). One channel is gray or data, three are
        RGB. NaN and infinite values are holes: they stay, and the rest is restored across them. The array is not
        changed.
    weights : str or path
        A name in weights/, or a .keras file that a training wrote.
    enlarge : bool
        Whether to enlarge by the scale of the network first. Otherwise an image comes back at its own size, and a
        network of super-resolution expects that it has been enlarged already.
    ensemble : bool
        The mean of 8 turned and mirrored runs: 8 times slower, a little better.
    value_range : (low, high), optional
        The values that the network sees as 0..1; what lies outside is added to its output. By default 0..255 for
        uint8, and for other types that of the set which the network was trained on or, where that was of 8 bits, the
        range of each image by itself, without a few outliers (see `download_module.imagefile.robust_range`): give it
        where images are to be comparable, or where they use a part of a known range only, as (0, 1) for floats.

    Returns
    -------
    array, or list of arrays where a list was given
        Of the type and shape of `array`; with `enlarge` height and width are multiplied by the scale.

    Raises
    ------
    util.UserError
        When an array is of another shape or type, there are no such weights, or they have no scale to enlarge by.
    """
    is_list = isinstance(array, list | tuple)
    array = array if is_list else np.asarray(array)
    is_many = is_list or array.ndim == 4
    images = [_checked(np.asarray(image)) for image in (array if is_many else [array])]
    if value_range is not None and not (len(value_range) == 2 and value_range[0] < value_range[1]):
        raise UserError(f"{value_range} is not a range: give (low, high), the lower value first")
    _, known = networkfile.find_weights(weights)
    scale = networkfile.scale_of(known)
    if enlarge and not scale:
        raise UserError(f"{weights} is for {known.get('task') or 'no known task'}: enlarge needs super-resolution, or "
                        "pairs whose inputs were all smaller by one factor")
    predict, reach = network(weights)
    function = symmetries.with_symmetries(predict, ensemble, trust=False)
    restored = [_restored(image, function, reach, scale if enlarge else 1, value_range, known.get("range"))
                for image in images]
    if is_list:
        return restored
    return np.stack(restored).astype(array.dtype, copy=False) if is_many else restored[0]


def _checked(image):
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))) or not image.size:
        raise UserError(f"an image has the shape {image.shape}: give {SHAPES}")
    if image.dtype.kind not in "iuf" or image.dtype.itemsize > 8:
        raise UserError(f"an image has values of type {image.dtype}: give integers or floats of at most 64 bits")
    return image


def _restored(image, function, reach, scale, value_range, set_range):
    samples = np.array(image.reshape(*image.shape[:2], -1), image.dtype.newbyteorder("="))
    picture = picture_of(samples, samples.shape[2], value_range, format="NPY")
    if value_range is None:
        picture.take_range(set_range)
    output, _ = restore_picture(picture, function, reach, scale)
    large = output.samples()
    return large.reshape(*large.shape[:2], *image.shape[2:]).astype(image.dtype, copy=False)


def network(weights):
    """Return the function of a network and one that tells how far it sees, kept for the next call."""
    path, _ = networkfile.find_weights(weights)
    return _network(weights, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _network(weights, _path, _modified):
    path, known = networkfile.find_weights(weights)
    predict = networkfile.load_predict(path, known)
    return predict, blocks.reach_of(predict, known.get("reach"))
