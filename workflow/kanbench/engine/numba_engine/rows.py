"""The rows of the Jacobian, compiled by numba: only what is not zero of them, and never all of them at once.

An output of a network depends on one window of W coefficients of every spline, so a row of J = ∂f/∂θ, that of one
output on one sample, is mostly zeros, and what is not stands in runs. Moreover, the derivatives by an edge's
coefficients and by its scale_sp,

    δ_j · mask · scale_sp · B_(w+r)(x_i)   and   δ_j · mask · Σ_r coef_(w+r) B_(w+r)(x_i),

come from the same numbers, so that J = R L, where L depends on the parameters only, and a row of R has for every node a
run of the W × span numbers δ_j · mask · B_(w+r)(x_i) of its edges, and one run for all scale_base,
δ_j · mask · base(x_i). Here θ is laid out with other gaps than e and b are: first all coefficients, then all
scale_base, then all scale_sp; `Places` says where.

The rows of a sample, one for each output of the network, follow one another. They differ in δ; of the last layer, edges
that lead to another output are zeros in their runs.

From rows, part by part, come the products R u and Rᵀ v and the matrix RᵀR, and, from all rows, JJᵀ: two rows share a
coefficient only where their windows overlap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kanbench.engine.numba_engine.kernels import backward, copy_outputs, forward
from kanbench.engine.numba_engine.simd import LANES, load, store, total, wide
from kanbench.engine.numba_engine.structures import BLOCK, Floats, Inputs, Integers, Layout, Workspace
from kanbench.io.kernel_cache import compiled


class Places(NamedTuple):
    """Where the runs are in a row of R, and to which parameters they belong."""

    run: Integers  # (nodes + 2,): where the run of a node begins in a row, that of all scale_base, and the row's end
    first: Integers  # (nodes + 1,): where in θ, laid out, the coefficients of a node begin; where all scale_base do
    n_targets: Integers  # (nodes,): numbers per basis function, from the first to the last target of its edges
    scale: Integers  # (nodes,): where, of all scales, those of a node begin
    n_scale: int
    of_parameter: Integers  # (parameters,): where the parameters, trained ones first, are in θ, laid out
    scale_of: Integers  # (coefficients,): which of all scales belongs to a coefficient
    masks: Floats  # float64, the factors of edges, laid out as `Tables.b`
    layout: Layout


@compiled
def fill_rows(
    start: int,
    work: Workspace,
    nan_if_nonfinite: float,
    places: Places,
    values: Floats,
    rows: Floats,
    windows: Integers,
) -> None:
    """Fill the rows of R of some samples from `start` on, the windows of their nodes, and their f(x) in `values`.

    Args:
        values (array of shape (n · outputs,))
        rows (array of shape (samples · outputs, length of a row))
        windows (array of shape (samples · outputs, nodes + 1), zeros): -1 where no basis function is. The last one is
            of the run of all scale_base, which is always there.
    """
    net, buffers, first, n_layers = work.layout, work.buffers, work.first, len(work.layout.layers) - 1
    output = net.layers[n_layers]
    n_outputs, n_samples = output.width, len(rows) // output.width
    for before in range(0, n_samples, BLOCK):
        m, block_start = min(BLOCK, n_samples - before), start + before
        of_block = rows[before * n_outputs : (before + m) * n_outputs]
        windows_of_block = windows[before * n_outputs : (before + m) * n_outputs]
        forward(block_start, m, work, nan_if_nonfinite)
        copy_outputs(block_start, m, work, values)
        of_block[:] = 0
        for j in range(n_outputs):
            delta_of_outputs, stride = buffers.delta[output.at : output.at + m * output.stride], output.stride
            delta_of_outputs[:] = 0
            for sample in range(m):
                delta_of_outputs[np.uintp(sample * stride + j)] = 1
            for number in range(n_layers - 1, -1, -1):
                layer, following = net.layers[number], net.layers[number + 1]
                delta, stride = buffers.delta[following.at :], following.stride
                kept = number == 0 and len(first.span) > LANES
                inputs = first if kept else buffers.inputs
                for index in range(layer.first_node, layer.first_node + layer.width):
                    at = index * len(work.x) + block_start if kept else index * BLOCK
                    fill_runs(index, stride, inputs, at, delta, places, of_block, windows_of_block, j, n_outputs)
                if number > 0:
                    backward(number, block_start, m, work, False)


@compiled
def fill_runs(
    index: int,
    stride: int,
    inputs: Inputs,
    at: int,
    delta: Floats,
    places: Places,
    rows: Floats,
    windows: Integers,
    first_row: int,
    step: int,
) -> None:
    """Fill what a node contributes to some rows, every `step`-th from `first_row` on, and its windows there.

    What is stored reaches beyond the targets, with zeros; later numbers of the row overwrite them, or they are in gaps.
    """
    net = places.layout
    w, node, n_nodes, row_length = len(net.w), net.nodes[index], len(net.nodes), rows.shape[1]
    lanes, first_target, first_base, n_targets = node.lanes, node.first_target, node.first_base, places.n_targets[index]
    span_before, run = node.first_span - 1, places.run[index]
    base_run, flat = places.run[n_nodes] + places.scale[index], rows.reshape(-1)
    for sample in range(len(rows) // step if lanes else 0):
        number = first_row + sample * step
        item, target, row = np.uintp(at + sample), sample * stride + first_target, number * row_length
        span, u, base = inputs.span[item], np.float64(inputs.u[item]), np.float64(inputs.base[item])
        windows[np.uintp(number), index] = np.int64(net.window[np.uintp(span_before + span)]) if span else -1
        if lanes == 1:
            weight = np.float64(delta[np.uintp(target)]) * places.masks[first_base]
            flat[np.uintp(row + base_run)] = weight * base
            for r in range(w if span else 0):
                flat[np.uintp(row + run + r)] = weight * basis(span_before + span, r, u, net)
            continue
        for lane in range(0, lanes, LANES):
            weights = wide(load(delta, target + lane)) * load(places.masks, first_base + lane)
            store(weights * base, flat, row + base_run + lane)
        for r in range(w if span else 0):
            value = basis(span_before + span, r, u, net)
            for lane in range(0, lanes, LANES):
                weights = wide(load(delta, target + lane)) * load(places.masks, first_base + lane)
                store(weights * value, flat, row + run + r * n_targets + lane)


@compiled
def basis(span: int, r: int, u: float, net: Layout) -> float:
    """Basis function r of those that are not zero on a knot span, at the local coordinate u."""
    w, value = len(net.w), 0.0
    for q in range(w - 1, -1, -1):
        value = value * u + net.polynomials[np.uintp((span * w + r) * LANES + q)]
    return value


@compiled
def run_of(number: int, window: int, places: Places) -> tuple[int, int, int]:
    """Where a run begins in a row and in θ, laid out, and its length: 0 where the node has no window."""
    net = places.layout
    n_nodes, at = len(net.nodes), places.run[number]
    if number == n_nodes:
        return at, places.first[n_nodes], places.n_scale
    n_targets = places.n_targets[number]
    return at, places.first[number] + window * n_targets, len(net.w) * n_targets if window >= 0 else 0


@compiled
def jvp(rows: Floats, windows: Integers, places: Places, direction: Floats, products: Floats) -> None:
    """Fill `products` with R u for some rows of R; `direction` is u, laid out and padded by LANES."""
    flat = rows.reshape(-1)
    for sample in range(len(rows)):
        total_of_runs = load(direction, 0) * 0.0
        for number in range(windows.shape[1]):
            at, where, length = run_of(number, windows[sample, number], places)
            for i in range(0, length, LANES):
                part = load(flat, sample * rows.shape[1] + at + i) * load(direction, where + i)
                total_of_runs = total_of_runs + part
        products[sample] = total(total_of_runs)


@compiled
def vjp(rows: Floats, windows: Integers, places: Places, weights: Floats, products: Floats) -> None:
    """Add to `products` what some rows of R contribute to Rᵀ v, laid out; `weights` are their elements of v."""
    flat = rows.reshape(-1)
    for sample in range(len(rows)):
        weight = weights[sample]
        for number in range(windows.shape[1]):
            at, where, length = run_of(number, windows[sample, number], places)
            for i in range(0, length, LANES):
                part = load(flat, sample * rows.shape[1] + at + i) * weight
                store(load(products, where + i) + part, products, where + i)


@compiled
def fill_whole_rows(rows: Floats, windows: Integers, places: Places, whole: Floats) -> None:
    """Fill rows of R, shape (samples, coefficients and scale_base, laid out), zeros before."""
    for sample in range(len(rows)):
        for number in range(windows.shape[1]):
            at, where, length = run_of(number, windows[sample, number], places)
            for i in range(length):
                whole[sample, np.uintp(where + i)] = rows[sample, np.uintp(at + i)]


@compiled
def fill_jacobian_rows(
    rows: Floats, windows: Integers, places: Places, coef: Floats, factor: Floats, jacobian_rows: Floats
) -> None:
    """Fill rows of J from those of R: runs alike, and a run of all scale_sp, zeros before, after the others."""
    net = places.layout
    n_nodes, first_sp = len(net.nodes), rows.shape[1]
    for sample in range(len(rows)):
        jacobian_rows[sample, places.run[n_nodes] : first_sp] = rows[sample, places.run[n_nodes] :]
        for number in range(n_nodes):
            at, where, length = run_of(number, windows[sample, number], places)
            for i in range(length):
                value, c = rows[sample, np.uintp(at + i)], np.uintp(where + i)
                jacobian_rows[sample, np.uintp(at + i)] = value * factor[c]
                jacobian_rows[sample, np.uintp(first_sp + places.scale_of[c])] += value * coef[c]


@compiled
def add_products(rows: Floats, windows: Integers, places: Places, matrix: Floats, runs: tuple[int, int]) -> None:
    """Add to RᵀR, laid out, what some rows of R contribute by runs with themselves and with the runs before them.

    `runs` are the first of them and the one after the last.
    A row of `matrix` is padded by LANES, and a run with zeros up to a multiple of LANES.
    """
    first_run, last_run = runs
    flat_rows, flat_matrix, n_columns = rows.reshape(-1), matrix.reshape(-1), matrix.shape[1]
    at, where, lengths = np.empty(last_run, np.int64), np.empty(last_run, np.int64), np.empty(last_run, np.int64)
    for sample in range(len(rows)):
        for run in range(last_run):
            at[run], where[run], lengths[run] = run_of(run, windows[sample, run], places)
            at[run] += sample * rows.shape[1]
        for left in range(first_run, last_run):
            first, length, row = at[left], lengths[left], where[left] * n_columns
            for right in range(left + 1):
                run, run_length, target = at[right], lengths[right], row + where[right]
                for i in range(length):
                    value, at_i = flat_rows[np.uintp(first + i)], target + i * n_columns
                    if value == 0:
                        continue
                    for j in range(0, run_length, LANES):
                        summand = load(flat_rows, run + j) * value
                        store(load(flat_matrix, at_i + j) + summand, flat_matrix, at_i + j)


@compiled
def pick(laid_out: Floats, factor: Floats, place: Integers, matrix: Floats) -> None:
    """For i >= j: matrix[i, j] = laid_out[p, q] factor[p] factor[q], with p = place[i], q = place[j] or the reverse."""
    for i in range(len(place)):
        p, row = place[i], matrix[i]
        for j in range(i + 1):
            q = place[j]
            row[j] = laid_out[np.uintp(max(p, q)), np.uintp(min(p, q))] * (factor[p] * factor[q])


@compiled
def add_overlaps(number: int, places: Places, rows: Floats, windows: Integers, order: Integers, matrix: Floats) -> None:
    """Add products of a node's runs in rows of J, of every pair of rows once: to matrix[s, t] or matrix[t, s].

    Args:
        order (array of shape (rows,)): The rows' numbers, sorted by the window of the node.
        matrix (array of shape (rows, rows))
    """
    net = places.layout
    w, n_targets, n = len(net.w), places.n_targets[number], len(order)
    length, at = w * n_targets, places.run[number]
    stride = length + w * LANES  # zeros behind a run, for vectors that reach beyond the overlap
    runs, window = np.zeros(n * stride), np.empty(n, np.int64)
    for i in range(n):
        window[i] = windows[order[i], number]
        for c in range(length):
            runs[i * stride + c] = rows[order[i], at + c]
    earliest = 0
    for i in range(n):
        row = matrix[order[i]]
        if window[i] < 0:
            earliest = i + 1
            continue
        while window[i] - window[earliest] >= w:
            earliest += 1
        for j in range(earliest, i + 1):
            shift = (window[i] - window[j]) * n_targets
            products = load(runs, i * stride) * load(runs, j * stride + shift)
            for c in range(LANES, length - shift, LANES):
                products = products + load(runs, i * stride + c) * load(runs, j * stride + shift + c)
            row[np.uintp(order[j])] += total(products)


@compiled
def add_transposed(matrix: Floats) -> None:
    """Add the upper triangle of a matrix to the lower one, in place."""
    tile = 32  # two of them are in cache
    n = len(matrix)
    for top in range(0, n, tile):
        for left in range(0, top + 1, tile):
            for i in range(top, min(top + tile, n)):
                for j in range(left, min(left + tile, i)):
                    matrix[i, j] += matrix[j, i]
