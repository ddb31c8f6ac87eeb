"""Conversion of a network to the arrays of `kanbench.engine.numba_engine.structures`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import BLOCK, EDGE, LAYER, NODE, Layout, Records, Tables
from kanbench.network.spline_network import BASE_FUNCTIONS, PARTS, SplineNetwork
from kanbench.network.splines import basis_polynomials

BUCKETS_PER_SPAN = 8  # then few of them hold a knot, and the search for the span is over before it begins

Array = NDArray[np.floating]
Floats = NDArray[np.float64]


def all_parameters(network: SplineNetwork) -> tuple[Array, dict[tuple[int, str], int]]:
    """The vector of all parameters, θ and then what is held fixed, and where in it those of a part of a layer begin."""
    vectors = [
        (number, name, layer.part(name))
        for fixed in (False, True)
        for number, layer in enumerate(network.layers)
        for name in PARTS
        if (name in network.fixed) == fixed
    ]
    positions, at = {}, 0
    for number, name, part in vectors:
        positions[number, name] = at
        at += len(part)
    return np.concatenate([part for _, _, part in vectors]), positions


def lay_out(network: SplineNetwork, positions: dict[tuple[int, str], int], window: int) -> Layout:
    """The network in arrays, for kernels of `window` basis functions; `positions` is that of `all_parameters`."""
    edges, target = _edges(network, positions)
    knots = [(np.array(t, float), layer.order) for layer in network.layers for t in layer.knots]
    nodes, rows, first_bucket, first_span = np.zeros(len(knots), NODE), [], 0, 0
    for node, (t, k) in zip(nodes, knots, strict=True):
        row = tabulate_row(t, k, window, first_span)
        node["first_bucket"], node["last_bucket"], node["steps"] = first_bucket, len(row.buckets) - 1, row.steps
        node["first_span"], node["n_spans"] = first_span, len(t) - 1
        node["lowest"], node["highest"], node["density"] = t[0], t[-1], row.density
        first_bucket, first_span = first_bucket + len(row.buckets), first_span + len(t) - 1
        rows.append(row)
    _place(nodes, edges, target, window)
    return Layout(
        layers=_layers(network, nodes),
        nodes=nodes,
        edges=edges,
        buckets=np.concatenate([row.buckets for row in rows]),
        left=np.concatenate([t[:-1] for t, _ in knots]),
        right=np.concatenate([t[1:] for t, _ in knots]),
        density=np.concatenate([_inverse(np.diff(t)) for t, _ in knots]),
        window=np.concatenate([row.window for row in rows]),
        polynomials=np.concatenate([row.polynomials for row in rows]).astype(network.dtype).ravel(),
        base_kind=list(BASE_FUNCTIONS).index(network.base),
        w=(0,) * window,
    )


def _inverse(lengths: Floats) -> Floats:
    """1 / lengths; 0 for knots that coincide (no number is between them) or are not numbers."""
    with np.errstate(all="ignore"):
        inverse = 1 / lengths
    return np.where(np.isfinite(inverse), inverse, 0)


class Row(NamedTuple):
    """The spans between the knots t of a node, shape (K + 1,), numbered from `first_span`."""

    buckets: NDArray[np.int32]  # (buckets,): the last span that begins in an earlier bucket
    density: float  # buckets per length
    steps: int
    window: NDArray[np.int32]  # (K,): the first basis function
    polynomials: Floats  # (K, W, LANES): the coefficient of u^q of the basis function window + r, 0 for q ≥ W


def tabulate_row(t: Floats, k: int, window: int, first_span: int) -> Row:
    """The tables of one node's row of knots."""
    n_spans = len(t) - 1
    basis = np.arange(n_spans)[:, None] + np.arange(-k, 1)  # the k + 1 of every span
    first = np.clip(basis[:, 0], 0, max(n_spans - k, window) - window).astype(np.int32)
    span, r = np.nonzero((basis >= 0) & (basis < n_spans - k))
    polynomials = np.zeros((n_spans, window, LANES))
    polynomials[span, basis[span, r] - first[span], : k + 1] = basis_polynomials(t, k)[span, r]
    n_buckets = BUCKETS_PER_SPAN * n_spans
    length = t[-1] - t[0]
    density = n_buckets / length if length > 0 and np.isfinite(length) else 0.0
    buckets, most = fill_buckets(t, first_span, density, n_buckets)
    return Row(buckets, density, most, first, polynomials)


