"""Models and samples to measure."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from kanbench.network.initialization import initialize
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import PROBLEMS, Array
from kanbench.problems.torch_random import TorchGenerator

PROBLEM = PROBLEMS["poisson_2d_sin"]  # a function of the first two inputs, however many there are


@dataclass(frozen=True)
class Case:
    """An untrained model (seed 1) and n samples, uniform in [-1, 1]^d."""

    width: tuple[int, ...]
    grid: int
    n: int = 1000
    dtype: str = "float64"
    k: int = 3

    @functools.cached_property
    def network(self) -> SplineNetwork:
        return initialize(self.width, self.grid, self.k, dtype=self.dtype)

    def sample(self, seed: int = 0) -> tuple[Array, Array]:
        """Draw inputs of shape (n, d) and targets of shape (n, 1)."""
        x = TorchGenerator(seed).rand(self.n, self.width[0]) * np.float32(2) - np.float32(1)
        x = x.astype(self.dtype)
        return x, PROBLEM.values(x[:, :2])


DTYPES = ("float64", "float32")
# Widths and grids; the fourth is an expert.
SHAPES = ((2, 5, 1), 3), ((2, 5, 1), 20), ((2, 5, 1), 100), ((2, 5, 5, 1), 5), ((10, 10, 5, 1), 20), ((100, 10, 1), 20)
QUICK_SHAPES = ((2, 5, 1), 3), ((2, 5, 1), 100)
GROWING = ((2, 5, 1), 100)
SIZES = (1000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (1000, 4000)
