"""The networks, as Keras models: parallel branches whose outputs are summed.

    Inception-Unet+SRCNN535  = x + UNet(x) + SRCNN535(x), 805,638 parameters at width 64: the paper's
    halved                   = x + enlarge(UNet(f)) + enlarge(f + local(f)), f: features at half the sides
    deep                     = halved, with residual blocks in its U-Net

Everything here is `keras.layers`, so the same code runs on TensorFlow, JAX or PyTorch (KERAS_BACKEND).
Shapes: N batch, H and W height and width (multiples of 16), C = 3 channels; values are floats, 0..1 in.
"""

from importlib import import_module

import numpy as np

import util
from inception2_module import scores
from inception2_module.backend import keras, layers, ops
from inception2_module.experiments import NETWORKS

WINDOW = 33  # side of the square whose mean and deviation are the level and the scale of its middle


def build_model(name="inception_unet_srcnn535", width=64, dropout=0.2, start_at_identity=False, evened=False,
                scale=None):
    """Build one of the networks.

    Parameters
    ----------
    name : one of `experiments.NETWORKS`; another one raises KeyError
    width : int, channels of the hidden layers (those named narrow have half as many)
    dropout : float in [0, 1), the rate after every hidden layer but those of residual blocks; a network without any
        raises `util.UserError` for a rate above 0
    start_at_identity : bool, whether the last layers (of the branches, and of residual blocks) start at zero, so
        that a network with bypass starts as the identity (the other layers start as usual, so it can leave that at
        once)
    evened : bool, whether it sees its input around zero, in units of a scale, and its output is mapped back, see `even`
    scale : float, optional: one for all places, see `even`

    Returns
    -------
    keras.Model, float32 (N, H, W, 3) in 0..1 -> float32 (N, H, W, 3), not clipped
    """
    last = {"kernel_initializer": "zeros" if start_at_identity else "glorot_uniform"}
    degraded = keras.Input((None, None, 3), name="degraded")
    network = NETWORKS[name]
    if dropout and not network.has_dropout:
        raise util.UserError(f"{name} has no dropout: add --dropout 0, or take the recipe fewdata")
    options = network.options | ({"dropout": dropout} if network.has_dropout else {})
    file, function = network.builder.split(".")
    builder = getattr(import_module(f"inception2_module.{file}"), function)
    seen, back = even(degraded, scale) if evened else (degraded, lambda restored: restored)
    branches = builder(seen, width, last, **options)
    restored = layers.Add(name="restored")(branches) if len(branches) > 1 else branches[0]
    return keras.Model(degraded, back(restored), name=name)


def even(x, scale=None):
    """Make all places of an image alike: take away the level around each, and divide by the scale there.

    Elevations and heat maps have a range that is wide beside what a tile of them shows: seen as 0..1 a tile is flat.
    Both are smooth maps, of the input alone and of the same window everywhere, so that an image restored block by
    block has no seams. Without noise the result does not depend on level and contrast of an image.

    Parameters
    ----------
    x : keras tensor (N, H, W, 3)
    scale : float, optional
        One scale for all places, where a task has noise: its size would vary with a scale of the place.

    Returns
    -------
    (seen, back) : keras tensor (N, H, W, 3), and a function that maps what a network makes of it back
    """
    def around(values, name):
        for side, size in (("rows", (WINDOW, 1)), ("columns", (1, WINDOW))):
            values = layers.AveragePooling2D(size, 1, "same", name=f"{name}_{side}")(values)  # less where it ends
        return values

    level = around(x, "level")
    difference = x - level
    if scale is None:
        variance = around(ops.mean(difference**2, axis=-1, keepdims=True), "variance")
        scale = ops.sqrt(variance + scores.FLOOR**2) / scores.DEVIATION
    return difference / scale, lambda restored: restored * scale + level


def standardise(model, degraded, deviation):
    """Scale and shift each hidden layer so that what goes into its activation has mean 0 and one deviation per channel.

    A data-dependent initialisation after Salimans & Kingma, NeurIPS 2016, and Mishkin & Matas, ICLR 2016: every ReLU
    starts alive. Layers that see the image itself first lose the mean of each kernel: brightness, which is the
    largest part of an image and tells nothing of its damage, stays out of the features.

    Parameters
    ----------
    model : keras.Model from `build_model`; its hidden convolutions are changed, its last ones ("..._out") are not
    degraded : float32 (N, H, W, 3) in 0..1, a few training inputs
    deviation : float, the standard deviation that each channel is given
    """
    for layer in model.layers:
        if not hasattr(layer, "kernel") or layer.name.endswith("_out"):
            continue
        kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
        if not kernel.any():  # the last one of a residual block, which starts as the identity
            continue
        if kernel.shape[2] == 3:
            kernel -= kernel.mean(axis=(0, 1), keepdims=True)
            layer.kernel.assign(kernel)
        values = _before_activation(model, layer, degraded)
        scale = deviation / np.maximum(values.std(axis=(0, 1, 2)), 1e-6)
        layer.kernel.assign(kernel * (scale[:, None] if isinstance(layer, layers.Conv2DTranspose) else scale))
        if layer.use_bias:
            layer.bias.assign((keras.ops.convert_to_numpy(layer.bias) - values.mean(axis=(0, 1, 2))) * scale)


def _before_activation(model, layer, degraded):
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return keras.ops.convert_to_numpy(keras.Model(model.input, layer.output)(degraded, training=False))
    finally:
        layer.activation = activation


def largest(model):
    """Return a network that tells the largest value of each channel of each layer of ReLUs, by the layer's name.

    model : keras.Model from `build_model`

    Returns
    -------
    keras.Model, float32 (N, H, W, 3) -> {name: (N, channels)}; a channel that is 0 everywhere has died
    """
    return keras.Model(model.inputs, {
        layer.name: ops.max(layer.output, axis=(1, 2)) for layer in model.layers
        if isinstance(layer, layers.ReLU) or getattr(layer, "activation", None) is keras.activations.relu
    })


