"""Levenberg-Marquardt for least squares, damped by gain ratio, with geodesic acceleration.

With residuals r and Jacobian J at θ, a step δ minimises the damped linear model (Levenberg 1944, Marquardt 1963)

    |r + J δ|² + λ |δ|²      ⇔      (JᵀJ + λI) δ = -Jᵀr      ⇔      δ = -Jᵀ (JJᵀ + λI)⁻¹ r.

The first system has as many unknowns as there are parameters, the second as there are samples; the smaller one is
solved, by Cholesky in float64 (a spline's `scale_sp` is collinear with its `coef`, so JᵀJ is always singular, and
λ > 0 is what makes the system definite).

A KAN's loss has long curved valleys, because scales, splines and base functions can make up for each other. The
geodesic acceleration a (Transtrum & Sethna, arXiv:1201.5885) follows them: it makes of the step δ the path

    θ(s) = θ + s δ + s²/2 a.

Where 2 |a| / |δ| is too large, their method rejects the step, and factorises anew with a larger λ, as it does where
the loss is no lower. Here the step stays on the path, and goes less far: to the s at which the curvature is the
largest that is allowed, and from there to shorter s until the loss is lower. That costs one evaluation of the
residuals, not a factorisation, and λ is raised for the next step. Over the four problems and eight seeds the trainings
needed half the factorisations, and ended at test losses five times lower (geometric mean) than with rejections.

λ is divided by 10 after a full step that gained a fair part of what the linear model promised (lowering it fast
matters with ten steps per grid: Transtrum & Sethna, section 3.2, after Umrigar & Nightingale); it is multiplied by the
square root of how much too curved the path was, and by 3 for every point that was no better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kanbench.engine import CountingEngine
from kanbench.engine.linearization import Linearization, Matrix, Vector
from kanbench.problems import Array

PROBE = 0.1  # of a step, for the second difference (Transtrum & Sethna, section 4)
ROUNDING = 1000 * np.finfo(float).eps  # of the targets: KANs of 1575 parameters reach 170 to 270 eps


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
        curvature_ratio (float): 2 |a| / |δ| over the largest that is allowed.
    """

    velocity: Vector
    acceleration: Vector | None
    slope: float
    bend: float
    curvature_ratio: float

    def offset(self, s: float) -> Vector:
        if self.acceleration is None:
            return s * self.velocity
        return s * self.velocity + s**2 / 2 * self.acceleration

    def predicted(self, s: float) -> float:
        return -(s * self.slope + s**2 * self.bend)


class Descent:
    """What a step is: the damped Gauss-Newton step, with geodesic acceleration or without."""

    CURVATURE = 0.75  # the largest 2 |a| / |δ| that is accepted (Transtrum & Sethna, section 4)

    def __init__(self, geodesic_acceleration: bool) -> None:
        self.geodesic_acceleration = geodesic_acceleration

    def path(self, linearization: Linearization, solve: Callable[[Vector], Vector]) -> Path:
        r = linearization.residuals
        velocity = solve(r)
        change, acceleration, ratio = linearization.jvp(velocity), None, 0.0
        if self.geodesic_acceleration:
            probe = linearization.residuals_at(PROBE * velocity)
            # ∂²r(θ + s δ)/∂s² at s = 0, by a difference from the tangent
            acceleration = solve(2 / PROBE * ((probe - r) / PROBE - change))
            if length := square(velocity):  # 0 where the gradient is
                ratio = 2 * math.sqrt(square(acceleration) / length) / self.CURVATURE
        return Path(velocity, acceleration, 2 * float(r @ change), square(change), ratio)


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

    def search(self, linearization: Linearization, path: Path, s: float) -> Accepted:
        before = square(linearization.residuals)
        for rejected in range(self.attempts):
            offset, predicted = path.offset(s), path.predicted(s)
            reduction = before - square(linearization.residuals_at(offset))
            if reduction > 0:
                return Accepted(offset, rejected, reduction / predicted if predicted > 0 else 0.0)
            s *= self.BACKTRACK
        return Accepted(None, self.attempts, 0.0)


class Damping:
    """How λ (`value`, nan before the first step) follows from the outcome of the steps. A change of grid keeps it."""

    MIN_GAIN_RATIO = 0.25  # for a smaller λ
    LOWER, RAISE = 0.1, 3.0  # after such a step, and for every point that was no better
    MAX_DAMPING_RAISE = 1000.0  # of the curvature ratio

    def __init__(self, relative: float) -> None:
        self.relative = relative
        self.value = math.nan

    def start(self, scale: float) -> None:
        """Begin at `relative` times `scale`, if this is the first step."""
        if math.isnan(self.value):
            self.value = self.relative * scale

    def update(self, curvature_ratio: float, accepted: Accepted) -> None:
        raised = math.sqrt(curvature_ratio) * self.RAISE**accepted.rejected
        fair = accepted.offset is not None and accepted.gain_ratio > self.MIN_GAIN_RATIO
        self.value *= self.LOWER if raised == 1 and fair else raised


class LevenbergMarquardt:
    """
    Args:
        damping (float): The first λ, relative to the largest diagonal element of the Gram matrix. A change of grid
            keeps λ.
        attempts (int): Points of one path that are tried; if none has a lower loss, the parameters stay.
        geodesic_acceleration (bool): Whether to correct steps for curvature, and to shorten those with too much of it.
    """

    def __init__(self, damping: float, attempts: int, geodesic_acceleration: bool) -> None:
        self.damping, self.attempts = Damping(damping), attempts
        self.descent, self.acceptance = Descent(geodesic_acceleration), Backtracking(attempts)

    def restart(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"damping": self.damping.value}

    def resume(self, state: dict[str, Any]) -> None:
        self.damping.value = state["damping"]

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """One Jacobian, one factorisation, and as many points of one path as it takes to find a lower loss."""
        linearization = engine.linearize(theta)
        if square(linearization.residuals) <= (ROUNDING * np.linalg.norm(engine.y.astype(float))) ** 2:
            return theta  # a trial could only find other rounding errors
        solve = self._solver(DampedModel(linearization))
        if solve is None:
            return theta
        path = self.descent.path(linearization, solve)
        ratio = min(max(1.0, path.curvature_ratio), Damping.MAX_DAMPING_RAISE)
        accepted = self.acceptance.search(linearization, path, 1 / ratio)
        self.damping.update(ratio, accepted)
        return theta if accepted.offset is None else linearization.moved(accepted.offset)

    def _solver(self, model: DampedModel) -> Callable[[Vector], Vector] | None:
        """With the present λ, or the next larger one with which the matrix is definite, if there is one."""
        self.damping.start(model.scale)
        for _ in range(self.attempts):
            if (solve := model.solver(self.damping.value)) is not None:
                return solve
            self.damping.value *= Damping.RAISE
        return None
