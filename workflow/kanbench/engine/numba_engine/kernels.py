"""The kernels of the compiled engine, in numba: evaluation of the network, and its gradient by the chain rule.

On a knot span, with the local coordinate u = (x - left knot) / width in [0, 1), every basis function of order k is a
polynomial in u, and so is a spline: Σ_q a_q u^q. An evaluation first tabulates a and the coefficients of the derivative
in x on all spans of all live edges (`tables`), which costs as much as a few samples per span. Then a spline takes a
Horner scheme with W = k + 1 coefficients, without divisions or basis functions, and its derivative one with k. The
gradient is first computed with respect to a, which takes only the powers of u.

With b = mask · scale_base, an edge is φ(x) = b base(x) + Σ_q a_q u^q. For a sample and δ_j = ∂f/∂(node j), an edge from
i to j adds δ_j u^q to ∂f/∂a_q, δ_j base(x_i) to ∂f/∂b, and δ_j φ'(x_i) to δ_i.

The outgoing edges of a node share u and its powers, and are side by side in the *lanes* of vectors. Lane 0 is the first
target; lanes without an edge contain zeros. A node with one edge has one lane and no vectors. A table of a has one row
per span: for every LANES edges, the vectors of their coefficients of u⁰, u¹, …

Samples are processed in blocks of BLOCK, whose intermediates stay in cache. Sums run in a fixed order, so results are
the same in every process. Indices in inner loops are unsigned, which saves numba's test for negative ones.
"""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.inputs import copy_column, fill_inputs, new_inputs
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
    zeros,
)
from kanbench.engine.numba_engine.tables import chain_rule, fill_tables, tabulate_splines_vjp
from kanbench.io.kernel_cache import compiled

VALUES, GRADIENT = range(2)


@compiled
def new_buffers(net: Layout, like: np.floating) -> Buffers:
    """Allocate buffers in the precision of `like`; δ is zero in lanes without an edge, and kernels leave it so."""
    n, last = len(net.nodes) * BLOCK, net.layers[len(net.layers) - 1]
    size = last.at + last.stride * BLOCK
    return Buffers(new_inputs(n, n, like), zeros(size, like), zeros(size, like), zeros(BLOCK, 0.0))


@compiled
def add_edges(
    node: Record, w: Window, m: int, stride: int, inputs: Inputs, at: int, tables: Tables, outputs: Floats
) -> None:
    """Add a node's outgoing edges to the outputs of its layer, for m samples."""
    order, lanes, length, first_target = len(w) - 1, node.lanes, node.row, node.first_target
    if lanes == 1:
        first_row, b = node.first_row, tables.b[node.first_base]
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row = first_row + inputs.span[item] * length
            value = tables.a[np.uintp(row + order)]
            for q in range(order - 1, -1, -1):
                value = value * u + tables.a[np.uintp(row + q)]
            outputs[np.uintp(sample * stride + first_target)] += value + b * inputs.base[item]
        return
    for lane in range(0, lanes, LANES):
        first_row, b = node.first_row + lane * len(w), load(tables.b, node.first_base + lane)
        for sample in range(m):
            u, item = inputs.u[np.uintp(at + sample)], np.uintp(at + sample)
            row = first_row + inputs.span[item] * length
            values = load(tables.a, row + order * LANES)
            for q in range(order - 1, -1, -1):
                values = values * u + load(tables.a, row + q * LANES)
            target = sample * stride + first_target + lane
            store(load(outputs, target) + (b * inputs.base[item] + values), outputs, target)


