"""Levenberg-Marquardt for least squares, damped by gain ratio, with geodesic acceleration.

With residuals r and Jacobian J at θ, a step δ minimises the damped linear model (Levenberg 1944, Marquardt 1963)

    |r + J δ|² + λ |δ|²      ⇔      (JᵀJ + λI) δ = -Jᵀr      ⇔      δ = -Jᵀ (JJᵀ + λI)⁻¹ r.

The first system has as many unknowns as there are parameters, the second as there are residuals; the smaller one is
solved, by Cholesky in float64 (a spline's `scale_sp` is collinear with its `coef`, so JᵀJ is always singular, and
λ > 0 is what makes the system definite). In place of λ |δ|² there can be λ δᵀ diag(JᵀJ) δ: see `scaling`.

A KAN's loss has long curved valleys, because scales, splines and base functions can make up for each other. The
geodesic acceleration a (Transtrum & Sethna, arXiv:1201.5885) follows them: it makes of the step δ the path

    θ(s) = θ + s δ + s²/2 a.

Where 2 |a| / |δ| is too large, their method rejects the step, and factorises anew with a larger λ, as it does where
the loss is no lower. Here the step stays on the path, and goes less far: to the s at which the curvature is the
largest that is allowed, and from there to shorter s until the loss is lower. That costs one evaluation of the
residuals, not a factorisation, and λ is raised for the next step. Over the four problems and eight seeds the trainings
needed half the factorisations, and ended at test losses five times lower (geometric mean) than with rejections.

The expansion is of use near θ only. With targets far from 0, where θ has to go far, the curvature may allow a
thousandth of a step, at which the loss is next to the same, while a quarter of the plain step halves it. So where less
than a tenth is allowed, the step is the plain one. It is so too where the path's deviation from its tangent is what
rounding makes of the residuals, and where it is not a number.

λ is divided by 10 after a full step that gained a fair part of what the linear model promised (lowering it fast
matters with ten steps per grid: Transtrum & Sethna, section 3.2, after Umrigar & Nightingale); it is multiplied by the
square root of how much too curved the path was, and by 3 for every point that was no better.

A step without success has one of two reasons. Where the model promised something, the step was too long, or no
descent, and λ goes up. Where it promised less than rounding takes from |r|², λ is too large for the step to be
measured, or θ is a minimum: λ goes down, and no point is tried. Otherwise λ, once a minimum has been reached, would go
up with every step, and on the next grid be so large that nothing could ever be gained again. λ keeps to bounds
relative to the Gram matrix, and begins anew after a number of steps without success, and on a grid that follows such a
step. `workflow/docs/levenberg_marquardt.md` has the measurements.
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

PROBE = 0.1  # of a step, for the second difference (Transtrum & Sethna, section 4)
ROUNDING = 1000 * np.finfo(float).eps  # of the targets: KANs of 1575 parameters reach 170 to 270 eps
ROUNDING_OF_PROBE = 10  # eps of the targets: what of a second difference is taken for rounding errors


def length(targets: Array) -> float:
    """|y|, in float64."""
    return float(np.linalg.norm(targets.astype(float)))


def square(v: Vector) -> float:
    """|v|²; for short vectors `norm` takes three times as long."""
    return float(v @ v)


class DampedModel:
    """min |v + J δ|² + λ |δ|² around one point, for any v and λ.

    Args:
        linearization (Linearization)
    """

    def __init__(self, linearization: Linearization) -> None:
        n, n_parameters = linearization.shape
        self.linearization, self.primal = linearization, n_parameters <= n
        self.gram = self._gram()

    @property
    def scale(self) -> float:
        """The largest diagonal element of the Gram matrix, to measure λ by."""
        return float(self.gram.diagonal().max())

    def solver(self, damping: float) -> Callable[[Vector], Vector] | None:
        """The function that finds δ, shape (P,), for any v of shape (n,).

        None where rounding leaves the damped matrix indefinite.
        """
        inverse = self.linearization.cholesky(self.gram, damping)  # overwrites it
        if inverse is None:
            self.gram = self._gram()
            return None
        vjp = self.linearization.vjp
        return (lambda v: -inverse(vjp(v))) if self.primal else (lambda v: -vjp(inverse(v)))

    def _gram(self) -> Matrix:
        return self.linearization.normal_matrix() if self.primal else self.linearization.dual_gram()


class Path(NamedTuple):
    """s δ + s²/2 a: from θ, the geodesic in its second order, along which a step goes as far as it may.

    Attributes:
        velocity (vector of shape (P,)): δ.
        acceleration (vector of shape (P,) or None): a; None for a straight line.
        slope, bend (float): Of what the linear model promises at s, |r|² - |r + s J δ|² = -(s slope + s² bend).
        curvature_ratio (float): 2 |a| / |δ| relative to the largest that is accepted; 1 where it is below that.
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
    """What rounding changes: a difference of residuals, as a vector's length, and a reduction of |r|²."""

    of_residuals: float
    of_reduction: float

    @classmethod
    def at(cls, residuals: Vector, targets: Array, dtype: np.dtype[Any]) -> Rounding:
        """Residuals are differences from the targets, in the network's precision."""
        eps, y, r = float(np.finfo(dtype).eps), length(targets), math.sqrt(square(residuals))
        return cls(ROUNDING_OF_PROBE * eps * y, eps * (y + r) * r)


