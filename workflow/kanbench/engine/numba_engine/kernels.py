"""The kernels of the compiled engine, by numba: evaluation of the network, and its gradient by the chain rule.

On one knot span, between two neighbouring knots, with the local coordinate u = (x - left knot) / width in [0, 1),
every basis function of order k is a polynomial of u, and so is a spline: Σ_q a_q u^q with a_q = Σ_r P_rq e_(w+r), where
w is the first of the k + 1 basis functions that live there. The matrices P are tabulated once per grid
(`kanbench.network.splines`). An evaluation begins by tabulating a for all spans of all live edges, which costs as much
as a few samples on every span; then a spline costs a Horner scheme of W = k + 1 coefficients, without divisions and
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
from kanbench.engine.numba_engine.structures import (
    BLOCK,
    Buffers,
    Floats,
    Inputs,
    Layout,
    Record,
    Tables,
    Window,
    Workspace,
)
from kanbench.io.kernel_cache import compiled

VALUES, GRADIENT = range(2)


@compiled
def fill_tables(parameters: Floats, net: Layout, tables: Tables) -> float:
    """Fill e, b and a from the vector of all parameters; return 0, or nan where one of them is not finite.

    In pykan, every sample meets every coefficient, if only to multiply it by zero, so that one that is not finite shows
    in every output. Entries of the tables that belong to no edge or no span must be zero before, and stay so.
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
    tabulate_splines(net, tables)
    return nan_if_nonfinite


@compiled
def tabulate_splines(net: Layout, tables: Tables) -> None:
    """Fill a, the splines' polynomials on all knot spans, from e."""
    w = len(net.w)
    for index in range(len(net.nodes)):
        node = net.nodes[index]
        for span in range(node.n_spans if node.lanes else 0):
            p, row = node.first_span + span, node.first_row + (span + 1) * node.row
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
def tabulate_splines_vjp(net: Layout, derivatives: Tables) -> None:
    """The adjoint of `tabulate_splines`: add to the derivatives by e what follows from those by a."""
    w, half = len(net.w), len(derivatives.a) // 2
    for index in range(len(net.nodes)):
        node = net.nodes[index]
        for span in range(node.n_spans if node.lanes else 0):
            p, row = node.first_span + span, node.first_row + (span + 1) * node.row
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
def chain_rule(parameters: Floats, net: Layout, derivatives: Tables, gradient: Floats) -> None:
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
def new_buffers(net: Layout, like: np.floating) -> Buffers:
    """Buffers for a network, in the precision of `like`; δ is zero in lanes without an edge, and stays so."""
    n, last = len(net.nodes) * BLOCK, net.layers[len(net.layers) - 1]
    size, dtype = last.at + last.stride * BLOCK, type(like)
    return Buffers(new_inputs(n, n, like), np.empty(size, dtype), np.zeros(size, dtype), np.zeros(BLOCK))


@compiled
def add_edges(
    node: Record, w: Window, m: int, stride: int, inputs: Inputs, at: int, tables: Tables, outputs: Floats
) -> None:
    """Add the edges that leave a node to the outputs of its layer, for m samples."""
    order, lanes, first_row, length, first_target = len(w) - 1, node.lanes, node.first_row, node.row, node.first_target
    if lanes == 1:
        b = tables.b[node.first_base]
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row = first_row + inputs.span[item] * length
            value = tables.a[np.uintp(row + order)]
            for q in range(order - 1, -1, -1):
                value = value * u + tables.a[np.uintp(row + q)]
            outputs[np.uintp(sample * stride + first_target)] += value + b * inputs.base[item]
        return
    for lane in range(0, lanes, LANES):
        b = load(tables.b, node.first_base + lane)
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row = first_row + inputs.span[item] * length + lane
            values = load(tables.a, row + order * lanes)
            for q in range(order - 1, -1, -1):
                values = values * u + load(tables.a, row + q * lanes)
            target = sample * stride + first_target + lane
            store(load(outputs, target) + (b * inputs.base[item] + values), outputs, target)


