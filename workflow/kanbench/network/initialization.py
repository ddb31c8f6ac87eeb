"""The networks that trainings begin with: pykan's initial models."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kanbench.network.spline_network import SplineLayer, SplineNetwork
from kanbench.network.splines import basis_matrix
from kanbench.problems import Interval
from kanbench.problems.torch_random import TorchGenerator, linspace

NOISE = np.float32(0.3)  # MultKAN's noise_scale
GRID_RANGE: Interval = (-1.0, 1.0)  # MultKAN's grid_range


def initialize(
    width: Sequence[int],
    grid: int,
    k: int = 3,
    seed: int = 1,
    dtype: Any = np.float64,
    base: str = "silu",
    domain: Sequence[Interval] | None = None,
) -> SplineNetwork:
    """The initial model of pykan's `KAN(width, grid, k, seed)`, in float32 as pykan makes it, converted to `dtype`.

    pykan fits its first splines to noise by least squares in float32, whose last digits differ from call to call (MKL's
    depend on how memory is aligned), and trainings that begin a rounding error apart end apart. Here the same fit is
    done in float64 and rounded, so that the network is the same in every process. All else is pykan's to the bit.

    Args:
        grid (int): Intervals of every node's grid.
        k (int): The order of the splines.
        domain (sequence of (low, high)): Of every input, which its grid spans; by default [-1, 1], as the grids of all
            hidden nodes.
    """
    generator = TorchGenerator(seed)
    layers = [_layer(inputs, outputs, grid, k, generator) for inputs, outputs in itertools.pairwise(width)]
    if domain is not None:
        layers[0] = _on_domain(layers[0], domain)
    return SplineNetwork(tuple(layers), np.zeros(width[-1], np.float32), base).astype(dtype)


def _layer(inputs: int, outputs: int, grid: int, k: int, generator: TorchGenerator) -> SplineLayer:
    """pykan's `KANLayer`, with its random numbers in its order."""
    t = _knots(grid, k)
    noise = (generator.rand(grid + 1, inputs, outputs) - np.float32(0.5)) * NOISE / np.float32(grid)
    at_knots = basis_matrix(t[k : len(t) - k], t, k)
    solution = np.linalg.lstsq(at_knots, noise.astype(float).reshape(grid + 1, -1), rcond=None)[0]
    coef = solution.astype(np.float32).reshape(-1, inputs, outputs).transpose(1, 2, 0)
    root, ones = np.float32(np.sqrt(inputs)), np.ones((inputs, outputs), np.float32)
    scale_base = (generator.rand(inputs, outputs) * np.float32(2) - np.float32(1)) / root
    return SplineLayer((t,) * inputs, tuple(coef), scale_base, ones / root, ones, k)


def _on_domain(layer: SplineLayer, domain: Sequence[Interval]) -> SplineLayer:
    """A first layer whose grids, on [-1, 1], are moved to the domains of its inputs."""
    knots = [
        t if interval == GRID_RANGE else interval[0] + (t.astype(float) + 1) / 2 * (interval[1] - interval[0])
        for t, interval in zip(layer.knots, domain, strict=True)
    ]
    return dataclasses.replace(layer, knots=tuple(knots))


def _knots(grid: int, k: int) -> np.ndarray:
    """pykan's `extend_grid` of a uniform grid, in float32."""
    t = linspace(*GRID_RANGE, grid + 1)
    step = (t[-1] - t[0]) / np.float32(grid)
    for _ in range(k):
        t = np.r_[t[0] - step, t, t[-1] + step]
    return t
