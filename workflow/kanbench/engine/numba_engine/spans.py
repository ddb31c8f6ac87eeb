"""The basis functions of all nodes on their knot spans, compiled: for small networks, Python calls would dominate."""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.structures import Floats, Integers, Records
from kanbench.io.kernel_cache import compiled
from kanbench.network.splines import fill_polynomials


@compiled
def fill_windows(
    nodes: Records, order: Integers, left: Floats, right: Floats, windows: Integers, polynomials: Floats
) -> None:
    """Fill the polynomial coefficients (of u^q) of the basis functions in every span's window.

    Args:
        order (array of shape (nodes,)): k.
        left, right, windows (arrays of shape (spans,)): As in `Layout`.
        polynomials (array of shape (spans, W, W or more), zeros)
    """
    for index in range(len(nodes)):
        first, n_spans, k = nodes[index].first_span, nodes[index].n_spans, order[index]
        knots = np.append(left[first : first + n_spans], right[first + n_spans - 1])
        of_span = np.zeros((n_spans, k + 1, k + 1))
        fill_polynomials(knots, k, of_span)
        for m in range(n_spans):
            for r in range(max(k - m, 0), min(k + 1, n_spans - m)):  # existing spans only
                polynomials[first + m, m - k + r - windows[first + m], : k + 1] = of_span[m, r]
