"""Plain evaluation of a network, for use outside training; training uses the engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kanbench.network.spline_network import SplineNetwork
from kanbench.network.splines import evaluate_splines
from kanbench.problems import Array

Deviations = tuple[list[Array], list[Array]]

CHUNK = 2**16  # edge values of a layer held in memory at a time


def base_function(name: str, x: Array) -> Array:
    """Evaluate one of `spline_network.BASE_FUNCTIONS`, elementwise."""
    if name == "silu":
        return x / (1 + np.exp(-np.clip(x, -708, None)))  # below, exp overflows, and the value is 0 up to rounding
    return x if name == "identity" else x * 0


def edge_values(network: SplineNetwork, number: int, x: Array) -> Array:
    """The values of a layer's edges, shape (n, inputs, outputs), for the layer's inputs x, shape (n, inputs)."""
    layer = network.layers[number]
    rows = zip(x.T, layer.knots, layer.coef, strict=True)
    splines = np.stack([evaluate_splines(values, t, layer.order, c) for values, t, c in rows], axis=1)
    base = base_function(network.base, x)[:, :, None]
    return layer.mask * (layer.scale_base * base + layer.scale_sp * splines)


def layer_inputs(network: SplineNetwork, x: Array) -> list[Array]:
    """The inputs of each layer, shapes (n, width), for network inputs x of shape (n, d)."""
    values = [np.asarray(x, float)]
    for number in range(len(network.layers) - 1):
        values.append(edge_values(network, number, values[-1]).sum(axis=1))
    return values


@dataclass(frozen=True)
class Activations:
    """The activations of a network on a sample, computed on demand.

    Attributes:
        x (array of shape (n, d)): The sample.
        layer_inputs (callable): Returns the inputs of each layer, a list of arrays of shape (n, width).
        deviations (callable): Returns the standard deviations over the sample as two lists, by layer: of each edge's
            values, shape (inputs, outputs), and of the sums at the targets, shape (outputs,).
    """

    x: Array
    layer_inputs: Callable[[], list[Array]]
    deviations: Callable[[], Deviations]

    @classmethod
    def of(cls, network: SplineNetwork, x: Array) -> Activations:
        """Activations by plain evaluation; an engine is faster."""
        return cls(x, lambda: layer_inputs(network, x), lambda: deviations(network, x))


def deviations(network: SplineNetwork, x: Array) -> Deviations:
    """The standard deviations of edges and nodes over a sample; see `Activations`."""
    edges, nodes = [], []
    for number in range(len(network.layers)):
        values = edge_values(network, number, x)
        x = values.sum(axis=1)
        edges.append(values.std(axis=0, ddof=1))
        nodes.append(x.std(axis=0, ddof=1))
    return edges, nodes


def activations(network: SplineNetwork, x: Array) -> list[Array]:
    """The inputs of each layer, then the network's outputs; arrays of shape (n, width)."""
    values = layer_inputs(network, x)
    outputs = edge_values(network, len(network.layers) - 1, values[-1]).sum(axis=1)
    return [*values, outputs + network.output_bias]


def evaluate(network: SplineNetwork, x: Array) -> Array:
    """The network's outputs, shape (n, outputs), for inputs x of shape (n, d)."""
    size = max(1, CHUNK // max(layer.mask.size for layer in network.layers))
    starts = range(0, max(len(x), 1), size)
    return np.concatenate([activations(network, x[start : start + size])[-1] for start in starts])
