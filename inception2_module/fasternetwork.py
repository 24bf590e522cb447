"""Networks computed faster: the last layers as in lastlayers.py, hidden ones in bfloat16 while they learn."""

from functools import partial

import numpy as np

from inception2_module import lastlayers
from inception2_module.backend import keras, layers, ops


def faster(model):
    """Return a network that shares nothing with `model` and gives the same output to about 1e-6, not to be trained.

    model : keras.Model, float32 (N, H, W, 3) -> float32 (N, H, W, 3)
    """
    is_strided = lastlayers.is_strided(model)

    def copy(layer):
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose) and layer.padding == "same":
            how = lastlayers.rewrite(layer, ops.convert_to_numpy(layer.kernel), is_strided)
            if how and layer.use_bias and layer.activation is keras.activations.linear:
                return _LaidOut(*how, ops.convert_to_numpy(layer.bias), name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    made = keras.models.clone_model(model, clone_function=copy)
    for ours, theirs in zip(made.layers, model.layers, strict=True):
        if ours.weights:
            ours.set_weights(theirs.get_weights())
    return made


class _LaidOut(layers.Layer):
    """A convolution whose channels are laid out to squares of pixels."""

    def __init__(self, kernel, stride, side, bias, name):
        super().__init__(name=name)
        self.kernel_values, self.stride, self.side = kernel, stride, side
        self.bias_values = np.tile(bias, side**2)

    def call(self, x):
        return _lay_out(ops.conv(x, self.kernel_values, self.stride, "same") + self.bias_values, self.side)


def _lay_out(x, side):
    n, height, width = ops.shape(x)[:3]
    x = ops.reshape(x, (n, height, width, side, side, -1))                          # (N, h, w, s, s, C)
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))                                        # (N, h, s, w, s, C)
    return ops.reshape(x, (n, height * side, width * side, -1))                     # (N, H, W, C)


def learn_faster(model):
    """Let the last layers at full size be computed faster in training too, for images of even sides; files stay.

    The layers stay what they are, with their weights, and only their sums are made otherwise. Those that enlarge are
    left: an update gains nothing by them (wi2_paper/benchmarks/updates.py).
    """
    is_strided = lastlayers.is_strided(model)
    for layer in model.layers:
        if type(layer) is not layers.Conv2D or layer.padding != "same":
            continue
        if lastlayers.rewrite(layer, ops.convert_to_numpy(layer.kernel), is_strided):
            layer.call = partial(_by_squares, layer)


def _by_squares(layer, x):
    x = _lay_out(ops.conv(x, lastlayers.of_plain(layer.kernel, ops), 2, "same"), 2)
    return layer.activation(x + layer.bias if layer.use_bias else x)


def in_precision(model, precision):
    """Return a network with its hidden convolutions computed in a precision; the given one where nothing changes.

    The weights stay float32, and so does all arithmetic with the image itself: the last layers, what is added to the
    input, what maps data to their local level.

    Parameters
    ----------
    model : keras.Model, float32 (N, H, W, 3) -> float32 (N, H, W, 3)
    precision : "float32" or "bfloat16" (8 bits for sign and exponent as in float32, 7 instead of 23 for the rest);
        factors and results are rounded to it, sums are kept in float32

    Returns
    -------
    keras.Model : copies of the layers with the same weights, not compiled
    """
    rounded = _rounded(model) if precision == "bfloat16" else set()
    policies = {layer.name: "mixed_bfloat16" if layer.name in rounded else "float32" for layer in model.layers}
    if all(layer.dtype_policy.name == policies[layer.name] for layer in model.layers):
        return model

    def copy(layer):
        policy = {"dtype": policies[layer.name]} if layer.name in policies else {}  # not for subtractions and the like
        return layer.__class__.from_config(layer.get_config() | policy)

    plain = keras.Model(model.input, model.output, name=model.name)  # without what it was compiled with
    made = keras.models.clone_model(plain, clone_function=copy)
    made.set_weights(model.get_weights())
    return made


def _rounded(model):
    """Name the hidden convolutions of a network, and the layers without weights that see nothing else."""
    rounded = set()
    for layer in model.layers:
        sources = {tensor._keras_history.operation.name for tensor in keras.tree.flatten(layer.input)}
        is_hidden = isinstance(layer, layers.Conv2D | layers.Conv2DTranspose) and not layer.name.endswith("_out")
        if is_hidden or (sources and sources <= rounded and not layer.weights):
            rounded.add(layer.name)
    return rounded
