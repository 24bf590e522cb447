import numpy as np
import pytest

from inception2_module import fasternetwork, lastlayers, networks, onnxgraph
from inception2_module.backend import keras, layers
from inception2_module.experiments import NETWORKS
from wi2_paper.benchmarks import peer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def random_weights(model, scale=1.0):
    """Weights that keep the size of what goes through, so that every layer matters."""
    rng = np.random.default_rng(0)
    model.set_weights([
        np.abs(rng.normal(1, 0.1, w.shape)) if w.ndim == 1 and "batch" in v.path
        else rng.normal(0, scale / np.sqrt(np.prod(w.shape[:-1]) or 1), w.shape)
        for w, v in zip(model.get_weights(), model.weights, strict=True)
    ])
    return model


def run(model, image):
    session = onnxruntime.InferenceSession(onnxgraph.build(model).SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    return session.run(None, {"degraded": image})[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_the_same_output(name):
    model = random_weights(networks.build_model(name, 8, 0.0))
    image = np.random.default_rng(1).random((2, 48, 64, 3), np.float32)
    expected = model.predict_on_batch(image)
    assert np.abs(expected - image).max() > 0.01
    np.testing.assert_allclose(run(model, image), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_restored_with_to_the_same_output(name):
    model = random_weights(networks.build_model(name, 8, 0.0))
    faster = fasternetwork.faster(model)
    for size in ((1, 48, 64, 3), (2, 16, 80, 3)):
        image = np.random.default_rng(1).random(size, np.float32)
        expected = model.predict_on_batch(image)
        np.testing.assert_allclose(faster.predict_on_batch(image), expected,
                                   atol=2e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("scale", [None, 0.1])
def test_networks_of_networks_are_restored_with_too(scale):
    first, second = (random_weights(networks.build_model(name, 8, 0.0)) for name in ("inception_unet_halved", "unet"))
    for model in (networks.evened(first, scale), networks.blend([first, second], [0.25, 0.75]),
                  random_weights(networks.build_model("unet", 8, 0.0, evened=True, scale=scale))):
        image = np.random.default_rng(1).random((1, 32, 48, 3), np.float32)
        expected = model.predict_on_batch(image)
        np.testing.assert_allclose(fasternetwork.faster(model).predict_on_batch(image), expected,
                                   atol=2e-6 * max(1, np.abs(expected).max()))
        with pytest.raises(onnxgraph.UnknownLayerError):
            onnxgraph.build(model)


def test_a_network_without_strides_takes_odd_sides():
    model = random_weights(networks.build_model("srcnn535", 8, 0.0))
    image = np.random.default_rng(1).random((1, 17, 23, 3), np.float32)
    np.testing.assert_allclose(run(model, image), model.predict_on_batch(image), atol=1e-5)
    np.testing.assert_allclose(fasternetwork.faster(model).predict_on_batch(image), model.predict_on_batch(image),
                               atol=2e-6)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6, 9, 12])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_transposed_convolution_by_a_plain_one(kernel, stride):
    if kernel < stride:
        pytest.skip("then pixels have no input at all")
    x = keras.Input((None, None, 5))
    layer = layers.Conv2DTranspose(3, kernel, stride, padding="same")
    model = keras.Model(x, layer(x))
    image = np.random.default_rng(0).random((1, 6, 7, 5), np.float32)
    weights = lastlayers.of_transposed(np.asarray(layer.kernel), stride)
    output = np.asarray(keras.ops.conv(image, weights, 1, "same"))
    height, width = image.shape[1:3]
    output = output.reshape(height, width, stride, stride, 3).transpose(0, 2, 1, 3, 4)
    output = output.reshape(height * stride, width * stride, 3)
    np.testing.assert_allclose(output, model.predict_on_batch(image)[0], atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_a_plain_convolution_by_one_of_stride_2(kernel):
    x = keras.Input((None, None, 5))
    layer = layers.Conv2D(3, kernel, padding="same")
    model = keras.Model(x, layer(x))
    image = np.random.default_rng(0).random((1, 6, 8, 5), np.float32)
    output = np.asarray(keras.ops.conv(image, lastlayers.of_plain(np.asarray(layer.kernel)), 2, "same"))
    output = output.reshape(3, 4, 2, 2, 3).transpose(0, 2, 1, 3, 4).reshape(6, 8, 3)
    np.testing.assert_allclose(output, model.predict_on_batch(image)[0], atol=1e-6)


def test_a_layer_without_translation_is_named():
    x = keras.Input((None, None, 3))
    with pytest.raises(onnxgraph.UnknownLayerError, match="odd is a LayerNormalization"):
        onnxgraph.build(keras.Model(x, layers.LayerNormalization(name="odd")(x)))
    with pytest.raises(onnxgraph.UnknownLayerError, match="activation gelu"):
        onnxgraph.build(keras.Model(x, layers.Conv2D(3, 3, padding="same", activation="gelu")(x)))


@pytest.mark.parametrize(("kernel", "stride"), [(6, 2), (12, 4)])
def test_the_plain_convolution_is_no_larger_than_needed(kernel, stride):
    weights = lastlayers.of_transposed(np.ones((kernel, kernel, 3, 5), np.float32), stride)
    assert weights.shape == (3, 3, 5, 3 * stride**2) and weights.all()


def test_the_peer_is_of_the_published_size():
    graph = peer.compact()
    assert peer.count_parameters(graph) == 621_424
    image = np.random.default_rng(0).random((1, 8, 12, 3), np.float32)
    restored = peer.open_session(graph).run(None, {"degraded": image})[0]
    assert restored.shape == (1, 32, 48, 3)
    assert np.abs(restored - image.repeat(4, axis=1).repeat(4, axis=2)).max() > 0.1


@pytest.mark.parametrize("name", ["inception_unet_srcnn535", "edsr_baseline"])
def test_an_update_is_the_same_whichever_way_the_last_layers_are_computed(name, monkeypatch):
    plain = random_weights(networks.build_model(name, 4, 0.0))
    faster = networks.build_model(name, 4, 0.0)
    faster.set_weights(plain.get_weights())
    used, of_plain = [], lastlayers.of_plain
    monkeypatch.setattr(lastlayers, "of_plain", lambda *args: used.append(args) or of_plain(*args))
    fasternetwork.learn_faster(faster)
    used.clear()
    target, degraded = np.random.default_rng(1).random((2, 2, 32, 48, 3), np.float32)
    for model in (plain, faster):
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch(degraded, target)
    assert used
    for before, after in zip(plain.get_weights(), faster.get_weights(), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)
    assert [type(layer) for layer in faster.layers] == [type(layer) for layer in plain.layers]  # what a file will hold
