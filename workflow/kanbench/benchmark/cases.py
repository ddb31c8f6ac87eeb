"""What is measured: models and samples."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass

import torch
from kan import KAN
from torch import Tensor

from kanbench.models import Snapshot, build_model
from kanbench.problems import PROBLEMS

TARGET = PROBLEMS["poisson_2d_sin"].target  # of the first two inputs, however many there are


@dataclass(frozen=True)
class Case:
    """A model as it begins (seed 1), and a sample of n inputs, uniform in [-1, 1]^d."""

    width: tuple[int, ...]
    grid: int
    n: int = 1000
    dtype: str = "float64"
    k: int = 3

    def model(self, device: str = "cpu") -> KAN:
        """The same model with every call, and a new one."""
        return _initial(self.width, self.grid, self.k, self.dtype).restore().to(device)

    def sample(self, seed: int = 0, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Inputs of shape (n, d) and targets of shape (n, 1)."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(self.n, self.width[0], generator=generator, dtype=torch.float32) * 2 - 1
        x = x.to(getattr(torch, self.dtype))
        return x.to(device), TARGET(x[:, :2]).to(device)

    def asdict(self) -> dict[str, object]:
        return asdict(self) | {"width": list(self.width)}


@functools.cache
def _initial(width: tuple[int, ...], grid: int, k: int, dtype: str) -> Snapshot:
    """Built once: pykan's fit does not fully determine the first splines, which differ from call to call at G = 100."""
    return Snapshot.of(build_model(width, grid, k, dtype=getattr(torch, dtype)))


DTYPES = ("float64", "float32")
SHAPES = (
    ((2, 5, 1), 3),
    ((2, 5, 1), 20),
    ((2, 5, 1), 100),
    ((2, 5, 5, 1), 5),  # an expert's
    ((10, 10, 5, 1), 20),
    ((100, 10, 1), 20),
)
QUICK_SHAPES = (((2, 5, 1), 3), ((2, 5, 1), 100))

GROWING = ((2, 5, 1), 100)
SIZES = (1000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (1000, 4000)
