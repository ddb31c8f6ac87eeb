"""The lookup tables of an evaluation, the splines' polynomials on all knot spans, and their adjoint.

With e = mask · scale_sp · coef, a spline is Σ_q a_q u^q on a span, where a_q = Σ_r P_rq e_(w+r) and w is the first of
the k + 1 nonzero basis functions. The matrices P are tabulated once per grid (`kanbench.network.splines`).
"""

from __future__ import annotations

import numpy as np

from kanbench.engine.numba_engine.simd import LANES, load, store, total, wide
from kanbench.engine.numba_engine.structures import Floats, Layout, Tables
from kanbench.io.kernel_cache import compiled


@compiled
def fill_tables(parameters: Floats, net: Layout, tables: Tables) -> float:
    """Fill e, b and a from the vector of all parameters; return 0, or nan if any parameter is not finite.

    In pykan, every coefficient is multiplied on every sample, if only by zero, so a non-finite one shows in every
    output. Entries of the tables without an edge or span must be zero, and stay so.
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
    """Fill a, the splines' polynomials on all knot spans, from e, and slopes, except in the first layer."""
    w = len(net.w)
    for index in range(len(net.nodes)):
        node, hidden = net.nodes[index], index >= net.layers[0].width
        for span in range(node.n_spans if node.lanes else 0):
            p, row = node.first_span + span, node.first_row + (span + 1) * node.row
            coef = node.first_coef + net.window[p] * node.lanes
            if node.lanes == 1:
                values = load(net.polynomials, p * w * LANES) * tables.e[np.uintp(coef)]
                for r in range(1, w):
                    values = values + load(net.polynomials, (p * w + r) * LANES) * tables.e[np.uintp(coef + r)]
                store(values, tables.a, row)
                for q in range(1, w if hidden else 0):
                    tables.slopes[np.uintp(row + q)] = tables.a[np.uintp(row + q)] * (q * net.density[np.uintp(p)])
                continue
            for lane in range(0, node.lanes, LANES):
                for q in range(w):
                    values = load(tables.e, coef + lane) * net.polynomials[np.uintp(p * w * LANES + q)]
                    for r in range(1, w):
                        factor = net.polynomials[np.uintp((p * w + r) * LANES + q)]
                        values = values + load(tables.e, coef + r * node.lanes + lane) * factor
                    store(values, tables.a, row + lane * w + q * LANES)
                    if hidden:
                        store(values * (q * net.density[np.uintp(p)]), tables.slopes, row + lane * w + q * LANES)


@compiled
def tabulate_splines_vjp(net: Layout, derivatives: Tables) -> None:
    """The adjoint of `tabulate_splines`: add to the derivatives with respect to e, from those with respect to a."""
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
                        factor, at = net.polynomials[np.uintp((p * w + r) * LANES + q)], row + lane * w + q * LANES
                        values = values + (load(derivatives.a, at) + load(derivatives.a, at + half)) * factor
                    store(values, derivatives.e, coef + r * node.lanes + lane)


@compiled
def chain_rule(parameters: Floats, net: Layout, derivatives: Tables, gradient: Floats) -> None:
    """Fill the gradient with respect to the trained parameters from the one with respect to e and b."""
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
