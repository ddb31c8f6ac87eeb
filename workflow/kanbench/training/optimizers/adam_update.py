"""Adam's update in one compiled pass: on a few hundred numbers, numpy calls take longer than the arithmetic."""

from __future__ import annotations

import numpy as np

from kanbench.io.kernel_cache import compiled_unfused
from kanbench.problems import Array

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the paper's, and torch's defaults


@compiled_unfused
def update(theta: Array, gradient: Array, mean: Array, square: Array, length: float, correction: float) -> None:
    """Change θ and the moving averages, vectors of shape (P,), in place.

    Args:
        length (float): Step size, with the bias correction of the mean: lr / (1 - β₁ᵗ).
        correction (float): Bias correction that divides the root of the mean square: √(1 - β₂ᵗ).
    """
    number = theta.dtype.type
    for i in range(len(theta)):
        mean[i] += number(1 - BETA1) * (gradient[i] - mean[i])
        square[i] = number(BETA2) * square[i] + number(1 - BETA2) * gradient[i] * gradient[i]
        scale = np.sqrt(square[i]) / number(correction) + number(EPSILON)
        theta[i] -= number(length) * mean[i] / scale
