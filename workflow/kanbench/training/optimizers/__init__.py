"""Optimizers: each takes one step at a time from a parameter vector θ, with what an engine evaluates there."""

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
        """Forget the history of steps, because a new grid has other parameters."""

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """Take one step (an epoch) from θ, shape (P,); return the new parameters, leaving θ unchanged."""


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "lbfgs": LBFGS, "lm": LevenbergMarquardt}


def make_optimizer(name: str, **settings: Any) -> Optimizer:
    """Make the optimizer called `name`, one of `OPTIMIZERS`."""
    return OPTIMIZERS[name](**settings)


def compile_for(dtype: str) -> None:
    """Compile all kernels that trainings in this precision need, unless this machine has them cached."""
    from kanbench.engine.numba_engine import engine

    for small in map(CountingEngine, engine.compile_for(dtype)):
        for optimizer in (Adam(lr=0.1), LBFGS(lr=1.0, max_iter=1, max_eval=1, history_size=1)):
            optimizer.step(small, small.network.parameters())
