"""Levenberg-Marquardt for least squares, with damping by gain ratio and geodesic acceleration.

With residuals r and Jacobian J at θ, a step δ minimises the damped linear model (Levenberg 1944, Marquardt 1963)

    |r + J δ|² + λ |δ|²      ⇔      (JᵀJ + λI) δ = -Jᵀr      ⇔      δ = -Jᵀ (JJᵀ + λI)⁻¹ r.

The first system has one unknown per parameter, the second one per residual. The smaller one is solved by Cholesky
factorisation in float64. (A spline's `scale_sp` is collinear with its `coef`, so JᵀJ is always singular; λ > 0 makes
the system definite.) The damping can also be λ δᵀ diag(JᵀJ) δ: see `scaling`.

The loss of a KAN has long curved valleys, because scales, splines and base functions can compensate for each other.
Geodesic acceleration a (Transtrum & Sethna, arXiv:1201.5885) follows them: it extends the step δ to the path

    θ(s) = θ + s δ + s²/2 a.

If 2 |a| / |δ| is too large, or the loss is not lower, their method rejects the step and factorises again with a larger
λ. Here the step is shortened along the path instead: first to the s with the largest allowed curvature, then further
until the loss is lower. Each trial costs one evaluation of the residuals, not a factorisation, and λ is raised for the
next step. On the four problems with eight seeds, trainings took half the factorisations, and their test losses were
five times lower (geometric mean), compared with rejection.

The expansion is useful only near θ. With targets far from 0, where θ has far to go, the curvature may allow a
thousandth of a step, which hardly changes the loss, while a quarter of the plain step would halve it. The plain step is
therefore taken if less than a tenth of the path is allowed; also if the path's deviation from its tangent is within the
rounding error of the residuals, or nan.

λ is divided by 10 after a full step that gained a fair part of the reduction predicted by the linear model. (Lowering
it fast matters with ten steps per grid: Transtrum & Sethna, section 3.2, after Umrigar & Nightingale.) It is multiplied
by the square root of the ratio of the path's curvature to the allowed one, and by 3 for every rejected point.

A step can fail for two reasons. If the model predicted a reduction, the step was too long or not a descent, and λ is
raised. If the predicted reduction is below the rounding error of |r|², λ is too large to measure the step, or θ is a
minimum; λ is then lowered, and no point is tried. Otherwise λ would grow with every step at a minimum, and be too large
for any progress on the next grid. λ stays within bounds relative to the Gram matrix. It is reset after a number of
failed steps in a row, and on a new grid if the last step failed. `workflow/docs/levenberg_marquardt.md` has the
measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from kanbench.engine import CountingEngine
from kanbench.engine.linearization import Linearization, Matrix, Vector
from kanbench.problems import Array
from kanbench.training.optimizers.scaling import MarquardtScaled

PROBE = 0.1  # fraction of a step for the second difference (Transtrum & Sethna, section 4)
ROUNDING = 1000 * np.finfo(float).eps  # relative to the targets: KANs of 1575 parameters reach 170 to 270 eps
ROUNDING_OF_PROBE = 10  # second differences below so many eps of the targets are taken for rounding errors


def square(v: Vector) -> float:
    """|v|²; for short vectors, three times as fast as with `norm`."""
    return float(v @ v)


def length(targets: Array) -> float:
    """|y|, in float64."""
    return math.sqrt(square(targets.astype(float, copy=False)))


class DampedModel:
    """The damped linear model at one point: min |v + J δ|² + λ |δ|² for any v and λ."""

    def __init__(self, linearization: Linearization) -> None:
        n, n_parameters = linearization.shape
        self.linearization, self.primal = linearization, n_parameters <= n
        self.gram = self._gram()

    @property
    def scale(self) -> float:
        """The largest diagonal element of the Gram matrix; λ is relative to it."""
        return float(self.gram.diagonal().max())

    def solver(self, damping: float) -> Callable[[Vector], Vector] | None:
        """Factorise; return a function that finds δ, shape (P,), for any v of shape (n,).

        Returns None if rounding makes the damped matrix indefinite.
        """
        inverse = self.linearization.cholesky(self.gram, damping)  # overwrites the Gram matrix
        if inverse is None:
            self.gram = self._gram()
            return None
        vjp = self.linearization.vjp
        return (lambda v: -inverse(vjp(v))) if self.primal else (lambda v: -vjp(inverse(v)))

    def _gram(self) -> Matrix:
        return self.linearization.normal_matrix() if self.primal else self.linearization.dual_gram()


class Path(NamedTuple):
    """The path s δ + s²/2 a from θ, a second-order approximation of the geodesic.

    Attributes:
        velocity (vector of shape (P,)): δ.
        acceleration (vector of shape (P,) or None): a; None for a straight line.
        slope, bend (float): Coefficients of the reduction that the linear model predicts at s,
            |r|² - |r + s J δ|² = -(s slope + s² bend).
        curvature_ratio (float): 2 |a| / |δ| relative to its largest allowed value, at least 1.
    """

    velocity: Vector
    acceleration: Vector | None
    slope: float
    bend: float
    curvature_ratio: float = 1.0

    def offset(self, s: float) -> Vector:
        if self.acceleration is None:
            return s * self.velocity
        return s * self.velocity + s**2 / 2 * self.acceleration

    def predicted(self, s: float) -> float:
        return -(s * self.slope + s**2 * self.bend)


class Rounding(NamedTuple):
    """Rounding errors of a difference of residuals (as a vector's length) and of a reduction of |r|²."""

    of_residuals: float
    of_reduction: float

    @classmethod
    def at(cls, r: float, y: float, dtype: np.dtype[Any]) -> Rounding:
        """Estimate them from the lengths of the residuals, computed in this precision, and of the targets."""
        eps = float(np.finfo(dtype).eps)
        return cls(ROUNDING_OF_PROBE * eps * y, eps * (y + r) * r)


class Descent:
    """Computes a step: the damped Gauss-Newton step, with or without geodesic acceleration."""

    CURVATURE = 0.75  # largest allowed 2 |a| / |δ| (Transtrum & Sethna, section 4)
    MAX_CURVATURE_RATIO = 10.0  # paths with more are replaced by the plain step; at 10, a tenth of the path is allowed

    def __init__(self, geodesic_acceleration: bool) -> None:
        self.geodesic_acceleration = geodesic_acceleration

    def path(self, linearization: Linearization, solve: Callable[[Vector], Vector], rounding: Rounding) -> Path | None:
        """Compute the path of a step; None if the linear model predicts no reduction beyond rounding errors."""
        r = linearization.residuals
        velocity = solve(r)
        change = linearization.jvp(velocity)
        line = Path(velocity, None, 2 * float(r @ change), square(change))
        if abs(line.predicted(1.0)) <= rounding.of_reduction:
            return None
        if not self.geodesic_acceleration:
            return line
        deviation = linearization.residuals_at(PROBE * velocity) - r - PROBE * change
        if not rounding.of_residuals**2 < square(deviation) < math.inf:
            return line
        acceleration = solve(2 / PROBE**2 * deviation)  # ∂²r(θ + s δ)/∂s² at s = 0
        ratio = 2 * math.sqrt(square(acceleration) / square(velocity)) / self.CURVATURE
        if ratio > self.MAX_CURVATURE_RATIO:
            return line
        return line._replace(acceleration=acceleration, curvature_ratio=max(1.0, ratio))


class Accepted(NamedTuple):
    """The accepted point of a path; `offset` is None if there is none."""

    offset: Vector | None
    rejected: int  # number of rejected points before it
    gain_ratio: float  # actual over predicted reduction of |r|²; 0 if none is predicted


class Backtracking:
    """Accepts the first point of a path with a lower loss, backtracking from the largest allowed curvature."""

    BACKTRACK = 0.25  # factor of s from one trial to the next

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts

    def search(self, linearization: Linearization, path: Path, rounding: Rounding) -> Accepted:
        before, s = square(linearization.residuals), 1 / path.curvature_ratio
        for rejected in range(self.attempts):
            offset, predicted = path.offset(s), path.predicted(s)
            reduction = before - square(linearization.residuals_at(offset))
            if reduction > rounding.of_reduction:
                return Accepted(offset, rejected, reduction / predicted if predicted > 0 else 0.0)
            s *= self.BACKTRACK
        return Accepted(None, self.attempts, 0.0)


class Damping:
    """Updates λ from the outcome of the steps.

    Args:
        relative (float): The first λ, relative to the scale of the Gram matrix.

    Attributes:
        value (float): λ; nan if the next step sets it to the first λ.
        idle (int): Failed steps in a row so far.
    """

    MIN_GAIN_RATIO = 0.25  # for lowering λ
    LOWER, RAISE = 0.1, 3.0  # factors of λ: after such a step, and for every rejected point
    LOWEST, HIGHEST = 1e-15, 1e3  # relative to the scale; below, rounding makes the damped matrix indefinite
    PATIENCE = 20  # more than the steps from the first λ to the lowest

    def __init__(self, relative: float) -> None:
        self.relative = relative
        self.value, self.idle = math.nan, 0

    def begin(self, scale: float) -> None:
        """Prepare λ for a step; `scale` is the largest diagonal element of its Gram matrix."""
        if math.isnan(self.value):
            self.value = self.relative * scale
        self.value = min(max(self.value, self.LOWEST * scale), self.HIGHEST * scale)

    def restart(self) -> None:
        """Keep λ for a new grid, but reset it if the last step failed."""
        if self.idle:
            self.value, self.idle = math.nan, 0

    def nothing_promised(self) -> None:
        self.value *= self.LOWER
        self._count(success=False)

    def update(self, curvature_ratio: float, accepted: Accepted) -> None:
        raised = math.sqrt(curvature_ratio) * self.RAISE**accepted.rejected
        success = accepted.offset is not None
        fair = success and accepted.gain_ratio > self.MIN_GAIN_RATIO
        self.value *= self.LOWER if raised == 1 and fair else raised
        self._count(success)

    def _count(self, success: bool) -> None:
        self.idle = 0 if success else self.idle + 1
        if self.idle == self.PATIENCE:
            self.restart()


class LevenbergMarquardt:
    """Levenberg-Marquardt.

    Args:
        damping (float): The first λ, relative to the largest diagonal element of the Gram matrix. A new grid keeps λ,
            unless the last step failed.
        attempts (int): Most points tried on a path; if none has a lower loss, the parameters do not change.
        geodesic_acceleration (bool): Whether to correct steps for curvature, and shorten those with too much of it.
        scaling (str): The damping term: λ |δ|² (`identity`) or λ δᵀ diag(JᵀJ) δ (`marquardt`).
    """

    def __init__(
        self,
        damping: float,
        attempts: int,
        geodesic_acceleration: bool,
        scaling: Literal["identity", "marquardt"],
    ) -> None:
        self.damping, self.attempts, self.scaling = Damping(damping), attempts, scaling
        self.descent, self.acceptance = Descent(geodesic_acceleration), Backtracking(attempts)

    def restart(self) -> None:
        self.damping.restart()

    def state(self) -> dict[str, Any]:
        return {"damping": self.damping.value, "idle": self.damping.idle}

    def resume(self, state: dict[str, Any]) -> None:
        self.damping.value, self.damping.idle = state["damping"], state["idle"]

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """Take one step: one Jacobian, one factorisation, and points along one path until the loss is lower."""
        linearization: Linearization = engine.linearize(theta)
        r, y = math.sqrt(square(linearization.residuals)), length(engine.y)
        if r <= ROUNDING * y:
            return theta  # only rounding errors are left
        if self.scaling == "marquardt":
            linearization = MarquardtScaled(linearization)
        solve = self._solver(DampedModel(linearization))
        if solve is None:
            return theta
        rounding = Rounding.at(r, y, theta.dtype)
        path = self.descent.path(linearization, solve, rounding)
        if path is None:
            self.damping.nothing_promised()
            return theta
        accepted = self.acceptance.search(linearization, path, rounding)
        self.damping.update(path.curvature_ratio, accepted)
        return theta if accepted.offset is None else linearization.moved(accepted.offset)

    def _solver(self, model: DampedModel) -> Callable[[Vector], Vector] | None:
        """Factorise with the current λ, or a larger one until the matrix is definite; None if that fails."""
        self.damping.begin(model.scale)
        for _ in range(self.attempts):
            if (solve := model.solver(self.damping.value)) is not None:
                return solve
            self.damping.value *= Damping.RAISE
        return None
