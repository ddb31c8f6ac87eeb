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

import torch
from scipy.linalg.lapack import dpotrf, dpotrs
from torch import Tensor

from kanbench.engine import Engine
from kanbench.engine.linearization import Linearization


class DampedModel:
    """min |v + J δ|² + λ |δ|² around one point, for any v and λ.

    Parameters
    ----------
    linearization : Linearization
    """

    def __init__(self, linearization: Linearization) -> None:
        n, n_parameters = linearization.shape
        self.linearization, self.primal = linearization, n_parameters <= n
        self.gram = self._gram()

    @property
    def scale(self) -> float:
        """The largest diagonal element of the Gram matrix, to measure λ by."""
        return self.gram.diagonal().max().item()

    def solve(self, damping: float) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
        """The step δ for the residuals, shape (P,), and the function that finds δ for any v of shape (n,).

        None where rounding leaves the damped matrix indefinite.
        """
        inverse = cholesky(self.gram, damping)  # overwrites it
        if inverse is None:
            self.gram = self._gram()
            return None
        pull = self.linearization.pull

        def solve(v: Tensor) -> Tensor:
            return -inverse(pull(v)) if self.primal else -pull(inverse(v))

        return solve(self.linearization.residuals), solve

    def _gram(self) -> Tensor:
        return self.linearization.normal_matrix() if self.primal else self.linearization.kernel_matrix()


def cholesky(matrix: Tensor, shift: float) -> Callable[[Tensor], Tensor] | None:
    """The function that solves (M + shift I) x = b, for M symmetric, in float64; None where that is not definite.

    Of M only the lower triangle counts, and it is overwritten. On a CPU by scipy's LAPACK, which takes four fifths of
    the time of torch's.
    """
    matrix.diagonal().add_(shift)
    if matrix.device.type != "cpu":
        factor, info = torch.linalg.cholesky_ex(matrix)
        return None if info.item() else lambda b: torch.cholesky_solve(b[:, None], factor).squeeze(1)
    # What is the lower triangle by rows is the upper one by columns, as LAPACK has it.
    factor, info = dpotrf(matrix.numpy().T, lower=False, overwrite_a=True, clean=False)
    return None if info else lambda b: torch.from_numpy(dpotrs(factor, b.numpy(), lower=False)[0])


def square(v: Tensor) -> Tensor:
    """|v|²; for short vectors `norm` takes three times as long."""
    return torch.dot(v, v)


class Path(NamedTuple):
    """θ(s) = θ + s v + s²/2 a: the geodesic through θ in its second order, along which a step goes as far as it may.

    Attributes
    ----------
    velocity, acceleration : Tensor of shape (P,)
    slope, bend : float
        Of what the linear model promises at s, |r|² - |r + s J v|² = -(s slope + s² bend).
    excess : float
        How many times as curved as allowed the residuals are along the path, up to s = 1.
    """

    theta: Tensor
    velocity: Tensor
    acceleration: Tensor
    slope: float
    bend: float
    excess: float

    def at(self, s: float) -> Tensor:
        return self.theta + (s * self.velocity + s**2 / 2 * self.acceleration).to(self.theta.dtype)

    def predicted(self, s: float) -> float:
        return -(s * self.slope + s**2 * self.bend)


class LevenbergMarquardt:
    """
    Parameters
    ----------
    damping : float
        The first λ, relative to the largest diagonal element of the Gram matrix. After a change of grid λ goes on
        from where it was.
    attempts : int
        Points of one path that are tried; if none has a lower loss, the parameters stay.
    geodesic_acceleration : bool
        Whether to correct steps for curvature, and to shorten those with too much of it.
    """

    PROBE = 0.1  # of a step, for the second difference (Transtrum & Sethna, section 4)
    CURVATURE = 0.75  # the largest 2 |acceleration| / |step| that is accepted (the same)
    ROUNDING = 1000 * torch.finfo(torch.float64).eps  # of the targets: KANs of 1575 parameters reach 170 to 270 eps
    FAIR = 0.25  # part of what the linear model promised that a step has to gain for a smaller λ
    LOWER, RAISE = 0.1, 3.0  # λ, after such a step, and for every point that was no better
    SHORTER = 0.25  # the next point that is tried
    MOST = 1000.0  # by which λ is raised for curvature

    def __init__(self, damping: float, attempts: int, geodesic_acceleration: bool) -> None:
        self.initial_damping = damping
        self.attempts = attempts
        self.geodesic_acceleration = geodesic_acceleration
        self.damping: float | None = None

    def restart(self, engine: Engine) -> None:
        self.engine = engine
        self.rounding = self.ROUNDING * engine.y.double().norm().item()

    def state(self) -> dict[str, Any]:
        return {"damping": self.damping}

    def resume(self, engine: Engine, state: dict[str, Any]) -> None:
        self.restart(engine)
        self.damping = state["damping"]

    def step(self) -> None:
        """One Jacobian, one factorisation, and as many points of one path as it takes to find a lower loss."""
        theta = self.engine.parameters()
        linearization = self.engine.linearize(theta)
        if square(linearization.residuals) <= self.rounding**2:
            return  # a trial could only find other rounding errors
        model = DampedModel(linearization)
        if self.damping is None:
            self.damping = self.initial_damping * model.scale
        path = self._path(theta, model)
        if path is not None and self._follow(path, linearization.residuals):
            return
        self.engine.set_parameters(theta)

    def _path(self, theta: Tensor, model: DampedModel) -> Path | None:
        """The path with the present λ, or the next larger one with which the matrix is definite, if there is one."""
        for _ in range(self.attempts):
            if (solution := model.solve(self.damping)) is not None:
                break
            self.damping *= self.RAISE
        else:
            return None
        (velocity, solve), r = solution, model.linearization.residuals
        change, acceleration, excess = model.linearization.push(velocity), torch.zeros_like(velocity), 0.0
        if self.geodesic_acceleration:
            acceleration = solve(self._second_derivative(theta, velocity, change, r))
            excess = (2 * (square(acceleration) / square(velocity)).sqrt()).item() / self.CURVATURE
        return Path(theta, velocity, acceleration, 2 * torch.dot(r, change).item(), square(change).item(), excess)

    def _second_derivative(self, theta: Tensor, step: Tensor, change: Tensor, r: Tensor) -> Tensor:
        """∂²r(θ + s δ)/∂s² at s = 0, shape (n,), by a difference from the tangent, `change` = J δ."""
        probe = self.engine.residuals(theta + (self.PROBE * step).to(theta.dtype)).double()
        return 2 / self.PROBE * ((probe - r) / self.PROBE - change)

    def _follow(self, path: Path, r: Tensor) -> bool:
        """Go to the first point of the path with a lower loss; whether there is one. Adapts λ."""
        before = square(r)
        excess = min(max(1.0, path.excess), self.MOST)
        s, raised = 1 / excess, math.sqrt(excess)
        for _ in range(self.attempts):
            theta, predicted = path.at(s), path.predicted(s)
            reduction = (before - square(self.engine.residuals(theta).double())).item()
            if reduction > 0:
                fair = predicted > 0 and reduction > self.FAIR * predicted  # predicted is 0 at the limit of rounding
                self.damping *= self.LOWER if raised == 1 and fair else raised
                self.engine.set_parameters(theta)
                return True
            s *= self.SHORTER
            raised *= self.RAISE
        self.damping *= raised
        return False