class Descent:
    """What a step is: the damped Gauss-Newton step, with geodesic acceleration or without."""

    CURVATURE = 0.75  # the largest 2 |a| / |δ| that is accepted (Transtrum & Sethna, section 4)
    MAX_CURVATURE_RATIO = 10.0  # with which a path is followed, in a tenth of its length

    def __init__(self, geodesic_acceleration: bool) -> None:
        self.geodesic_acceleration = geodesic_acceleration

    def path(self, linearization: Linearization, solve: Callable[[Vector], Vector], rounding: Rounding) -> Path | None:
        """None where the linear model promises nothing but rounding errors."""
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
    """The point of a path where a step ends; without one, `offset` is None."""

    offset: Vector | None
    rejected: int  # points before it that were no better
    gain_ratio: float  # reduction of |r|² over the predicted one, 0 at the limit of rounding


class Backtracking:
    """Which point of a path is accepted: the first with a lower loss, from where the curvature is allowed on."""

    BACKTRACK = 0.25  # the next point that is tried

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
    """How λ follows from the outcome of the steps.

    Args:
        relative (float): The first λ, relative to the scale of the Gram matrix.

    Attributes:
        value (float): λ; nan where it begins with the next step.
        idle (int): Steps in a row, until now, without success.
    """

    MIN_GAIN_RATIO = 0.25  # for a smaller λ
    LOWER, RAISE = 0.1, 3.0  # after such a step, and for every point that was no better
    LOWEST, HIGHEST = 1e-15, 1e3  # relative to the scale; below, rounding makes the damped matrix indefinite
    PATIENCE = 20  # more than it takes to go from the first λ to the lowest

    def __init__(self, relative: float) -> None:
        self.relative = relative
        self.value, self.idle = math.nan, 0

    def begin(self, scale: float) -> None:
        """Before a step, on the largest diagonal element of its Gram matrix."""
        if math.isnan(self.value):
            self.value = self.relative * scale
        self.value = min(max(self.value, self.LOWEST * scale), self.HIGHEST * scale)

    def restart(self) -> None:
        """On another grid λ stays, unless the last step was without success."""
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
    """
    Args:
        damping (float): The first λ, relative to the largest diagonal element of the Gram matrix. A change of grid
            keeps λ, unless the last step was without success.
        attempts (int): Points of one path that are tried; if none has a lower loss, the parameters stay.
        geodesic_acceleration (bool): Whether to correct steps for curvature, and to shorten those with too much of it.
        scaling (str): Of the damping: `identity`, λ |δ|², or `marquardt`, λ δᵀ diag(JᵀJ) δ.
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
        """One Jacobian, one factorisation, and as many points of one path as it takes to find a lower loss."""
        linearization: Linearization = engine.linearize(theta)
        if square(linearization.residuals) <= (ROUNDING * length(engine.y)) ** 2:
            return theta  # a trial could only find other rounding errors
        if self.scaling == "marquardt":
            linearization = MarquardtScaled(linearization)
        solve = self._solver(DampedModel(linearization))
        if solve is None:
            return theta
        rounding = Rounding.at(linearization.residuals, engine.y, theta.dtype)
        path = self.descent.path(linearization, solve, rounding)
        if path is None:
            self.damping.nothing_promised()
            return theta
        accepted = self.acceptance.search(linearization, path, rounding)
        self.damping.update(path.curvature_ratio, accepted)
        return theta if accepted.offset is None else linearization.moved(accepted.offset)

    def _solver(self, model: DampedModel) -> Callable[[Vector], Vector] | None:
        """With the present λ, or the next larger one with which the matrix is definite, if there is one."""
        self.damping.begin(model.scale)
        for _ in range(self.attempts):
            if (solve := model.solver(self.damping.value)) is not None:
                return solve
            self.damping.value *= Damping.RAISE
        return None
