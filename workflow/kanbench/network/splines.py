"""B-splines on arbitrary knots, evaluated as in pykan: all basis functions of the knots, and zero outside.

A spline of order k with knots t, shape (K,), and coefficients c, shape (K - k - 1,), is the function Σ_j c_j B_j.
On a *knot span*, the interval between two neighbouring knots, with local coordinate u = (x - left knot) / width in
[0, 1), each basis function is a polynomial of degree k, and at most k + 1 of them are nonzero.
"""

from __future__ import annotations

import numpy as np

from kanbench.io.kernel_cache import cache, compiled
from kanbench.problems import Array


@compiled
def fill_polynomials(t: Array, k: int, polynomials: Array) -> None:
    """Compute the basis functions on each knot span as polynomials in the local coordinate.

    Cox-de Boor recursion on polynomials. As in pykan, a basis function that would divide by zero is zero.

    Args:
        t (array of shape (K,)): The knots.
        k (int): The order.
        polynomials (array of shape (K - 1, k + 1, k + 1), zeros): Filled with the coefficient of u^q in basis function
            m - k + r on span m, by m, r and q; zero if there is no such basis function.
    """
    n_spans = len(t) - 1
    basis = np.zeros((k + 2, k + 1))  # basis functions m - k to m on span m (and a zero), by power
    for m in range(n_spans):
        for r in range(k + 1):
            for q in range(k + 1):
                basis[r, q] = r == k and q == 0
        for d in range(1, k + 1):
            for r in range(k - d, k + 1):
                j = m - k + r
                rise, fall, rising, falling = 0.0, 0.0, 0.0, 0.0
                if j >= 0 and j + d + 1 <= n_spans and t[j + d] != t[j] and t[j + d + 1] != t[j + 1]:
                    rise, fall = 1 / (t[j + d] - t[j]), 1 / (t[j + d + 1] - t[j + 1])
                    rising, falling = (t[m] - t[j]) * rise, (t[j + d + 1] - t[m]) * fall
                for q in range(d, -1, -1):
                    basis[r, q] = rising * basis[r, q] + falling * basis[r + 1, q]
                    if q > 0:
                        basis[r, q] += (t[m + 1] - t[m]) * (rise * basis[r, q - 1] - fall * basis[r + 1, q - 1])
        for r in range(k + 1):
            if 0 <= m - k + r < n_spans - k:
                for q in range(k + 1):
                    polynomials[m, r, q] = basis[r, q]


@compiled
def fill_splines(x: Array, t: Array, k: int, polynomials: Array, c: Array, values: Array) -> None:
    """Fill `values`, zeros of shape (n, splines), with the splines of coefficients c, shape (splines, K - k - 1)."""
    for sample in range(len(x)):
        m = np.searchsorted(t, x[sample], side="right") - 1
        if not (t[0] <= x[sample] < t[-1]):
            continue
        u = (x[sample] - t[m]) / (t[m + 1] - t[m])
        for r in range(k + 1):
            j, basis = m - k + r, 0.0
            if not 0 <= j < c.shape[1]:
                continue
            for q in range(k, -1, -1):
                basis = basis * u + polynomials[m, r, q]
            for spline in range(len(c)):
                values[sample, spline] += c[spline, j] * basis


def basis_polynomials(t: Array, k: int) -> Array:
    """The polynomials of `fill_polynomials`, shape (K - 1, k + 1, k + 1), for knots t of shape (K,)."""
    cache.once("splines", lambda: basis_matrix(np.zeros(1), np.arange(4.0), 1))
    polynomials = np.zeros((len(t) - 1, k + 1, k + 1))
    fill_polynomials(writable(t), k, polynomials)
    return polynomials


def evaluate_splines(x: Array, t: Array, k: int, c: Array) -> Array:
    """Evaluate the splines with coefficients c, shape (splines, K - k - 1), at x, shape (n,); shape (n, splines)."""
    values = np.zeros((len(x), len(c)))
    fill_splines(writable(x), writable(t), k, basis_polynomials(t, k), writable(c), values)
    return values


def basis_matrix(x: Array, t: Array, k: int) -> Array:
    """All basis functions at x, shape (n, K - k - 1)."""
    return evaluate_splines(x, t, k, np.eye(len(t) - k - 1))


def greville(t: Array, k: int) -> Array:
    """The Greville abscissae ξ, shape (K - k - 1,): Σ_j ξ_j B_j(x) = x on the domain [t_k, t_(K-k-1)]."""
    return np.lib.stride_tricks.sliding_window_view(t[1:-1], k).mean(axis=1)


def writable(array: Array) -> Array:
    """Convert to a contiguous, writable float64 array, the only type that kernels are compiled for."""
    return np.require(array, np.float64, ["C", "W"])