@compiled
def forward(start: int, m: int, work: Workspace, nan_if_nonfinite: float) -> None:
    """Evaluate m samples from `start`; their outputs are the last of `work.buffers.values`.

    The inputs of the first layer are taken from `work.first`, or computed if that is empty.
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
                fill_inputs(buffers.column, m, node, net, buffers.inputs, at, number > 0)
            add_edges(node, net.w, m, following.stride, inputs, at, work.tables, outputs)


@compiled
def backward(number: int, start: int, m: int, work: Workspace, with_derivatives: bool) -> None:
    """Fill δ at the nodes of a layer, unless it is the first, from δ at its outputs, for m samples from `start`.

    With derivatives, also add to those with respect to a and b of its edges.
    """
    net, layer, following = work.layout, work.layout.layers[number], work.layout.layers[number + 1]
    delta, kept = work.buffers.delta[following.at :], number == 0 and len(work.first.span) > LANES
    inputs, with_slopes = work.first if kept else work.buffers.inputs, number > 0
    for i in range(layer.width):
        index, delta_in = layer.first_node + i, work.buffers.delta[layer.at + i :]
        node, at = net.nodes[index], index * len(work.x) + start if kept else index * BLOCK
        strides, tasks = (following.stride, layer.stride), (with_slopes, with_derivatives)
        if node.lanes > 1:
            vectors_back(node, net.w, m, strides, inputs, at, work, delta, delta_in, tasks)
        elif node.lanes == 1:
            edge_back(node, net.w, m, strides, inputs, at, work, delta, delta_in, tasks)
        elif with_slopes:
            for sample in range(m):
                delta_in[np.uintp(sample * layer.stride)] = 0


@compiled
def edge_back(
    node: Record,
    w: Window,
    m: int,
    strides: tuple[int, int],
    inputs: Inputs,
    at: int,
    work: Workspace,
    delta: Floats,
    delta_in: Floats,
    tasks: tuple[bool, bool],
) -> None:
    """`backward` for a node with one edge.

    Derivatives with respect to a are two sums, over even and odd samples: successive samples are often in the same
    span, and a single sum would make each wait for the one before.
    """
    tables, derivatives, order, (stride, stride_in) = work.tables, work.derivatives, len(w) - 1, strides
    (with_slopes, with_derivatives), half, other = tasks, len(derivatives.a) // 2, 0
    first_row, length, first_target = node.first_row, node.row, node.first_target
    b, d_b = tables.b[node.first_base], derivatives.b[node.first_base]
    for sample in range(m):
        item, weight = np.uintp(at + sample), delta[np.uintp(sample * stride + first_target)]
        u, row = inputs.u[item], first_row + inputs.span[item] * length
        if with_slopes:
            slope = tables.slopes[np.uintp(row + order)]
            for q in range(order - 1, 0, -1):
                slope = slope * u + tables.slopes[np.uintp(row + q)]
            slope += b * inputs.base_slope[item]
            delta_in[np.uintp(sample * stride_in)] = slope * weight
        if with_derivatives:
            d_b += np.float64(weight) * inputs.base[item]
            row, other = row + other, half - other
            summand = powers(np.float64(u), w) * np.float64(weight)
            store(load(derivatives.a, row) + summand, derivatives.a, row)
    if with_derivatives:
        derivatives.b[node.first_base] = d_b


@compiled
def vectors_back(
    node: Record,
    w: Window,
    m: int,
    strides: tuple[int, int],
    inputs: Inputs,
    at: int,
    work: Workspace,
    delta: Floats,
    delta_in: Floats,
    tasks: tuple[bool, bool],
) -> None:
    """`backward` for a node with several edges.

    Everything is in one loop, so that computing slopes overlaps with waiting for sums of the derivatives.
    """
    tables, derivatives, order, (stride, stride_in) = work.tables, work.derivatives, len(w) - 1, strides
    (with_slopes, with_derivatives), half = tasks, len(derivatives.a) // 2
    length, first_target = node.row, node.first_target
    for lane in range(0, node.lanes, LANES):
        first_row, first_base, other = node.first_row + lane * len(w), node.first_base + lane, 0
        b, d_b = load(tables.b, first_base), load(derivatives.b, first_base)
        for sample in range(m):
            item, weights = np.uintp(at + sample), load(delta, sample * stride + first_target + lane)
            u, row = inputs.u[item], first_row + inputs.span[item] * length
            if with_slopes:
                slopes = load(tables.slopes, row + order * LANES)
                for q in range(order - 1, 0, -1):
                    slopes = slopes * u + load(tables.slopes, row + q * LANES)
                slopes = slopes + b * inputs.base_slope[item]
                part, place = total(slopes * weights), np.uintp(sample * stride_in)
                delta_in[place] = part if lane == 0 else delta_in[place] + part
            if with_derivatives:
                summand = wide(weights)
                d_b = d_b + summand * inputs.base[item]
                row, other = row + other, half - other
                for q in range(order + 1):
                    store(load(derivatives.a, row + q * LANES) + summand, derivatives.a, row + q * LANES)
                    summand = summand * np.float64(u)
        if with_derivatives:
            store(d_b, derivatives.b, first_base)


@compiled
def copy_outputs(start: int, m: int, work: Workspace, values: Floats) -> None:
    """Copy the outputs that `forward` computed for m samples from `start` to `values`, sample by sample."""
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
    net, buffers, y, loss = work.layout, work.buffers, work.y, 0.0
    n_layers = len(net.layers) - 1
    first, step, n_outputs = net.layers[n_layers].at, net.layers[n_layers].stride, net.layers[n_layers].width
    factor = work.tables.b.dtype.type(2 / len(y))
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
                buffers.delta[place] = residual * factor
        for number in range(n_layers - 1, -1, -1):
            backward(number, block_start, m, work, True)
    return loss


@compiled
def loss_and_gradient(parameters: Floats, work: Workspace, gradient: Floats) -> float:
    """Fill the gradient and return the loss, for at most one chunk of samples."""
    nan_if_nonfinite = fill_tables(parameters, work.layout, work.tables)
    for part in work.derivatives:
        part[:] = 0
    loss = evaluate(GRADIENT, 0, len(work.x), work, nan_if_nonfinite, work.y)
    tabulate_splines_vjp(work.layout, work.derivatives)
    chain_rule(parameters, work.layout, work.derivatives, gradient)
    return loss / len(work.y)
