"""The Gram matrices JᵀJ and JJᵀ from rows of R, compiled by numba; see `rows`.

JᵀJ = LᵀRᵀRL. In all rows with the same windows, two runs contribute to the same block of RᵀR. Such rows are sorted to
be consecutive, so that sums over them stay in registers.

For JJᵀ, two rows share coefficients of a node if its windows overlap. Rows are grouped by window, so that one row meets
many that overlap in the same way, and each vector holds products with LANES of them.
"""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.rows import Places, run_of, run_places
from kanbench.engine.numba_engine.simd import LANES, load, store, total
from kanbench.engine.numba_engine.structures import Floats, Integers
from kanbench.engine.numba_engine.tiles import SHORT, TALL, add_outer, load_tile, scatter_add, store_tile
from kanbench.io.kernel_cache import compiled, compiled_inline

OVERLAPPING = 64  # rows of JJᵀ that are computed together


@compiled
def sort_rows(windows: Integers, n: int, block: int, orders: Integers, counts: Integers) -> None:
    """In every block of rows, for every run, sort the indices of the rows that have it by their window.

    Args:
        n (int): Number of rows.
        block (int): Rows in a block.
        orders (array of shape (runs, rows)): Filled with the sorted indices, block after block.
        counts (array of shape (blocks, runs)): Filled with the number of indices.
    """
    for number in range(len(windows)):
        of_run = windows[number]
        ends = np.zeros(np.max(of_run[:n]) + 2, np.int64)
        for start in range(0, n, block):
            stop = min(start + block, n)
            ends[:] = 0
            for row in range(start, stop):
                ends[np.uintp(of_run[row] + 1)] += 1
            counts[start // block, number] = stop - start - ends[0]
            ends[0] = start  # rows without the run are left out
            for window in range(1, len(ends)):
                ends[window] += ends[window - 1]
            for row in range(start, stop):
                window = of_run[row]
                if window >= 0:
                    orders[number, np.uintp(ends[np.uintp(window)])] = row
                    ends[np.uintp(window)] += 1


@compiled
def add_products(
    rows: Floats,
    windows: Integers,
    block: int,
    orders: Integers,
    counts: Integers,
    places: Places,
    matrix: Floats,
    n_columns: int,
    runs: tuple[int, int],
) -> None:
    """Add to RᵀR, laid out, the products of some runs with themselves and with all runs before them.

    Args:
        block, orders, counts (int, arrays): See `sort_rows`.
        matrix (array of shape (rows · columns,)): RᵀR for θ laid out and padded.
        runs (tuple): The first run, and the one after the last.
    """
    capacity = windows.shape[1]
    order = np.empty(block, np.int64)
    for number in range(len(counts)):
        start = number * block
        for left in range(*runs):
            of_left, n_left = windows[left], counts[number, left]
            order_left = orders[left, start : start + n_left]
            begins = np.zeros((of_left[order_left[n_left - 1]] if n_left else 0) + 2, np.int64)
            for row in order_left:
                begins[np.uintp(of_left[row] + 1)] += 1
            for window in range(1, len(begins)):
                begins[window] += begins[window - 1]
            ends = np.empty_like(begins)
            where_left, step_left, left_runs = run_places(left, capacity, places)
            for right in range(left + 1):
                where_right, step_right, right_runs = run_places(right, capacity, places)
                of_right = windows[right]
                order_right = orders[right, start : start + counts[number, right]]
                if left == right or left == len(places.n_targets):  # sorted already; for scale_base any order will do
                    order[: len(order_right)] = order_right
                    ends[:-1] = np.minimum(begins[1:], len(order_right))
                else:
                    ends[:] = begins
                    for row in order_right:
                        window = of_left[row]
                        if window >= 0:
                            order[np.uintp(ends[np.uintp(window)])] = row
                            ends[np.uintp(window)] += 1
                # Rows of `left` that lack `right` leave gaps at the ends of the windows.
                for window in range(len(begins) - 1):
                    begin, end = begins[window], ends[window]
                    while begin < end:
                        other, stop = of_right[order[begin]], begin + 1 if left != right else end
                        while stop < end and of_right[np.uintp(order[np.uintp(stop)])] == other:
                            stop += 1
                        first = (where_left + window * step_left) * n_columns + where_right + other * step_right
                        add_group(rows, order[begin:stop], left_runs, right_runs, matrix, first, n_columns)
                        begin = stop


@compiled_inline
def add_group(
    rows: Floats,
    order: Integers,
    left: tuple[int, int, int],
    right: tuple[int, int, int],
    matrix: Floats,
    first: int,
    n_columns: int,
) -> None:
    """Add the products of two runs, over rows with the same windows, to the block of the matrix that begins at `first`.

    Args:
        left, right (tuples): Start of each run in the first row, distance from row to row, and length.
    """
    left_at, left_room, height = left
    right_at, right_room, width = right
    i = 0
    while i < height:
        at, left_at_i = first + i * n_columns, left_at + i
        if height - i > len(SHORT):
            for j in range(0, width, LANES):
                add_tile(TALL, rows, order, left_at_i, left_room, right_at + j, right_room, matrix, at + j, n_columns)
            i += len(TALL)
        else:
            for j in range(0, width, LANES):
                add_tile(SHORT, rows, order, left_at_i, left_room, right_at + j, right_room, matrix, at + j, n_columns)
            i += len(SHORT)


@compiled_inline
def add_tile(
    shape: tuple[int, ...],
    rows: Floats,
    order: Integers,
    left_at: int,
    left_room: int,
    right_at: int,
    right_room: int,
    matrix: Floats,
    at: int,
    n_columns: int,
) -> None:
    """Add products of parts of two runs: len(shape) numbers of the left one by LANES of the right one."""
    tile = load_tile(shape, matrix, at, n_columns)
    for row in order:
        tile = add_outer(tile, rows, left_at + row * left_room, load(rows, right_at + row * right_room))
    store_tile(tile, matrix, at, n_columns)


@compiled
def add_scales(matrix: Floats, n_columns: int, coef: Floats, places: Places) -> None:
    """Compute the rows of LᵀRᵀR for scale_sp from the lower triangle of RᵀR, laid out.

    The diagonal block of a node's coefficients must be complete.
    """
    n_nodes, n_coef = len(places.n_targets), places.first[len(places.n_targets)]
    first_sp = n_coef + places.n_scale
    for index in range(n_nodes):
        n_targets, begin, end = places.n_targets[index], places.first[index], places.first[index + 1]
        for lane in range(n_targets):
            row = (first_sp + places.scale[index] + lane) * n_columns
            for column in range(0, end, LANES):
                products = load(matrix, row + column)
                for c in range(begin + lane, begin + places.n_coef[index], n_targets):
                    products = products + load(matrix, c * n_columns + column) * coef[c]
                store(products, matrix, row + column)
    for index in range(n_nodes):
        begin, end = places.first[index], places.first[index + 1]
        at, of_node = (first_sp + places.scale[index]) * n_columns, coef[begin : begin + places.n_coef[index]]
        add_sums(matrix, begin, n_columns, of_node, places.n_targets[index], at, end, first_sp + places.n_scale)


@compiled
def add_sums(
    matrix: Floats, first: int, n_columns: int, coef: Floats, n_targets: int, at: int, begin: int, end: int
) -> None:
    """Add Σ coef · matrix[row, first + ·] over the coefficients of every edge of a node.

    For rows `begin` to `end` of the matrix, the sums are added to the columns with the same indices; the edges' sums
    are in consecutive rows, starting at row `at`.
    """
    sums = np.empty(LANES)
    for row in range(begin, end):
        here = row * n_columns + first
        if n_targets == 1:
            products = load(matrix, here) * load(coef, 0)
            for c in range(LANES, len(coef), LANES):
                products = products + load(matrix, here + c) * load(coef, c)
            matrix[np.uintp(at + row)] += total(products)
            continue
        for lane in range(0, n_targets, LANES):
            products = load(matrix, here + lane) * load(coef, lane)
            for c in range(lane + n_targets, len(coef), n_targets):
                products = products + load(matrix, here + c) * load(coef, c)
            store(products, sums, 0)
            for i in range(min(LANES, n_targets - lane)):
                matrix[np.uintp(at + (lane + i) * n_columns + row)] += sums[i]


@compiled
def pick(laid_out: Floats, n_columns: int, factor: Floats, place: Integers, matrix: Floats) -> None:
    """For i <= j: matrix[i, j] = laid_out[p, q] factor[p] factor[q], with p = place[j], q = place[i] or the reverse."""
    tile, n = 32, len(place)  # two tiles fit in cache
    for left in range(0, n, tile):
        for top in range(0, left + 1, tile):
            for j in range(left, min(left + tile, n)):
                p = place[j]
                of_p = factor[p]
                for i in range(top, min(top + tile, j + 1)):
                    q = place[np.uintp(i)]
                    at = np.uintp(max(p, q) * n_columns + min(p, q))
                    matrix[np.uintp(i), np.uintp(j)] = laid_out[at] * (of_p * factor[np.uintp(q)])


@compiled
def fill_scales(
    rows: Floats, windows: Integers, places: Places, coef: Floats, of_base: Floats, columns: Floats
) -> None:
    """Fill the columns of J for all scale_base, multiplied by `of_base`, and for all scale_sp.

    Args:
        coef (array): The coefficients, laid out.
        columns (array of shape (rows, 2 n_scale))
    """
    n_nodes, n_scale, (_, n_rows), w = len(places.n_targets), places.n_scale, windows.shape, len(places.layout.w)
    base_run, base_room = places.run[n_nodes] * n_rows, places.room[n_nodes]
    for row in range(len(columns)):
        for i in range(n_scale):
            columns[row, np.uintp(i)] = rows[np.uintp(base_run + row * base_room + i)] * of_base[i]
            columns[row, np.uintp(n_scale + i)] = 0
        for number in range(n_nodes):
            window, n_targets = windows[number, row], places.n_targets[number]
            if window < 0:
                continue
            at, where = run_of(number, row, window, n_rows, places)
            for i in range(n_targets):
                value = 0.0
                for c in range(i, w * n_targets, n_targets):
                    value += rows[np.uintp(at + c)] * coef[np.uintp(where + c)]
                columns[row, np.uintp(n_scale + places.scale[number] + i)] = value


@compiled
def fill_columns(number: int, rows: Floats, windows: Integers, places: Places, factor: Floats, columns: Floats) -> None:
    """Fill the columns of J for a node's coefficients, from the first nonzero one; `columns` must be zeros."""
    n_rows, w, n_targets = windows.shape[1], len(places.layout.w), places.n_targets[number]
    lowest = np.iinfo(np.int64).max
    for window in windows[number]:
        lowest = min(lowest, window) if window >= 0 else lowest
    first = places.first[number] + lowest * n_targets
    for row in range(len(columns)):
        window = windows[number, row]
        if window < 0:
            continue
        at, where = run_of(number, row, window, n_rows, places)
        for c in range(w * n_targets):
            columns[row, np.uintp(where - first + c)] = rows[np.uintp(at + c)] * factor[np.uintp(where + c)]


@compiled
def fill_overlaps(
    nodes: Integers,
    rows: Floats,
    windows: Integers,
    places: Places,
    factor: Floats,
    so_far: Floats,
    stride: int,
    matrix: Floats,
) -> None:
    """Fill the upper triangle of JJᵀ with the contributions of some nodes' coefficients.

    Args:
        factor (array): Multiplies the columns of R for coefficients; laid out.
        so_far (array of shape (at least numbers in the runs × stride,)): Workspace for the runs, column by column of
            `stride` rows; rows with the same window are adjacent, so that LANES of them fill a vector.
        stride (int): At least n + (LANES - 1) · windows.
        matrix (array of shape (rows, rows)): JJᵀ.
    """
    n, w, n_windows = len(matrix), len(places.layout.w), np.max(windows) + 1
    begins, room = np.zeros((len(nodes), n_windows + 1), np.int64), places.room[nodes]
    for index in range(len(nodes)):
        begin, of_node = begins[index], windows[nodes[index]]
        for row in range(n):
            begin[np.uintp(of_node[row] + 1)] += 1
        begin[0] = 0
        for window in range(n_windows):
            begin[window + 1] = begin[window] + -(-begin[window + 1] // LANES) * LANES
    first = (np.cumsum(room) - room) * stride
    # Lanes without a row point to an extra element after the sums.
    numbers = np.empty((len(nodes), stride), np.int64)
    numbers[:] = n + np.arange(stride) % LANES
    ends, run, sums = begins.copy(), np.zeros(np.max(places.room)), np.zeros((OVERLAPPING, n + LANES))
    for stop in range(n, 0, -OVERLAPPING):
        start = max(stop - OVERLAPPING, 0)
        sums[:] = 0
        for index in range(len(nodes)):
            number = nodes[index]
            n_targets, begin, end, others = places.n_targets[number], begins[index], ends[index], numbers[index]
            length = w * n_targets
            for row in range(stop - 1, start - 1, -1):
                window = windows[number, row]
                if window < 0:
                    continue
                at, where = run_of(number, row, window, n, places)
                place = end[window]
                end[window] += 1
                others[place] = row
                for c in range(length):
                    run[c] = rows[np.uintp(at + c)] * factor[np.uintp(where + c)]
                    so_far[np.uintp(first[index] + c * stride + place)] = run[c]
                of_row = sums[row - start]
                for other in range(max(window - w + 1, 0), min(window + w, n_windows)):
                    shift = (window - other) * n_targets  # from the other run's coefficients to this one's
                    mine, theirs = max(-shift, 0), first[index] + max(shift, 0) * stride
                    for i in range(begin[other], end[other], LANES):
                        products = load(so_far, theirs + i) * run[mine]
                        for c in range(1, length - abs(shift)):
                            products = products + load(so_far, theirs + c * stride + i) * run[mine + c]
                        scatter_add(products, of_row, others, i)
        for row in range(start, stop):
            matrix[row, row:] = sums[row - start, row:n]
