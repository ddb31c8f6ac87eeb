"""The networks that trainings begin with: pykan's initial models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kanbench.network.evaluation import base_function
from kanbench.network.spline_network import SplineLayer, SplineNetwork
from kanbench.network.splines import basis_matrix
from kanbench.problems import Interval
from kanbench.problems.torch_random import TorchGenerator, linspace

NOISE = np.float32(0.3)  # MultKAN's noise_scale
GRID_RANGE: Interval = (-1.0, 1.0)  # MultKAN's grid_range
# |x| up to which the base functions of inputs are used. Beyond, with them, a target ended at relative test losses
# (L-BFGS, median of three seeds) of 5e-6 on [-5, 5]², 8e-5 on [0, 10]², 2e-2 on [0, 100]²; without, of 1e-6 on all.
LARGEST = 2.0


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
            hidden nodes. See `_on_domain` for the base functions of large inputs.
    """
    generator = TorchGenerator(seed)
    layers = [_layer(inputs, outputs, grid, k, generator) for inputs, outputs in itertools.pairwise(width)]
    if domain is not None:
        layers[0] = _on_domain(layers[0], domain, base)
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


def _on_domain(layer: SplineLayer, domain: Sequence[Interval], base: str) -> SplineLayer:
    """A first layer whose grids, on [-1, 1], are moved to the domains of its inputs, and what it does there with them.

    The base function cannot be moved: of inputs like 1000 it is 1000, and no optimizer trains its scale beside the
    splines'. Where inputs are larger than LARGEST, their splines take over what it does on [-1, 1], by least squares,
    and its scale is 0 and not trained.
    """
    knots, coef, k = list(layer.knots), list(layer.coef), layer.order
    scale_base, fixed = layer.scale_base.copy(), np.array([max(map(abs, interval)) > LARGEST for interval in domain])
    for i, (low, high) in enumerate(domain):
        t = layer.knots[i].astype(float)
        if fixed[i]:
            at = np.linspace(*GRID_RANGE, 10 * coef[i].shape[1])
            values = base_function(base, at)[:, None] * scale_base[i] / layer.scale_sp[i]
            coef[i] = coef[i] + np.linalg.lstsq(basis_matrix(at, t, k), values, rcond=None)[0].T
            scale_base[i] = 0
        if (low, high) != GRID_RANGE:
            knots[i] = low + (t + 1) / 2 * (high - low)
    return SplineLayer(tuple(knots), tuple(coef), scale_base, layer.scale_sp, layer.mask, k, fixed)


def _knots(grid: int, k: int) -> np.ndarray:
    """pykan's `extend_grid` of a uniform grid, in float32."""
    t = linspace(*GRID_RANGE, grid + 1)
    step = (t[-1] - t[0]) / np.float32(grid)
    for _ in range(k):
        t = np.r_[t[0] - step, t, t[-1] + step]
    return t
