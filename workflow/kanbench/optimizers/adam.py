"""Adam (Kingma & Ba, arXiv:1412.6980) on the full batch, with the updates of torch's.

torch.optim takes most of a second to import, which is longer than sixty steps and everything around them.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from kanbench.engine import Engine

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the paper's, and torch's defaults


class Adam:
    """
    Parameters
    ----------
    lr : float
        The learning rate.
    """

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def restart(self, engine: Engine) -> None:
        self.engine, self.steps = engine, 0
        self.mean = torch.zeros_like(engine.parameters())
        self.square = torch.zeros_like(self.mean)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "mean": self.mean.clone(), "square": self.square.clone()}

    def resume(self, engine: Engine, state: dict[str, Any]) -> None:
        self.restart(engine)
        self.steps = state["steps"]
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])

    def step(self) -> None:
        """One evaluation of the gradient, one update."""
        theta = self.engine.parameters()
        _, gradient = self.engine.loss_and_gradient(theta)
        self.steps += 1
        self.mean.lerp_(gradient, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        scale = self.square.sqrt().div_(math.sqrt(1 - BETA2**self.steps)).add_(EPSILON)
        self.engine.set_parameters(theta.addcdiv_(self.mean, scale, value=-self.lr / (1 - BETA1**self.steps)))
