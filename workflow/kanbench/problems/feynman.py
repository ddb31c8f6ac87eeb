"""Twenty dimensionless equations from Feynman's lectures, numbered as in arXiv:2509.03417, on [-1, 1]^d.

Inputs that the equation divides by are kept away from zero, as in the study. Equations 1, 2, 4, 6 and 8 are still
singular on this domain: a few samples near the singularity make up nearly all of the error, and no published
network fits them.
"""

from __future__ import annotations

import inspect
from math import pi

import numpy as np

from kanbench.problems.registry import Array, Target, problem

SMALLEST = 1e-6  # least |x| of the inputs in the study
SINGULAR = tuple(f"feynman_{number:02d}" for number in (1, 2, 4, 6, 8))


def equation(target: Target) -> Target:
    """Register the decorated function on [-1, 1]^d, with the study's small network: two hidden layers of 8 nodes."""
    d = len(inspect.signature(target).parameters)
    return problem([(-1, 1)] * d, width=(d, 8, 8, 1))(target)


def _not_zero(x: Array) -> Array:
    return np.copysign(np.maximum(np.abs(x), SMALLEST), x)


@equation
def feynman_01(a: Array, b: Array) -> Array:
    """exp(-a²/2b²) / √(2πb²)"""
    b = _not_zero(b)
    return np.exp(-(a**2) / (2 * b**2)) / np.sqrt(2 * pi * b**2)


@equation
def feynman_02(a: Array, b: Array, c: Array) -> Array:
    """exp(-(a - b)²/2c²) / √(2πc²)"""
    c = _not_zero(c)
    return np.exp(-((a - b) ** 2) / (2 * c**2)) / np.sqrt(2 * pi * c**2)


@equation
def feynman_03(a: Array, b: Array) -> Array:
    """1 + a sin b"""
    return 1 + a * np.sin(b)


@equation
def feynman_04(a: Array, b: Array) -> Array:
    """a (1/b - 1)"""
    return a * (1 / _not_zero(b) - 1)


@equation
def feynman_05(a: Array, b: Array) -> Array:
    """(a + b) / (1 + ab)"""
    return (a + b) / (1 + a * b)


@equation
def feynman_06(a: Array, b: Array) -> Array:
    """(1 + ab) / (1 + a)"""
    return (1 + a * b) / (1 + a)


@equation
def feynman_07(a: Array, b: Array) -> Array:
    """arcsin(a sin b)"""
    return np.arcsin(a * np.sin(b))


@equation
def feynman_08(a: Array, b: Array) -> Array:
    """1 / (1 + ab)"""
    return 1 / (1 + a * b)


@equation
def feynman_09(a: Array, b: Array, c: Array) -> Array:
    """√(1 + a² - 2a cos(b - c))"""
    return np.sqrt(1 + a**2 - 2 * a * np.cos(b - c))


@equation
def feynman_10(a: Array, b: Array) -> Array:
    """sin²(ab/2) / sin²(b/2)"""
    b = _not_zero(b)
    return np.sin(a * b / 2) ** 2 / np.sin(b / 2) ** 2


@equation
def feynman_11(a: Array, b: Array) -> Array:
    """a exp(-b)"""
    return a * np.exp(-b)


@equation
def feynman_12(a: Array, b: Array) -> Array:
    """cos a + b cos² a"""
    return np.cos(a) + b * np.cos(a) ** 2


@equation
def feynman_13(a: Array, b: Array) -> Array:
    """(a - 1) b"""
    return (a - 1) * b


@equation
def feynman_14(a: Array, b: Array, c: Array) -> Array:
    """c √(a² + b²) / 4π"""
    return c * np.hypot(a, b) / (4 * pi)


@equation
def feynman_15(a: Array, b: Array, c: Array) -> Array:
    """a (1 + b cos c)"""
    return a * (1 + b * np.cos(c))


@equation
def feynman_16(a: Array, b: Array) -> Array:
    """ab / (1 - ab/3)"""
    return a * b / (1 - a * b / 3)


@equation
def feynman_17(a: Array, b: Array) -> Array:
    """a / (exp b + exp(-b))"""
    return a / (np.exp(b) + np.exp(-b))


@equation
def feynman_18(a: Array, b: Array, c: Array) -> Array:
    """a + bc"""
    return a + b * c


@equation
def feynman_19(a: Array, b: Array) -> Array:
    """√(1 + a² + b²)"""
    return np.sqrt(1 + a**2 + b**2)


@equation
def feynman_20(a: Array, b: Array, c: Array) -> Array:
    """b (1 + a cos c)"""
    return b * (1 + a * np.cos(c))
