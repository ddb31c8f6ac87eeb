"""The target of a study of multilevel training of KANs (arXiv:2603.04827, table 2), scaled to [0, 1].

Published: the training MSE on that scale.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from kanbench.problems.registry import Array, problem

DOMAIN = [(1e-4, 0.9999)] * 2
ANGLE = 0.175  # radians
# Minimum and maximum on the domain: the best point of a regular grid of 4001² points, refined by the Nelder-Mead
# method. A test repeats the search.
LOWEST, HIGHEST = -1.3688925147306148, 3.6157227009882074


@problem(DOMAIN, width=(2, 5, 1))
def multilevel(x: Array, y: Array) -> Array:
    """cos 4πu + sin πv + sin 2πv + |sin 3πv²|, scaled to [0, 1], at (x, y) rotated by 0.175 rad to (u, v)"""
    return (_unscaled(x, y) - LOWEST) / (HIGHEST - LOWEST)


def _unscaled(x: Array, y: Array) -> Array:
    u, v = cos(ANGLE) * x - sin(ANGLE) * y, sin(ANGLE) * x + cos(ANGLE) * y
    return np.cos(4 * pi * u) + np.sin(pi * v) + np.sin(2 * pi * v) + np.abs(np.sin(3 * pi * v**2))
