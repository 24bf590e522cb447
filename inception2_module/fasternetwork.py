"""A network whose last layers are computed as in lastlayers.py, to restore with: the same sums in another order."""

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
        x = ops.conv(x, self.kernel_values, self.stride, "same") + self.bias_values
        n, height, width, side = *ops.shape(x)[:3], self.side
        x = ops.reshape(x, (n, height, width, side, side, -1))                      # (N, h, w, s, s, C)
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))                                    # (N, h, s, w, s, C)
        return ops.reshape(x, (n, height * side, width * side, -1))                 # (N, H, W, C)
