"""The rows of the Jacobian, compiled by numba: only what is not zero of them, and never all of them at once.

The output of a network depends on one window of W coefficients of every spline, so a row of J = ∂f/∂θ is mostly zeros,
and what is not stands in runs: for a node, the W × lanes derivatives by the coefficients of its edges,

    δ_j · mask · scale_sp · B_(w+r)(x_i),

and for all nodes together those by scale_sp, δ_j · mask · Σ_r coef_(w+r) B_(w+r)(x_i), and by scale_base,
δ_j · mask · base(x_i). Here θ is laid out as the kernels lay out e and b, with gaps: first all coefficients, then all
scale_sp, then all scale_base; `Places` says where.

From rows, part by part, come the products J δ and Jᵀ v, the matrix JᵀJ, and, from the rows of all samples, JJᵀ: two
samples have a coefficient in common only where their windows overlap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kanbench.engine.kernels import forward, new_block, pull_layer_back
from kanbench.engine.simd import LANES, load, store, total, wide
from kanbench.engine.structures import BLOCK, Floats, Integers, compiled


class Places(NamedTuple):
    """Where a row keeps its runs, and where they belong."""

    run: (
        Integers  # (nodes + 3,): where the run of a node begins in a row, that of scale_sp, that of scale_base, the end
    )
    n_coef: int  # the length of the part of θ, laid out, that holds coefficients
    n_scale: int  # of each of the other two parts
    of_parameter: Integers  # (P,): where the trained parameters are in θ, laid out
    parameter: Integers  # which trained parameter is where in θ, laid out; -1 in gaps


class Scales(NamedTuple):
    """The factors of single parameters' derivatives, 0 for those held fixed; float64, laid out as `Tables`."""

    coef: Floats  # like e: the coefficients
    of_coef: Floats  # like b: mask · scale_sp
    of_sp: Floats  # like b: mask
    of_base: Floats  # like b: mask


@compiled
def fill_scales(parameters, net, n_trained, scales):
    for index in range(len(net.edges)):
        edge = net.edges[index]
        node = net.nodes[edge.node]
        at = node.first_base + edge.lane
        scales.of_coef[at] = edge.mask * parameters[edge.sp_at] if edge.coef_at < n_trained else 0.0
        scales.of_sp[at] = edge.mask if edge.sp_at < n_trained else 0.0
        scales.of_base[at] = edge.mask if edge.base_at < n_trained else 0.0
        for c in range(edge.n_coef):
            scales.coef[node.first_coef + c * node.lanes + edge.lane] = parameters[edge.coef_at + c]


@compiled
def find_places(net, places):
    """Fill `places.of_parameter` and `places.parameter`."""
    of = places.of_parameter
    for index in range(len(net.edges)):
        edge = net.edges[index]
        node = net.nodes[edge.node]
        scale = places.n_coef + node.first_base + edge.lane
        for c in range(edge.n_coef if edge.coef_at < len(of) else 0):
            of[edge.coef_at + c] = node.first_coef + c * node.lanes + edge.lane
        if edge.sp_at < len(of):
            of[edge.sp_at] = scale
        if edge.base_at < len(of):
            of[edge.base_at] = scale + places.n_scale
    places.parameter[:] = -1
    for parameter in range(len(of)):
        places.parameter[of[parameter]] = parameter


