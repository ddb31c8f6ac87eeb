"""Cholesky factorisation A = UᵀU of dense matrices, and solution with the factor, compiled by numba.

For the hundreds of unknowns of a Levenberg-Marquardt step, this takes about half the time of OpenBLAS's `dpotrf`
(`workflow/docs/levenberg_marquardt.md`). The upper triangle is stored as successive *strips* of LANES columns; a strip
has, row by row, the rows above its diagonal block and the block itself. The products in the factorisation,

    A[rows, columns] - Σ_k U[k, rows]ᵀ U[k, columns],

then read two strips sequentially, and sums stay in registers (`tiles`). They run over blocks of ROWS_AT_ONCE values of
k, which stay in cache. Unknowns are padded to a multiple of LANES with equations x = 0.
"""

from __future__ import annotations

import math

import numpy as np

from kanbench.engine.numba_engine.simd import LANES, load, store, total
from kanbench.engine.numba_engine.structures import Floats
from kanbench.engine.numba_engine.tiles import PAIRED, TALL, add_outer, load_tile, store_tile
from kanbench.io.kernel_cache import compiled

ROWS_AT_ONCE = 64  # about the fastest of 32 to 256


@compiled
def begin_of(left: int) -> int:
    """Start of the strip whose first column is `left`; for the number of columns, the length of all strips."""
    return left * (left + LANES) // 2


@compiled
def factorise(matrix: Floats, shift: float, strips: Floats) -> bool:
    """Fill `strips` with U for A = matrix + shift I; return whether A is positive definite.

    The diagonal of U is stored as reciprocals.

    Args:
        matrix (array of shape (n, n)): Only the upper triangle is read.
        strips (array of shape (begin_of(m),)): m is n rounded up to a multiple of LANES.
    """
    pack(matrix, shift, strips)
    m = -(-len(matrix) // LANES) * LANES
    for top in range(0, m, ROWS_AT_ONCE):
        bottom = min(top + ROWS_AT_ONCE, m)
        for first in range(0, top, ROWS_AT_ONCE):
            subtract_products(strips, first, first + ROWS_AT_ONCE, top, bottom, m)
        for row in range(top, bottom, LANES):
            subtract_products(strips, top, row, row, row + LANES, m)
            if not factorise_block(strips, begin_of(row) + row * LANES):
                return False
            for left in range(row + LANES, m, LANES):
                solve_block(strips, begin_of(row) + row * LANES, begin_of(left) + row * LANES)
    return True


@compiled
def pack(matrix: Floats, shift: float, strips: Floats) -> None:
    """Fill `strips` with matrix + shift I, zeros below the diagonal, and the identity matrix as padding."""
    n = len(matrix)
    for left in range(0, n, LANES):
        first, stop = begin_of(left), min(left + LANES, n)
        strips[first + left * LANES : begin_of(left + LANES)] = 0
        for row in range(stop):
            begin = max(left, row)
            strips[first + row * LANES + stop - left : first + (row + 1) * LANES] = 0
            for column in range(begin, stop):
                strips[np.uintp(first + row * LANES + column - left)] = matrix[np.uintp(row), np.uintp(column)]
        for row in range(left, left + LANES):
            diagonal = first + row * (LANES + 1) - left
            strips[diagonal] = strips[diagonal] + shift if row < n else 1.0


@compiled
def subtract_products(strips: Floats, first: int, last: int, top: int, bottom: int, m: int) -> None:
    """Subtract the products of rows `first` to `last` from rows `top` to `bottom`, from the diagonal to column m."""
    left = top
    while left < m:
        pair = PAIRED and left + LANES < m
        for row in range(top, min(bottom, left + LANES), LANES):
            if pair:
                subtract_pair(strips, first, last, row, left)
            else:
                subtract_block(strips, first, last, row, left)
        left += LANES
        if pair:
            if left < bottom:
                subtract_block(strips, first, last, left, left)
            left += LANES


@compiled
def subtract_block(strips: Floats, first: int, last: int, row: int, left: int) -> None:
    """As `subtract_products`, for LANES rows from `row` and the strip at column `left`."""
    rows, columns = begin_of(row), begin_of(left)
    for i in range(0, LANES, len(TALL)):
        at = columns + (row + i) * LANES
        tile = load_tile(TALL, strips, at, LANES)
        for k in range(first, last):
            tile = add_outer(tile, strips, rows + k * LANES + i, load(strips, columns + k * LANES) * -1.0)
        store_tile(tile, strips, at, LANES)


@compiled
def subtract_pair(strips: Floats, first: int, last: int, row: int, left: int) -> None:
    """As `subtract_block`, for two strips at once."""
    rows, columns, others = begin_of(row), begin_of(left), begin_of(left + LANES)
    at, at_other = columns + row * LANES, others + row * LANES
    tile, other = load_tile(TALL, strips, at, LANES), load_tile(TALL, strips, at_other, LANES)
    for k in range(first, last):
        tile = add_outer(tile, strips, rows + k * LANES, load(strips, columns + k * LANES) * -1.0)
        other = add_outer(other, strips, rows + k * LANES, load(strips, others + k * LANES) * -1.0)
    store_tile(tile, strips, at, LANES)
    store_tile(other, strips, at_other, LANES)


@compiled
def factorise_block(strips: Floats, at: int) -> bool:
    """Factorise the diagonal block at `at` in place; return whether it is positive definite."""
    for i in range(LANES):
        here, diagonal = at + i * LANES, strips[at + i * (LANES + 1)]
        if not diagonal > 0:
            return False
        inverse = 1 / math.sqrt(diagonal)
        row = load(strips, here) * inverse
        store(row, strips, here)
        for other in range(i + 1, LANES):
            there = at + other * LANES
            store(load(strips, there) - row * strips[np.uintp(here + other)], strips, there)
        strips[here + i] = inverse
    return True


@compiled
def solve_block(strips: Floats, diagonal: int, at: int) -> None:
    """Compute the block of U at `at` from the factor of the diagonal block in the same rows, at `diagonal`."""
    for i in range(LANES):
        factors = diagonal + i * LANES
        row = load(strips, at + i * LANES) * strips[np.uintp(factors + i)]
        store(row, strips, at + i * LANES)
        for other in range(i + 1, LANES):
            there = at + other * LANES
            store(load(strips, there) - row * strips[np.uintp(factors + other)], strips, there)


@compiled
def solve(strips: Floats, b: Floats) -> Floats:
    """Solve UᵀU x = b for x, shape (n,)."""
    n = len(b)
    m = -(-n // LANES) * LANES
    x = np.zeros(m)
    x[:n] = b
    for left in range(0, m, LANES):  # Uᵀ y = b
        first = begin_of(left)
        rest = load(x, left)
        for k in range(left):
            rest = rest - load(strips, first + k * LANES) * x[np.uintp(k)]
        store(rest, x, left)
        for i in range(LANES):
            row = first + (left + i) * LANES
            x[left + i] *= strips[row + i]
            for other in range(i + 1, LANES):
                x[left + other] -= strips[row + other] * x[left + i]
    for left in range(m - LANES, -1, -LANES):  # U x = y
        first = begin_of(left)
        for i in range(LANES - 1, -1, -1):
            row = first + (left + i) * LANES
            for other in range(i + 1, LANES):
                x[left + i] -= strips[row + other] * x[left + other]
            x[left + i] *= strips[row + i]
        found = load(x, left)
        for k in range(left):
            x[np.uintp(k)] -= total(load(strips, first + k * LANES) * found)
    return x[:n]
