"""The arithmetic of `kanbench.engine.compiled`, compiled by numba: bases, forward, and the chain rule backward.

On one interval of its knots, with the local coordinate u = (x - left knot) / width in [0, 1), a spline of order k is a
sum of k + 1 basis functions that are polynomials of u. Their coefficients are tabulated once per grid, so that a basis
function and its derivative cost one Horner scheme, without divisions. All splines are evaluated on a window of W
coefficients, W > k a constant of the compiled code; polynomials of what has no basis function are zero.

With e = mask · scale_sp · coef and b = mask · scale_base, an edge is φ(x) = b base(x) + Σ_c e_c B_c(x). For a sample and
δ_j = ∂f/∂(node j), an edge from i to j adds δ_j B_c(x_i) to ∂f/∂e_c, δ_j base(x_i) to ∂f/∂b, and δ_j φ'(x_i) to δ_i.

Samples are taken BLOCK at once, so that their intermediates stay in cache. Sums run in one fixed order, so results are
the same in every process. What a function calls `item` counts the nodes of one layer, sample by sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

BLOCK = 32  # samples
BUCKETS_PER_INTERVAL = 8  # then few of them hold a knot, and the search for the interval is over before it begins
SILU, IDENTITY, ZERO = range(3)

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]


class Grids(NamedTuple):
    """The knots of all nodes that have outgoing edges, numbered layer by layer, and their pieces: see `tabulate`.

    Piece 0 is where no basis function is; those of node i begin at `first_piece[i]`.
    """

    first_piece: Integers  # (nodes,)
    first_bucket: Integers  # (nodes + 1,)
    buckets: Integers  # last piece that begins in an earlier bucket
    lowest: Floats  # (nodes,): the first knot
    highest: Floats  # (nodes,): the last knot
    density: Floats  # (nodes,): buckets per length
    left: Floats  # (pieces,): the knot where a piece begins
    density_of_piece: Floats  # (pieces,): 1 / width
    window: Integers  # (pieces,): the first coefficient
    polynomials: Floats  # (pieces, W powers, W basis functions)


class Edges(NamedTuple):
    """The live edges by the node that they leave, and where their parameters are.

    `*_at` are positions in the vector of all parameters: first the trained ones, then those held fixed.
    """

    first_node: Integers  # (layers + 2,): of each layer, that of the output, and the number of all
    first_edge: Integers  # (nodes + 1,): by the node that they leave
    target: Integers  # (edges,): the number of a node in its layer
    mask: Floats  # (edges,)
    first_coef: Integers  # (edges + 1,): in the array of all e, with windows of W for short rows
    n_coef: Integers  # (edges,)
    coef_at: Integers  # (edges,): of the first coefficient
    base_at: Integers  # (edges,)
    sp_at: Integers  # (edges,)


class Inputs(NamedTuple):
    """What the edges of a layer need to know of its inputs, by item; W values of `basis` and `slope` for each."""

    window: Integers
    basis: Floats
    slope: Floats
    base: Floats
    base_slope: Floats


@njit(cache=True)
def tabulate(t, k, polynomials, window, row_length):
    """The basis functions on each of the intervals between knots `t`, as polynomials of the local coordinate.

    Cox-de Boor's recursion on polynomials. Where pykan divides by a distance of zero, its basis function is zero.

    Parameters
    ----------
    t : array of shape (K + 1,)
    polynomials : array of shape (K, W, W), zeros
        Filled: for an interval, the coefficients of u^q of W basis functions, from that of `window` on.
    window : array of shape (K,)
        Filled.
    row_length : int
        Coefficients, at least W.
    """
    n_intervals, width = len(t) - 1, polynomials.shape[1]
    basis = np.zeros((k + 2, k + 1))  # of m - k to m on interval m (and a zero), by power
    for m in range(n_intervals):
        basis[:] = 0
        basis[k, 0] = 1
        for d in range(1, k + 1):
            for r in range(k - d, k + 1):
                j = m - k + r
                if j < 0 or j + d + 1 > n_intervals or t[j + d] == t[j] or t[j + d + 1] == t[j + 1]:
                    basis[r] = 0
                    continue
                rise, fall = 1 / (t[j + d] - t[j]), 1 / (t[j + d + 1] - t[j + 1])
                for q in range(d, -1, -1):
                    value = (t[m] - t[j]) * rise * basis[r, q] + (t[j + d + 1] - t[m]) * fall * basis[r + 1, q]
                    if q > 0:
                        value += (t[m + 1] - t[m]) * (rise * basis[r, q - 1] - fall * basis[r + 1, q - 1])
                    basis[r, q] = value
        window[m] = min(max(m - k, 0), row_length - width)
        for r in range(k + 1):
            j = m - k + r
            if 0 <= j < n_intervals - k:
                polynomials[m, : k + 1, j - window[m]] = basis[r]


@njit(cache=True)
def bucket_of(x, lowest, density, n_buckets):
    """Increases with x, so that knots in earlier buckets are less than x and those in later ones are greater."""
    return max(min(np.int64((x - lowest) * density), n_buckets - 1), 0)  # 0 for nan


@njit(cache=True)
def fill_buckets(t, first_piece, density, buckets):
    """The last of the pieces that begin at knots `t` (all but the last) before each bucket, and at the end."""
    n_buckets = len(buckets) - 1
    buckets[:] = 0
    for j in range(len(t) - 1):
        buckets[bucket_of(t[j], t[0], density, n_buckets) + 1] += 1
    buckets[0] = first_piece - 1
    for bucket in range(n_buckets):
        buckets[bucket + 1] += buckets[bucket]
    buckets[0] = first_piece  # x is never less than the first knot


@njit(cache=True)
def piece_of(x, node, grids):
    """The piece that holds x; 0 outside of the knots, and for nan."""
    if not (x >= grids.lowest[node] and x < grids.highest[node]):
        return 0
    first = grids.first_bucket[node]
    n_buckets = grids.first_bucket[node + 1] - first - 1
    bucket = first + bucket_of(x, grids.lowest[node], grids.density[node], n_buckets)
    low, high = grids.buckets[bucket], grids.buckets[bucket + 1]
    while low < high:
        middle = (low + high + 1) >> 1
        if grids.left[middle] <= x:
            low = middle
        else:
            high = middle - 1
    return low


@njit(cache=True)
def load(values, at, lanes):
    """values[at : at + W] as a tuple, to be kept in registers; W is the length of `lanes`."""
    for r in range(len(lanes)):
        lanes = tuple_setitem(lanes, r, values[at + r])
    return lanes


@njit(cache=True)
def dot(lanes, values, at):
    """Σ_r lanes[r] values[at + r]."""
    even, odd = lanes[0] * values[at], lanes[1] * values[at + 1]
    for r in range(2, len(lanes), 2):
        even += lanes[r] * values[at + r]
        odd += lanes[r + 1] * values[at + r + 1]
    return even + odd


@njit(cache=True)
def evaluate_splines(x, node, item, grids, inputs, lanes):
    """Fill the window, and the basis functions in it with their derivatives, of one item."""
    piece = piece_of(x, node, grids)
    inputs.window[item] = grids.window[piece]
    density = grids.density_of_piece[piece]
    u = (x - grids.left[piece]) * density if piece else lanes[0]
    values, slopes = lanes, lanes
    for power in range(len(lanes) - 1, -1, -1):
        for r in range(len(lanes)):
            slopes = tuple_setitem(slopes, r, slopes[r] * u + values[r])
            values = tuple_setitem(values, r, values[r] * u + grids.polynomials[piece, power, r])
    for r in range(len(lanes)):
        inputs.basis[item * len(lanes) + r] = values[r]
    for r in range(len(lanes)):
        inputs.slope[item * len(lanes) + r] = slopes[r] * density


@njit(cache=True)
def evaluate_base(x, kind, inputs):
    """Fill the base function and its derivative."""
    if kind == SILU:
        for item in range(len(x)):
            sigmoid = 1 / (1 + np.exp(-x[item]))
            inputs.base[item] = x[item] * sigmoid
            inputs.base_slope[item] = sigmoid * (1 + x[item] * (1 - sigmoid))
    elif kind == IDENTITY:
        inputs.base[:] = x
        inputs.base_slope[:] = 1
    else:
        inputs.base[:] = x * 0
        inputs.base_slope[:] = 0


@njit(cache=True)
def evaluate_inputs(x, layer, grids, edges, base_kind, inputs, lanes):
    """Fill all that does not depend on the parameters, for inputs x of a layer, shape (samples * width,)."""
    evaluate_base(x, base_kind, inputs)
    first, width = edges.first_node[layer], edges.first_node[layer + 1] - edges.first_node[layer]
    for item in range(0, len(x), width):
        for i in range(width):
            evaluate_splines(x[item + i], first + i, item + i, grids, inputs, lanes)


@njit(cache=True)
def unpack(parameters, edges, e, b):
    """Fill e = mask · scale_sp · coef and b = mask · scale_base; return 0, or nan where one of them is not finite.

    In pykan, every sample meets every coefficient, if only to multiply it by zero: what is not finite shows.
    """
    poison = parameters.dtype.type(0)
    for edge in range(len(edges.mask)):
        scale = edges.mask[edge] * parameters[edges.sp_at[edge]]
        b[edge] = edges.mask[edge] * parameters[edges.base_at[edge]]
        poison += 0 * b[edge]
        for c in range(edges.n_coef[edge]):
            value = scale * parameters[edges.coef_at[edge] + c]
            e[edges.first_coef[edge] + c] = value
            poison += 0 * value
    return poison


@njit(cache=True)
def forward_layer(layer, n_samples, edges, e, b, inputs, outputs, lanes):
    """Add the edges of a layer to its outputs, shape (samples * width of the next layer,)."""
    next_width, item = edges.first_node[layer + 2] - edges.first_node[layer + 1], 0
    for sample in range(n_samples):
        for i in range(edges.first_node[layer], edges.first_node[layer + 1]):
            basis, window, base = load(inputs.basis, item * len(lanes), lanes), inputs.window[item], inputs.base[item]
            for edge in range(edges.first_edge[i], edges.first_edge[i + 1]):
                spline = dot(basis, e, edges.first_coef[edge] + window)
                outputs[sample * next_width + edges.target[edge]] += spline + b[edge] * base
            item += 1


@njit(cache=True)
def backward_layer(layer, n_samples, edges, e, b, inputs, delta, delta_in, lanes):
    """Fill δ at the inputs of a layer, shape (samples * width,), from δ at its outputs."""
    next_width, item = edges.first_node[layer + 2] - edges.first_node[layer + 1], 0
    for sample in range(n_samples):
        for i in range(edges.first_node[layer], edges.first_node[layer + 1]):
            slope, window, base_slope = (
                load(inputs.slope, item * len(lanes), lanes),
                inputs.window[item],
                inputs.base_slope[item],
            )
            total = lanes[0]
            for edge in range(edges.first_edge[i], edges.first_edge[i + 1]):
                spline = dot(slope, e, edges.first_coef[edge] + window)
                total += delta[sample * next_width + edges.target[edge]] * (spline + b[edge] * base_slope)
            delta_in[item] = total
            item += 1


@njit(cache=True)
def add_gradient(layer, n_samples, edges, inputs, delta, d_e, d_b, lanes):
    """Add what the edges of a layer contribute to the derivatives by e and b."""
    next_width, item = edges.first_node[layer + 2] - edges.first_node[layer + 1], 0
    for sample in range(n_samples):
        for i in range(edges.first_node[layer], edges.first_node[layer + 1]):
            basis, window, base = load(inputs.basis, item * len(lanes), lanes), inputs.window[item], inputs.base[item]
            for edge in range(edges.first_edge[i], edges.first_edge[i + 1]):
                weight = delta[sample * next_width + edges.target[edge]]
                d_b[edge] += weight * base
                first = edges.first_coef[edge] + window
                for r in range(len(lanes)):
                    d_e[first + r] += weight * basis[r]
            item += 1


@njit(cache=True)
def fill_jacobian(layer, n_samples, edges, parameters, inputs, delta, jacobian, lanes):
    """Fill the entries of a layer's edges in rows of the Jacobian, shape (samples, P)."""
    next_width, n_trained, item = edges.first_node[layer + 2] - edges.first_node[layer + 1], jacobian.shape[1], 0
    for sample in range(n_samples):
        row = jacobian[sample]
        for i in range(edges.first_node[layer], edges.first_node[layer + 1]):
            basis, window = load(inputs.basis, item * len(lanes), lanes), inputs.window[item]
            for edge in range(edges.first_edge[i], edges.first_edge[i + 1]):
                weight = delta[sample * next_width + edges.target[edge]] * edges.mask[edge]
                scale = weight * parameters[edges.sp_at[edge]]
                first, spline = edges.coef_at[edge] + window, lanes[0]
                for r in range(min(len(lanes), edges.n_coef[edge] - window)):
                    spline += basis[r] * parameters[first + r]
                    if first < n_trained:
                        row[first + r] = scale * basis[r]
                if edges.sp_at[edge] < n_trained:
                    row[edges.sp_at[edge]] = weight * spline
                if edges.base_at[edge] < n_trained:
                    row[edges.base_at[edge]] = weight * inputs.base[item]
            item += 1


