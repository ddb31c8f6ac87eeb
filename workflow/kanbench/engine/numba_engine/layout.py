"""Conversion of a network to the arrays of `kanbench.engine.numba_engine.structures`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import BLOCK, EDGE, LAYER, NODE, Layout, Records
from kanbench.network.spline_network import BASE_FUNCTIONS, PARTS, SplineNetwork
from kanbench.network.splines import basis_polynomials
from kanbench.problems import Array

BUCKETS_PER_SPAN = 8  # then few of them hold a knot, and the search for the span is over before it begins

Floats = NDArray[np.float64]


Positions = dict[tuple[int, str], NDArray[np.int64]]


def all_parameters(network: SplineNetwork) -> tuple[Array, Positions]:
    """The vector of all parameters, θ and then what is held fixed.

    Returns:
        parameters (array)
        positions (dict): By number of the layer and part, where those of every live edge are, or begin.
    """
    vectors, at = [], 0
    positions = {(n, name): np.zeros(layer.live.sum(), int) for n, layer in enumerate(network.layers) for name in PARTS}
    for fixed in (False, True):
        for (number, name), places in positions.items():
            layer = network.layers[number]
            chosen = (name not in network.fixed) & layer.trained(name)
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
    """The network in arrays, for kernels of `window` basis functions, and the sizes of its `Tables`.

    Args:
        positions: That of `all_parameters`.
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
    first = np.arange(len(node)) - first_span[node] - order[node]  # basis function that is not zero, if there are such
    windows = np.clip(first, 0, np.maximum(n_spans - order, window)[node] - window)
    polynomials = np.zeros((len(node), window, LANES))
    for start, t, k in zip(first_span, knots, order, strict=True):
        basis = np.arange(len(t) - 1)[:, None] + np.arange(-k, 1)  # the k + 1 of every span
        span, r = np.nonzero((basis >= 0) & (basis < len(t) - 1 - k))
        place = start + span, basis[span, r] - windows[start + span]
        polynomials[*place, : k + 1] = basis_polynomials(t, k)[span, r]
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
    """numbers / lengths; 0 for knots that coincide (no x is between them) or are not finite."""
    with np.errstate(all="ignore"):
        ratio = numbers / lengths
    return np.where(np.isfinite(ratio), ratio, 0)


def _fill_buckets(nodes: Records, node: NDArray[np.int64], left: Floats) -> NDArray[np.int32]:
    """The last span that begins before each bucket; and in `nodes` the most that begin in one.

    Knots, of every span that on the left and its node, are rounded to buckets as `inputs.bucket_of` rounds.
    """
    position = np.nan_to_num((left - nodes["lowest"][node]) * nodes["density"][node])
    bucket = np.rint(position.clip(0, nodes["last_bucket"][node])).astype(int) + nodes["first_bucket"][node]
    counts = np.bincount(bucket, minlength=BUCKETS_PER_SPAN * len(node))
    nodes["steps"] = np.maximum.reduceat(counts, nodes["first_bucket"])
    buckets = np.cumsum(counts) - counts - 1
    buckets[nodes["first_bucket"]] = nodes["first_span"]  # x is never less than the first knot
    return buckets.astype(np.int32)


def _edges(network: SplineNetwork, positions: Positions) -> tuple[Records, NDArray[np.int64]]:
    """The live edges by the node that they leave, and the nodes of the next layer to which they go."""
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
    """Give the edges of every node their lanes, and the nodes their places in the tables, whose sizes are returned."""
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
    return first_coef, first_base, first_row


def _layers(network: SplineNetwork, nodes: Records) -> Records:
    """The layers and the output; the values of a sample leave room for the lanes that come from the layer before."""
    layers, at, widths = np.zeros(len(network.width), LAYER), 0, network.width
    for layer, first_node, width, before in zip(layers, np.cumsum([0, *widths]), widths, [0, *widths], strict=False):
        feeding = nodes[first_node - before : first_node]
        layer["first_node"], layer["width"], layer["at"] = first_node, width, at
        layer["stride"] = max(width, (feeding["first_target"] + feeding["lanes"]).max(initial=0))
        at += layer["stride"] * BLOCK
    return layers
