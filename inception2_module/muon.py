"""The optimizer of the recipe `fewdata`: Muon (Jordan et al., 2024) for kernels of hidden layers, Adam for the rest.

Images are nearly all brightness and slow gradients, so the gradient of a kernel has a few large singular values, which
say little of the detail to be restored. Muon gives all of them the same size: in a given number of updates a network
learns more (`python3 -m wi2_paper.unseen ablation` measures it). keras.optimizers.Muon leaves the kernels of
convolutions to Adam.
"""

from inception2_module.backend import keras, ops

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al.: five steps bring singular values to about 0.7..1.2
N_STEPS = (2, 3)  # between the two X^T X is computed again: with the short floats of some GPUs it would drift
RMS = 0.2  # of an update at learning rate 1, about that of Adam's (Liu et al., 2025): the two can share a rate


class Muon(keras.optimizers.Adam):
    """Adam, but for the kernels of convolutions other than last layers ("..._out"): these get orthogonal updates."""

    def build(self, variables):
        super().build(variables)
        self._kernels = {
            self._get_variable_index(variable) for variable in variables
            if len(variable.shape) == 4 and not variable.path.endswith("_out/kernel")
        }

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        if index not in self._kernels:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[index]
        self.assign(momentum, MOMENTUM * momentum + gradient)
        matrix = ops.reshape(gradient + MOMENTUM * momentum, (-1, variable.shape[-1]))  # Nesterov's look ahead
        step = RMS * max(matrix.shape) ** 0.5 * orthogonalise(matrix)
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * ops.reshape(step, variable.shape))


def orthogonalise(matrix):
    """Return U V^T for matrix = U S V^T, roughly: float32 (m, n) -> (m, n) with singular values of 0.7..1.2.

    Small singular values (below about 0.002 of the root of the sum of all squares) stay below that. Each step of
    Newton and Schulz multiplies X by a polynomial of X^T X; here the polynomials of some steps, which are small
    matrices, are multiplied first.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return ops.transpose(orthogonalise(ops.transpose(matrix)))
    a, b, c = NEWTON_SCHULZ
    matrix = matrix / (ops.norm(matrix) + 1e-7)  # a kernel whose gradient is all zero stays as it is
    identity = ops.eye(matrix.shape[1], dtype=matrix.dtype)
    for n_steps in N_STEPS:
        gram, product = ops.matmul(ops.transpose(matrix), matrix), identity       # (n, n)
        for _ in range(n_steps):
            polynomial = a * identity + b * gram + c * ops.matmul(gram, gram)
            product = ops.matmul(product, polynomial)
            gram = ops.matmul(ops.matmul(polynomial, gram), polynomial)
        matrix = ops.matmul(matrix, product)
    return matrix
