"""Several models as one wider model whose output is their weighted sum.

Every hidden node of an expert becomes a node of the merged model, with the knots and coefficients that it has; the
inputs are shared, and so is the output, whose edges carry the expert's weight. Nothing connects one expert with
another, unless such edges are asked for; they begin at zero. Three things need care:

- An *input's* row of knots serves several experts. Their splines are carried over to the union of the knots by
  interpolation at its Greville abscissae, which is exact: they are in the space that the union spans.
- *Shallower* experts get layers in front, in which shared nodes hand on the inputs unchanged: Σ_c ξ_c B_c(x) = x on
  the domain, where ξ_c are the Greville abscissae.
- pykan has one *order* for all splines of a layer. A spline of order k has the smoothness of one of order K > k with
  every knot K-k+1 times. pykan cannot have repeated knots, so they are set a little apart, and the spline is
  interpolated at the Greville abscissae; the error is of second order in the distance.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from kan import KAN
from kan.spline import B_batch

from kanbench.errors import InputError
from kanbench.grids import Array, live_rows, next_knots, set_rows
from kanbench.models import blank_model
from kanbench.problems import Interval

# Of the shortest interval: how far knots that stand for a repeated one are apart. The relative error is about the
# square; what rounding adds grows with the inverse.
SPLIT = {torch.float64: 1e-4, torch.float32: 1e-2}
SAME = 8  # units of rounding, relative to the row's length: knots that are nearer are one

OUTPUT = ("output",)


class Edge(NamedTuple):
    """A spline with its scales. `row` is None for an edge that hands on its input."""

    row: tuple[Array, Array, int] | None  # knots, coefficients of shape (G + k,), order
    scale_base: float
    scale_sp: float
    mask: float = 1.0


HAND_ON = Edge(None, 0.0, 1.0)


def merge(
    models: Sequence[KAN],
    weights: Sequence[float],
    domain: Sequence[Interval],
    cross_edges: str = "absent",
) -> KAN:
    """The model whose output is Σ weight × model on the domain.

    Parameters
    ----------
    models : sequence of KAN
        Additive models (no multiplication nodes, symbolic functions or affine maps) with hidden nodes, of the same
        inputs, one output and the same precision. Widths, depths, orders, grids and masks may differ.
    weights : sequence of float
    domain : sequence of (low, high)
        One per input; beyond it, shallower models are not handed their inputs exactly.
    cross_edges : str
        `absent`: edges between the models are masked. `zero`: they are zero and can be trained.

    Returns
    -------
    KAN
        Of the depth of the deepest model and the highest order. Exact up to rounding for models of that order.
    """
    if any(model.depth < 2 for model in models):  # their edges would be the same in the merged model
        raise InputError("merge: found a model without hidden nodes; allowed: at least one hidden layer")
    depth, k = max(model.depth for model in models), max(model.k for model in models)
    dtype = models[0].act_fun[0].coef.dtype
    layers: list[dict] = [{} for _ in range(depth)]  # {(from, to): edge}
    for name, (model, weight) in enumerate(zip(models, weights, strict=True)):
        for level, edges in enumerate(_edges(model, weight, name), start=depth - model.depth):
            layers[level].update(edges)
    _hand_on_inputs(layers, n_inputs=len(domain))
    levels = [*_levels(layers, n_inputs=len(domain)), [OUTPUT]]

    merged = blank_model([len(nodes) for nodes in levels], 1, k, dtype, models[0].device)
    rows = []
    for layer, edges, (sources, targets) in zip(merged.act_fun, layers, itertools.pairwise(levels), strict=True):
        layer_rows = []
        for source in sources:
            leaving = {target: edges[source, target] for target in targets if (source, target) in edges}
            reach = domain[source[1]] if HAND_ON in leaving.values() else None
            layer_rows.append(_common_row(leaving, targets, k, reach, dtype))
        rows.append(layer_rows)
        _set_scales(layer, edges, sources, targets, cross_edges)
    return set_rows(merged, rows)


def _edges(model: KAN, weight: float, name: int) -> list[dict]:
    """The live edges of a model, by layer, between nodes that are named as in the merged model."""
    inputs = [("input", i) for i in range(model.act_fun[0].in_dim)]
    hidden = [[(name, level, i) for i in range(layer.in_dim)] for level, layer in enumerate(model.act_fun)][1:]
    nodes = [inputs, *hidden, [OUTPUT]]
    layers = []
    for layer, (sources, targets) in zip(model.act_fun, itertools.pairwise(nodes), strict=True):
        scale = weight if targets == [OUTPUT] else 1.0
        scale_base, scale_sp, mask = (part.tolist() for part in (layer.scale_base, layer.scale_sp, layer.mask))
        layers.append(
            {
                (source, target): Edge((t, c[j], layer.k), scale * scale_base[i][j], scale * scale_sp[i][j], mask[i][j])
                for i, (source, (t, c)) in enumerate(zip(sources, live_rows(layer), strict=True))
                for j, target in enumerate(targets)
                if mask[i][j]
            }
        )
    return layers


def _hand_on_inputs(layers: list[dict], n_inputs: int) -> None:
    """Add the edges that bring every input to the layers behind the first where it is used."""
    for i in range(n_inputs):
        node = ("input", i)
        used = [level for level, edges in enumerate(layers) if any(source == node for source, _ in edges)]
        for level in range(max(used, default=0)):
            layers[level][node, node] = HAND_ON


def _levels(layers: list[dict], n_inputs: int) -> list[list]:
    """The nodes of every level but the output's: all inputs first, later those that edges leave."""
    inputs = [("input", i) for i in range(n_inputs)]
    return [inputs, *(list(dict.fromkeys(source for source, _ in edges)) for edges in layers[1:])]