@compiled
def fill_rows(start, stop, x, net, tables, poison, first, scales, places, values, rows, windows):
    """Fill the rows of samples start to stop, and the windows of their nodes; -1 where no basis function is.

    Fills values[start:stop] with f(x) besides.

    Parameters
    ----------
    rows : array of shape (stop - start, length of a row)
    windows : array of shape (stop - start, nodes + 2), zeros
        The last two are of the runs of all scale_sp and of all scale_base, which are always there.
    """
    block, n, n_layers = new_block(net, x[0, 0]), len(x), len(net.layers) - 1
    output = net.layers[n_layers].at
    for block_start in range(start, stop, BLOCK):
        m, before = min(BLOCK, stop - block_start), block_start - start
        forward(block_start, m, x, net, tables, poison, first, block)
        values[block_start : block_start + m] = block.values[output : output + m]
        block.delta[output : output + m] = 1
        rows[before : before + m] = 0
        for number in range(n_layers - 1, -1, -1):
            layer, following = net.layers[number], net.layers[number + 1]
            delta = block.delta[following.at :]
            kept = number == 0 and len(first.piece) > LANES
            inputs = first if kept else block.inputs
            for index in range(layer.first_node, layer.first_node + layer.width):
                at = (index - layer.first_node) * n + block_start if kept else index * BLOCK
                stride = following.stride
                fill_runs(index, m, stride, inputs, at, delta, net, scales, places, rows[before:], windows[before:])
            if number > 0:
                pull_layer_back(layer, net, m, following.stride, delta, tables, block)


@compiled
def fill_runs(index, m, stride, inputs, at, delta, net, scales, places, rows, windows):
    """Fill what a node contributes to m rows, and its windows."""
    w, node, n_nodes, row_length = len(net.w), net.nodes[index], len(net.nodes), rows.shape[1]
    lanes, first_target, first_base, first_coef = node.lanes, node.first_target, node.first_base, node.first_coef
    piece_before, run = node.first_piece - 1, places.run[index]
    sp, sb, flat = places.run[n_nodes] + first_base, places.run[n_nodes + 1] + first_base, rows.reshape(-1)
    for sample in range(m if lanes else 0):
        item, target, row = np.uintp(at + sample), sample * stride + first_target, sample * row_length
        piece, u, base = inputs.piece[item], np.float64(inputs.u[item]), np.float64(inputs.base[item])
        window = np.int64(net.window[np.uintp(piece_before + piece)]) if piece else -1
        windows[sample, index] = window
        for lane in range(0, lanes, LANES):
            if lanes == 1:
                flat[np.uintp(row + sb)] = np.float64(delta[np.uintp(target)]) * scales.of_base[first_base]
                flat[np.uintp(row + sb)] *= base
            else:
                weights = wide(load(delta, target + lane)) * load(scales.of_base, first_base + lane)
                store(weights * base, flat, row + sb + lane)
        for r in range(w if piece else 0):
            polynomial, basis = ((piece_before + piece) * w + r) * LANES, 0.0
            for q in range(w - 1, -1, -1):
                basis = basis * u + net.polynomials[np.uintp(polynomial + q)]
            place, coef = row + run + r * lanes, first_coef + (window + r) * lanes
            if lanes == 1:
                weight = np.float64(delta[np.uintp(target)]) * basis
                flat[np.uintp(place)] = weight * scales.of_coef[first_base]
                flat[np.uintp(row + sp)] += weight * scales.of_sp[first_base] * scales.coef[np.uintp(coef)]
                continue
            for lane in range(0, lanes, LANES):
                weights = wide(load(delta, target + lane)) * basis
                store(weights * load(scales.of_coef, first_base + lane), flat, place + lane)
                spline = weights * load(scales.of_sp, first_base + lane) * load(scales.coef, coef + lane)
                store(load(flat, row + sp + lane) + spline, flat, row + sp + lane)


@compiled
def run_of(number, window, net, places):
    """Of a run, where it begins in a row, where in θ, and its length; 0 where the node has no window."""
    n_nodes, at = len(net.nodes), places.run[number]
    if number >= n_nodes:
        return at, places.n_coef + (number - n_nodes) * places.n_scale, places.n_scale
    node = net.nodes[number]
    return at, node.first_coef + window * node.lanes, len(net.w) * node.lanes if window >= 0 else 0


@compiled
def push(rows, windows, net, places, direction, products):
    """Fill `products` with J δ for some rows of J; `direction` is δ, laid out, with room for LANES more."""
    flat = rows.reshape(-1)
    for sample in range(len(rows)):
        total_of_runs = load(direction, 0) * 0.0
        for number in range(windows.shape[1]):
            at, where, length = run_of(number, windows[sample, number], net, places)
            for i in range(0, length, LANES):
                part = load(flat, sample * rows.shape[1] + at + i) * load(direction, where + i)
                total_of_runs = total_of_runs + part
        products[sample] = total(total_of_runs)