def fill_buckets(t: Floats, first_span: int, density: float, n_buckets: int) -> tuple[NDArray[np.int32], int]:
    """The last span that begins before each bucket, and the most that begin in one bucket.

    The spans begin at knots `t`, all but the last. Knots are rounded to buckets as `inputs.bucket_of` rounds.
    """
    position = np.nan_to_num((t[:-1] - t[0]) * density)
    counts = np.bincount(np.rint(position.clip(0, n_buckets - 1)).astype(int), minlength=n_buckets)
    buckets = first_span - 1 + np.cumsum(counts) - counts
    buckets[0] = first_span  # x is never less than the first knot
    return buckets.astype(np.int32), counts.max()


def _edges(network: SplineNetwork, positions: dict[tuple[int, str], int]) -> tuple[Records, NDArray[np.int64]]:
    """The live edges by the node that they leave, and the nodes of the next layer to which they go."""
    parts, targets, first_node = [], [], 0
    for number, layer in enumerate(network.layers):
        source, target = np.nonzero(layer.live)
        edges = np.zeros(len(source), EDGE)
        edges["node"], edges["mask"] = first_node + source, layer.mask[source, target]
        edges["n_coef"] = (np.array(layer.intervals) + layer.order)[source]
        edges["coef_at"] = positions[number, "coef"] + np.cumsum(edges["n_coef"]) - edges["n_coef"]
        edges["base_at"] = positions[number, "scale_base"] + np.arange(len(source))
        edges["sp_at"] = positions[number, "scale_sp"] + np.arange(len(source))
        parts.append(edges)
        targets.append(target)
        first_node += layer.inputs
    return np.concatenate(parts), np.concatenate(targets)


def _place(nodes: Records, edges: Records, target: NDArray[np.int64], window: int) -> None:
    """Give the edges of every node their lanes, and the nodes their places in the tables."""
    first_row = first_coef = first_base = 0
    for index, node in enumerate(nodes):
        outgoing = edges["node"] == index
        if outgoing.any():
            node["first_target"] = target[outgoing].min()
            n_targets = target[outgoing].max() - node["first_target"] + 1
            node["lanes"] = 1 if n_targets == 1 else -(-n_targets // LANES) * LANES
            edges["lane"][outgoing] = target[outgoing] - node["first_target"]
        node["row"] = LANES if node["lanes"] == 1 else window * node["lanes"]
        node["first_row"], node["first_coef"], node["first_base"] = first_row, first_coef, first_base
        first_row += (node["n_spans"] + 1) * node["row"]
        first_coef += max(edges["n_coef"][outgoing].max(initial=0), window) * node["lanes"]
        first_base += node["lanes"]


def _layers(network: SplineNetwork, nodes: Records) -> Records:
    """The layers and the output; the values of a sample leave room for the lanes that come from the layer before."""
    layers, at, widths = np.zeros(len(network.width), LAYER), 0, network.width
    for layer, first_node, width, before in zip(layers, np.cumsum([0, *widths]), widths, [0, *widths], strict=False):
        feeding = nodes[first_node - before : first_node]
        layer["first_node"], layer["width"], layer["at"] = first_node, width, at
        layer["stride"] = max(width, (feeding["first_target"] + feeding["lanes"]).max(initial=0))
        at += layer["stride"] * BLOCK
    return layers


def new_tables(layout: Layout, dtype: np.dtype) -> Tables:
    """Zeros for the parameters of a network, or for derivatives by them."""
    last, edges, window = layout.nodes[-1], layout.edges, len(layout.w)
    n_coef = max(edges["n_coef"][edges["node"] == len(layout.nodes) - 1].max(initial=0), window)
    rows = last["first_row"] + (last["n_spans"] + 1) * last["row"]
    sizes = last["first_coef"] + n_coef * last["lanes"], last["first_base"] + last["lanes"], rows
    return Tables(*(np.zeros(size, dtype) for size in sizes))
