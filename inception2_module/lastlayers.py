"""Convolutions with a few output channels, computed by ones with many, which processors do faster.

A processor multiplies 8 or 16 numbers at once and 3 output channels leave most of them idle. The same sums come from a
convolution that makes the s x s pixels of a place as s * s * 3 channels, which are then laid out side by side (depth to
space: Shi et al., CVPR 2016, read backwards). No Keras in here.
"""

import numpy as np

FEW = 4  # output channels up to which it pays


def is_strided(model):
    """Whether any layer of a network has strides."""
    return any(max(getattr(layer, "strides", (1,))) > 1 for layer in model.layers)


def rewrite(layer, kernel, is_strided):
    """Return how a layer is computed faster, or None where it stays as it is.

    Parameters
    ----------
    layer : keras.layers.Conv2D or Conv2DTranspose with padding "same"
    kernel : float array, its kernel
    is_strided : bool, whether any layer of the network has strides. Then images have even sides; a network without
        takes odd ones too, and stays as it is.

    Returns
    -------
    (kernel, stride, side) : of a convolution with padding "same", and the side of the squares that its channels are
        laid out to
    """
    stride, is_transposed = layer.strides[0], hasattr(layer, "output_padding")
    is_square = kernel.shape[0] == kernel.shape[1] and layer.strides == (stride, stride)
    if not layer.name.endswith("_out") or layer.filters > FEW or not is_square:
        return None
    if is_transposed:
        return of_transposed(kernel, stride), 1, stride
    if stride == 1 and is_strided and kernel.shape[0] % 2 and kernel.shape[0] > 1:
        return of_plain(kernel), 2, 2
    return None


def of_transposed(kernel, stride):
    """Return the kernel of a convolution of stride 1 that does what a transposed one does.

    Parameters
    ----------
    kernel : float (k, k, C_out, C_in) of a transposed convolution with padding "same"
    stride : int, s

    Returns
    -------
    float (n, n, C_in, s * s * C_out), n odd, for padding "same"; its output is to be laid out by depth to space of s
    """
    k, n_out, n_in = kernel.shape[1:]
    before = (k - stride) // 2
    reach = max((before + stride - 1) // stride, (k - 1 - before) // stride)
    n = 2 * reach + 1
    first = reach * stride - before
    padding = (first, stride * n - k - first)
    blocks = np.pad(kernel, (padding, padding, (0, 0), (0, 0))).reshape(n, stride, n, stride, n_out, n_in)
    return blocks[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(n, n, n_in, -1)


def of_plain(kernel, ops=np):
    """Return the kernel of a convolution of stride 2 that does what one of stride 1 does, two by two pixels at once.

    Parameters
    ----------
    kernel : float (k, k, C_in, C_out), k odd, of padding "same"
    ops : numpy, or keras.ops for a kernel that is learned

    Returns
    -------
    float (k + 1, k + 1, C_in, 4 * C_out), for padding "same" and images of even sides; its output is to be laid out by
    depth to space of 2
    """
    shifted = [ops.pad(kernel, ((y, 1 - y), (x, 1 - x), (0, 0), (0, 0))) for y in (0, 1) for x in (0, 1)]
    return ops.concatenate(shifted, axis=-1)
