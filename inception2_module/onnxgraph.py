"""A network as an ONNX graph, layer by layer, for other programs and for `restore` without Keras.

Its last layers are computed as in lastlayers.py: the same sums in another order.
"""

import numpy as np

from inception2_module import lastlayers
from inception2_module.backend import keras, layers

OPSET, IR_VERSION = 17, 8  # of 2022: what reads ONNX today reads these


class UnknownLayerError(Exception):
    """A layer that has no translation in here."""


def build(model):
    """Translate a network whose layers are those of networks.py and baselines.py.

    Parameters
    ----------
    model : keras.Model, float32 (N, H, W, 3) -> float32 (N, H, W, 3)

    Returns
    -------
    onnx.ModelProto with the input `degraded` and the output `restored`, of the same shapes. For the same weights the
    same graph.

    Raises
    ------
    UnknownLayerError
    """
    graph = Graph()
    is_strided = lastlayers.is_strided(model)
    names = {}
    for layer in model.operations:  # its layers, and what is none: a sum or a root of tensors
        inputs = [] if isinstance(layer, layers.InputLayer) else [
            names.get(id(tensor)) for tensor in keras.tree.flatten(layer.input)]
        if None in inputs:  # a network in the place of a layer
            raise UnknownLayerError(f"{layer.name} is a {type(layer).__name__}, which has no translation")
        names[id(layer.output)] = _translate(graph, layer, inputs, is_strided)
    graph.add("Transpose", [names[id(model.output)]], "restored", perm=[0, 2, 3, 1])
    return graph.made(model.name)


class Graph:
    """Nodes and constants; images lie channels first in ONNX."""

    def __init__(self):
        self.nodes, self.values = [], []

    def add(self, operation, inputs, name, **attributes):
        import onnx

        self.nodes.append(onnx.helper.make_node(operation, inputs, [name], name=f"{name}:node", **attributes))
        return name

    def value(self, name, array):
        import onnx

        self.values.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def made(self, name, sides=("h", "w")):
        """Return the onnx.ModelProto from `degraded` to `restored`, (N, H, W, 3) each; `sides` names those of this."""
        import onnx

        ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *its_sides, 3])
                for name, its_sides in (("degraded", ("h", "w")), ("restored", sides))]
        made = onnx.helper.make_graph(self.nodes, name, ends[:1], ends[1:], self.values)
        proto = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(proto)
        return proto


def _translate(graph, layer, inputs, is_strided):
    """Add a layer; return the name of its output."""
    name = f"layer:{layer.name}"
    match layer:
        case layers.InputLayer():
            return graph.add("Transpose", ["degraded"], f"{name}:first", perm=[0, 3, 1, 2])
        case layers.Conv2DTranspose() | layers.Conv2D():
            return _convolution(graph, layer, name, inputs, is_strided)
        case layers.Add():
            return graph.add("Sum", inputs, name)
        case layers.Concatenate():
            return graph.add("Concat", inputs, name, axis=1)
        case layers.ReLU():
            return graph.add("Relu", inputs, name)
        case layers.Dropout():
            return inputs[0]
        case layers.MaxPooling2D():
            return graph.add("MaxPool", inputs, name, kernel_shape=layer.pool_size, strides=layer.strides)
        case layers.UpSampling2D(interpolation="nearest"):
            scales = graph.value(f"{name}:scales", np.array([1, 1, *layer.size], np.float32))
            return graph.add("Resize", [*inputs, "", scales], name, mode="nearest", nearest_mode="floor",
                             coordinate_transformation_mode="asymmetric")
        case layers.BatchNormalization():
            numbers = [graph.value(f"{name}:{what}", keras.ops.convert_to_numpy(getattr(layer, what)))
                       for what in ("gamma", "beta", "moving_mean", "moving_variance")]
            return graph.add("BatchNormalization", [*inputs, *numbers], name, epsilon=layer.epsilon)
    raise UnknownLayerError(f"{layer.name} is a {type(layer).__name__}, which has no translation")


def _convolution(graph, layer, name, inputs, is_strided):
    strides, is_transposed = layer.strides, isinstance(layer, layers.Conv2DTranspose)
    is_padded = layer.padding == "same" or layer.kernel_size == (1, 1)
    if not is_padded or layer.dilation_rate != (1, 1) or getattr(layer, "groups", 1) != 1:
        raise UnknownLayerError(f"{layer.name} is a convolution of a kind that has no translation")
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    bias = keras.ops.convert_to_numpy(layer.bias) if layer.use_bias else np.zeros(layer.filters, np.float32)
    side = 1
    if faster := lastlayers.rewrite(layer, kernel, is_strided):
        kernel, stride, side = faster
        strides, is_transposed = (stride, stride), False
    parameters = [graph.value(f"{name}:kernel", kernel.transpose(3, 2, 0, 1)),
                  graph.value(f"{name}:bias", np.tile(bias, side**2))]
    options = {"kernel_shape": kernel.shape[:2], "strides": strides}
    if is_transposed:
        missing = [side - stride for side, stride in zip(kernel.shape[:2], strides, strict=True)]
        options["pads"] = [n // 2 for n in missing] + [n - n // 2 for n in missing]
    else:
        options["auto_pad"] = "SAME_UPPER"
    output = graph.add("ConvTranspose" if is_transposed else "Conv", [*inputs, *parameters], name, **options)
    if side > 1:
        output = graph.add("DepthToSpace", [output], f"{name}:laid_out", blocksize=side)
    match layer.activation.__name__:
        case "linear":
            return output
        case "relu":
            return graph.add("Relu", [output], f"{name}:relu")
    raise UnknownLayerError(f"{layer.name} has the activation {layer.activation.__name__}, which has no translation")
