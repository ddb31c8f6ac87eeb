"""Optimizers: each takes one step on an engine at a time. The engine owns the parameters."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from kanbench.engine import Engine


class Optimizer(Protocol):
    def restart(self, engine: Engine) -> None:
        """Begin with another engine, because the grid, and so the parameters, are others now."""

    def step(self) -> None:
        """One epoch: change the engine's parameters."""

    def state(self) -> dict[str, Any]:
        """What the next steps depend on beside the engine and the settings: numbers and tensors, by value."""

    def resume(self, engine: Engine, state: dict[str, Any]) -> None:
        """Go on, with an engine of the same parameters, as the optimizer would have whose state this is."""


# Imported when they are made: Levenberg-Marquardt needs scipy, which takes a third of a second.
OPTIMIZERS = {
    "adam": ("adam", "Adam"),
    "lbfgs": ("lbfgs", "LBFGS"),
    "lm": ("levenberg_marquardt", "LevenbergMarquardt"),
}


def make_optimizer(name: str, **settings: float) -> Optimizer:
    """The optimizer called `name`; call its `restart` before the first step."""
    module, optimizer = OPTIMIZERS[name]
    return getattr(import_module(f"{__name__}.{module}"), optimizer)(**settings)
