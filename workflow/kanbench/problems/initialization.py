"""The five functions of a study of KAN initialization (arXiv:2509.03417), on [-1, 1]².

Published: the relative L2 error on a grid of 200 × 200 points after training on 4000 uniform samples.
"""

from __future__ import annotations

from math import pi

import numpy as np

from kanbench.problems.registry import Array, problem

SQUARE = [(-1, 1), (-1, 1)]
WIDTH = (2, 8, 1)  # of the smallest published set-up

# Functions import scipy.special themselves: it takes 0.5 s, more than everything else that planning imports.


@problem(SQUARE, width=WIDTH)
def initialization_f1(x: Array, y: Array) -> Array:
    """x y"""
    return x * y


@problem(SQUARE, width=WIDTH)
def initialization_f2(x: Array, y: Array) -> Array:
    """exp(sin πx + y²)"""
    return np.exp(np.sin(pi * x) + y**2)


@problem(SQUARE, width=WIDTH)
def initialization_f3(x: Array, y: Array) -> Array:
    """I₁(x) + exp(I₁ₑ(y)) + sin xy, where I₁ is the modified Bessel function and I₁ₑ(y) = exp(-|y|) I₁(y)."""
    return _bessel_sum(x, y)


@problem(SQUARE, width=WIDTH)
def initialization_f4(x: Array, y: Array) -> Array:
    """S(z) C(z), the Fresnel integrals ∫₀ᶻ sin(πt²/2) dt and ∫₀ᶻ cos(πt²/2) dt at z = f3(x, y) + erf⁻¹(y)."""
    from scipy.special import erfinv, fresnel

    sine, cosine = fresnel(_bessel_sum(x, y) + erfinv(y))
    return sine * cosine


@problem(SQUARE, width=WIDTH)
def initialization_f5(x: Array, y: Array) -> Array:
    """y (1 if x < ½, else -1) + erf(x) min(xy, 1/(xy)); on the square the minimum is taken as xy."""
    from scipy.special import erf

    return np.where(x < 0.5, y, -y) + erf(x) * x * y


def _bessel_sum(x: Array, y: Array) -> Array:
    from scipy.special import i1, i1e

    return i1(x) + np.exp(i1e(y)) + np.sin(x * y)
