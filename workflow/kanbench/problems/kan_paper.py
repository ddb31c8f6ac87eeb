"""Functions from the paper that introduced KANs (arXiv:2404.19756, section 3.1) and pykan's notebooks, on [-1, 1]^d.

Published: the test RMSE at the end of each grid. The widths match the compositions that the functions are made of.
"""

from __future__ import annotations

from math import pi

import numpy as np

from kanbench.problems.registry import Array, problem

LINE, SQUARE = [(-1, 1)], [(-1, 1)] * 2


@problem(SQUARE, width=(2, 5, 1), name="kan_paper_exp_sin_5")  # another width
@problem(SQUARE, width=(2, 1, 1))
def kan_paper_exp_sin(x: Array, y: Array) -> Array:
    """exp(sin πx + y²)"""
    return np.exp(np.sin(pi * x) + y**2)


@problem(SQUARE, width=(2, 2, 1))
def kan_paper_product(x: Array, y: Array) -> Array:
    """x y"""
    return x * y


@problem(LINE, width=(1, 1))
def kan_paper_bessel(x: Array) -> Array:
    """J₀(20x)"""
    from scipy.special import j0  # here: takes 0.5 s, more than everything else that planning imports

    return j0(20 * x)


@problem([(-1, 1)] * 4, width=(4, 4, 2, 1))
def kan_paper_exp_sines_4d(a: Array, b: Array, c: Array, d: Array) -> Array:
    """exp((sin π(a² + b²) + sin π(c² + d²)) / 2)"""
    return np.exp((np.sin(pi * (a**2 + b**2)) + np.sin(pi * (c**2 + d**2))) / 2)


@problem([(-1, 1)] * 100, width=(100, 1, 1))
def kan_paper_exp_sines_100d(x: Array) -> Array:
    """exp(mean over i of sin²(πxᵢ/2))"""
    return np.exp(np.mean(np.sin(pi * x / 2) ** 2, axis=1))
