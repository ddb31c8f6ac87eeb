"""The arithmetic of `kanbench.engine.numba_engine.engine`, compiled by numba: forward, and the chain rule backward.

On one piece, that is between two neighbouring knots, with the local coordinate u = (x - left knot) / width in [0, 1),
every basis function of order k is a polynomial of u, and so is a spline: Σ_q a_q u^q with a_q = Σ_r P_rq e_(w+r), where
w is the first of the k + 1 basis functions that live there. The matrices P are tabulated once per grid
(`kanbench.network.splines`). An evaluation begins by tabulating a for all pieces of all live edges, which costs as much
as a few samples on every piece; then a spline costs a Horner scheme of W = k + 1 coefficients, without divisions and
without basis functions, and so does its derivative. The gradient is first taken by the a's, which needs only the powers
of u.

With e = mask · scale_sp · coef and b = mask · scale_base, an edge is φ(x) = b base(x) + Σ_q a_q u^q. For a sample and
δ_j = ∂f/∂(node j), an edge from i to j adds δ_j u^q to ∂f/∂a_q, δ_j base(x_i) to ∂f/∂b, and δ_j φ'(x_i) to δ_i.

The edges that leave a node share u and its powers, and lie side by side in the *lanes* of vectors; lane 0 is the first
target, and lanes that have no edge hold zeros. A node with one edge has one lane and no vectors.

Samples are taken BLOCK at once, so that their intermediates stay in cache. Sums run in one fixed order, so results are
the same in every process. Indices are made unsigned in inner loops, which saves numba's test for negative ones.
"""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.inputs import copy_column, evaluate_base, locate, new_inputs
from kanbench.engine.numba_engine.simd import LANES, load, powers, store, total, wide
from kanbench.engine.numba_engine.structures import BLOCK, Block
from kanbench.io.kernel_cache import compiled

VALUES, GRADIENT = range(2)


@compiled
def fill_tables(parameters, net, tables):
    """Fill e, b and a from the vector of all parameters; return 0, or nan where one of them is not finite.

    In pykan, every sample meets every coefficient, if only to multiply it by zero: what is not finite shows. What of
    the tables belongs to no edge or to no piece must be zero before, and stays so.
    """
    nan_if_nonfinite = 0.0
    for index in range(len(net.edges)):
        edge = net.edges[index]
        node = net.nodes[edge.node]
        scale, base = edge.mask * parameters[edge.sp_at], edge.mask * parameters[edge.base_at]
        tables.b[node.first_base + edge.lane] = base
        nan_if_nonfinite += 0 * base
        at = node.first_coef + edge.lane
        for c in range(edge.n_coef):
            value = scale * parameters[np.uintp(edge.coef_at + c)]
            tables.e[np.uintp(at + c * node.lanes)] = value
            nan_if_nonfinite += 0 * value
    fill_pieces(net, tables)
    return nan_if_nonfinite


@compiled
def fill_pieces(net, tables):
    """Fill a from e."""
    w = len(net.w)
    for index in range(len(net.nodes)):
        node = net.nodes[index]
        for piece in range(node.n_pieces if node.lanes else 0):
            p, row = node.first_piece + piece, node.first_row + (piece + 1) * node.row
            coef = node.first_coef + net.window[p] * node.lanes
            if node.lanes == 1:
                values = load(net.polynomials, p * w * LANES) * tables.e[np.uintp(coef)]
                for r in range(1, w):
                    values = values + load(net.polynomials, (p * w + r) * LANES) * tables.e[np.uintp(coef + r)]
                store(values, tables.a, row)
                continue
            for lane in range(0, node.lanes, LANES):
                for q in range(w):
                    values = load(tables.e, coef + lane) * net.polynomials[np.uintp(p * w * LANES + q)]
                    for r in range(1, w):
                        factor = net.polynomials[np.uintp((p * w + r) * LANES + q)]
                        values = values + load(tables.e, coef + r * node.lanes + lane) * factor
                    store(values, tables.a, row + q * node.lanes + lane)


@compiled
def add_pieces(net, derivatives):
    """Add to the derivatives by e what those by a make of them."""
    w, half = len(net.w), len(derivatives.a) // 2
    for index in range(len(net.nodes)):
        node = net.nodes[index]
        for piece in range(node.n_pieces if node.lanes else 0):
            p, row = node.first_piece + piece, node.first_row + (piece + 1) * node.row
            coef = node.first_coef + net.window[p] * node.lanes
            if node.lanes == 1:
                d_a = load(derivatives.a, row) + load(derivatives.a, row + half)
                for r in range(w):
                    value = total(d_a * wide(load(net.polynomials, (p * w + r) * LANES)))
                    derivatives.e[np.uintp(coef + r)] += value
                continue
            for lane in range(0, node.lanes, LANES):
                for r in range(w):
                    values = load(derivatives.e, coef + r * node.lanes + lane)
                    for q in range(w):
                        factor, at = net.polynomials[np.uintp((p * w + r) * LANES + q)], row + q * node.lanes + lane
                        values = values + (load(derivatives.a, at) + load(derivatives.a, at + half)) * factor
                    store(values, derivatives.e, coef + r * node.lanes + lane)