@compiled
def add_derivatives(
    node: Record, w: Window, m: int, stride: int, inputs: Inputs, at: int, delta: Floats, derivatives: Tables
) -> None:
    """Add what m samples contribute to the derivatives by the a and b of the edges that leave a node.

    Those by a are two sums, of every other sample, because one sample often meets the same span as the one before, and
    would have to wait for its sum.
    """
    half, lanes, first_row, length = len(derivatives.a) // 2, node.lanes, node.first_row, node.row
    first_target = node.first_target
    if lanes == 1:
        d_b = derivatives.b[node.first_base]
        for sample in range(m):
            item, weight = np.uintp(at + sample), np.float64(delta[np.uintp(sample * stride + first_target)])
            row = first_row + inputs.span[item] * length + (sample & 1) * half
            d_b += weight * inputs.base[item]
            store(load(derivatives.a, row) + powers(np.float64(inputs.u[item])) * weight, derivatives.a, row)
        derivatives.b[node.first_base] = d_b
        return
    for lane in range(0, lanes, LANES):
        d_b = load(derivatives.b, node.first_base + lane)
        for sample in range(m):
            u, item = np.float64(inputs.u[np.uintp(at + sample)]), np.uintp(at + sample)
            row = first_row + inputs.span[item] * length + lane + (sample & 1) * half
            weights = wide(load(delta, sample * stride + first_target + lane))
            d_b = d_b + weights * inputs.base[item]
            for q in range(len(w)):
                store(load(derivatives.a, row + q * lanes) + weights, derivatives.a, row + q * lanes)
                weights = weights * u
        store(d_b, derivatives.b, node.first_base + lane)


@compiled
def forward(start: int, m: int, work: Workspace, nan_if_nonfinite: float) -> None:
    """Evaluate samples start to start + m; their outputs are the last of `work.buffers.values`.

    The inputs of the first layer are in `work.first`, for all samples, unless that is empty.
    """
    net, buffers, (n, n_inputs), flat = work.layout, work.buffers, work.x.shape, work.x.reshape(-1)
    for number in range(len(net.layers) - 1):
        layer, following = net.layers[number], net.layers[number + 1]
        outputs = buffers.values[following.at : following.at + m * following.stride]
        outputs[:] = nan_if_nonfinite
        kept = number == 0 and len(work.first.span) > LANES
        inputs = work.first if kept else buffers.inputs
        for i in range(layer.width):
            index = layer.first_node + i
            node, at = net.nodes[index], index * n + start if kept else index * BLOCK
            if node.lanes == 0:
                continue
            if not kept:
                x_at, stride, source = layer.at + i, layer.stride, buffers.values
                if number == 0:
                    x_at, stride, source = start * n_inputs + i, n_inputs, flat
                copy_column(source, x_at, stride, m, buffers.column)
                locate(buffers.column, m, node, net, buffers.inputs, at, number > 0)
                evaluate_base(buffers.column, m, net.base_kind, buffers.inputs, at, number > 0)
            add_edges(node, net.w, m, following.stride, inputs, at, work.tables, outputs)


@compiled
def backward(layer: Record, m: int, stride: int, delta: Floats, work: Workspace) -> None:
    """Fill δ at the nodes of a layer but the first, of m samples, from δ at its outputs."""
    net, inputs, tables, stride_in = work.layout, work.buffers.inputs, work.tables, layer.stride
    order = len(net.w) - 1
    for i in range(layer.width):
        index = layer.first_node + i
        node, at, delta_in = net.nodes[index], index * BLOCK, work.buffers.delta[layer.at + i :]
        lanes, first_row, length, first_target = node.lanes, node.first_row, node.row, node.first_target
        first_base = node.first_base
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row, target = first_row + inputs.span[item] * length, sample * stride + first_target
            slope = delta[0] * 0
            if lanes == 1:
                slope = order * tables.a[np.uintp(row + order)]
                for q in range(order - 1, 0, -1):
                    slope = slope * u + q * tables.a[np.uintp(row + q)]
                slope = slope * inputs.density[item] + tables.b[first_base] * inputs.base_slope[item]
                slope *= delta[np.uintp(target)]
            else:
                for lane in range(0, lanes, LANES):
                    slopes = load(tables.a, row + lane + order * lanes) * order
                    for q in range(order - 1, 0, -1):
                        slopes = slopes * u + load(tables.a, row + lane + q * lanes) * q
                    base = load(tables.b, first_base + lane) * inputs.base_slope[item]
                    slope += total((slopes * inputs.density[item] + base) * load(delta, target + lane))
            delta_in[np.uintp(sample * stride_in)] = slope