def _common_row(
    leaving: dict, targets: Sequence, k: int, reach: Interval | None, dtype: torch.dtype
) -> tuple[Array, Array]:
    """One row of knots for all edges that leave a node, and their coefficients, shape (targets, G + k).

    Parameters
    ----------
    leaving : dict
        {target: edge}
    reach : (low, high) or None
        What the domain must cover for the sake of an edge that hands on its input.
    """
    needed = [_as_order(edge.row[0], edge.row[2], k, SPLIT[dtype]) for edge in leaving.values() if edge.row]
    t = _union(needed, torch.finfo(dtype).eps) if needed else np.linspace(-1 - k, 1 + k, 2 * k + 2)
    while reach and t[k] > reach[0]:
        t = np.append(next_knots(t, k)[0], t)
    while reach and t[-k - 1] < reach[1]:
        t = np.append(t, next_knots(t, k)[1])
    # Interpolation at the Greville abscissae gives every spline of the space back, whichever knots were added.
    abscissae = _greville(t, k)
    values = np.zeros((len(t) - k - 1, len(targets)))
    for i, target in enumerate(targets):
        if target in leaving and leaving[target].row:
            knots, coef, order = leaving[target].row
            values[:, i] = _bases(knots, order, abscissae) @ coef
    c = np.linalg.solve(_bases(t, k, abscissae), values).T
    for i, target in enumerate(targets):
        if leaving.get(target) == HAND_ON:
            c[i] = abscissae
    return t, c


def _as_order(t: Array, k_from: int, k: int, split: float) -> Array:
    """The knots that a spline of order `k_from` on t needs to be one of order k: every knot k - k_from + 1 times."""
    copies = np.arange(k - k_from + 1) - (k - k_from) / 2
    return (t[:, None] + split * np.diff(t).min() * copies).ravel()


def _union(rows: Sequence[Array], rounding: float) -> Array:
    t = np.unique(np.concatenate(rows))
    return t[np.append(True, np.diff(t) > SAME * rounding * (t[-1] - t[0]))]


def _greville(t: Array, k: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(t[1:-1], k).mean(axis=1)


def _bases(t: Array, k: int, x: Array) -> Array:
    """All bases at x, shape (n, G + k), as pykan evaluates them: those of the outer knots too, and zero beyond."""
    return B_batch(torch.from_numpy(x)[:, None], torch.from_numpy(t)[None], k)[:, 0].numpy()


def _set_scales(layer, edges: dict, sources: Sequence, targets: Sequence, cross_edges: str) -> None:
    absent = Edge(None, 0.0, len(sources) ** -0.5, float(cross_edges == "zero"))  # pykan's initial scale_sp
    for part in ("mask", "scale_base", "scale_sp"):
        values = [[getattr(edges.get((source, target), absent), part) for target in targets] for source in sources]
        parameter = getattr(layer, part)
        parameter.data = torch.tensor(values, dtype=parameter.dtype, device=parameter.device)
