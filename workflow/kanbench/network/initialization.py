"""Initial networks for trainings, as in pykan."""

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
# The largest |x| for which inputs use their base functions. On larger domains, training with them reached relative test
# losses (L-BFGS, median of three seeds) of 5e-6 on [-5, 5]², 8e-5 on [0, 10]² and 2e-2 on [0, 100]²; without, 1e-6 on
# all three.
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
    """The initial model of pykan's `KAN(width, grid, k, seed)`: made in float32 as in pykan, then converted to `dtype`.

    pykan fits the first splines to noise by least squares in float32. The last digits differ from call to call (MKL's
    depend on memory alignment), and trainings that start a rounding error apart diverge. Here the fit is done in
    float64 and rounded, so the network is the same in every process. All else is equal to pykan's to the bit.

    Args:
        width (sequence of int): Nodes of each layer, inputs first.
        grid (int): Grid intervals of each node.
        k (int): The order of the splines.
        seed (int): The seed of the noise.
        dtype (dtype): The precision of the returned network.
        base (str): The base function, one of `spline_network.BASE_FUNCTIONS`.
        domain (sequence of (low, high), optional): The interval of each input, which its grid spans; by default
            [-1, 1], as for hidden nodes. See `_on_domain` for the base functions of large inputs.
    """
    generator = TorchGenerator(seed)
    layers = [_layer(inputs, outputs, grid, k, generator) for inputs, outputs in itertools.pairwise(width)]
    if domain is not None:
        layers[0] = _on_domain(layers[0], domain, base)
    return SplineNetwork(tuple(layers), np.zeros(width[-1], np.float32), base).astype(dtype)


def _layer(inputs: int, outputs: int, grid: int, k: int, generator: TorchGenerator) -> SplineLayer:
    """A layer like pykan's `KANLayer`, drawing random numbers in the same order."""
    t = _knots(grid, k)
    noise = (generator.rand(grid + 1, inputs, outputs) - np.float32(0.5)) * NOISE / np.float32(grid)
    at_knots = basis_matrix(t[k : len(t) - k], t, k)
    solution = np.linalg.lstsq(at_knots, noise.astype(float).reshape(grid + 1, -1), rcond=None)[0]
    coef = solution.astype(np.float32).reshape(-1, inputs, outputs).transpose(1, 2, 0)
    root, ones = np.float32(np.sqrt(inputs)), np.ones((inputs, outputs), np.float32)
    scale_base = (generator.rand(inputs, outputs) * np.float32(2) - np.float32(1)) / root
    return SplineLayer((t,) * inputs, tuple(coef), scale_base, ones / root, ones, k)


def _on_domain(layer: SplineLayer, domain: Sequence[Interval], base: str) -> SplineLayer:
    """Move the grids of the first layer, and the splines with them, from [-1, 1] to the domains of its inputs.

    The base function cannot be moved: for inputs like 1000 its value is 1000, and no optimizer can train its scale
    together with that of the splines. For inputs larger than LARGEST, the splines absorb the base function on [-1, 1]
    by least squares; its scale is set to 0 and not trained.
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
    """A uniform grid extended by k knots on either side as by pykan's `extend_grid`, in float32."""
    t = linspace(*GRID_RANGE, grid + 1)
    step = (t[-1] - t[0]) / np.float32(grid)
    for _ in range(k):
        t = np.r_[t[0] - step, t, t[-1] + step]
    return t
