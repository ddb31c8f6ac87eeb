"""The nonzero parts of the Jacobian's rows, compiled by numba.

On a sample, an output of the network depends on one window of W coefficients of every spline, so a row of J = ∂f/∂θ,
for one output on one sample, is mostly zeros, and its nonzeros form runs. Moreover, the derivatives with respect to an
edge's coefficients and its scale_sp,

    δ_j · mask · scale_sp · B_(w+r)(x_i)   and   δ_j · mask · Σ_r coef_(w+r) B_(w+r)(x_i),

share the same numbers. Therefore J = R L, where L depends on the parameters only. A row of R has a run for every node,
the W × span numbers δ_j · mask · B_(w+r)(x_i) of its edges, and one run for all scale_base, δ_j · mask · base(x_i).
Here "laid out" means θ with gaps (other gaps than in e and b): all coefficients, then all scale_base, then all
scale_sp, at the positions in `Places`.

The rows of a sample, one per output of the network, are consecutive. They differ in δ; in the last layer, edges to
other outputs are zeros in their runs. The runs of a node are contiguous, row by row, and padded with zeros for vector
loads.

Rows are computed in parts, which give the products R u and Rᵀ v here, and RᵀR and JJᵀ in `gram`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kanbench.engine.numba_engine.kernels import backward, copy_outputs, forward
from kanbench.engine.numba_engine.simd import LANES, load, store, total, wide
from kanbench.engine.numba_engine.structures import BLOCK, Floats, Inputs, Integers, Layout, Workspace, zeros
from kanbench.io.kernel_cache import compiled


class Places(NamedTuple):
    """The positions of runs in rows of R, and their parameters.

    Runs have the numbers of their nodes; the last one is for all scale_base.
    """

    run: Integers  # (nodes + 2,): offset of each run in a row; the last is the length of a row
    room: Integers  # (nodes + 1,): length of a run with its padding, a multiple of LANES
    first: Integers  # (nodes + 1,): start of a node's coefficients in θ, laid out; the last is that of scale_base
    n_targets: Integers  # (nodes,): numbers per basis function, from the first to the last target of its edges
    n_coef: Integers  # (nodes,): coefficients of its edges, including gaps between edges
    scale: Integers  # (nodes,): start of a node's scales among all scales
    n_scale: int
    of_parameter: Integers  # (parameters,): position of every parameter, trained ones first, in θ, laid out
    scale_of: Integers  # (coefficients,): index of a coefficient's scale
    masks: Floats  # float64, the factors of edges, laid out as `Tables.b`
    basis: Floats  # float64, (spans, W powers, LANES): the basis functions' coefficients of u^q
    dense: bool  # whether JᵀJ is computed from dense rows; then there are no gaps
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
    """Fill rows of R, windows of nodes and values f(x) for `n_samples` samples from `start`.

    Args:
        values (array of shape (n · outputs,)): Filled with f(x).
        rows (array of shape (at least rows × numbers in a row,)): Filled with runs; must be zero elsewhere.
        windows (array of shape (nodes + 1, rows)): Filled with the first coefficient of each run; -1 without a run,
            because no basis function is nonzero; 0 for the run of all scale_base, which always exists.
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
    """Fill a node's runs in the rows of one output, for m samples that begin `before` samples after the first.

    Vector stores write zeros beyond the targets, which later numbers of the row overwrite or which fall in gaps.
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
    """Evaluate the nonzero basis functions of a knot span at the local coordinate u, as a vector padded with zeros."""
    w = len(places.layout.w)
    values = load(places.basis, at + (w - 1) * LANES)
    for q in range(w - 2, -1, -1):
        values = values * u + load(places.basis, at + q * LANES)
    return values


@compiled
def lay_out(step: Floats, coef: Floats, factor: Floats, places: Places, direction: Floats) -> None:
    """Fill `direction` (zeros, laid out, padded by 2 LANES) with L δ; `step` is δ."""
    for i in range(len(step)):
        direction[np.uintp(places.of_parameter[i])] = step[i]
    n_coef = len(places.scale_of)
    first_sp = n_coef + places.n_scale
    for c in range(n_coef):
        by_sp = direction[np.uintp(first_sp + places.scale_of[c])]
        direction[c] = direction[c] * factor[c] + coef[c] * by_sp


@compiled
def collect(products: Floats, coef: Floats, factor: Floats, places: Places, gradient: Floats) -> None:
    """Fill `gradient` with Lᵀ u; `products` is u, laid out, with zeros for all scale_sp, and is overwritten."""
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
    """Add the contribution of some rows of R to Rᵀ v, laid out, to `products`; `weights` are their elements of v.

    Every window has two sums, over alternate rows: successive rows often have the same window, and a single sum would
    make each wait for the one before.
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
    """Locate a run.

    Returns:
        int: Start of the run of the first window in θ, laid out.
        int: Distance from one window to the next.
        tuple: Start of the first row's run in rows, distance from one row to the next, and length.
    """
    is_last = number == len(places.n_targets)
    step = 0 if is_last else places.n_targets[number]
    length = places.n_scale if is_last else len(places.layout.w) * step
    return places.first[number], step, (places.run[number] * capacity, places.room[number], length)


@compiled
def run_of(number: int, row: int, window: int, n_rows: int, places: Places) -> tuple[int, int]:
    """Start of a run in rows, and in θ, laid out."""
    at = places.run[number] * n_rows + row * places.room[number]
    if number == len(places.n_targets):
        return at, places.first[number]
    return at, places.first[number] + window * places.n_targets[number]
