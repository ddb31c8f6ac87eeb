"""Targets of the study's first part: simple functions in one and two dimensions, on its sample domain [-1, 1]^d.

They serve as a comparison; nothing is published about them.
"""

from __future__ import annotations

from math import pi

import numpy as np

from kanbench.problems.registry import Array, problem

LINE, SQUARE = [(-1, 1)], [(-1, 1)] * 2
FREQUENCIES = (1, 2, 3, 4, 5)
FREQUENCIES_2D = (1, 2, 3)  # for each input, in all combinations
BUMPS = ((0.3, 0.02), (0.7, 0.02), (0.5, 0.01))  # (c, w): centre (c, c), squared width w


def _sine(frequency: int) -> None:
    def sine(x: Array) -> Array:
        return np.sin(2 * pi * frequency * x)

    problem(LINE, name=f"section1_sine_{frequency}")(sine)


def _sines(first: int, second: int) -> None:
    def sines(x: Array, y: Array) -> Array:
        return np.sin(2 * pi * first * x) * np.sin(2 * pi * second * y)

    problem(SQUARE, name=f"section1_sines_{first}_{second}")(sines)


for one in FREQUENCIES:
    _sine(one)


@problem(LINE)
def section1_piecewise(x: Array) -> Array:
    """-0.5 below 0.3, 0.3 below 0.6, 1 below 0.8, then -0.2"""
    return np.select([x < 0.3, x < 0.6, x < 0.8], [-0.5, 0.3, 1.0], -0.2)


@problem(LINE)
def section1_sawtooth(x: Array) -> Array:
    """(x mod ¼) / ¼"""
    return x % 0.25 / 0.25


@problem(LINE)
def section1_polynomial(x: Array) -> Array:
    """x³ - 2x² + x"""
    return x**3 - 2 * x**2 + x


@problem(LINE)
def section1_poisson_sin(x: Array) -> Array:
    """-u″ of u = sin πx"""
    return pi**2 * np.sin(pi * x)


@problem(LINE)
def section1_poisson_poly(x: Array) -> Array:
    """-u″ of u = x(1 - x): the constant 2"""
    return np.full_like(x, 2)


@problem(LINE)
def section1_poisson_highfreq(x: Array) -> Array:
    """-u″ of u = sin 4πx"""
    return 16 * pi**2 * np.sin(4 * pi * x)


for one in FREQUENCIES_2D:
    for two in FREQUENCIES_2D:
        _sines(one, two)


@problem(SQUARE)
def section1_gaussians(x: Array, y: Array) -> Array:
    """The sum of three bumps exp(-|(x, y) - (c, c)|² / w)"""
    return np.sum([np.exp(-((x - c) ** 2 + (y - c) ** 2) / w) for c, w in BUMPS], axis=0)
