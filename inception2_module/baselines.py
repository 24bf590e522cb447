"""Networks from the literature to compare with, as published but for what makes the comparison fair.

All of them get the degraded image at full size, as ours do, and return it and what is added to it. Convolutions are 3x3
with stride 1 and padding "same" unless said otherwise. A pixel unshuffle of s followed by a 3x3 convolution is written
as the convolution that it is equal to (kernel 3s, stride s); a 3x3 convolution followed by a pixel shuffle of s (Shi
et al., CVPR 2016) as the transposed convolution that it is equal to.
Shapes: x is (N, H, W, 3); `width` channels; `last` holds the options of the layer before the output.
"""

from inception2_module.backend import layers
from inception2_module.networks import residual_block

UNSHUFFLE = 4  # EDSR works on the low-resolution image: a quarter of the sides of an image enlarged by 4


def edsr(x, width, last, n_blocks, shuffles):
    """Lim et al., CVPRW 2017: residual blocks without normalisation. Its baseline: 16 blocks, width 64, shuffles 2, 2.

    With 8 blocks and one shuffle of 4 it is a small network that does all its work at a quarter of the sides.
    """
    degraded = x
    x = features = _conv(x, width, 3 * UNSHUFFLE, strides=UNSHUFFLE)              # (N, H/4, W/4, width)
    for block in range(n_blocks):
        x = residual_block(x, width, last, f"block{block}")
    x = layers.Add()([features, _conv(x, width)])
    if shuffles == (UNSHUFFLE,):
        return [degraded, layers.Conv2DTranspose(3, 3 * UNSHUFFLE, UNSHUFFLE, padding="same", name="edsr_out",
                                                 **last)(x)]
    for scale in shuffles:
        x = layers.Conv2DTranspose(width, 3 * scale, scale, padding="same")(x)    # (N, H, W, width) in the end
    return [degraded, layers.Conv2D(3, 3, padding="same", name="edsr_out", **last)(x)]


def dncnn(x, width, last, n_layers=17):
    """Zhang et al., TIP 2017: a chain of convolutions with batch normalisation, at full size."""
    degraded = x
    x = layers.ReLU()(_conv(x, width))
    for _ in range(n_layers - 2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return [degraded, layers.Conv2D(3, 3, padding="same", name="dncnn_out", **last)(x)]


def care_unet(x, width, last, depth=2):
    """Weigert et al., Nature Methods 2018, with the settings of its 2D networks: kernel 5, width / 2 channels first."""
    def step(x, level):
        return layers.ReLU()(_conv(x, (width // 2) << max(level, 0), 5))

    degraded, skips = x, []
    for level in range(depth):
        x = step(step(x, level), level)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = step(step(x, depth), depth - 1)                                           # (N, H/4, W/4, width)
    for level in reversed(range(depth)):
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skips[level]])
        x = step(step(x, level), level - 1)
    return [degraded, layers.Conv2D(3, 1, name="care_out", **last)(x)]


def _conv(x, filters, kernel=3, strides=1):
    return layers.Conv2D(filters, kernel, strides, padding="same")(x)
