"""An engine that counts evaluations and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kanbench.engine import flops
from kanbench.engine.linearization import Linearization, Matrix, Vector
from kanbench.engine.protocol import Engine
from kanbench.network.evaluation import Activations, Deviations
from kanbench.problems import Array


class CountingEngine:
    """An `Engine` that delegates to another one and counts.

    Optimizers add their own operations to `flops`.

    Attributes:
        engine (Engine): Evaluates.
        n_evals (int): Evaluations of the residuals or the loss so far, with or without Jacobian or gradient.
        flops (int): Floating-point operations so far; see `kanbench.engine.flops`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.network, self.y = engine, engine.network, engine.y
        self.cost = flops.Flops(engine.network, len(engine.y) // engine.network.width[-1])
        self.n_evals, self.flops = 0, self.cost.first_inputs

    def count_evaluation(self, operations: int, times: int = 1) -> None:
        self.n_evals += times
        self.flops += times * operations

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        self.count_evaluation(self.cost.loss_and_gradient)
        return self.engine.loss_and_gradient(theta)

    def run(self, loop: Any, *arguments: Any) -> Any:
        """Run a loop; return its result without the number of evaluations, which is counted."""
        times, result = self.engine.run(loop, *arguments)
        self.count_evaluation(self.cost.loss_and_gradient, times)
        return result

    def residuals(self, theta: Array) -> Array:
        self.count_evaluation(self.cost.evaluation)
        return self.engine.residuals(theta)

    def linearize(self, theta: Array) -> CountingLinearization:
        self.count_evaluation(self.cost.linearization)
        return CountingLinearization(self, self.engine.linearize(theta))

    def predict(self, theta: Array, x: Array) -> Array:
        return self.engine.predict(theta, x)

    def activations(self, theta: Array) -> Activations:
        found = self.engine.activations(theta)

        def layer_inputs() -> list[Array]:
            self.flops += self.cost.layer_inputs
            return found.layer_inputs()

        def deviations() -> Deviations:
            self.flops += self.cost.deviations
            return found.deviations()

        return Activations(found.x, layer_inputs, deviations)


class CountingLinearization:
    """A `Linearization` whose operations are counted by its engine."""

    def __init__(self, engine: CountingEngine, linearization: Linearization) -> None:
        self.engine, self.cost, self.linearization = engine, engine.cost, linearization
        self.residuals, self.shape = linearization.residuals, linearization.shape

    def jvp(self, step: Vector) -> Vector:
        self.engine.flops += self.cost.product
        return self.linearization.jvp(step)

    def vjp(self, weights: Vector) -> Vector:
        self.engine.flops += self.cost.product
        return self.linearization.vjp(weights)

    def normal_matrix(self) -> Matrix:
        self.engine.flops += self.cost.normal_matrix
        return self.linearization.normal_matrix()

    def dual_gram(self, scale: Vector | None = None) -> Matrix:
        self.engine.flops += self.cost.dual_gram
        return self.linearization.dual_gram(scale)

    def column_squares(self) -> Vector:
        self.engine.flops += self.cost.product
        return self.linearization.column_squares()

    def cholesky(self, matrix: Matrix, shift: float) -> Callable[[Vector], Vector] | None:
        self.engine.flops += flops.cholesky(len(matrix))
        inverse = self.linearization.cholesky(matrix, shift)
        if inverse is None:
            return None

        def solve(b: Vector) -> Vector:
            self.engine.flops += flops.solve(len(b))
            return inverse(b)

        return solve

    def residuals_at(self, offset: Vector) -> Vector:
        self.engine.count_evaluation(self.cost.evaluation)
        return self.linearization.residuals_at(offset)

    def moved(self, offset: Vector) -> Array:
        return self.linearization.moved(offset)
