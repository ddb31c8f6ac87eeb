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
        self.gram = linearization.normal_matrix() if self.primal else linearization.kernel_matrix()
        self.room = torch.empty_like(self.gram)
        self.right_side = linearization.pull(linearization.residuals) if self.primal else linearization.residuals

    @property
    def scale(self) -> float:
        """The largest diagonal element of the Gram matrix, to measure λ by."""
        return self.gram.diagonal().max().item()

    def solve(self, damping: float) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
        """The step δ for the residuals, shape (P,), and the function that finds δ for any v of shape (n,).

        None where rounding leaves the damped matrix indefinite.
        """
        solve = cholesky(self.room.copy_(self.gram), damping)
        if solve is None:
            return None
        pull = self.linearization.pull
        if self.primal:
            return -solve(self.right_side), lambda v: -solve(pull(v))
        return -pull(solve(self.right_side)), lambda v: -pull(solve(v))


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


class GainRatioDamping:
    """λ follows the gain ratio ρ = (actual reduction) / (reduction that the linear model predicts) of the last trial.

    A step that gained what the linear model promised, or a fair part of it, divides λ by 10, or by 2 if it was not the
    first trial; one that gained little leaves it; one that was rejected multiplies it by 3, or by more if it was more
    than that too long. Lowering λ fast (Transtrum & Sethna, section 3.2, after Umrigar & Nightingale) matters with ten
    steps per grid: Nielsen's rule lowers it by 3 at most. Dividing by 10 after every step, and doubling after every
    rejection, had nearly twice as many trials, for test losses within the spread over eight seeds.
    """

    FAIR = 0.25
    LOWER = 0.1
    LOWER_AFTER_REJECTIONS = 0.5
    RAISE = 3.0
    MOST = 1000.0

    def __init__(self, value: float, first_trial: bool = True) -> None:
        self.value = value
        self.first_trial = first_trial

    def accepted(self, gain_ratio: float) -> None:
        if gain_ratio > self.FAIR:
            self.value *= self.LOWER if self.first_trial else self.LOWER_AFTER_REJECTIONS
        self.first_trial = True

    def rejected(self, excess: float = 1.0) -> None:
        """Raise λ, at once by as much as a step was too long for the linear model: a step is at most as 1/λ."""
        self.value *= min(max(self.RAISE, excess), self.MOST)
        self.first_trial = False


class Trial(NamedTuple):
    """Where a step leads.

    Attributes
    ----------
    theta : Tensor or None
        None for a step not worth a trial.
    predicted : float
        What the linear model promises, |r|² - |r + J δ|².
    excess : float
        How many times as curved as allowed the residuals are along the step.
    """

    theta: Tensor | None = None
    predicted: float = 0.0
    excess: float = 1.0


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
            trial = self._trial(theta, model)
            if trial.theta is not None and self._accept(trial, model.linearization.residuals):
                return
            self.damping.rejected(trial.excess)
        self.engine.set_parameters(theta)

    def _trial(self, theta: Tensor, model: DampedModel) -> Trial:
        """A step with the present λ."""
        solution, r = model.solve(self.damping.value), model.linearization.residuals
        if solution is None:
            return Trial()
        step, solve = solution
        change = model.linearization.push(step)
        predicted = -torch.dot(change, 2 * r + change).item()
        if not self.geodesic_acceleration:
            return Trial(theta + step.to(theta.dtype), predicted)
        correction = solve(self._second_derivative(theta, step, change, r)) / 2
        curvature = (4 * correction.norm() / step.norm()).item()
        if not curvature <= self.CURVATURE:
            return Trial(excess=curvature / self.CURVATURE)
        return Trial(theta + (step + correction).to(theta.dtype), predicted)

    def _second_derivative(self, theta: Tensor, step: Tensor, change: Tensor, r: Tensor) -> Tensor:
        """∂²r(θ + s δ)/∂s² at s = 0, shape (n,), by a difference from the tangent, `change` = J δ."""
        probe = self.engine.residuals(theta + (self.PROBE * step).to(theta.dtype)).double()
        return 2 / self.PROBE * ((probe - r) / self.PROBE - change)

    def _accept(self, trial: Trial, r: Tensor) -> bool:
        """Go where a trial leads if the loss is lower there."""
        reduction = (r.square().sum() - self.engine.residuals(trial.theta).double().square().sum()).item()
        if not reduction > 0:
            return False
        gain_ratio = reduction / trial.predicted if trial.predicted > 0 else 0.0  # 0 at the limit of rounding
        self.damping.accepted(gain_ratio)
        self.engine.set_parameters(trial.theta)
        return True
