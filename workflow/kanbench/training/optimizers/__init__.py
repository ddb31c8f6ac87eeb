"""Optimizers: each takes one step at a time from parameters θ, for whatever an engine makes of them."""

from __future__ import annotations

from typing import Any, Protocol

from kanbench.engine import CountingEngine
from kanbench.problems import Array
from kanbench.training.optimizers.adam import Adam
from kanbench.training.optimizers.lbfgs import LBFGS
from kanbench.training.optimizers.levenberg_marquardt import LevenbergMarquardt
from kanbench.training.resume import Resumable


class Optimizer(Resumable, Protocol):
    def restart(self) -> None:
        """Begin with other parameters, because the grid is another now."""

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """One epoch: the parameters after θ, which stays as it is."""


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "lbfgs": LBFGS, "lm": LevenbergMarquardt}


def make_optimizer(name: str, **settings: Any) -> Optimizer:
    """The optimizer called `name`, before its first step."""
    return OPTIMIZERS[name](**settings)


def compile_for(dtype: str) -> None:
    """Compile all that trainings in a precision use of kernels, unless that has been done on this machine."""
    from kanbench.engine.numba_engine import engine

    for small in map(CountingEngine, engine.compile_for(dtype)):
        for optimizer in (Adam(lr=0.1), LBFGS(lr=1.0, max_iter=1, max_eval=1, history_size=1)):
            optimizer.step(small, small.network.parameters())
