"""Knot insertion, compiled: otherwise refining a small network takes longer than its epochs."""

from __future__ import annotations

import numpy as np

from kanbench.io.kernel_cache import compiled
from kanbench.problems import Array

SMALLEST_INTERVAL = 1e-6  # of the domain: knots must be distinct in float32 too, as pykan divides by their distances


@compiled
def insert_knot(x: float, t: Array, c: Array, k: int, n_knots: int) -> None:
    """Insert the knot x into splines of order k without changing them (Boehm, 1980), in place.

    Args:
        x (float): The new knot, in the domain and different from all knots.
        t (array of shape (n_knots + 1,) or longer): The knots, with space at the end.
        c (array of shape (splines, n_knots - k) or longer): The coefficients, with space at the end.
        k (int): The order.
        n_knots (int): The number of knots before insertion.
    """
    j = np.searchsorted(t[:n_knots], x) - 1
    for row in range(len(c)):
        for i in range(n_knots - k - 1, j, -1):
            c[row, i] = c[row, i - 1]
        for i in range(j, j - k, -1):
            share = (x - t[i]) / (t[i + k] - t[i])
            c[row, i] = share * c[row, i] + (1 - share) * c[row, i - 1]
    for i in range(n_knots, j + 1, -1):
        t[i] = t[i - 1]
    t[j + 1] = x


@compiled
def halve_intervals(t: Array, c: Array, k: int, n_knots: int, samples: Array) -> None:
    """Insert knots until `t` and `c` are full; each knot halves the widest interval that contains samples.

    If all those are too small already, the widest interval of all is halved. Choosing by width alone would waste knots
    where there are no activations any more; choosing by the number of samples, as pykan does, leaves too few at the
    sparsely populated ends. On the four problems, LM's test loss at G = 50 (geometric mean over five seeds) was lower
    with this rule than with width × samples and width⁴ × samples.

    Args:
        t, c, k, n_knots: As for `insert_knot`.
        samples (array of shape (n,), sorted): The activations at the node.
    """
    smallest = SMALLEST_INTERVAL * (t[n_knots - k - 1] - t[k])
    before = np.empty(len(t), np.int64)  # samples before a knot
    for i in range(k, n_knots - k):
        before[i] = np.searchsorted(samples, t[i])
    while n_knots < len(t):
        widest, widest_of_all = -1, k
        for i in range(k, n_knots - k - 1):
            width = t[i + 1] - t[i]
            if width > t[widest_of_all + 1] - t[widest_of_all]:
                widest_of_all = i
            if before[i + 1] > before[i] and width > smallest and (widest < 0 or width > t[widest + 1] - t[widest]):
                widest = i
        i = widest if widest >= 0 else widest_of_all
        x = (t[i] + t[i + 1]) / 2
        for j in range(n_knots - k, i + 1, -1):
            before[j] = before[j - 1]
        before[i + 1] = np.searchsorted(samples, x)
        insert_knot(x, t, c, k, n_knots)
        n_knots += 1