def evened(model, scale=None):
    """Return a network of 8-bit images that sees data around its local level, see `even`: mid-gray, in its contrast."""
    degraded = keras.Input((None, None, 3), name="degraded")
    seen, back = even(degraded, scale)
    core = keras.Model(model.inputs[0], model.outputs[0], name="start")
    return keras.Model(degraded, back(core(seen + 0.5) - 0.5), name=f"evened_{model.name}")


def blend(models, weights):
    """Return the weighted sum of networks as one; of one network that network itself. The weights have the sum 1."""
    if len(models) == 1:
        return models[0]
    degraded = keras.Input((None, None, 3), name="degraded")
    parts = []
    for number, (model, weight) in enumerate(zip(models, weights, strict=True)):
        part = keras.Model(model.inputs[0], model.outputs[0], name=f"network{number}")
        parts.append(layers.Rescaling(weight, name=f"weighted{number}")(part(degraded)))
    return keras.Model(degraded, layers.Add(name="restored")(parts), name="blend")


def paper(x, width, last, dropout, branches):
    """The branches of the paper's network, or all but those that an ablation leaves out."""
    builders = {"bypass": lambda x, *_: x, "unet": _unet, "srcnn535": _srcnn535}
    return [builders[branch](x, width, dropout, last) for branch in branches]


def _unet(x, width, dropout, last):
    """U-Net whose skips are added: strides see far (an 8x8 grid for a 128x128 tile), skips keep detail."""
    skips = []
    for depth in range(4):                                                       # (N, H, W, 3)
        x = _hidden(x, layers.Conv2D, width, 5, dropout, f"unet_down{depth}", strides=2)
        skips.append(x)                                                          # H/2, H/4, H/8, H/16
    x = _hidden(x, layers.Conv2D, width, 3, dropout, "unet_bottom")              # (N, H/16, W/16, width)
    for depth in reversed(range(4)):
        x = layers.Add(name=f"unet_skip{depth}")([x, skips[depth]])
        x = _hidden(x, layers.Conv2DTranspose, width, 5, dropout, f"unet_up{depth}", strides=2)
    x = _hidden(x, layers.Conv2D, width // 2, 3, dropout, "unet_narrow")         # (N, H, W, width/2)
    return layers.Conv2D(3, 5, padding="same", name="unet_out", **last)(x)       # (N, H, W, 3)


def _srcnn535(x, width, dropout, last):
    """SRCNN with kernels 5, 3, 5 (Dong et al., TPAMI 2016, with another first kernel): the local branch."""
    x = _hidden(x, layers.Conv2D, width, 5, dropout, "srcnn_wide")               # (N, H, W, width)
    x = _hidden(x, layers.Conv2D, width // 2, 3, dropout, "srcnn_narrow")        # (N, H, W, width/2)
    return layers.Conv2D(3, 5, padding="same", name="srcnn_out", **last)(x)      # (N, H, W, 3)


def halved(x, width, last, dropout, n_blocks=0):
    """Both branches of the paper on features at half the sides: a quarter of the arithmetic a layer.

    What that saves goes into a deeper local branch; the U-Net has smaller kernels. The linear features go around the
    local branch: a linear filter is learned at once, which noise needs most. `n_blocks` residual blocks on the way
    down and as many on the way up at a quarter of the sides average widely where that is cheap, as in DRUNet (Zhang et
    al., TPAMI 2022); deeper ones died in trainings on crops of 64 pixels.
    """
    def averaged(x, name):
        for block in range(n_blocks):
            x = residual_block(x, width, last, f"{name}_block{block}")
        return x

    degraded = x
    linear = layers.Conv2D(width, 6, strides=2, padding="same", name="linear")(x)
    features = local = layers.ReLU(name="features")(linear)                      # (N, H/2, W/2, width)
    for depth in range(5):
        local = _hidden(local, layers.Conv2D, width, 3, dropout, f"local{depth}")
    local = layers.Add(name="local")([local, linear])
    x, skips = features, []
    for depth in range(3):
        x = _hidden(x, layers.Conv2D, width, 3, dropout, f"unet_down{depth}", strides=2)
        if not depth:
            x = averaged(x, "unet_down0")
        skips.append(x)                                                          # H/4, H/8, H/16
    x = _hidden(x, layers.Conv2D, width, 3, dropout, "unet_bottom")              # (N, H/16, W/16, width)
    for depth in reversed(range(3)):
        x = layers.Add(name=f"unet_skip{depth}")([x, skips[depth]])
        if not depth:
            x = averaged(x, "unet_up0")
        x = _hidden(x, layers.Conv2DTranspose, width, 4, dropout, f"unet_up{depth}", strides=2)
    x = _hidden(x, layers.Conv2D, width, 3, dropout, "unet_top")                 # (N, H/2, W/2, width)
    enlarged = [layers.Conv2DTranspose(3, 6, strides=2, padding="same", name=f"{name}_out", **last)(branch)
                for name, branch in (("local", local), ("unet", x))]             # (N, H, W, 3) each
    return [degraded, *enlarged]


def residual_block(x, width, last, name):
    """The input plus two convolutions with a ReLU between them: (N, h, w, width) -> the same shape."""
    y = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"{name}_first")(x)
    return layers.Add(name=name)([x, layers.Conv2D(width, 3, padding="same", name=f"{name}_last", **last)(y)])


def _hidden(x, layer, filters, kernel, dropout, name, strides=1):
    x = layer(filters, kernel, strides=strides, padding="same", activation="relu", name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)
