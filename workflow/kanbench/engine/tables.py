"""What the kernels look up instead of computing it: the pieces of all rows of knots, and the search for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kanbench.engine.simd import LANES
from kanbench.engine.structures import compiled

BUCKETS_PER_PIECE = 8  # then few of them hold a knot, and the search for the piece is over before it begins

Floats = NDArray[np.float64]


class Row(NamedTuple):
    """The pieces between the knots t of a node, shape (K + 1,), numbered from `first_piece`."""

    buckets: NDArray[np.int32]  # (buckets,): the last piece that begins in an earlier bucket
    density: float  # buckets per length
    steps: int
    window: NDArray[np.int32]  # (K,): the first basis function
    polynomials: Floats  # (K, W, LANES): the coefficient of u^q of the basis function window + r, 0 for q ≥ W


def tabulate_row(t: Floats, k: int, window: int, first_piece: int) -> Row:
    """The tables of one node's row of knots."""
    n_pieces = len(t) - 1
    polynomials, first = np.zeros((n_pieces, window, LANES)), np.zeros(n_pieces, np.int32)
    fill_polynomials(t, k, polynomials, first, max(n_pieces - k, window))
    n_buckets = BUCKETS_PER_PIECE * n_pieces
    length = t[-1] - t[0]
    density = n_buckets / length if length > 0 and np.isfinite(length) else 0.0
    buckets, most = fill_buckets(t, first_piece, density, n_buckets)
    return Row(buckets, density, most, first, polynomials)


@compiled
def fill_polynomials(t, k, polynomials, window, row_length):
    """The basis functions on each of the pieces between knots `t`, as polynomials of the local coordinate.

    Cox-de Boor's recursion on polynomials. Where pykan divides by a distance of zero, its basis function is zero.

    Parameters
    ----------
    t : array of shape (K + 1,)
    polynomials : array of shape (K, W, LANES), zeros
        Filled: for a piece, the coefficients of u^q of W basis functions, from that of `window` on.
    window : array of shape (K,)
        Filled.
    row_length : int
        Coefficients, at least W.
    """
    n_pieces, width = len(t) - 1, polynomials.shape[1]
    basis = np.zeros((k + 2, k + 1))  # of m - k to m on piece m (and a zero), by power
    for m in range(n_pieces):
        for r in range(k + 1):
            for q in range(k + 1):
                basis[r, q] = r == k and q == 0
        for d in range(1, k + 1):
            for r in range(k - d, k + 1):
                j = m - k + r
                rise, fall = 0.0, 0.0
                if j >= 0 and j + d + 1 <= n_pieces and t[j + d] != t[j] and t[j + d + 1] != t[j + 1]:
                    rise, fall = 1 / (t[j + d] - t[j]), 1 / (t[j + d + 1] - t[j + 1])
                rising, falling = (t[m] - t[j]) * rise, (t[j + d + 1] - t[m]) * fall
                for q in range(d, -1, -1):
                    basis[r, q] = rising * basis[r, q] + falling * basis[r + 1, q]
                    if q > 0:
                        basis[r, q] += (t[m + 1] - t[m]) * (rise * basis[r, q - 1] - fall * basis[r + 1, q - 1])
        window[m] = min(max(m - k, 0), row_length - width)
        for r in range(k + 1):
            j = m - k + r
            if 0 <= j < n_pieces - k:
                for q in range(k + 1):
                    polynomials[m, j - window[m], q] = basis[r, q]


def fill_buckets(t: Floats, first_piece: int, density: float, n_buckets: int) -> tuple[NDArray[np.int32], int]:
    """The last piece that begins before each bucket, and the most that begin in one bucket.

    The pieces begin at knots `t`, all but the last. Knots are rounded to buckets as `inputs.bucket_of` rounds.
    """
    position = np.nan_to_num((t[:-1] - t[0]) * density)
    counts = np.bincount(np.rint(position.clip(0, n_buckets - 1)).astype(int), minlength=n_buckets)
    buckets = first_piece - 1 + np.cumsum(counts) - counts
    buckets[0] = first_piece  # x is never less than the first knot
    return buckets.astype(np.int32), counts.max()
