"""The residuals of a network around one point, r + J δ, in float64, as Levenberg-Marquardt needs them."""

from __future__ import annotations

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


class DenseLinearization:
    """See `Linearization`: with a Jacobian that is there as a whole.

    Parameters
    ----------
    residuals : Tensor of shape (n,)
    jacobian : Tensor of shape (n, P)
    """

    def __init__(self, residuals: Tensor, jacobian: Tensor) -> None:
        self.residuals, self.jacobian = residuals.double(), jacobian.double()
        self.shape = tuple(jacobian.shape)

    def push(self, step: Tensor) -> Tensor:
        return self.jacobian @ step

    def pull(self, weights: Tensor) -> Tensor:
        return self.jacobian.T @ weights

    def normal_matrix(self) -> Tensor:
        return product_with_own_transpose(self.jacobian.T)

    def kernel_matrix(self) -> Tensor:
        return product_with_own_transpose(self.jacobian)


def product_with_own_transpose(a: Tensor) -> Tensor:
    """The lower triangle of A Aᵀ, in float64; on a CPU by scipy's BLAS, which takes half the time of torch's."""
    if a.device.type != "cpu":
        return a @ a.T
    from scipy.linalg.blas import dsyrk  # scipy takes a third of a second to import

    contiguous = a.is_contiguous()
    upper = dsyrk(1.0, a.numpy().T if contiguous else a.numpy(), trans=contiguous)
    return torch.from_numpy(upper.T)