@njit(cache=True)
def chain_rule(parameters, edges, d_e, d_b, gradient):
    """The gradient by the trained parameters from that by e and b."""
    n_trained = len(gradient)
    for edge in range(len(edges.mask)):
        mask, scale, d_scale = edges.mask[edge], parameters[edges.sp_at[edge]], 0.0
        for c in range(edges.n_coef[edge]):
            at, derivative = edges.coef_at[edge] + c, mask * d_e[edges.first_coef[edge] + c]
            d_scale += parameters[at] * derivative
            if at < n_trained:
                gradient[at] = scale * derivative
        if edges.sp_at[edge] < n_trained:
            gradient[edges.sp_at[edge]] = d_scale
        if edges.base_at[edge] < n_trained:
            gradient[edges.base_at[edge]] = mask * d_b[edge]


@njit(cache=True)
def new_inputs(n_items, lanes):
    dtype = type(lanes[0])
    return Inputs(
        np.empty(n_items, np.int64),
        np.empty(n_items * len(lanes), dtype),
        np.empty(n_items * len(lanes), dtype),
        np.empty(n_items, dtype),
        np.empty(n_items, dtype),
    )


@njit(cache=True)
def items(inputs, start, stop, lanes):
    """The inputs of some items, as views."""
    w = len(lanes)
    return Inputs(
        inputs.window[start:stop],
        inputs.basis[start * w : stop * w],
        inputs.slope[start * w : stop * w],
        inputs.base[start:stop],
        inputs.base_slope[start:stop],
    )


