"""The rows of the Jacobian, compiled by numba: only what is not zero of them.

An output of a network depends on one window of W coefficients of every spline, so a row of J = ∂f/∂θ, that of one
output on one sample, is mostly zeros, and what is not stands in runs. Moreover, the derivatives by an edge's
coefficients and by its scale_sp,

    δ_j · mask · scale_sp · B_(w+r)(x_i)   and   δ_j · mask · Σ_r coef_(w+r) B_(w+r)(x_i),

come from the same numbers, so that J = R L, where L depends on the parameters only, and a row of R has for every node a
run of the W × span numbers δ_j · mask · B_(w+r)(x_i) of its edges, and one run for all scale_base,
δ_j · mask · base(x_i). Here θ is laid out with other gaps than e and b are: first all coefficients, then all
scale_base, then all scale_sp; `Places` says where.

The rows of a sample, one for each output of the network, follow one another. They differ in δ; of the last layer, edges
that lead to another output are zeros in their runs. The runs of a node lie side by side, row after row, and end with
zeros, so that vectors may reach beyond them.

From rows, part by part, come the products R u and Rᵀ v here, and RᵀR and JJᵀ in `gram`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kanbench.engine.numba_engine.kernels import backward, copy_outputs, forward
from kanbench.engine.numba_engine.simd import LANES, load, store, total, wide
from kanbench.engine.numba_engine.structures import BLOCK, Floats, Inputs, Integers, Layout, Workspace, zeros
from kanbench.io.kernel_cache import compiled


class Places(NamedTuple):
    """Where the runs are in rows of R, and to which parameters they belong.

    Runs are numbered as their nodes are; the last one is of all scale_base.
    """

    run: Integers  # (nodes + 2,): of a row, the numbers in the runs before; all of them
    room: Integers  # (nodes + 1,): of the numbers of a run, with the zeros behind them; a multiple of LANES
    first: Integers  # (nodes + 1,): where in θ, laid out, the coefficients of a node begin; where all scale_base do
    n_targets: Integers  # (nodes,): numbers per basis function, from the first to the last target of its edges
    n_coef: Integers  # (nodes,): the coefficients of its edges, gaps between edges among them
    scale: Integers  # (nodes,): where, of all scales, those of a node begin
    n_scale: int
    of_parameter: Integers  # (parameters,): where the parameters, trained ones first, are in θ, laid out
    scale_of: Integers  # (coefficients,): which of all scales belongs to a coefficient
    masks: Floats  # float64, the factors of edges, laid out as `Tables.b`
    basis: Floats  # float64, (spans, W powers, LANES): the basis functions' coefficients of u^q
    layout: Layout


@compiled
def fill_rows(
    start: int,
    n_samples: int,
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
        rows (array of shape (room for rows × numbers in a row,)): Zeros where no run has been.
        windows (array of shape (nodes + 1, rows)): -1 where no basis function is; there is no run then. Zeros for the
            run of all scale_base, which is always there.
    """
    net, buffers, first, n_layers = work.layout, work.buffers, work.first, len(work.layout.layers) - 1
    output = net.layers[n_layers]
    n_outputs, at_output = output.width, output.at
    for before in range(0, n_samples, BLOCK):
        m, block_start = min(BLOCK, n_samples - before), start + before
        forward(block_start, m, work, nan_if_nonfinite)
        copy_outputs(block_start, m, work, values)
        for j in range(n_outputs):
            delta_of_outputs, stride = buffers.delta[at_output : at_output + m * output.stride], output.stride
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
                    fill_runs(index, m, stride, inputs, at, delta, places, rows, windows, before, j, n_outputs)
                if number > 0:
                    backward(number, block_start, m, work, False)


@compiled
def fill_runs(
    index: int,
    m: int,
    stride: int,
    inputs: Inputs,
    at: int,
    delta: Floats,
    places: Places,
    rows: Floats,
    windows: Integers,
    before: int,
    output: int,
    n_outputs: int,
) -> None:
    """Fill what a node contributes to the rows of an output on m samples, `before` of them after the first.

    What is stored reaches beyond the targets, with zeros; later numbers of the row overwrite them, or they are in gaps.
    """
    net, n_rows = places.layout, windows.shape[1]
    w, node, n_nodes = len(net.w), net.nodes[index], len(net.nodes)
    lanes, first_target, first_base, n_targets = node.lanes, node.first_target, node.first_base, places.n_targets[index]
    span_before, room, base_room = node.first_span - 1, places.room[index], places.room[n_nodes]
    run, base_run = places.run[index] * n_rows, places.run[n_nodes] * n_rows + places.scale[index]
    functions = np.empty(LANES)
    for sample in range(m if lanes else 0):
        row, item, target = (
            (before + sample) * n_outputs + output,
            np.uintp(at + sample),
            sample * stride + first_target,
        )
        span, u, base = inputs.span[item], np.float64(inputs.u[item]), np.float64(inputs.base[item])
        here, base_here = run + row * room, base_run + row * base_room
        windows[index, np.uintp(row)] = net.window[np.uintp(span_before + span)] if span else -1
        of_basis = (span_before + span) * w * LANES
        if lanes == 1:
            weight = np.float64(delta[np.uintp(target)]) * places.masks[first_base]
            rows[np.uintp(base_here)] = weight * base
            if span:
                store(basis_functions(of_basis, u, places) * weight, rows, here)
            continue
        for lane in range(0, lanes, LANES):
            weights = wide(load(delta, target + lane)) * load(places.masks, first_base + lane)
            store(weights * base, rows, base_here + lane)
        if span:
            store(basis_functions(of_basis, u, places), functions, 0)
            for r in range(w):
                for lane in range(0, lanes, LANES):
                    weights = wide(load(delta, target + lane)) * load(places.masks, first_base + lane)
                    store(weights * functions[r], rows, here + r * n_targets + lane)