@compiled
def pull(rows, windows, net, places, weights, products):
    """Add to `products` what some rows of J contribute to Jᵀ v, laid out; `weights` are their elements of v."""
    flat = rows.reshape(-1)
    for sample in range(len(rows)):
        weight = weights[sample]
        for number in range(windows.shape[1]):
            at, where, length = run_of(number, windows[sample, number], net, places)
            for i in range(0, length, LANES):
                part = load(flat, sample * rows.shape[1] + at + i) * weight
                store(load(products, where + i) + part, products, where + i)


@compiled
def fill_jacobian(rows, windows, net, places, jacobian):
    """Fill rows of the whole Jacobian, shape (samples, P), zeros before."""
    for sample in range(len(rows)):
        for number in range(windows.shape[1]):
            at, where, length = run_of(number, windows[sample, number], net, places)
            for i in range(length):
                parameter = places.parameter[np.uintp(where + i)]
                if parameter >= 0:
                    jacobian[sample, np.uintp(parameter)] = rows[sample, np.uintp(at + i)]


@compiled
def add_products(first_run, last_run, rows, windows, net, places, matrix):
    """Add to JᵀJ, laid out, what some rows of J contribute by some runs with themselves and with the runs before them.

    A row of `matrix` has room for LANES more. The runs in a row have room up to a multiple of LANES, filled with zeros.
    """
    flat_rows, flat_matrix, n_columns = rows.reshape(-1), matrix.reshape(-1), matrix.shape[1]
    at, where, lengths = np.empty(last_run, np.int64), np.empty(last_run, np.int64), np.empty(last_run, np.int64)
    for sample in range(len(rows)):
        for run in range(last_run):
            at[run], where[run], lengths[run] = run_of(run, windows[sample, run], net, places)
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
def pick(laid_out, place, matrix):
    """matrix[i, j] = laid_out[place[i], place[j]] for i >= j; `laid_out` holds a lower triangle of blocks."""
    for i in range(len(place)):
        for j in range(i + 1):
            high, low = max(place[i], place[j]), min(place[i], place[j])
            matrix[i, j] = laid_out[high, low]


@compiled
def add_overlaps(number, net, places, rows, windows, order, matrix):
    """Add the products of a node's runs, of every pair of samples once: to matrix[s, t] or to matrix[t, s].

    Parameters
    ----------
    order : array of shape (n,)
        The samples, sorted by the window of the node.
    matrix : array of shape (n, n)
    """
    w, lanes, n = len(net.w), net.nodes[number].lanes, len(order)
    length, at = w * lanes, places.run[number]
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
            shift = (window[i] - window[j]) * lanes
            products = load(runs, i * stride) * load(runs, j * stride + shift)
            for c in range(LANES, length - shift, LANES):
                products = products + load(runs, i * stride + c) * load(runs, j * stride + shift + c)
            row[np.uintp(order[j])] += total(products)


@compiled
def spread_runs(number, lowest, net, places, rows, windows, columns):
    """Fill `columns`, zeros, with the runs of a node, each where its window is from window `lowest` on."""
    lanes, at = net.nodes[number].lanes, places.run[number]
    length = len(net.w) * lanes
    for sample in range(len(rows)):
        if windows[sample, number] >= 0:
            first = (windows[sample, number] - lowest) * lanes
            columns[sample, first : first + length] = rows[sample, at : at + length]


@compiled
def add_transposed(matrix):
    """Add the upper triangle of a matrix to the lower one, in place."""
    tile = 32  # two of them are in cache
    n = len(matrix)
    for top in range(0, n, tile):
        for left in range(0, top + 1, tile):
            for i in range(top, min(top + tile, n)):
                for j in range(left, min(left + tile, i)):
                    matrix[i, j] += matrix[j, i]
