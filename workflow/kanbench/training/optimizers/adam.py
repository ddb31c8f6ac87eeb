"""Adam (Kingma & Ba, arXiv:1412.6980) on the full batch, with the updates of torch's."""

from __future__ import annotations

import math

import numpy as np

from kanbench.engine import CountingEngine, flops
from kanbench.problems import Array
from kanbench.training.resume import Stateful

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the paper's, and torch's defaults


class Adam(Stateful):
    """
    Args:
        lr (float): The learning rate.
    """

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.restart()

    def restart(self) -> None:
        self.steps = 0
        self.mean: Array | float = 0.0
        self.square: Array | float = 0.0

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """One evaluation of the gradient, one update."""
        _, gradient = engine.loss_and_gradient(theta)
        engine.flops += flops.ADAM * len(theta)
        self.steps += 1
        self.mean = self.mean + (1 - BETA1) * (gradient - self.mean)
        self.square = BETA2 * self.square + (1 - BETA2) * gradient * gradient
        scale = np.sqrt(self.square) / math.sqrt(1 - BETA2**self.steps) + EPSILON
        return theta + -self.lr / (1 - BETA1**self.steps) * self.mean / scale
