"""The arithmetic of `kanbench.engine.compiled`, compiled by numba: bases, forward, and the chain rule backward.

On one interval of its knots, with the local coordinate u = (x - left knot) / width in [0, 1), a spline of order k is a
sum of k + 1 basis functions that are polynomials of u. Their coefficients are tabulated once per grid, so that a basis
function and its derivative cost one Horner scheme, without divisions. All splines are evaluated on a window of W
coefficients, W > k a constant of the compiled code; polynomials of what has no basis function are zero.

With e = mask · scale_sp · coef and b = mask · scale_base, an edge is φ(x) = b base(x) + Σ_c e_c B_c(x). For a sample
and δ_j = ∂f/∂(node j), an edge from i to j adds δ_j B_c(x_i) to ∂f/∂e_c, δ_j base(x_i) to ∂f/∂b, and δ_j φ'(x_i) to
δ_i.

Samples are taken BLOCK at once, so that their intermediates stay in cache. Sums run in one fixed order, so results are
the same in every process. What a function calls `item` counts the nodes of one layer, sample by sample. Indices are
made unsigned in inner loops, which saves numba's test for negative ones.

All of it is in this one file because numba, which keeps what it has compiled, compiles a function again if its file has
changed, but not if the file of a function that it calls has.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.tuple import tuple_setitem
from numpy.typing import NDArray

BLOCK = 128  # samples: 32 take an eighth longer for [2, 5, 1]
BUCKETS_PER_INTERVAL = 8  # then few of them hold a knot, and the search for the interval is over before it begins
SILU, IDENTITY, ZERO = range(3)
VALUES, GRADIENT, JACOBIAN = range(3)
EXP_TAYLOR = tuple(1 / math.factorial(n) for n in range(13, -1, -1))

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]

compiled = njit(cache=True, error_model="numpy")  # divisions by zero are not errors, and not looked for


class Grids(NamedTuple):
    """The knots of all nodes that have outgoing edges, numbered layer by layer, and their pieces: see `tabulate`.

    Piece 0 is where no basis function is.
    """

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


@compiled
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
        for r in range(k + 1):
            for q in range(k + 1):
                basis[r, q] = r == k and q == 0
        for d in range(1, k + 1):
            for r in range(k - d, k + 1):
                j = m - k + r
                rise, fall = 0.0, 0.0
                if j >= 0 and j + d + 1 <= n_intervals and t[j + d] != t[j] and t[j + d + 1] != t[j + 1]:
                    rise, fall = 1 / (t[j + d] - t[j]), 1 / (t[j + d + 1] - t[j + 1])
                rising, falling = (t[m] - t[j]) * rise, (t[j + d + 1] - t[m]) * fall
                for q in range(d, -1, -1):
                    basis[r, q] = rising * basis[r, q] + falling * basis[r + 1, q]
                    if q > 0:
                        basis[r, q] += (t[m + 1] - t[m]) * (rise * basis[r, q - 1] - fall * basis[r + 1, q - 1])
        window[m] = min(max(m - k, 0), row_length - width)
        for r in range(k + 1):
            j = m - k + r
            if 0 <= j < n_intervals - k:
                for q in range(k + 1):
                    polynomials[m, q, j - window[m]] = basis[r, q]


@compiled
def bucket_of(x, lowest, density, n_buckets):
    """Increases with x, so that knots in earlier buckets are less than x and those in later ones are greater."""
    return max(min(np.int64((x - lowest) * density), n_buckets - 1), 0)  # 0 for nan


@compiled
def fill_buckets(t, first_piece, density, buckets):
    """Fill `buckets`, zeros before: the last piece that begins before each bucket, and at the end.

    The pieces begin at knots `t`, all but the last.
    """
    n_buckets = len(buckets) - 1
    for j in range(len(t) - 1):
        buckets[bucket_of(t[j], t[0], density, n_buckets) + 1] += 1
    buckets[0] = first_piece - 1
    for bucket in range(n_buckets):
        buckets[bucket + 1] += buckets[bucket]
    buckets[0] = first_piece  # x is never less than the first knot


@compiled
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


@compiled
def load(values, at, lanes):
    """values[at : at + W] as a tuple, to be kept in registers; W is the length of `lanes`."""
    for r in range(len(lanes)):
        lanes = tuple_setitem(lanes, r, values[np.uintp(at + r)])
    return lanes


@compiled
def store(lanes, values, at):
    """values[at : at + W] = lanes."""
    for r in range(len(lanes)):
        values[np.uintp(at + r)] = lanes[r]


@compiled
def dot(lanes, values, at):
    """Σ_r lanes[r] values[at + r]."""
    even, odd = lanes[0] * values[np.uintp(at)], lanes[1] * values[np.uintp(at + 1)]
    for r in range(2, len(lanes), 2):
        even += lanes[r] * values[np.uintp(at + r)]
        odd += lanes[r + 1] * values[np.uintp(at + r + 1)]
    return even + odd


@compiled
def layer_width(layer, edges):
    return edges.first_node[layer + 1] - edges.first_node[layer]


@compiled
def evaluate_splines(x, pieces, grids, inputs, lanes):
    """Fill the windows, and the basis functions in them with their derivatives, for inputs x in known pieces."""
    w = len(lanes)
    for item in range(len(x)):
        piece = np.uintp(pieces[item])
        inputs.window[item] = grids.window[piece]
        density = grids.density_of_piece[piece]
        u = (x[item] - grids.left[piece]) * density if pieces[item] else lanes[0]
        values = load(grids.polynomials, (pieces[item] * w + w - 1) * w, lanes)
        slopes = values
        for power in range(w - 2, -1, -1):
            coefs = load(grids.polynomials, (pieces[item] * w + power) * w, lanes)
            for r in range(w):
                if power < w - 2:
                    slopes = tuple_setitem(slopes, r, slopes[r] * u + values[r])
                values = tuple_setitem(values, r, values[r] * u + coefs[r])
        store(values, inputs.basis, item * w)
        for r in range(w):
            slopes = tuple_setitem(slopes, r, slopes[r] * density)
        store(slopes, inputs.slope, item * w)


@compiled
def sigmoid(x, values):
    """Fill 1 / (1 + exp(-x)), elementwise and in float64, in loops that a compiler turns into SIMD instructions.

    With -x = n ln 2 + s, n an integer, exp(-x) = 2ⁿ exp(s), and |s| < 0.35 leaves to Taylor's polynomial of degree 13
    an error below a unit in the last place. Beyond ±708, where 2ⁿ leaves the range of float64, x is cut off.
    """
    n_bits = np.empty(len(x))  # n in the last bits of 1.5 · 2⁵² + n
    for item in range(len(x)):
        t = -np.float64(x[item])
        t = 708.0 if t > 708.0 else (-708.0 if t < -708.0 else t)  # nan stays
        shifted = t * 1.4426950408889634 + 6755399441055744.0
        n = shifted - 6755399441055744.0
        s = (t - n * 0.6931471803691238) - n * 1.9082149292705877e-10  # ln 2 in two parts: n times the first is exact
        n_bits[item] = shifted
        total = EXP_TAYLOR[0]
        for coefficient in EXP_TAYLOR[1:]:
            total = total * s + coefficient
        values[item] = total
    bits = n_bits.view(np.int64)
    for item in range(len(x)):
        bits[item] = (bits[item] + 1023) << 52  # the exponent of 2ⁿ
    for item in range(len(x)):
        values[item] = 1 / (1 + values[item] * n_bits[item])


@compiled
def evaluate_base(x, kind, inputs):
    """Fill the base function and its derivative."""
    if kind == SILU:
        sigmoids = np.empty(len(x))
        sigmoid(x, sigmoids)
        for item in range(len(x)):
            inputs.base[item] = x[item] * sigmoids[item]
            inputs.base_slope[item] = sigmoids[item] * (1 + x[item] * (1 - sigmoids[item]))
    else:
        scale = 1 if kind == IDENTITY else 0
        for item in range(len(x)):
            inputs.base[item] = scale * x[item]
            inputs.base_slope[item] = scale


@compiled
def evaluate_inputs(x, layer, grids, edges, base_kind, inputs, lanes):
    """Fill all that does not depend on the parameters, for inputs x of a layer, shape (samples * width,)."""
    evaluate_base(x, base_kind, inputs)
    width, pieces = layer_width(layer, edges), np.empty(len(x), np.int64)
    for i in range(width):
        for item in range(i, len(x), width):
            pieces[item] = piece_of(x[item], edges.first_node[layer] + i, grids)
    evaluate_splines(x, pieces, grids, inputs, lanes)


@compiled
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


@compiled
def forward_layer(layer, n_samples, edges, e, b, inputs, outputs, lanes):
    """Add the edges of a layer to its outputs, shape (samples * width of the next layer,)."""
    first, width, next_width = edges.first_node[layer], layer_width(layer, edges), layer_width(layer + 1, edges)
    for i in range(width):
        for edge in range(edges.first_edge[first + i], edges.first_edge[first + i + 1]):
            target, first_coef, scale = edges.target[edge], edges.first_coef[edge], b[edge]
            for sample in range(n_samples):
                item = np.uintp(sample * width + i)
                basis = load(inputs.basis, (sample * width + i) * len(lanes), lanes)
                spline = dot(basis, e, first_coef + inputs.window[item])
                outputs[np.uintp(sample * next_width + target)] += spline + scale * inputs.base[item]


@compiled
def backward_layer(layer, n_samples, edges, e, b, inputs, delta, delta_in, lanes):
    """Fill δ at the inputs of a layer, shape (samples * width,), from δ at its outputs."""
    first, width, next_width = edges.first_node[layer], layer_width(layer, edges), layer_width(layer + 1, edges)
    for item in range(n_samples * width):
        delta_in[item] = 0
    for i in range(width):
        for edge in range(edges.first_edge[first + i], edges.first_edge[first + i + 1]):
            target, first_coef, scale = edges.target[edge], edges.first_coef[edge], b[edge]
            for sample in range(n_samples):
                item = np.uintp(sample * width + i)
                slope = load(inputs.slope, (sample * width + i) * len(lanes), lanes)
                derivative = dot(slope, e, first_coef + inputs.window[item]) + scale * inputs.base_slope[item]
                delta_in[item] += delta[np.uintp(sample * next_width + target)] * derivative


@compiled
def add_gradient(layer, n_samples, edges, inputs, delta, d_e, d_b, lanes):
    """Add what the edges of a layer contribute to the derivatives by e and b."""
    next_width, item = edges.first_node[layer + 2] - edges.first_node[layer + 1], 0
    for sample in range(n_samples):
        for i in range(edges.first_node[layer], edges.first_node[layer + 1]):
            basis, window, base = load(inputs.basis, item * len(lanes), lanes), inputs.window[item], inputs.base[item]
            for edge in range(np.uintp(edges.first_edge[i]), np.uintp(edges.first_edge[i + 1])):
                weight = delta[np.uintp(sample * next_width + edges.target[edge])]
                d_b[edge] += weight * base
                first = edges.first_coef[edge] + window
                for r in range(len(lanes)):
                    d_e[np.uintp(first + r)] += weight * basis[r]
            item += 1


@compiled
def fill_jacobian(layer, n_samples, edges, parameters, inputs, delta, jacobian, lanes):
    """Fill the entries of a layer's edges in rows of the Jacobian, shape (samples, P)."""
    next_width, n_trained, item = edges.first_node[layer + 2] - edges.first_node[layer + 1], jacobian.shape[1], 0
    for sample in range(n_samples):
        row = jacobian[sample]
        for i in range(edges.first_node[layer], edges.first_node[layer + 1]):
            basis, window = load(inputs.basis, item * len(lanes), lanes), inputs.window[item]
            for edge in range(np.uintp(edges.first_edge[i]), np.uintp(edges.first_edge[i + 1])):
                weight = delta[np.uintp(sample * next_width + edges.target[edge])] * edges.mask[edge]
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