@compiled
def chain_rule(parameters, net, derivatives, gradient):
    """Fill the gradient by the trained parameters from that by e and b."""
    n_trained = len(gradient)
    for index in range(len(net.edges)):
        edge = net.edges[index]
        node = net.nodes[edge.node]
        scale, d_scale, at = edge.mask * parameters[edge.sp_at], 0.0, node.first_coef + edge.lane
        for c in range(edge.n_coef):
            derivative = derivatives.e[np.uintp(at + c * node.lanes)]
            d_scale += parameters[np.uintp(edge.coef_at + c)] * derivative
            if edge.coef_at < n_trained:
                gradient[np.uintp(edge.coef_at + c)] = scale * derivative
        if edge.sp_at < n_trained:
            gradient[edge.sp_at] = edge.mask * d_scale
        if edge.base_at < n_trained:
            gradient[edge.base_at] = edge.mask * derivatives.b[node.first_base + edge.lane]


@compiled
def add_edges(node, net, m, stride, inputs, at, tables, outputs):
    """Add the edges that leave a node to the outputs of its layer, for m samples."""
    w, lanes, first_row, length, first_target = len(net.w), node.lanes, node.first_row, node.row, node.first_target
    if lanes == 1:
        b = tables.b[node.first_base]
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row = first_row + inputs.piece[item] * length
            value = tables.a[np.uintp(row + w - 1)]
            for q in range(w - 2, -1, -1):
                value = value * u + tables.a[np.uintp(row + q)]
            outputs[np.uintp(sample * stride + first_target)] += value + b * inputs.base[item]
        return
    for lane in range(0, lanes, LANES):
        b = load(tables.b, node.first_base + lane)
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row = first_row + inputs.piece[item] * length + lane
            values = load(tables.a, row + (w - 1) * lanes)
            for q in range(w - 2, -1, -1):
                values = values * u + load(tables.a, row + q * lanes)
            target = sample * stride + first_target + lane
            store(load(outputs, target) + (b * inputs.base[item] + values), outputs, target)


@compiled
def add_derivatives(node, net, m, stride, inputs, at, delta, derivatives):
    """Add what m samples contribute to the derivatives by the a and b of the edges that leave a node.

    Those by a are two sums, of every other sample, because one sample often meets the same piece as the one before, and
    would have to wait for its sum.
    """
    half = len(derivatives.a) // 2
    w, lanes, first_row, length, first_target = len(net.w), node.lanes, node.first_row, node.row, node.first_target
    if lanes == 1:
        d_b = derivatives.b[node.first_base]
        for sample in range(m):
            item, weight = np.uintp(at + sample), np.float64(delta[np.uintp(sample * stride + first_target)])
            row = first_row + inputs.piece[item] * length + (sample & 1) * half
            d_b += weight * inputs.base[item]
            store(load(derivatives.a, row) + powers(np.float64(inputs.u[item])) * weight, derivatives.a, row)
        derivatives.b[node.first_base] = d_b
        return
    for lane in range(0, lanes, LANES):
        d_b = load(derivatives.b, node.first_base + lane)
        for sample in range(m):
            u, item = np.float64(inputs.u[np.uintp(at + sample)]), np.uintp(at + sample)
            row = first_row + inputs.piece[item] * length + lane + (sample & 1) * half
            weights = wide(load(delta, sample * stride + first_target + lane))
            d_b = d_b + weights * inputs.base[item]
            for q in range(w):
                store(load(derivatives.a, row + q * lanes) + weights, derivatives.a, row + q * lanes)
                weights = weights * u
        store(d_b, derivatives.b, node.first_base + lane)


@compiled
def new_block(net, like):
    n, last = len(net.nodes) * BLOCK, net.layers[len(net.layers) - 1]
    size, dtype = last.at + last.stride * BLOCK, type(like)
    return Block(new_inputs(n, n, like), np.empty(size, dtype), np.zeros(size, dtype), np.zeros(BLOCK))


