"""Adam (Kingma & Ba, arXiv:1412.6980) on the full batch, with the same updates as in torch."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from kanbench.engine import CountingEngine, flops
from kanbench.io.kernel_cache import cache
from kanbench.problems import Array
from kanbench.training.optimizers.adam_update import BETA1, BETA2, update
from kanbench.training.resume import Stateful


class Adam(Stateful):
    """Adam.

    Args:
        lr (float): The learning rate.
    """

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.restart()

    def restart(self) -> None:
        self.steps = 0
        self.mean = self.square = np.empty(0)  # until the first step

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """Evaluate the gradient once and update."""
        _, gradient = engine.loss_and_gradient(theta)
        engine.flops += flops.ADAM * len(theta)
        compile_for(theta.dtype)
        if not self.steps:
            self.mean, self.square = np.zeros((2, *theta.shape), theta.dtype)
        self.steps += 1
        length, correction = self.lr / (1 - BETA1**self.steps), math.sqrt(1 - BETA2**self.steps)
        theta = theta.copy()
        update(theta, gradient, self.mean, self.square, length, correction)
        return theta


@functools.cache
def compile_for(dtype: np.dtype[Any]) -> None:
    """Compile the update for a precision, unless this machine has it cached."""
    cache.once(f"adam_{dtype}", lambda: update(*np.zeros((4, 1), dtype), 1.0, 1.0))
