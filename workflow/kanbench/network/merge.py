"""Merge several networks into a wider network whose output is their weighted sum.

Each hidden node of an expert becomes a node of the merged network, with its knots and coefficients. Inputs and outputs
are shared; the edges to the outputs are scaled by the expert's weight. Edges between experts are optional, and are
initially zero. Three points need care:

- *Inputs*: several experts share the knots of an input. Their splines are interpolated at the Greville abscissae of the
  union of their knots. This is exact, because the splines lie in the space of the union.
- *Depth*: shallower experts get layers in front, in which shared nodes pass the inputs through *identity edges*:
  Σ_c ξ_c B_c(x) = x on the domain, where ξ_c are the Greville abscissae.
- *Order*: as in pykan, all splines of a layer have the same order. A spline of order k is a spline of order K > k with
  each knot repeated K-k+1 times. pykan does not support repeated knots, so they are placed slightly apart, and the
  spline is interpolated at the Greville abscissae; the error is of second order in the distance.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kanbench.errors import InputError
from kanbench.network.refinement import next_knots
from kanbench.network.spline_network import SplineLayer, SplineNetwork
from kanbench.network.splines import basis_matrix, evaluate_splines, greville
from kanbench.problems import Array, Interval

# Distance of the knots that replace a repeated one, relative to the shortest interval. The relative error is about its
# square; rounding errors grow with its inverse.
SPLIT = {"float64": 1e-4, "float32": 1e-2}
# Root mean square of output - Σ weight × network, relative to the target; at most 6e-10 and 3e-6 in tests/network.
ACCURACY = {dtype: split**2 for dtype, split in SPLIT.items()}
SAME = 8  # machine epsilons, relative to the length of the row: closer knots are merged

Node = tuple[str | int, ...]
Nodes = list[Node]
OUTPUT = "output"  # first part of the names of output nodes


class Edge(NamedTuple):
    """A spline with its scales. `row` is None for an identity edge and for a zero spline."""

    row: tuple[Array, Array, int] | None  # knots, coefficients of shape (G + k,), order
    scale_base: float
    scale_sp: float
    mask: float = 1.0


Edges = dict[tuple[Node, Node], Edge]  # the edges of a layer, by source and target

IDENTITY = Edge(None, 0.0, 1.0)


def merge_networks(
    networks: Sequence[SplineNetwork], weights: Sequence[float], domain: Sequence[Interval], cross_edges: str = "absent"
) -> SplineNetwork:
    """The network whose output is Σ weight × network on the domain.

    Args:
        networks (sequence of SplineNetwork): With hidden nodes, and with the same inputs, outputs, precision and base
            function. Widths, depths, orders, grids and masks may differ.
        weights (sequence of float): One per network.
        domain (sequence of (low, high)): One per input. Outside it, identity edges are not exact.
        cross_edges (str): `absent`: edges between the networks are masked. `zero`: they are zero, but trained.

    Returns:
        SplineNetwork: With the greatest depth and the highest order of the networks; exact up to rounding for networks
            of that order. If one network has fixed base functions for an input, they are fixed for all.

    Raises:
        InputError: A network has no hidden nodes, or numbers of outputs differ.
    """
    depth = max(len(network.layers) for network in networks)
    if any(len(network.layers) < 2 for network in networks):  # several such networks would share their edges
        raise InputError("merge", "a model without hidden nodes", "at least one hidden layer")
    if len(outputs := sorted({network.width[-1] for network in networks})) > 1:
        raise InputError(
            "merge", f"models with {outputs[0]} and {outputs[-1]} outputs", "models with the same number of outputs"
        )
    k, first = max(network.order for network in networks), networks[0]
    fixed = [any(network.layers[0].fixed_base[i] for network in networks) for i in range(len(domain))]
    layers: list[Edges] = [{} for _ in range(depth)]
    for name, (network, weight) in enumerate(zip(networks, weights, strict=True)):
        for level, edges in enumerate(_edges(network, weight, name), start=depth - len(network.layers)):
            layers[level].update(edges)
    _add_identity_edges(layers, n_inputs=len(domain))
    # The nodes of each level: first the inputs, then all nodes with outgoing edges, then the outputs.
    hidden = [list(dict.fromkeys(source for source, _ in edges)) for edges in layers[1:]]
    levels: list[Nodes] = [[("input", i) for i in range(len(domain))], *hidden, _outputs(first)]
    merged = [
        dataclasses.replace(
            _layer(edges, sources, targets, k, domain, cross_edges == "zero", first.dtype),
            fixed_base=np.array([source[0] == "input" and fixed[int(source[1])] for source in sources]),
        )
        for edges, (sources, targets) in zip(layers, itertools.pairwise(levels), strict=True)
    ]
    bias = sum(weight * network.output_bias.astype(float) for network, weight in zip(networks, weights, strict=True))
    return SplineNetwork(tuple(merged), np.asarray(bias, first.dtype), first.base)


def _edges(network: SplineNetwork, weight: float, name: int) -> list[Edges]:
    """The live edges of a network, by layer, with nodes named as in the merged network."""
    nodes: list[Nodes] = [
        [(name, level, i) if level else ("input", i) for i in range(layer.inputs)]
        for level, layer in enumerate(network.layers)
    ]
    layers: list[Edges] = [{} for _ in network.layers]
    levels = itertools.pairwise([*nodes, _outputs(network)])
    for edges, layer, (sources, targets) in zip(layers, network.layers, levels, strict=True):
        scale = weight if targets[0][0] == OUTPUT else 1.0
        scale_base, scale_sp, mask = (part.tolist() for part in (layer.scale_base, layer.scale_sp, layer.mask))
        for i, j in np.argwhere(layer.live).tolist():
            row = layer.knots[i], layer.coef[i][j], layer.order
            edges[sources[i], targets[j]] = Edge(row, scale * scale_base[i][j], scale * scale_sp[i][j], mask[i][j])
    return layers


def _outputs(network: SplineNetwork) -> Nodes:
    return [(OUTPUT, j) for j in range(network.width[-1])]


def _add_identity_edges(layers: list[Edges], n_inputs: int) -> None:
    """Add identity edges that pass each input through to the later layers that use it."""
    for i in range(n_inputs):
        node = ("input", i)
        used = [level for level, edges in enumerate(layers) if any(source == node for source, _ in edges)]
        for level in range(max(used, default=0)):
            layers[level][node, node] = IDENTITY


def _layer(
    edges: Edges, sources: Nodes, targets: Nodes, k: int, domain: Sequence[Interval], cross: bool, dtype: np.dtype
) -> SplineLayer:
    rows = []
    for source in sources:
        outgoing = {target: edges[source, target] for target in targets if (source, target) in edges}
        cover = domain[int(source[1])] if IDENTITY in outgoing.values() else None
        rows.append(_common_row(outgoing, targets, k, cover, dtype))
    knots, coef = (tuple(row.astype(dtype) for row in part) for part in zip(*rows, strict=True))
    absent = Edge(None, 0.0, len(sources) ** -0.5, float(cross))  # pykan's initial scale_sp
    scales = [[edges.get((source, target), absent)[1:] for target in targets] for source in sources]
    scale_base, scale_sp, mask = np.array(scales, dtype).transpose(2, 0, 1)
    return SplineLayer(knots, coef, scale_base, scale_sp, mask, k)


def _common_row(
    outgoing: Mapping[Node, Edge], targets: Nodes, k: int, cover: Interval | None, dtype: np.dtype
) -> tuple[Array, Array]:
    """Common knots for all outgoing edges of a node, and their coefficients, shape (targets, G + k).

    Args:
        outgoing (dict): `{target: edge}`
        cover ((low, high) or None): The interval that the domain must cover for an identity edge.
    """
    needed = [_as_order(edge.row[0], edge.row[2], k, SPLIT[dtype.name]) for edge in outgoing.values() if edge.row]
    low, high = cover or (-1.0, 1.0)
    uniform: Array = low + (high - low) * np.arange(-k, k + 2.0)  # one interval
    t = _union(needed, np.finfo(dtype).eps) if needed else uniform
    while cover and t[k] > cover[0]:
        t = np.append(next_knots(t, k)[0], t)
    while cover and t[-k - 1] < cover[1]:
        t = np.append(t, next_knots(t, k)[1])
    # Interpolation at the Greville abscissae reproduces every spline of the space, whatever knots were added.
    abscissae = greville(t, k)
    values = np.zeros((len(t) - k - 1, len(targets)))
    for i, target in enumerate(targets):
        if target in outgoing and (row := outgoing[target].row):
            knots, coef, order = row
            values[:, [i]] = evaluate_splines(abscissae, knots, order, coef[None])
    c = np.linalg.solve(basis_matrix(abscissae, t, k), values).T
    for i, target in enumerate(targets):
        if outgoing.get(target) is IDENTITY:
            c[i] = abscissae
    return t, c


def _as_order(t: Array, k_from: int, k: int, split: float) -> Array:
    """The knots with which a spline of order `k_from` on t is one of order k: each repeated k - k_from + 1 times."""
    t, copies = t.astype(float), np.arange(k - k_from + 1) - (k - k_from) / 2
    return (t[:, None] + split * np.diff(t).min() * copies).ravel()


def _union(rows: Sequence[Array], rounding: float) -> Array:
    t = np.unique(np.concatenate(rows))
    return t[np.append(True, np.diff(t) > SAME * rounding * (t[-1] - t[0]))]