@njit(cache=True)
def first_inputs(x, grids, edges, base_kind, lanes):
    """The inputs of the first layer, for x of shape (n, d)."""
    inputs = new_inputs(x.size, lanes)
    evaluate_inputs(x.ravel(), 0, grids, edges, base_kind, inputs, lanes)
    return inputs


@njit(cache=True)
def layer_inputs(layer, start, n_samples, edges, first, hidden, lanes):
    """The inputs of a layer for samples from `start` on: all are known of the first layer, a block's of the others."""
    width = edges.first_node[layer + 1] - edges.first_node[layer]
    if layer == 0:
        return items(first, start * width, (start + n_samples) * width, lanes)
    at = edges.first_node[layer] * BLOCK
    return items(hidden, at, at + n_samples * width, lanes)


@njit(cache=True)
def forward(start, n_samples, grids, edges, base_kind, e, b, poison, first, hidden, nodes, lanes):
    """Fill the hidden layers' inputs for a block of samples; return the network's outputs, shape (samples,).

    `nodes` has room for the values of all nodes, BLOCK samples of each layer after another.
    """
    n_layers = len(edges.first_node) - 2
    for layer in range(n_layers):
        inputs = layer_inputs(layer, start, n_samples, edges, first, hidden, lanes)
        at = edges.first_node[layer + 1] * BLOCK
        outputs = nodes[at : at + n_samples * (edges.first_node[layer + 2] - edges.first_node[layer + 1])]
        outputs[:] = poison
        forward_layer(layer, n_samples, edges, e, b, inputs, outputs, lanes)
        if layer + 1 < n_layers:
            evaluate_inputs(
                outputs,
                layer + 1,
                grids,
                edges,
                base_kind,
                layer_inputs(layer + 1, start, n_samples, edges, first, hidden, lanes),
                lanes,
            )
    return outputs


