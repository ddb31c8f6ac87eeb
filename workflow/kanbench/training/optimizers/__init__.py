"""Optimizers: each takes one step at a time from parameters θ, for whatever an engine makes of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kanbench.engine import Engine
from kanbench.training.optimizers.adam import Adam
from kanbench.training.optimizers.lbfgs import LBFGS
from kanbench.training.optimizers.levenberg_marquardt import LevenbergMarquardt

Array = NDArray[np.floating]


class Optimizer(Protocol):
    def restart(self) -> None:
        """Begin with other parameters, because the grid is another now."""

    def step(self, engine: Engine, theta: Array) -> Array:
        """One epoch: the parameters after θ, which stays as it is."""

    def state(self) -> dict[str, Any]:
        """What the next steps depend on beside the parameters and the settings: numbers and arrays, by value."""

    def resume(self, state: dict[str, Any]) -> None:
        """Go on as the optimizer would have whose state this is."""


OPTIMIZERS = {"adam": Adam, "lbfgs": LBFGS, "lm": LevenbergMarquardt}


def make_optimizer(name: str, **settings: float) -> Optimizer:
    """The optimizer called `name`, before its first step."""
    return OPTIMIZERS[name](**settings)