@compiled
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


@compiled
def new_inputs(n_items, lanes):
    dtype = type(lanes[0])
    return Inputs(
        np.empty(n_items, np.int64),
        np.empty(n_items * len(lanes), dtype),
        np.empty(n_items * len(lanes), dtype),
        np.empty(n_items, dtype),
        np.empty(n_items, dtype),
    )


@compiled
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


@compiled
def layer_inputs(layer, start, n_samples, edges, first, hidden, lanes):
    """The inputs of a layer for samples from `start` on: all are known of the first layer, a block's of the others."""
    width = edges.first_node[layer + 1] - edges.first_node[layer]
    if layer == 0:
        return items(first, start * width, (start + n_samples) * width, lanes)
    at = edges.first_node[layer] * BLOCK
    return items(hidden, at, at + n_samples * width, lanes)


@compiled
def forward(start, n_samples, grids, edges, base_kind, e, b, poison, first, hidden, nodes, lanes):
    """Fill the hidden layers' inputs for a block of samples; return the network's outputs, shape (samples,).

    `nodes` has room for the values of all nodes, BLOCK samples of each layer after another.
    """
    n_layers = len(edges.first_node) - 2
    inputs = layer_inputs(0, start, n_samples, edges, first, hidden, lanes)
    for layer in range(n_layers):
        at = edges.first_node[layer + 1] * BLOCK
        outputs = nodes[at : at + n_samples * layer_width(layer + 1, edges)]
        for item in range(len(outputs)):
            outputs[item] = poison
        forward_layer(layer, n_samples, edges, e, b, inputs, outputs, lanes)
        if layer + 1 < n_layers:
            inputs = layer_inputs(layer + 1, start, n_samples, edges, first, hidden, lanes)
            evaluate_inputs(outputs, layer + 1, grids, edges, base_kind, inputs, lanes)
    return outputs


