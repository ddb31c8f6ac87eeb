"""The Gram matrix RᵀR from dense rows of R, compiled by numba; see `rows` and `gram`.

On coarse grids, runs cover most of a node's coefficients. Multiplying whole rows, zeros included, then takes less time
than sorting rows by the windows of every pair of runs. Rows are copied block by block, so that they stay in cache.
Nodes are laid out without gaps (see `sparse.find_places`).
"""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.rows import Places, run_places
from kanbench.engine.numba_engine.simd import LANES, load, store
from kanbench.engine.numba_engine.structures import Floats, Integers, zeros
from kanbench.engine.numba_engine.tiles import PAIRED, TALL, add_outer, load_tile, store_tile
from kanbench.io.kernel_cache import compiled, compiled_inline

ROWS_AT_ONCE = 32  # the fastest of 16 to 1000 for [2, 5, 1], G = 3
TOGETHER = 2 * LANES if PAIRED else LANES  # columns that are computed together


@compiled
def add_dense_products(
    rows: Floats, windows: Integers, n: int, places: Places, matrix: Floats, n_columns: int, part: tuple[int, int]
) -> None:
    """Add to RᵀR, laid out, a part of the columns of its lower triangle.

    Args:
        n (int): Number of rows.
        matrix (array of shape (columns · columns,)): RᵀR for θ laid out.
        part (tuple): Index of the part, and number of parts.
    """
    index, count = part
    size = -(-(places.first[len(places.n_targets)] + places.n_scale) // LANES) * LANES
    width = size + LANES  # the last run may have more padding
    dense = zeros(ROWS_AT_ONCE * width, 0.0)
    for start in range(0, n, ROWS_AT_ONCE):
        m = min(ROWS_AT_ONCE, n - start)
        copy_rows(rows, windows, start, m, places, dense, width)
        for left in range(index * TOGETHER, size, count * TOGETHER):
            for top in range(left, size, len(TALL)):
                at = top * n_columns + left
                if PAIRED and top >= left + LANES:
                    add_pair(dense, m, width, top, left, matrix, at, n_columns)
                else:  # on the diagonal; the columns to the right are above it
                    add_tile(dense, m, width, top, left, matrix, at, n_columns)


@compiled
def copy_rows(rows: Floats, windows: Integers, start: int, m: int, places: Places, dense: Floats, width: int) -> None:
    """Fill `dense` with m rows of R from `start`, laid out, `width` numbers apart.

    The padding of a run overwrites columns of later runs, or beyond the last one, so runs are copied in order.
    """
    capacity = windows.shape[1]
    dense[: m * width] = 0
    for number in range(len(windows)):
        (first, step, (begin, room, length)), of_run = run_places(number, capacity, places), windows[number]
        for row in range(m):
            window = np.int64(of_run[np.uintp(start + row)])
            if window >= 0:
                at, where = begin + (start + row) * room, row * width + first + window * step
                for i in range(0, length, LANES):
                    store(load(rows, at + i), dense, where + i)


@compiled_inline
def add_tile(dense: Floats, m: int, width: int, top: int, left: int, matrix: Floats, at: int, n_columns: int) -> None:
    """Add the products of the columns from `top` and the LANES columns from `left` to the block that begins at `at`."""
    tile = load_tile(TALL, matrix, at, n_columns)
    for row in range(m):
        here = row * width
        tile = add_outer(tile, dense, here + top, load(dense, here + left))
    store_tile(tile, matrix, at, n_columns)


@compiled_inline
def add_pair(dense: Floats, m: int, width: int, top: int, left: int, matrix: Floats, at: int, n_columns: int) -> None:
    """As `add_tile`, for 2 LANES columns from `left`."""
    tile, other = load_tile(TALL, matrix, at, n_columns), load_tile(TALL, matrix, at + LANES, n_columns)
    for row in range(m):
        here = row * width
        tile = add_outer(tile, dense, here + top, load(dense, here + left))
        other = add_outer(other, dense, here + top, load(dense, here + left + LANES))
    store_tile(tile, matrix, at, n_columns)
    store_tile(other, matrix, at + LANES, n_columns)


@compiled
def fill_scales(matrix: Floats, n_columns: int, coef: Floats, places: Places) -> None:
    """Fill the rows of LᵀRᵀRL for all scale_sp from the lower triangle of RᵀR, and its upper triangle."""
    n_coef = len(places.scale_of)
    size = n_coef + places.n_scale
    for row in range(size):
        for column in range(row):
            matrix[np.uintp(column * n_columns + row)] = matrix[np.uintp(row * n_columns + column)]
    for c in range(n_coef):
        row = (size + places.scale_of[c]) * n_columns
        for column in range(0, size, LANES):
            store(load(matrix, row + column) + load(matrix, c * n_columns + column) * coef[c], matrix, row + column)
    for i in range(places.n_scale):
        row = (size + i) * n_columns
        for c in range(n_coef):
            matrix[np.uintp(row + size + places.scale_of[c])] += matrix[np.uintp(row + c)] * coef[c]