@njit(cache=True)
def predictions(parameters, n, grids, edges, base_kind, first, lanes):
    """f(x; θ), shape (n,)."""
    e, b = np.zeros(edges.first_coef[-1], parameters.dtype), np.empty(len(edges.mask), parameters.dtype)
    poison = unpack(parameters, edges, e, b)
    n_nodes = edges.first_node[-1]
    hidden, nodes = new_inputs(n_nodes * BLOCK, lanes), np.empty(n_nodes * BLOCK, parameters.dtype)
    values = np.empty(n, parameters.dtype)
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        values[start : start + m] = forward(
            start, m, grids, edges, base_kind, e, b, poison, first, hidden, nodes, lanes
        )
    return values


@njit(cache=True)
def loss_and_gradient(parameters, y, grids, edges, base_kind, first, gradient, lanes):
    """Return the loss and fill the gradient, shape (P,)."""
    e, b = np.zeros(edges.first_coef[-1], parameters.dtype), np.empty(len(edges.mask), parameters.dtype)
    poison = unpack(parameters, edges, e, b)
    d_e, d_b = np.zeros(len(e)), np.zeros(len(b))
    n, n_nodes, n_layers = len(y), edges.first_node[-1], len(edges.first_node) - 2
    hidden, nodes = new_inputs(n_nodes * BLOCK, lanes), np.empty(n_nodes * BLOCK, parameters.dtype)
    delta = np.empty(n_nodes * BLOCK, parameters.dtype)
    loss = 0.0
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        values = forward(start, m, grids, edges, base_kind, e, b, poison, first, hidden, nodes, lanes)
        at = edges.first_node[n_layers] * BLOCK
        delta_out = delta[at:]
        for sample in range(m):
            residual = values[sample] - y[start + sample]
            loss += np.float64(residual) ** 2
            delta_out[sample] = 2 * residual / n
        for layer in range(n_layers - 1, -1, -1):
            inputs = layer_inputs(layer, start, m, edges, first, hidden, lanes)
            add_gradient(layer, m, edges, inputs, delta_out, d_e, d_b, lanes)
            if layer:
                delta_in = delta[edges.first_node[layer] * BLOCK :]
                backward_layer(layer, m, edges, e, b, inputs, delta_out, delta_in, lanes)
                delta_out = delta_in
    chain_rule(parameters, edges, d_e, d_b, gradient)
    return loss / n