@compiled
def basis_functions(at: int, u: float, places: Places) -> Floats:
    """A vector: the basis functions that are not zero on a knot span, at the local coordinate u, and zeros."""
    w = len(places.layout.w)
    values = load(places.basis, at + (w - 1) * LANES)
    for q in range(w - 2, -1, -1):
        values = values * u + load(places.basis, at + q * LANES)
    return values


@compiled
def lay_out(step: Floats, coef: Floats, factor: Floats, places: Places, direction: Floats) -> None:
    """Fill `direction` with L δ, laid out and padded by 2 LANES, zeros before; `step` is δ."""
    for i in range(len(step)):
        direction[np.uintp(places.of_parameter[i])] = step[i]
    n_coef = len(places.scale_of)
    first_sp = n_coef + places.n_scale
    for c in range(n_coef):
        by_sp = direction[np.uintp(first_sp + places.scale_of[c])]
        direction[c] = direction[c] * factor[c] + coef[c] * by_sp


@compiled
def collect(products: Floats, coef: Floats, factor: Floats, places: Places, gradient: Floats) -> None:
    """Fill `gradient` with Lᵀ u; `products` are u, laid out, with zeros for all scale_sp, and are overwritten."""
    n_coef = len(places.scale_of)
    first_sp = n_coef + places.n_scale
    for c in range(n_coef):
        products[np.uintp(first_sp + places.scale_of[c])] += coef[c] * products[c]
        products[c] *= factor[c]
    for i in range(len(gradient)):
        gradient[i] = products[np.uintp(places.of_parameter[i])]


@compiled
def jvp(rows: Floats, windows: Integers, places: Places, direction: Floats, products: Floats) -> None:
    """Fill `products` with R u for some rows of R; `direction` is u, laid out and padded by 2 LANES."""
    n_runs, capacity = windows.shape
    sums = np.empty(BLOCK * LANES)
    for before in range(0, len(products), BLOCK):
        m = min(BLOCK, len(products) - before)
        sums[:] = 0
        for number in range(n_runs):
            (first, step, (begin, room, length)), of_run = run_places(number, capacity, places), windows[number]
            for row in range(m):
                window = of_run[np.uintp(before + row)]
                if window < 0:
                    continue
                at, where, summed = begin + (before + row) * room, first + window * step, load(sums, row * LANES)
                for i in range(0, length, LANES):
                    summed = summed + load(rows, at + i) * load(direction, where + i)
                store(summed, sums, row * LANES)
        for row in range(m):
            products[np.uintp(before + row)] = total(load(sums, row * LANES))


@compiled
def vjp(rows: Floats, windows: Integers, places: Places, weights: Floats, products: Floats) -> None:
    """Add to `products` what some rows of R contribute to Rᵀ v, laid out; `weights` are their elements of v.

    There are two sums for every window, of every other row, because a row often meets the window of the one before.
    """
    (n_runs, capacity), w = windows.shape, len(places.layout.w)
    for number in range(n_runs):
        (first, step, (begin, room, length)), of_run = run_places(number, capacity, places), windows[number]
        n_windows, other = places.n_coef[number] // step - w + 1 if step else 1, 0
        half = n_windows * room
        sums = zeros(2 * half, 0.0)
        for row in range(len(weights)):
            window, weight = of_run[np.uintp(row)], weights[np.uintp(row)]
            if window < 0:
                continue
            at, there = begin + row * room, window * room + other
            other = half - other
            for i in range(0, length, LANES):
                store(load(sums, there + i) + load(rows, at + i) * weight, sums, there + i)
        for window in range(n_windows):
            for i in range(length):
                there = window * room + i
                products[np.uintp(first + window * step + i)] += sums[np.uintp(there)] + sums[np.uintp(half + there)]


@compiled
def run_places(number: int, capacity: int, places: Places) -> tuple[int, int, tuple[int, int, int]]:
    """Where the run of the first window begins in θ, laid out, and from one window to the next.

    And where the first row's begins in rows, from one row to the next, and its length.
    """
    is_last = number == len(places.n_targets)
    step = 0 if is_last else places.n_targets[number]
    length = places.n_scale if is_last else len(places.layout.w) * step
    return places.first[number], step, (places.run[number] * capacity, places.room[number], length)


@compiled
def run_of(number: int, row: int, window: int, n_rows: int, places: Places) -> tuple[int, int]:
    """Where a run begins in rows and in θ, laid out."""
    at = places.run[number] * n_rows + row * places.room[number]
    if number == len(places.n_targets):
        return at, places.first[number]
    return at, places.first[number] + window * places.n_targets[number]
