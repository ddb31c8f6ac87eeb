"""Marquardt scaling: each parameter is damped in proportion to the residuals' sensitivity to it.

The damping term is λ δᵀDδ with D = diag(JᵀJ) instead of λ |δ|², which makes a step independent of the parameters'
units (Marquardt 1963). Substituting δ = D^(-½) ε gives λ |ε|² again, with the Jacobian J D^(-½).
"""

from __future__ import annotations

from collections.abc import Callable

from kanbench.engine.linearization import Linearization, Matrix, Vector
from kanbench.problems import Array

SMALLEST = 1e-6  # lower bound of D relative to its largest element: some parameters change no residual


class MarquardtScaled:
    """A `Linearization` in scaled parameters: columns of the Jacobian have length 1, except for very short ones."""

    def __init__(self, linearization: Linearization) -> None:
        self.linearization, self.residuals, self.shape = linearization, linearization.residuals, linearization.shape
        n, n_parameters = self.shape
        self.matrix = linearization.normal_matrix() if n_parameters <= n else None  # until its first use
        squares = linearization.column_squares() if self.matrix is None else self.matrix.diagonal()
        self.scale = squares.clip(min=float(squares.max()) * SMALLEST) ** -0.5

    def jvp(self, step: Vector) -> Vector:
        return self.linearization.jvp(self.scale * step)

    def vjp(self, weights: Vector) -> Vector:
        return self.scale * self.linearization.vjp(weights)

    def normal_matrix(self) -> Matrix:
        matrix = self.linearization.normal_matrix() if self.matrix is None else self.matrix
        self.matrix = None
        return matrix * self.scale[:, None] * self.scale

    def dual_gram(self, scale: Vector | None = None) -> Matrix:
        return self.linearization.dual_gram(self.scale if scale is None else self.scale * scale)

    def column_squares(self) -> Vector:
        return self.linearization.column_squares() * self.scale**2

    def cholesky(self, matrix: Matrix, shift: float) -> Callable[[Vector], Vector] | None:
        return self.linearization.cholesky(matrix, shift)

    def residuals_at(self, offset: Vector) -> Vector:
        return self.linearization.residuals_at(self.scale * offset)

    def moved(self, offset: Vector) -> Array:
        return self.linearization.moved(self.scale * offset)
