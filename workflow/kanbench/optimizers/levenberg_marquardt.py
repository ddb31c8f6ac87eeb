"""Levenberg-Marquardt for least squares, damped by gain ratio, with geodesic acceleration.

With residuals r and Jacobian J at θ, a step δ minimises the damped linear model (Levenberg 1944, Marquardt 1963)

    |r + J δ|² + λ |δ|²      ⇔      (JᵀJ + λI) δ = -Jᵀr      ⇔      δ = -Jᵀ (JJᵀ + λI)⁻¹ r.

The first system has as many unknowns as there are parameters, the second as there are samples; the smaller one is
solved, by Cholesky in float64 (a spline's `scale_sp` is collinear with its `coef`, so JᵀJ is always singular, and
λ > 0 is what makes the system definite).

A KAN's loss has long curved valleys, because scales, splines and base functions can make up for each other. The
geodesic acceleration (Transtrum & Sethna, arXiv:1201.5885) corrects the step δ for the curvature along it, and rejects
steps along which the linear model means little. It costs one more evaluation of the residuals.

Three things make the method, and stand apart below: the direction, the damping, and the acceptance of a step, which
is taken only if it lowers the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        self.gram = linearization.normal_matrix() if self.primal else linearization.kernel_matrix()
        self.room = torch.empty_like(self.gram)

    @property
    def scale(self) -> float:
        """The largest diagonal element of the Gram matrix, to measure λ by."""
        return self.gram.diagonal().max().item()

    def solver(self, damping: float) -> Callable[[Tensor], Tensor] | None:
        """The function that minimises |v + J δ|² + λ |δ|² over δ, shape (P,), for any v of shape (n,).

        None where rounding leaves the damped matrix indefinite.
        """
        solve = cholesky(self.room.copy_(self.gram), damping)
        if solve is None:
            return None
        pull = self.linearization.pull
        return (lambda v: -solve(pull(v))) if self.primal else (lambda v: -pull(solve(v)))


def cholesky(matrix: Tensor, shift: float) -> Callable[[Tensor], Tensor] | None:
    """The function that solves (M + shift I) x = b, for M symmetric, in float64; None where that is not definite.

    On a CPU by scipy's LAPACK, which takes four fifths of the time of torch's, and overwrites M.
    """
    matrix.diagonal().add_(shift)
    if matrix.device.type != "cpu":
        factor, info = torch.linalg.cholesky_ex(matrix)
        return None if info.item() else lambda b: torch.cholesky_solve(b[:, None], factor).squeeze(1)
    factor, info = dpotrf(matrix.numpy().T, lower=True, overwrite_a=True, clean=False)
    return None if info else lambda b: torch.from_numpy(dpotrs(factor, b.numpy(), lower=True)[0])


class GainRatioDamping:
    """λ follows the gain ratio ρ = (actual reduction) / (reduction that the linear model predicts) of the last trial.

    A step that gained what the linear model promised, or a fair part of it, divides λ by 10, or by 2 if it was not the
    first trial; one that gained little leaves it; one that was rejected doubles it. Lowering λ faster than raising it
    (Transtrum & Sethna, section 3.2, after Umrigar & Nightingale) matters with ten steps per grid: Nielsen's rule
    lowers it by 3 at most. Dividing by 10 after every step would have most of the next trials rejected, a third more in
    all, and gained nothing on the four problems with six seeds.
    """

    FAIR = 0.25
    LOWER = 0.1
    LOWER_AFTER_REJECTIONS = 0.5
    RAISE = 2.0

    def __init__(self, value: float, first_trial: bool = True) -> None:
        self.value = value
        self.first_trial = first_trial

    def accepted(self, gain_ratio: float) -> None:
        if gain_ratio > self.FAIR:
            self.value *= self.LOWER if self.first_trial else self.LOWER_AFTER_REJECTIONS
        self.first_trial = True

    def rejected(self) -> None:
        self.value *= self.RAISE
        self.first_trial = False


class LevenbergMarquardt:
    """
    Parameters
    ----------
    damping : float
        The first λ, relative to the largest diagonal element of the Gram matrix. After a change of grid λ goes on
        from where it was.
    attempts : int
        Trials of one step; if none lowers the loss, the parameters stay.
    geodesic_acceleration : bool
        Whether to correct steps for curvature.
    """

    PROBE = 0.1  # of a step, for the second difference (Transtrum & Sethna, section 4)
    CURVATURE = 0.75  # the largest 2 |acceleration| / |step| that is accepted (the same)
    ROUNDING = 1000 * torch.finfo(torch.float64).eps  # of the targets: KANs of 1575 parameters reach 170 to 270 eps

    def __init__(self, damping: float, attempts: int, geodesic_acceleration: bool) -> None:
        self.initial_damping = damping
        self.attempts = attempts
        self.geodesic_acceleration = geodesic_acceleration
        self.damping: GainRatioDamping | None = None

    def restart(self, engine: Engine) -> None:
        self.engine = engine
        self.rounding = self.ROUNDING * engine.y.double().norm().item()

    def state(self) -> dict[str, Any]:
        return {} if self.damping is None else vars(self.damping).copy()

    def resume(self, engine: Engine, state: dict[str, Any]) -> None:
        self.restart(engine)
        self.damping = GainRatioDamping(**state) if state else None

    def step(self) -> None:
        """One Jacobian, and as many trials as it takes to find a lower loss."""
        theta = self.engine.parameters()
        linearization = self.engine.linearize(theta)
        if linearization.residuals.norm() <= self.rounding:
            return  # a trial could only find other rounding errors
        model = DampedModel(linearization)
        if self.damping is None:
            self.damping = GainRatioDamping(self.initial_damping * model.scale)
        for _ in range(self.attempts):
            trial, predicted = self._trial(theta, model)
            if trial is not None and self._accept(trial, predicted, model.linearization.residuals):
                return
            self.damping.rejected()
        self.engine.set_parameters(theta)

    def _trial(self, theta: Tensor, model: DampedModel) -> tuple[Tensor | None, float]:
        """The parameters after a step, and what the linear model promises; None for a step not worth a trial."""
        solve, r = model.solver(self.damping.value), model.linearization.residuals
        if solve is None:
            return None, 0.0
        step = solve(r)
        change = model.linearization.push(step)
        predicted = -torch.dot(change, 2 * r + change).item()
        if not self.geodesic_acceleration:
            return theta + step.to(theta.dtype), predicted
        correction = solve(self._second_derivative(theta, step, change, r)) / 2
        if not 4 * correction.norm() <= self.CURVATURE * step.norm():
            return None, 0.0
        return theta + (step + correction).to(theta.dtype), predicted

    def _second_derivative(self, theta: Tensor, step: Tensor, change: Tensor, r: Tensor) -> Tensor:
        """∂²r(θ + s δ)/∂s² at s = 0, shape (n,), by a difference from the tangent, `change` = J δ."""
        probe = self.engine.residuals(theta + (self.PROBE * step).to(theta.dtype)).double()
        return 2 / self.PROBE * ((probe - r) / self.PROBE - change)

    def _accept(self, trial: Tensor, predicted: float, r: Tensor) -> bool:
        """Go to `trial` if the loss is lower there; `predicted` is |r|² - |r + J δ|²."""
        reduction = (r.square().sum() - self.engine.residuals(trial).double().square().sum()).item()
        if not reduction > 0:
            return False
        self.damping.accepted(reduction / predicted if predicted > 0 else 0.0)  # 0 at the limit of rounding
        self.engine.set_parameters(trial)
        return True
