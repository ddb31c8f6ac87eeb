"""The two-loop recursion of L-BFGS (Nocedal & Wright, Algorithm 7.4)."""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.simd import LANES, load, store, total, wide
from kanbench.io.kernel_cache import compiled
from kanbench.problems import Array

SMALLEST_CURVATURE = 1e-10  # as in torch: pairs with less are skipped


@compiled
def dot(a: Array, b: Array) -> float:
    """Σ aᵢ bᵢ in float64; numba's `@` would need scipy.linalg, which takes a third of a second to import."""
    n, result = len(a), 0.0
    whole = n - n % (2 * LANES)
    if whole:
        even, odd = wide(load(a, 0)) * wide(load(b, 0)), wide(load(a, LANES)) * wide(load(b, LANES))
        for i in range(2 * LANES, whole, 2 * LANES):
            even = even + wide(load(a, i)) * wide(load(b, i))
            odd = odd + wide(load(a, i + LANES)) * wide(load(b, i + LANES))
        result = total(even + odd)
    for i in range(whole, n):
        result += np.float64(a[i]) * np.float64(b[i])
    return result


@compiled
def add_multiple(q: Array, factor: float, v: Array) -> None:
    """q += factor · v, in place."""
    whole = len(q) - len(q) % LANES
    for i in range(0, whole, LANES):
        store(load(q, i) + load(v, i) * factor, q, i)
    for i in range(whole, len(q)):
        q[i] += q.dtype.type(factor) * v[i]


@compiled
def remember_and_apply(
    q: Array,
    change: Array,
    difference: Array,
    s: Array,
    y: Array,
    rho: Array,
    alpha: Array,
    scale: float,
    newest: int,
    count: int,
) -> tuple[float, int, int]:
    """Store a pair and replace the gradient q by the direction -H q, in place.

    H is the inverse Hessian approximation from the stored pairs, starting with scale · I.

    Args:
        q (array of shape (P,)): The gradient.
        change, difference (arrays of shape (P,)): Δθ and Δgradient of the last iteration.
        s, y (arrays of shape (m, P)): Ring buffers of pairs; `newest` was filled last, `count` are filled.
        rho, alpha (arrays of shape (m,)): 1 / (s · y), and workspace.

    Returns:
        scale, newest, count
    """
    curvature = dot(change, difference)
    if curvature > SMALLEST_CURVATURE:
        newest, count = (newest + 1) % len(s), min(count + 1, len(s))
        rho[newest] = 1 / curvature
        for i in range(len(q)):  # numba needs a second to compile the assignment of a row
            s[newest, i], y[newest, i] = change[i], difference[i]
        scale = curvature / dot(difference, difference)
    for age in range(count):
        i = (newest - age) % len(s)
        alpha[i] = rho[i] * dot(s[i], q)
        add_multiple(q, -alpha[i], y[i])
    q *= -scale
    for age in range(count - 1, -1, -1):
        i = (newest - age) % len(s)
        add_multiple(q, -alpha[i] - rho[i] * dot(y[i], q), s[i])
    return scale, newest, count
