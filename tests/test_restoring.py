import numpy as np
import pytest
from skimage import data

import util
from inception2_module import networkfile, networks
from restore_module import blocks

SIZES = [(1, 1), (5, 300), (16, 16), (130, 97), (352, 352), (353, 340), (700, 401)]


def box_filter(inputs):
    """A stand-in network that sees 2 pixels far, with zeros beyond the border, as convolutions have."""
    padded = np.pad(inputs, ((0, 0), (2, 2), (2, 2), (0, 0)))
    height, width = inputs.shape[1:3]
    return sum(padded[:, y : y + height, x : x + width] for y in range(5) for x in range(5)) / 25


def restore(predict, image, **options):
    output = np.full(image.shape, np.nan, np.float32)
    n_written = np.zeros(image.shape[:2], int)

    def write(rows, columns, values):
        output[rows, columns] = values
        n_written[rows, columns] += 1

    blocks.restore_blocks(predict, image.shape[:2], lambda rows, columns: image[rows, columns], write, **options)
    assert (n_written == 1).all()
    return output


def whole(predict, image):
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % 16), (0, -width % 16), (0, 0)), "symmetric")
    return predict(padded[None])[0, :height, :width]


def random_image(size):
    return np.random.default_rng(size[0]).random((*size, 3), np.float32)


@pytest.mark.parametrize("length", [16, 160, 176, 192, 320, 1600])
@pytest.mark.parametrize("reach", [0, 16, 48])
def test_weights_add_up_to_one_and_margins_weigh_nothing(length, reach):
    total = np.zeros(length)
    planned = blocks.plan_blocks(length, reach, block=160)
    for start, weights in planned:
        assert start % blocks.SIZE_MULTIPLE == 0
        total[start : start + len(weights)] += weights
        assert (weights[:reach] == 0).all() or start == 0
        assert (weights[len(weights) - reach :] == 0).all() or start + len(weights) == length
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_neighbouring_blocks_fade_smoothly():
    (_, first), (start, second) = blocks.plan_blocks(256, 16, block=160)[:2]
    steps = np.abs(np.diff(np.concatenate([first[start:], np.zeros(0)])))
    assert steps.max() < 1.5 / blocks.BLEND
    assert len(second) == 160


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_blocks_give_what_the_whole_image_gives(size, batch_size):
    image = random_image(size)
    output = restore(box_filter, image, reach=16, block=160, batch_size=batch_size)
    np.testing.assert_allclose(output, whole(box_filter, image), atol=1e-5)


def test_a_margin_that_is_too_small_shows():
    """The test above can fail: with margins of 0 where 2 are needed the seams are seen."""
    image = random_image((353, 340))

    def far_filter(inputs):
        return np.roll(inputs, 40, axis=1) * (np.arange(inputs.shape[1]) >= 40)[None, :, None, None]

    near = restore(far_filter, image, reach=16, block=160)
    far = restore(far_filter, image, reach=48, block=160)
    assert np.abs(near - whole(far_filter, image)).max() > 0.1
    np.testing.assert_allclose(far, whole(far_filter, image), atol=1e-6)


def test_progress_counts_blocks_and_output_may_have_more_channels():
    image, done = random_image((300, 300)), []
    outputs = np.zeros((300, 300, 5), np.float32)

    def predict(inputs):
        return np.concatenate([inputs, inputs[..., :2]], axis=-1)

    def write(rows, columns, values):
        outputs[rows, columns] = values

    blocks.restore_blocks(predict, (300, 300), lambda *at: image[at], write, 0, block=160, progress=done.append)
    np.testing.assert_allclose(outputs, np.concatenate([image, image[..., :2]], axis=-1), atol=1e-6)
    assert done == [1] * len(blocks.plan_blocks(304, 0, block=160)) ** 2


def test_blocks_too_small_for_their_margins_are_refused():
    with pytest.raises(ValueError, match="cannot hold margins"):
        restore(box_filter, random_image((64, 64)), reach=80, block=160)


def test_reach_is_measured():
    assert blocks.measure_reach(box_filter) == 16
    assert blocks.measure_reach(lambda inputs: inputs) == 0


def mean_of_rows(far):
    """Return a stand-in network that sees `far` pixels up and down, with zeros beyond the border."""
    def predict(inputs):
        sums = np.pad(inputs, ((0, 0), (far + 1, far), (0, 0), (0, 0))).cumsum(axis=1, dtype=np.float64)
        return ((sums[:, 2 * far + 1 :] - sums[:, : -2 * far - 1]) / (2 * far + 1)).astype(np.float32)

    return predict


@pytest.mark.parametrize("far", [96, 176, 256])
def test_a_reach_of_more_than_the_first_images_can_tell_is_measured(far):
    predict = mean_of_rows(far)
    reach = blocks.measure_reach(predict)
    assert reach == far
    image = random_image((1500, 40))
    np.testing.assert_allclose(restore(predict, image, reach=reach, block=640), whole(predict, image), atol=1e-6)


def test_a_network_that_sees_all_is_refused_rather_than_cut_short():
    with pytest.raises(util.UserError, match="sees farther than 256 pixels"):
        blocks.measure_reach(lambda inputs: inputs + 100 * inputs.mean(axis=(1, 2), keepdims=True))


def narrow_network(**options):
    """The paper's network, narrow, with weights so large that far pixels count."""
    model = networks.build_model(width=8, dropout=0.0, **options)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1.5 / np.sqrt(np.prod(w.shape[:-1])), w.shape) for w in model.get_weights()])
    return lambda inputs: np.asarray(model.predict_on_batch(inputs))


@pytest.fixture(scope="module")
def network():
    return narrow_network()


def test_the_networks_reach_is_that_of_its_layers(network):
    """By hand: 3 + 30 (up) + 16 (bottom) + 30 (down) pixels and what strides round."""
    assert 64 <= blocks.measure_reach(network) <= 96


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (20, 500), (448, 450), (601, 700)])
def test_the_network_shows_no_seam(network, size):
    image = random_image(size)
    reach = blocks.measure_reach(network)
    output = restore(network, image, reach=reach, block=320)
    assert np.abs(output - whole(network, image)).max() < 1 / 255


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mars_sr_x4", "mars_sr_x8", "mars_noise_s64"])
def test_published_networks_show_no_seam_on_a_photograph(name):
    model = networkfile.load_model(networkfile.find_weights(name)[0])
    image = data.astronaut()[:401, :512].astype(np.float32) / 255

    def predict(inputs):
        return np.asarray(model.predict_on_batch(inputs))

    reach = blocks.measure_reach(predict)
    output = restore(predict, image, reach=reach, block=256)
    assert np.abs(output - whole(predict, image)).max() < 1 / 255


@pytest.mark.slow
@pytest.mark.parametrize("scale", [None, 0.3])
def test_a_network_for_data_shows_no_seam_beside_a_cliff(scale):
    """Its level and scale see a cliff from afar: they are of the block, and have to be those of the image."""
    network = narrow_network(evened=True, scale=scale)
    rows, columns = np.indices((601, 700), np.float32)
    heights = np.sin(rows / 9) * np.sin(columns / 7) * (0.002 + 0.1 * (columns > 500))  # flat beside hilly
    image = (0.3 + heights + 0.5 * (rows > 333))[..., None].repeat(3, axis=-1)
    reach = blocks.measure_reach(network)
    output = restore(network, image, reach=reach, block=max(320, 2 * reach + 2 * blocks.BLEND))
    assert np.abs(output - whole(network, image)).max() < 1 / 255
