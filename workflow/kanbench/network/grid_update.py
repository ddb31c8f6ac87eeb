"""Grid updates: grids move to where a sample's activations are, as by pykan's `update_grid`, in float64.

Unlike pykan's, they are the same in every process (the last digits of float32 least squares are not), and every node
may have a number of intervals of its own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from kanbench.network.evaluation import edge_values
from kanbench.network.spline_network import SplineNetwork
from kanbench.network.splines import basis_matrix, evaluate_splines
from kanbench.problems import Array

GRID_EPS = 0.02  # MultKAN's grid_eps: how uniform a grid is; what is left follows the quantiles


def update_grids(network: SplineNetwork, x: Array) -> SplineNetwork:
    """The network with other grids of the same sizes; its function changes by what the new splines cannot represent.

    Args:
        x (array of shape (n, d)): The sample. Of every layer the activations are those after the updates before it.
    """
    values = np.asarray(x, float)
    for number, layer in enumerate(network.layers):
        nodes = zip(layer.knots, layer.coef, values.T, strict=True)
        knots, coef = zip(*(update_row(t, c, layer.order, np.sort(s)) for t, c, s in nodes), strict=True)
        layers = list(network.layers)
        layers[number] = dataclasses.replace(layer, knots=knots, coef=coef)
        network = dataclasses.replace(network, layers=tuple(layers))
        values = edge_values(network, number, values).sum(axis=1)
    return network


def update_row(t: Array, c: Array, k: int, samples: Array) -> tuple[Array, Array]:
    """Move the knots of splines to samples, and fit the splines there by least squares.

    Args:
        t, c (arrays of shapes (G + 1 + 2k,) and (outputs, G + k))
        samples (array of shape (n,), sorted): The activations at the node. Where they are no range of numbers that
            knots can be told apart on, the row stays as it is.

    Returns:
        t, c: Of the same shapes and precision.
    """
    knots = grid_on(samples, len(t) - 1 - 2 * k, k).astype(t.dtype)
    if not (np.diff(knots) > 0).all():  # nor where activations are not finite
        return t, c
    values = evaluate_splines(samples, t, k, c)
    coef = np.linalg.lstsq(basis_matrix(samples, knots, k), values, rcond=None)[0].T
    return knots, coef.astype(c.dtype)


def grid_on(samples: Array, grid: int, k: int) -> Array:
    """Knots of `grid` intervals, nearly at the quantiles of sorted samples, with k more on either side."""
    at = [int(len(samples) / grid * i) for i in range(grid)]
    quantiles = samples[[*at, -1]]
    first, last = quantiles[0], quantiles[-1]
    inner = GRID_EPS * np.linspace(first, last, grid + 1) + (1 - GRID_EPS) * quantiles
    outer = (last - first) / grid * np.arange(1, k + 1)
    return np.concatenate([first - outer[::-1], inner, last + outer])
