"""Adam (Kingma & Ba, arXiv:1412.6980) as torch implements it, on the full batch."""

from __future__ import annotations

import torch

from kanbench.engine import Engine


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
        self.engine = engine
        self.theta = engine.parameters()
        self.adam = torch.optim.Adam([self.theta], lr=self.lr)

    def step(self) -> None:
        """One evaluation of the gradient, one update."""
        self.theta.copy_(self.engine.parameters())
        _, self.theta.grad = self.engine.loss_and_gradient(self.theta)
        self.adam.step()
        self.engine.set_parameters(self.theta)
