"""The optimizer of the recipe `fewdata`."""

import keras
import numpy as np
import pytest

import muon
import networks


@pytest.mark.parametrize("shape", [(1600, 64), (75, 64), (64, 100), (9, 3)])
def test_orthogonalising_keeps_the_directions_and_evens_their_sizes(shape):
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    matrix = (u * np.geomspace(1, 0.02, min(shape))) @ vt
    even = u.T @ np.array(muon.orthogonalise(keras.ops.convert_to_tensor(matrix.astype(np.float32)))) @ vt.T
    sizes = np.diag(even)
    assert sizes.min() > 0.4
    assert sizes.max() < 1.3
    np.testing.assert_allclose(even, np.diag(sizes), atol=2e-3)


def test_nothing_comes_of_no_gradient():
    np.testing.assert_array_equal(muon.orthogonalise(keras.ops.zeros((8, 4))), np.zeros((8, 4)))


def test_hidden_kernels_step_by_the_learning_rate_and_the_rest_as_adam_steps():
    model = networks.build_model("inception_unet_halved", width=8, dropout=0.0)
    gradients = [np.random.default_rng(i).standard_normal(v.shape).astype(np.float32)
                 for i, v in enumerate(model.trainable_variables)]
    stepped = {}
    for optimizer in (muon.Muon, keras.optimizers.Adam):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        optimizer(0.01).apply([keras.ops.convert_to_tensor(g) for g in gradients], copy.trainable_variables)
        stepped[optimizer] = copy.get_weights()
    n_kernels = 0
    for variable, before, ours, adam in zip(model.trainable_variables, model.get_weights(), *stepped.values(),
                                            strict=True):
        if "_out" in variable.path or variable.path.endswith("bias"):
            np.testing.assert_array_equal(ours, adam)
            continue
        n_kernels += 1
        rms = np.sqrt(np.mean((ours - before) ** 2))
        assert 0.5 * muon.RMS * 0.01 < rms < 1.3 * muon.RMS * 0.01
    assert n_kernels == 12
