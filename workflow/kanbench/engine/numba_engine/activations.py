"""Activations of nodes and edges on a sample, compiled by numba, for attribution and refinement."""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.kernels import forward
from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import BLOCK, Floats, Workspace
from kanbench.io.kernel_cache import compiled


@compiled
def fill_activations(work: Workspace, nan_if_nonfinite: float, values: Floats, moments: Floats) -> None:
    """Fill the nodes' values on all samples, and the sums from which the edges' deviations follow.

    Args:
        values (array of shape (n, hidden and output nodes)): Filled layer by layer, outputs last.
        moments (array of shape (2, edges), zeros): Filled with Σ d and Σ d², where d is an edge's value minus that on
            the first sample. With no columns, edges are skipped.
    """
    net, buffers, n, n_layers = work.layout, work.buffers, len(work.x), len(work.layout.layers) - 1
    first_value = np.zeros(moments.shape[1])
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        forward(start, m, work, nan_if_nonfinite)
        column = 0
        for number in range(1, n_layers + 1):
            layer = net.layers[number]
            for sample in range(m):
                for i in range(layer.width):
                    values[start + sample, column + i] = buffers.values[layer.at + sample * layer.stride + i]
            column += layer.width
        for index in range(moments.shape[1]):
            edge = net.edges[index]
            node, order = net.nodes[edge.node], len(net.w) - 1
            kept = edge.node < net.layers[0].width and len(work.first.span) > LANES
            inputs, at = (work.first, edge.node * n + start) if kept else (buffers.inputs, edge.node * BLOCK)
            lane, step = edge.lane, min(node.lanes, LANES)
            first_row = node.first_row + lane // LANES * LANES * len(net.w) + lane % LANES
            b, total_d, total_d2 = np.float64(work.tables.b[node.first_base + lane]), 0.0, 0.0
            for sample in range(m):
                item = np.uintp(at + sample)
                u, row = np.float64(inputs.u[item]), first_row + inputs.span[item] * node.row
                value = np.float64(work.tables.a[np.uintp(row + order * step)])
                for q in range(order - 1, -1, -1):
                    value = value * u + work.tables.a[np.uintp(row + q * step)]
                value += b * inputs.base[item]
                if start + sample == 0:
                    first_value[index] = value
                d = value - first_value[index]
                total_d += d
                total_d2 += d * d
            moments[0, index] += total_d
            moments[1, index] += total_d2
