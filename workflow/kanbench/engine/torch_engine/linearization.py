"""Linearizations with torch, as float64 tensors on the engine's device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add

import torch
from torch import Tensor

from kanbench.engine.numba_engine import lapack
from kanbench.engine.torch_engine.cholesky import cholesky
from kanbench.problems import Array

Rows = Iterable[tuple[slice, Tensor]]


class StreamedLinearization:
    """A `Linearization` that recomputes the Jacobian for every product, a part of its rows at a time.

    Args:
        theta (Tensor of shape (P,)): In the network's precision.
        residuals (Tensor of shape (rows,)): At θ.
        evaluate (callable): Computes the residuals for any θ.
        parts (callable): Yields successive parts of the rows of J, with their slices in the residuals.
    """

    def __init__(
        self, theta: Tensor, residuals: Tensor, evaluate: Callable[[Tensor], Tensor], parts: Callable[[], Rows]
    ) -> None:
        self.theta, self.residuals, self.evaluate, self.parts = theta, residuals.double(), evaluate, parts
        self.shape = len(residuals), len(theta)

    def jvp(self, step: Tensor) -> Tensor:
        return torch.cat([rows.double() @ step for _, rows in self.parts()])

    def vjp(self, weights: Tensor) -> Tensor:
        return reduce(add, (rows.double().T @ weights[places] for places, rows in self.parts()))

    def normal_matrix(self) -> Tensor:
        return reduce(add, (product_with_own_transpose(rows.double().T) for _, rows in self.parts()))

    def dual_gram(self, scale: Tensor | None = None) -> Tensor:
        """See `Linearization`; needs all of J at once, which is small if residuals are fewer than parameters."""
        jacobian = torch.cat([rows.double() for _, rows in self.parts()])
        return product_with_own_transpose(jacobian if scale is None else jacobian * scale)

    def column_squares(self) -> Tensor:
        return reduce(add, (rows.double().square().sum(0) for _, rows in self.parts()))

    @staticmethod
    def cholesky(matrix: Tensor, shift: float) -> Callable[[Tensor], Tensor] | None:
        """See `Linearization`; on a CPU with scipy's LAPACK, which takes four fifths of the time of torch's."""
        if matrix.device.type == "cpu":
            solve = cholesky(matrix.numpy(), shift)
            return None if solve is None else lambda b: torch.from_numpy(solve(b.numpy()))
        matrix.diagonal().add_(shift)
        factor, info = torch.linalg.cholesky_ex(matrix)
        return None if info.item() else lambda b: torch.cholesky_solve(b[:, None], factor).squeeze(1)

    def residuals_at(self, offset: Tensor) -> Tensor:
        return self.evaluate(self._moved(offset)).double()

    def moved(self, offset: Tensor) -> Array:
        return to_numpy(self._moved(offset))

    def _moved(self, offset: Tensor) -> Tensor:
        return self.theta + offset.to(self.theta.dtype)


class DenseLinearization(StreamedLinearization):
    """A `Linearization` with the whole Jacobian in memory: `whole`, shape (rows, P)."""

    def __init__(
        self, theta: Tensor, residuals: Tensor, evaluate: Callable[[Tensor], Tensor], jacobian: Tensor
    ) -> None:
        self.whole = jacobian.double()
        super().__init__(theta, residuals, evaluate, lambda: [(slice(None), self.whole)])


def product_with_own_transpose(a: Tensor) -> Tensor:
    """Compute the lower triangle of A Aᵀ in float64; on a CPU with scipy's BLAS, twice as fast as torch's."""
    if a.device.type != "cpu":
        return a @ a.T
    contiguous = a.is_contiguous()
    upper = lapack.dsyrk(1.0, a.numpy().T if contiguous else a.numpy(), trans=contiguous)
    return torch.from_numpy(upper.T)


def to_numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy()
