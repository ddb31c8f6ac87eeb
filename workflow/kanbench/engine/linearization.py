"""The residuals of a network around one point, r + J δ, in float64, as Levenberg-Marquardt needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kanbench.problems import Array

# In float64: numpy arrays, or tensors on the engine's device; for one linearization, all are of one kind.
Vector = Any
Matrix = Any


class Linearization(Protocol):
    """With n residuals, one for each output on each sample (see `Engine`), and P parameters.

    Attributes:
        residuals (vector of shape (n,)): r(θ).
        shape (tuple of int): (n, P), of the Jacobian J.
    """

    residuals: Vector
    shape: tuple[int, int]

    def jvp(self, step: Vector) -> Vector:
        """J δ, shape (n,), for δ of shape (P,)."""

    def vjp(self, weights: Vector) -> Vector:
        """Jᵀ v, shape (P,), for v of shape (n,)."""

    def normal_matrix(self) -> Matrix:
        """JᵀJ, shape (P, P); only its lower triangle counts.

        Like JJᵀ, it may be in the place of the one before, and lasts as long as the linearization.
        """

    def dual_gram(self, scale: Vector | None = None) -> Matrix:
        """The dual Gram matrix JJᵀ, shape (n, n); only its lower triangle counts.

        With `scale`, shape (P,), that of the Jacobian whose columns are multiplied by it.
        """

    def column_squares(self) -> Vector:
        """diag(JᵀJ), shape (P,), for more parameters than residuals; where there are fewer, JᵀJ has it."""

    def cholesky(self, matrix: Matrix, shift: float) -> Callable[[Vector], Vector] | None:
        """The function that solves (M + shift I) x = b, for M symmetric; None where that is not definite.

        Of M only the lower triangle counts, and it is overwritten. The function may be used until the next call.
        """

    def residuals_at(self, offset: Vector) -> Vector:
        """r(θ + offset), shape (n,), for an offset of shape (P,)."""

    def moved(self, offset: Vector) -> Array:
        """θ + offset, shape (P,), as a numpy array in the precision of θ."""