@compiled
def copy_outputs(start: int, m: int, work: Workspace, values: Floats) -> None:
    """Copy the outputs of samples start to start + m, which `forward` left, to `values`, a sample after another."""
    output = work.layout.layers[len(work.layout.layers) - 1]
    first, stride, n_outputs = output.at, output.stride, output.width
    if stride == n_outputs:
        outputs = work.buffers.values[first : first + m * stride]
        values[start * n_outputs : (start + m) * n_outputs] = outputs
        return
    for j in range(n_outputs):
        for sample in range(m):
            value = work.buffers.values[np.uintp(first + j + sample * stride)]
            values[np.uintp((start + sample) * n_outputs + j)] = value


@compiled
def evaluate(task: int, start: int, stop: int, work: Workspace, nan_if_nonfinite: float, values: Floats) -> float:
    """Evaluate the network at samples start to stop: f(x).

    Args:
        task (VALUES or GRADIENT): GRADIENT adds the derivatives of the mean of (f - y)² to `work.derivatives`.
        values (array of shape (n · outputs,)): Filled for VALUES.

    Returns:
        float: For GRADIENT, the sum of (f - y)².
    """
    net, buffers, y, loss, n = work.layout, work.buffers, work.y, 0.0, len(work.x)
    n_layers = len(net.layers) - 1
    first, step, n_outputs = net.layers[n_layers].at, net.layers[n_layers].stride, net.layers[n_layers].width
    for block_start in range(start, stop, BLOCK):
        m = min(BLOCK, stop - block_start)
        forward(block_start, m, work, nan_if_nonfinite)
        if task == VALUES:
            copy_outputs(block_start, m, work, values)
            continue
        for j in range(n_outputs):
            for sample in range(m):
                place = np.uintp(first + j + sample * step)
                residual = buffers.values[place] - y[np.uintp((block_start + sample) * n_outputs + j)]
                loss += np.float64(residual) ** 2
                buffers.delta[place] = 2 * residual / len(y)
        for number in range(n_layers - 1, -1, -1):
            layer, following = net.layers[number], net.layers[number + 1]
            delta, stride = buffers.delta[following.at :], following.stride
            kept = number == 0 and len(work.first.span) > LANES
            inputs = work.first if kept else buffers.inputs
            for index in range(layer.first_node, layer.first_node + layer.width):
                at = index * n + block_start if kept else index * BLOCK
                add_derivatives(net.nodes[index], net.w, m, stride, inputs, at, delta, work.derivatives)
            if number > 0:
                backward(layer, m, stride, delta, work)
    return loss


@compiled
def loss_and_gradient(parameters: Floats, work: Workspace, gradient: Floats) -> float:
    """Fill the gradient; return the loss. For samples that are one chunk."""
    nan_if_nonfinite = fill_tables(parameters, work.layout, work.tables)
    for part in work.derivatives:
        part[:] = 0
    loss = evaluate(GRADIENT, 0, len(work.x), work, nan_if_nonfinite, work.y)
    tabulate_splines_vjp(work.layout, work.derivatives)
    chain_rule(parameters, work.layout, work.derivatives, gradient)
    return loss / len(work.y)
