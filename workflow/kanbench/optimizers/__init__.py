"""Optimizers: each takes one step on an engine at a time. The engine owns the parameters."""

from __future__ import annotations

from typing import Protocol

from kanbench.engine import Engine
from kanbench.optimizers.adam import Adam
from kanbench.optimizers.lbfgs import LBFGS
from kanbench.optimizers.levenberg_marquardt import LevenbergMarquardt


class Optimizer(Protocol):
    def restart(self, engine: Engine) -> None:
        """Begin with another engine, because the grid, and so the parameters, are others now."""

    def step(self) -> None:
        """One epoch: change the engine's parameters."""


OPTIMIZERS = {"adam": Adam, "lbfgs": LBFGS, "lm": LevenbergMarquardt}


def make_optimizer(name: str, **settings: float) -> Optimizer:
    """The optimizer called `name`; call its `restart` before the first step."""
    return OPTIMIZERS[name](**settings)
