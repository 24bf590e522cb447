"""The optimizer of the recipe `fewdata`."""

import numpy as np
import pytest

from inception2_module import muon, networks
from inception2_module.backend import keras


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


def test_hidden_kernels_step_against_the_gradient_and_the_rest_as_adam_steps():
    model = networks.build_model("inception_unet_halved", width=8, dropout=0.0)
    first, second = ([np.random.default_rng([i, step]).standard_normal(v.shape).astype(np.float32)
                      for i, v in enumerate(model.trainable_variables)] for step in range(2))
    stepped = {}
    for cls in (muon.Muon, keras.optimizers.Adam):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        optimizer, stepped[cls] = cls(0.01), [model.get_weights()]
        for gradients in (first, second):
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], copy.trainable_variables)
            stepped[cls].append(copy.get_weights())
    n_kernels = 0
    for i, variable in enumerate(model.trainable_variables):
        (before, once, twice), adam = ([weights[i] for weights in stepped[cls]] for cls in stepped)
        if "_out" in variable.path or variable.path.endswith("bias"):
            np.testing.assert_array_equal(twice, adam[2])
            continue
        n_kernels += 1
        momentum = np.zeros_like(before)
        for gradient, old, new in ((first[i], before, once), (second[i], once, twice)):
            momentum = 0.95 * momentum + gradient
            matrix = (gradient + 0.95 * momentum).reshape(-1, before.shape[-1])
            direction = np.array(muon.orthogonalise(keras.ops.convert_to_tensor(matrix))).reshape(before.shape)
            np.testing.assert_allclose(old - new, 0.01 * 0.2 * max(matrix.shape) ** 0.5 * direction, atol=1e-5)
    assert n_kernels == 14


def test_short_floats_do_not_make_a_step_explode(monkeypatch):
    """GPUs may round the factors of a product to 10 bits; gradients have few large directions."""
    def short(x):
        bits = np.array(x, np.float32).view(np.uint32)
        return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)

    def matmul(x, y):
        return keras.ops.convert_to_tensor(short(x) @ short(y))

    u, _, vt = np.linalg.svd(np.random.default_rng(0).standard_normal((1600, 64)), full_matrices=False)
    matrix = ((u * np.geomspace(1, 1e-4, 64)) @ vt).astype(np.float32)
    monkeypatch.setattr(keras.ops, "matmul", matmul)
    assert np.linalg.norm(muon.orthogonalise(keras.ops.convert_to_tensor(matrix)), 2) < 1.3
