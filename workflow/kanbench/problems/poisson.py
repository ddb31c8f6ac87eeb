"""Targets from Poisson equations, -Δu = f with a known solution u.

To add a problem, write a decorated function of a numpy array; nothing else has to be edited.

The problems in more than two dimensions generalize those on the square: u is a product over all dimensions. Products
of many factors less than one nearly vanish: see `kanbench.problems.target_scale`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from math import pi
from operator import mul

import numpy as np

from kanbench.problems.registry import Array, Target, problem

SQUARE = [(-1, 1), (-1, 1)]
DIMENSIONS = (3, 4, 10, 100)  # for the problems that are defined in any dimension


@problem(SQUARE)
def poisson_2d_sin(x: Array) -> Array:
    """-Δu for u = sin πx sin πy."""
    x, y = x[:, [0]], x[:, [1]]
    return 2 * pi**2 * np.sin(pi * x) * np.sin(pi * y)


@problem(SQUARE)
def poisson_2d_poly(x: Array) -> Array:
    """-Δu for u = x(1-x) y(1-y)."""
    x, y = x[:, [0]], x[:, [1]]
    return 2 * y * (1 - y) + 2 * x * (1 - x)


@problem(SQUARE)
def poisson_2d_highfreq(x: Array) -> Array:
    """-Δu for u = sin 4πx sin 4πy."""
    x, y = x[:, [0]], x[:, [1]]
    return 32 * pi**2 * np.sin(4 * pi * x) * np.sin(4 * pi * y)


@problem(SQUARE)
def poisson_2d_spec(x: Array) -> Array:
    """Δu for u = sin πx sin πy², the example of the KAN paper's section on partial differential equations."""
    x, y = x[:, [0]], x[:, [1]]
    sine = np.sin(pi * x)
    return -(pi**2) * (1 + 4 * y**2) * sine * np.sin(pi * y**2) + 2 * pi * sine * np.cos(pi * y**2)


def in_all_dimensions(target: Target) -> Target:
    """Register the decorated function on [-1, 1]^d for all DIMENSIONS, as `poisson_3d_…` and so on."""
    for d in DIMENSIONS:
        problem([(-1, 1)] * d, name=f"poisson_{d}d_{target.__name__}")(target)
    return target


@in_all_dimensions
def sin(x: Array) -> Array:
    """-Δu for u = ∏ sin πxᵢ."""
    return x.shape[1] * pi**2 * np.sin(pi * x).prod(1, keepdims=True)


@in_all_dimensions
def poly(x: Array) -> Array:
    """-Δu for u = ∏ xᵢ(1-xᵢ)."""
    return 2 * sum(_products_without_one(np.split(x * (1 - x), x.shape[1], axis=1)), start=np.zeros_like(x[:, [0]]))


@in_all_dimensions
def highfreq(x: Array) -> Array:
    """-Δu for u = ∏ sin 4πxᵢ."""
    return 16 * x.shape[1] * pi**2 * np.sin(4 * pi * x).prod(1, keepdims=True)


@in_all_dimensions
def spec(x: Array) -> Array:
    """Δu for u = sin πx₁ ∏ sin πxᵢ², the product over i ≥ 2."""
    first, *others = np.split(x, x.shape[1], axis=1)
    sines = [np.sin(pi * y**2) for y in others]
    by_others = sum(
        (2 * pi * np.cos(pi * y**2) - (2 * pi * y) ** 2 * sine) * rest
        for y, sine, rest in zip(others, sines, _products_without_one(sines), strict=True)
    )
    return np.sin(pi * first) * (by_others - pi**2 * reduce(mul, sines))


def _products_without_one(factors: Sequence[Array]) -> list[Array]:
    """For each factor, the product of all others; factors may be zero."""
    one = np.ones_like(factors[0])
    before = accumulate(factors, mul, initial=one)
    after = list(accumulate(reversed(factors), mul, initial=one))[-2::-1]
    return [left * right for left, right in zip(before, after, strict=False)]
