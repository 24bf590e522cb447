"""The networks of the paper, as Keras models: parallel branches whose outputs are summed.

    Inception-Unet + SRCNN535 = x + UNet(x) + SRCNN535(x), 805,638 parameters at width 64

Everything here is `keras.layers`, so the same code runs on TensorFlow, JAX or PyTorch (KERAS_BACKEND).
Shapes: N batch, H and W height and width (multiples of 16), C = 3 channels; values are floats, 0..1 in.
"""

import keras
from keras import layers

# The branches each network sums. The ablations of the paper leave one out; the baselines are one branch alone.
MODELS = {
    "inception_unet_srcnn535": ("bypass", "unet", "srcnn535"),
    "inception_unet": ("bypass", "unet"),
    "unet_srcnn535": ("unet", "srcnn535"),
    "unet": ("unet",),
    "srcnn535": ("srcnn535",),
}
# Four strides of 2: the sides of an input must be multiples of this.
SIZE_MULTIPLE = 16


def build_model(name="inception_unet_srcnn535", width=64, dropout=0.2, start_at_identity=False):
    """Build one of the paper's networks.

    Parameters
    ----------
    name : key of `MODELS`; another one raises KeyError
    width : int, channels of the hidden layers (the narrow ones before the output have half as many)
    dropout : float in [0, 1), the rate after every hidden layer
    start_at_identity : bool, whether the last layer of each branch starts at zero, so that a network with
        bypass starts as the identity (its hidden layers start as usual, so it can leave that at once)

    Returns
    -------
    keras.Model, float32 (N, H, W, 3) in 0..1 -> float32 (N, H, W, 3), not clipped
    """
    last = {"kernel_initializer": "zeros" if start_at_identity else "glorot_uniform"}
    builders = {
        "bypass": lambda x: x,
        "unet": lambda x: _unet(x, width, dropout, last),
        "srcnn535": lambda x: _srcnn535(x, width, dropout, last),
    }
    degraded = keras.Input((None, None, 3), name="degraded")
    branches = [builders[branch](degraded) for branch in MODELS[name]]
    restored = layers.Add(name="restored")(branches) if len(branches) > 1 else branches[0]
    return keras.Model(degraded, restored, name=name)


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


def _hidden(x, layer, filters, kernel, dropout, name, strides=1):
    x = layer(filters, kernel, strides=strides, padding="same", activation="relu", name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)
