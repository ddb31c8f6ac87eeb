"""The residuals of a network around one point, r + J δ, in float64, as Levenberg-Marquardt needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import Protocol

import torch
from torch import Tensor


class Linearization(Protocol):
    """With n samples and P live parameters.

    Attributes
    ----------
    residuals : Tensor of shape (n,)
    shape : tuple of int
        (n, P), of the Jacobian J.
    """

    residuals: Tensor
    shape: tuple[int, int]

    def push(self, step: Tensor) -> Tensor:
        """J δ, shape (n,), for δ of shape (P,)."""

    def pull(self, weights: Tensor) -> Tensor:
        """Jᵀ v, shape (P,), for v of shape (n,)."""

    def normal_matrix(self) -> Tensor:
        """JᵀJ, shape (P, P); only its lower triangle counts."""

    def kernel_matrix(self) -> Tensor:
        """JJᵀ, shape (n, n); only its lower triangle counts."""


Rows = Iterable[tuple[slice, Tensor]]


class StreamedLinearization:
    """See `Linearization`: with a Jacobian that every product computes anew, a part of the samples at a time.

    Parameters
    ----------
    residuals : Tensor of shape (n,)
    n_parameters : int
    parts : callable
        Gives successive samples, and their rows of J.
    """

    def __init__(self, residuals: Tensor, n_parameters: int, parts: Callable[[], Rows]) -> None:
        self.residuals, self.shape, self.parts = residuals.double(), (len(residuals), n_parameters), parts

    def push(self, step: Tensor) -> Tensor:
        return torch.cat([rows.double() @ step for _, rows in self.parts()])

    def pull(self, weights: Tensor) -> Tensor:
        return reduce(add, (rows.double().T @ weights[samples] for samples, rows in self.parts()))

    def normal_matrix(self) -> Tensor:
        return reduce(add, (product_with_own_transpose(rows.double().T) for _, rows in self.parts()))

    def kernel_matrix(self) -> Tensor:
        """For more parameters than samples: with all of J at once."""
        return product_with_own_transpose(torch.cat([rows.double() for _, rows in self.parts()]))


class DenseLinearization(StreamedLinearization):
    """See `Linearization`: with a Jacobian that is there as a whole.

    Parameters
    ----------
    residuals : Tensor of shape (n,)
    jacobian : Tensor of shape (n, P)
    """

    def __init__(self, residuals: Tensor, jacobian: Tensor) -> None:
        self.jacobian = jacobian.double()
        super().__init__(residuals, jacobian.shape[1], lambda: [(slice(None), self.jacobian)])


def product_with_own_transpose(a: Tensor) -> Tensor:
    """The lower triangle of A Aᵀ, in float64; on a CPU by scipy's BLAS, which takes half the time of torch's."""
    if a.device.type != "cpu":
        return a @ a.T
    from scipy.linalg.blas import dsyrk  # scipy takes a third of a second to import

    contiguous = a.is_contiguous()
    upper = dsyrk(1.0, a.numpy().T if contiguous else a.numpy(), trans=contiguous)
    return torch.from_numpy(upper.T)