@njit(cache=True)
def fill_predictions_and_jacobian(parameters, n, grids, edges, base_kind, first, jacobian, lanes):
    """Return f(x; θ), shape (n,), and fill its Jacobian, shape (n, P), zeros before."""
    e, b = np.zeros(edges.first_coef[-1], parameters.dtype), np.empty(len(edges.mask), parameters.dtype)
    poison = unpack(parameters, edges, e, b)
    n_nodes, n_layers = edges.first_node[-1], len(edges.first_node) - 2
    hidden, nodes = new_inputs(n_nodes * BLOCK, lanes), np.empty(n_nodes * BLOCK, parameters.dtype)
    delta = np.empty(n_nodes * BLOCK, parameters.dtype)
    values = np.empty(n, parameters.dtype)
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        values[start : start + m] = forward(
            start, m, grids, edges, base_kind, e, b, poison, first, hidden, nodes, lanes
        )
        delta_out = delta[edges.first_node[n_layers] * BLOCK :]
        delta_out[:m] = 1
        for layer in range(n_layers - 1, -1, -1):
            inputs = layer_inputs(layer, start, m, edges, first, hidden, lanes)
            rows = jacobian[start : start + m]
            fill_jacobian(layer, m, edges, parameters, inputs, delta_out, rows, lanes)
            if layer:
                delta_in = delta[edges.first_node[layer] * BLOCK :]
                backward_layer(layer, m, edges, e, b, inputs, delta_out, delta_in, lanes)
                delta_out = delta_in
    return values
