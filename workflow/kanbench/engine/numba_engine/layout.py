"""Converts a network to the arrays of `kanbench.engine.numba_engine.structures`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.spans import fill_windows
from kanbench.engine.numba_engine.structures import BLOCK, EDGE, LAYER, NODE, Layout, Records
from kanbench.network.spline_network import BASE_FUNCTIONS, PARTS, SplineNetwork
from kanbench.problems import Array

BUCKETS_PER_SPAN = 8  # so many that few contain a knot, and most lookups need no search

Floats = NDArray[np.float64]


Positions = dict[tuple[int, str], NDArray[np.int64]]


def all_parameters(network: SplineNetwork) -> tuple[Array, Positions]:
    """Collect all parameters in one vector: θ, then the fixed ones.

    Returns:
        parameters (array): The vector.
        positions (dict): By layer index and part, the (first) position of every live edge's parameters.
    """
    vectors, at = [], 0
    positions = {(n, name): np.zeros(layer.live.sum(), int) for n, layer in enumerate(network.layers) for name in PARTS}
    for fixed in (False, True):
        for (number, name), places in positions.items():
            layer = network.layers[number]
            chosen = layer.trained(name) if name not in network.fixed else np.zeros_like(layer.live)
            if fixed and chosen is layer.live:
                continue
            chosen = layer.live & ~chosen if fixed else chosen
            if name == "coef":
                rows = [c[edges].ravel() for c, edges in zip(layer.coef, chosen, strict=True)]
                counts = np.repeat([c.shape[1] for c in layer.coef], chosen.sum(axis=1))
            else:
                rows, counts = [getattr(layer, name)[chosen]], np.ones(chosen.sum(), int)
            places[chosen[layer.live]] = at + np.cumsum(counts) - counts
            at += counts.sum()
            vectors += rows
    return np.concatenate(vectors), positions


def lay_out(network: SplineNetwork, positions: Positions, window: int) -> tuple[Layout, tuple[int, int, int]]:
    """Convert the network to arrays for kernels of `window` basis functions; also return the sizes of its `Tables`.

    Args:
        positions (dict): From `all_parameters`.
    """
    edges, target = _edges(network, positions)
    knots = [np.array(t, float) for layer in network.layers for t in layer.knots]
    order = np.repeat([layer.order for layer in network.layers], [layer.inputs for layer in network.layers])
    left, right = np.concatenate([t[:-1] for t in knots]), np.concatenate([t[1:] for t in knots])
    nodes = np.zeros(len(knots), NODE)
    nodes["n_spans"] = n_spans = np.array([len(t) - 1 for t in knots])
    nodes["first_span"] = first_span = np.cumsum(n_spans) - n_spans
    nodes["lowest"], nodes["highest"] = left[first_span], right[first_span + n_spans - 1]
    nodes["density"] = _ratio(BUCKETS_PER_SPAN * n_spans, nodes["highest"] - nodes["lowest"])
    nodes["first_bucket"], nodes["last_bucket"] = BUCKETS_PER_SPAN * first_span, BUCKETS_PER_SPAN * n_spans - 1
    sizes = _place(nodes, edges, target, window)
    node = np.repeat(np.arange(len(nodes)), n_spans)  # of every span
    first = np.arange(len(node)) - first_span[node] - order[node]  # first nonzero basis function, if there is one
    windows = np.clip(first, 0, np.maximum(n_spans - order, window)[node] - window)
    polynomials = np.zeros((len(node), window, LANES))
    fill_windows(nodes, order, left, right, windows, polynomials)
    layout = Layout(
        layers=_layers(network, nodes),
        nodes=nodes,
        edges=edges,
        buckets=_fill_buckets(nodes, node, left),
        left=left,
        right=right,
        density=_ratio(1, right - left),
        window=windows.astype(np.int32),
        polynomials=polynomials.astype(network.dtype).ravel(),
        base_kind=list(BASE_FUNCTIONS).index(network.base),
        w=(0,) * window,
    )
    return layout, sizes


def _ratio(numbers: NDArray[np.integer] | int, lengths: Floats) -> Floats:
    """numbers / lengths; 0 for spans that are empty (coinciding knots) or not finite."""
    with np.errstate(all="ignore"):
        ratio = numbers / lengths
    return np.where(np.isfinite(ratio), ratio, 0)


def _fill_buckets(nodes: Records, node: NDArray[np.int64], left: Floats) -> NDArray[np.int32]:
    """Find the last span that begins before each bucket; store in `nodes` the most spans that begin in one bucket.

    Knots are rounded to buckets as in `inputs.bucket_of`.

    Args:
        node, left (arrays of shape (spans,)): Node and left knot of every span.
    """
    position = np.nan_to_num((left - nodes["lowest"][node]) * nodes["density"][node])
    bucket = np.rint(position.clip(0, nodes["last_bucket"][node])).astype(int) + nodes["first_bucket"][node]
    counts = np.bincount(bucket, minlength=BUCKETS_PER_SPAN * len(node))
    nodes["steps"] = np.maximum.reduceat(counts, nodes["first_bucket"])
    buckets = np.cumsum(counts) - counts - 1
    buckets[nodes["first_bucket"]] = nodes["first_span"]  # no x is looked up below the first knot
    return buckets.astype(np.int32)


def _edges(network: SplineNetwork, positions: Positions) -> tuple[Records, NDArray[np.int64]]:
    """List the live edges in the order of their source nodes, and their target nodes in the next layer."""
    parts, targets, first_node = [], [], 0
    for number, layer in enumerate(network.layers):
        source, target = np.nonzero(layer.live)
        edges = np.zeros(len(source), EDGE)
        edges["node"], edges["mask"] = first_node + source, layer.mask[source, target]
        edges["n_coef"] = (np.array(layer.intervals) + layer.order)[source]
        for field, name in (("coef_at", "coef"), ("base_at", "scale_base"), ("sp_at", "scale_sp")):
            edges[field] = positions[number, name]
        parts.append(edges)
        targets.append(target)
        first_node += layer.inputs
    return np.concatenate(parts), np.concatenate(targets)


def _place(nodes: Records, edges: Records, target: NDArray[np.int64], window: int) -> tuple[int, int, int]:
    """Assign lanes to the edges of every node, and places in the tables to the nodes; return the tables' sizes."""
    source, outgoing = edges["node"], np.bincount(edges["node"], minlength=len(nodes))
    some, begin = outgoing > 0, np.searchsorted(source, np.arange(len(nodes)))  # edges are sorted by source
    first, last = (np.zeros(len(nodes), int) for _ in range(2))
    first[some], last[some] = target[begin[some]], target[begin[some] + outgoing[some] - 1]  # and by target
    n_targets = last - first + some
    lanes = np.where(n_targets > 1, -(-n_targets // LANES) * LANES, n_targets)
    n_coef = np.zeros(len(nodes), int)
    n_coef[some] = edges["n_coef"][begin[some]]
    edges["lane"] = target - first[source]
    nodes["first_target"], nodes["lanes"], nodes["row"] = first, lanes, np.where(lanes == 1, LANES, window * lanes)
    sizes = np.maximum(n_coef, window) * lanes, lanes, (nodes["n_spans"] + 1) * nodes["row"]
    for field, size in zip(("first_coef", "first_base", "first_row"), sizes, strict=True):
        nodes[field] = np.cumsum(size) - size
    coefs, bases, rows = (int(size.sum()) for size in sizes)
    return coefs, bases, rows


def _layers(network: SplineNetwork, nodes: Records) -> Records:
    """Describe the layers and the output; a sample's values are padded for the lanes of the layer before."""
    layers, at, widths = np.zeros(len(network.width), LAYER), 0, network.width
    for layer, first_node, width, before in zip(layers, np.cumsum([0, *widths]), widths, [0, *widths], strict=False):
        feeding = nodes[first_node - before : first_node]
        layer["first_node"], layer["width"], layer["at"] = first_node, width, at
        layer["stride"] = max(width, (feeding["first_target"] + feeding["lanes"]).max(initial=0))
        at += layer["stride"] * BLOCK
    return layers
