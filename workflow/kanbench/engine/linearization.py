"""The linearized residuals of a network at one point, r + J δ, in float64, for Levenberg-Marquardt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kanbench.problems import Array

# In float64: numpy arrays, or tensors on the engine's device; of one kind within a linearization.
Vector = Any
Matrix = Any


class Linearization(Protocol):
    """The linearization r + J δ at θ, with n residuals, one per output and sample (see `Engine`), and P parameters.

    Attributes:
        residuals (vector of shape (n,)): r(θ).
        shape (tuple of int): (n, P), the shape of the Jacobian J.
    """

    residuals: Vector
    shape: tuple[int, int]

    def jvp(self, step: Vector) -> Vector:
        """J δ, shape (n,), for δ of shape (P,)."""

    def vjp(self, weights: Vector) -> Vector:
        """Jᵀ v, shape (P,), for v of shape (n,)."""

    def normal_matrix(self) -> Matrix:
        """JᵀJ, shape (P, P); only the lower triangle is valid.

        Like JJᵀ, it may overwrite the result of an earlier call, and is valid while the linearization exists.
        """

    def dual_gram(self, scale: Vector | None = None) -> Matrix:
        """The dual Gram matrix JJᵀ, shape (n, n); only the lower triangle is valid.

        With `scale`, shape (P,), the columns of J are multiplied by it.
        """

    def column_squares(self) -> Vector:
        """diag(JᵀJ), shape (P,); meant for P > n, because otherwise JᵀJ contains it."""

    def cholesky(self, matrix: Matrix, shift: float) -> Callable[[Vector], Vector] | None:
        """Factorise M + shift I, for M symmetric; return a function that solves (M + shift I) x = b for x.

        Returns None if the matrix is not positive definite. Only the lower triangle of M is read; M is overwritten.
        The function is valid until the next call.
        """

    def residuals_at(self, offset: Vector) -> Vector:
        """r(θ + offset), shape (n,), for an offset of shape (P,)."""

    def moved(self, offset: Vector) -> Array:
        """θ + offset, shape (P,), as a numpy array in the precision of θ."""
