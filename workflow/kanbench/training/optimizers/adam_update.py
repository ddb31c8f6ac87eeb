"""Adam's update in one pass, compiled: a dozen calls of numpy take longer than arithmetic on some hundred numbers."""

from __future__ import annotations

import numpy as np

from kanbench.io.kernel_cache import compiled_unfused
from kanbench.problems import Array

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the paper's, and torch's defaults


@compiled_unfused
def update(theta: Array, gradient: Array, mean: Array, square: Array, length: float, correction: float) -> None:
    """Change θ and the moving averages, vectors of shape (P,), in place.

    Args:
        length (float): Of the step, by which the mean is multiplied.
        correction (float): Of the square's root, which is divided by it.
    """
    number = theta.dtype.type
    for i in range(len(theta)):
        mean[i] += number(1 - BETA1) * (gradient[i] - mean[i])
        square[i] = number(BETA2) * square[i] + number(1 - BETA2) * gradient[i] * gradient[i]
        scale = np.sqrt(square[i]) / number(correction) + number(EPSILON)
        theta[i] -= number(length) * mean[i] / scale