@compiled
def forward(start, m, work, nan_if_nonfinite):
    """Evaluate samples start to start + m; their outputs are the last of `work.block.values`.

    What the first layer needs of its inputs is in `work.first`, for all samples, or, if there is nothing in it, is
    computed.
    """
    net, block, (n, n_inputs) = work.layout, work.block, work.x.shape
    flat = work.x.reshape(-1)
    for number in range(len(net.layers) - 1):
        layer, following = net.layers[number], net.layers[number + 1]
        outputs = block.values[following.at : following.at + m * following.stride]
        outputs[:] = nan_if_nonfinite
        for index in range(layer.width):
            node_index = layer.first_node + index
            node, at = net.nodes[node_index], node_index * BLOCK
            if node.lanes == 0:
                continue
            if number == 0 and len(work.first.piece) > LANES:
                add_edges(node, net, m, following.stride, work.first, index * n + start, work.tables, outputs)
                continue
            x_at, stride = layer.at + index, layer.stride
            source = block.values
            if number == 0:
                x_at, stride, source = start * n_inputs + index, n_inputs, flat
            copy_column(source, x_at, stride, m, block.column)
            locate(block.column, m, node, net, block.inputs, at, number > 0)
            evaluate_base(block.column, m, net.base_kind, block.inputs, at, number > 0)
            add_edges(node, net, m, following.stride, block.inputs, at, work.tables, outputs)


@compiled
def pull_back(node, net, m, stride, inputs, at, delta, tables, delta_in, stride_in):
    """Fill δ at m values of a node, in delta_in[0], [stride_in], …, from δ at the outputs of its layer."""
    w, lanes, first_row, length, first_target = len(net.w), node.lanes, node.first_row, node.row, node.first_target
    first_base = node.first_base
    for sample in range(m):
        u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
        row, target = first_row + inputs.piece[item] * length, sample * stride + first_target
        slope = delta[0] * 0
        if lanes == 1:
            slope = (w - 1) * tables.a[np.uintp(row + w - 1)]
            for q in range(w - 2, 0, -1):
                slope = slope * u + q * tables.a[np.uintp(row + q)]
            slope = slope * inputs.density[item] + tables.b[first_base] * inputs.base_slope[item]
            slope *= delta[np.uintp(target)]
        else:
            for lane in range(0, lanes, LANES):
                slopes = load(tables.a, row + lane + (w - 1) * lanes) * (w - 1)
                for q in range(w - 2, 0, -1):
                    slopes = slopes * u + load(tables.a, row + lane + q * lanes) * q
                base = load(tables.b, first_base + lane) * inputs.base_slope[item]
                slope += total((slopes * inputs.density[item] + base) * load(delta, target + lane))
        delta_in[np.uintp(sample * stride_in)] = slope


@compiled
def pull_layer_back(layer, m, stride, delta, work):
    """Fill δ at the nodes of a layer, of m samples of a block, from δ at the outputs of the layer."""
    for index in range(layer.width):
        node, at = work.layout.nodes[layer.first_node + index], (layer.first_node + index) * BLOCK
        delta_in = work.block.delta[layer.at + index :]
        pull_back(node, work.layout, m, stride, work.block.inputs, at, delta, work.tables, delta_in, layer.stride)


@compiled
def evaluate(task, start, stop, work, nan_if_nonfinite, values):
    """Evaluate the network at samples start to stop: f(x).

    Parameters
    ----------
    task : VALUES or GRADIENT
        GRADIENT adds the derivatives of the mean of (f - y)² to `work.derivatives`.
    values : array of shape (n,)
        Filled for VALUES.

    Returns
    -------
    float
        For GRADIENT, the sum of (f - y)².
    """
    net, block, y, loss, n = work.layout, work.block, work.y, 0.0, len(work.x)
    n_layers = len(net.layers) - 1
    output = net.layers[n_layers].at
    for block_start in range(start, stop, BLOCK):
        m = min(BLOCK, stop - block_start)
        forward(block_start, m, work, nan_if_nonfinite)
        if task == VALUES:
            for sample in range(m):
                values[block_start + sample] = block.values[output + sample]
            continue
        for sample in range(m):
            residual = block.values[output + sample] - y[block_start + sample]
            loss += np.float64(residual) ** 2
            block.delta[output + sample] = 2 * residual / n
        for number in range(n_layers - 1, -1, -1):
            layer, following = net.layers[number], net.layers[number + 1]
            delta = block.delta[following.at :]
            for index in range(layer.first_node, layer.first_node + layer.width):
                node = net.nodes[index]
                if number == 0 and len(work.first.piece) > LANES:
                    at = index * n + block_start
                    add_derivatives(node, net, m, following.stride, work.first, at, delta, work.derivatives)
                else:
                    at = index * BLOCK
                    add_derivatives(node, net, m, following.stride, block.inputs, at, delta, work.derivatives)
            if number > 0:
                pull_layer_back(layer, m, following.stride, delta, work)
    return loss


@compiled
def loss_and_gradient(parameters, work, gradient):
    """Fill the gradient; return the loss. For samples that are one chunk."""
    nan_if_nonfinite = fill_tables(parameters, work.layout, work.tables)
    for part in work.derivatives:
        part[:] = 0
    loss = evaluate(GRADIENT, 0, len(work.y), work, nan_if_nonfinite, work.y)
    add_pieces(work.layout, work.derivatives)
    chain_rule(parameters, work.layout, work.derivatives, gradient)
    return loss / len(work.y)