@compiled
def evaluate(task, parameters, y, grids, edges, base_kind, first, values, gradient, jacobian, lanes):
    """Fill `values` with f(x; θ), shape (n,); for other tasks than VALUES fill more.

    Parameters
    ----------
    task : VALUES, GRADIENT or JACOBIAN
        One kernel for all, because compiling it takes seconds.
    y : array of shape (n,)
        Used for GRADIENT.
    gradient : array of shape (P,)
        Filled for GRADIENT, with that of the mean of (f - y)².
    jacobian : array of shape (n, P), zeros
        Filled for JACOBIAN.

    Returns
    -------
    float
        For GRADIENT, the mean of (f - y)².
    """
    e, b = np.zeros(edges.first_coef[-1], parameters.dtype), np.empty(len(edges.mask), parameters.dtype)
    poison = unpack(parameters, edges, e, b)
    d_e, d_b = np.zeros(len(e)), np.zeros(len(b))  # sums over samples in float64
    n, n_layers, room = len(values), len(edges.first_node) - 2, edges.first_node[-1] * BLOCK
    hidden = new_inputs(room, lanes)
    nodes, deltas = np.empty(room, parameters.dtype), np.empty(room, parameters.dtype)
    loss = 0.0
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        outputs = forward(start, m, grids, edges, base_kind, e, b, poison, first, hidden, nodes, lanes)
        delta = deltas[edges.first_node[n_layers] * BLOCK :]
        for sample in range(m):
            values[start + sample] = outputs[sample]
            delta[sample] = 1
            if task == GRADIENT:
                residual = outputs[sample] - y[start + sample]
                loss += np.float64(residual) ** 2
                delta[sample] = 2 * residual / n
        for layer in range(n_layers - 1 if task != VALUES else -1, -1, -1):
            inputs = layer_inputs(layer, start, m, edges, first, hidden, lanes)
            if task == GRADIENT:
                add_gradient(layer, m, edges, inputs, delta, d_e, d_b, lanes)
            else:
                fill_jacobian(layer, m, edges, parameters, inputs, delta, jacobian[start:], lanes)
            if layer > 0:
                delta_in = deltas[edges.first_node[layer] * BLOCK :]
                backward_layer(layer, m, edges, e, b, inputs, delta, delta_in, lanes)
                delta = delta_in
    if task == GRADIENT:
        chain_rule(parameters, edges, d_e, d_b, gradient)
    return loss / n
