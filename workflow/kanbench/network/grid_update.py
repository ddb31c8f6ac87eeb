"""Grid updates: move grids to the activations of a sample, as pykan's `update_grid`, but in float64.

Unlike pykan's, the results are the same in every process (the last digits of least squares in float32 are not), and
each node may have its own number of intervals.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from kanbench.network.evaluation import edge_values
from kanbench.network.spline_network import SplineNetwork
from kanbench.network.splines import basis_matrix, evaluate_splines
from kanbench.problems import Array

GRID_EPS = 0.02  # MultKAN's grid_eps: the weight of the uniform grid; the rest is the grid of quantiles


def update_grids(network: SplineNetwork, x: Array) -> SplineNetwork:
    """Move all grids of a network, keeping their sizes, and fit the splines by least squares.

    The function changes only where the new splines cannot represent it. Layers are updated in order, each with the
    activations that the updated layers before it give.

    Args:
        x (array of shape (n, d)): The sample.
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
        t, c (arrays of shapes (G + 1 + 2k,) and (outputs, G + k)): Knots and coefficients.
        k (int): The order.
        samples (array of shape (n,), sorted): The activations at the node. If they do not give distinct knots, the row
            stays unchanged.

    Returns:
        t, c: Of the same shapes and precision.
    """
    knots = grid_on(samples, len(t) - 1 - 2 * k, k).astype(t.dtype)
    if not (np.diff(knots) > 0).all():  # also if activations are not finite
        return t, c
    values = evaluate_splines(samples, t, k, c)
    coef = np.linalg.lstsq(basis_matrix(samples, knots, k), values, rcond=None)[0].T
    return knots, coef.astype(c.dtype)


def grid_on(samples: Array, grid: int, k: int) -> Array:
    """Knots of a grid of `grid` intervals, close to the quantiles of sorted samples, with k more on either side."""
    at = [int(len(samples) / grid * i) for i in range(grid)]
    quantiles = samples[[*at, -1]]
    first, last = quantiles[0], quantiles[-1]
    inner = GRID_EPS * np.linspace(first, last, grid + 1) + (1 - GRID_EPS) * quantiles
    outer = (last - first) / grid * np.arange(1, k + 1)
    return np.concatenate([first - outer[::-1], inner, last + outer])
