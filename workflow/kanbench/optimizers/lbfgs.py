"""L-BFGS (Liu & Nocedal, 1989) as torch implements it, with a strong Wolfe line search."""

from __future__ import annotations

import torch
from torch import Tensor

from kanbench.engine import Engine


class LBFGS:
    """
    Parameters
    ----------
    lr : float
        Length of the first trial step of every line search.
    max_iter : int
        Iterations in one step; each has a line search of its own.
    max_eval : int
        Evaluations of the gradient in one step after which no further iteration is begun.
    history_size : int
        Pairs of parameter and gradient differences that approximate the Hessian.
    """

    def __init__(self, lr: float, max_iter: int, max_eval: int, history_size: int) -> None:
        self.settings = {"lr": lr, "max_iter": max_iter, "max_eval": max_eval, "history_size": history_size}

    def restart(self, engine: Engine) -> None:
        self.engine = engine
        self.theta = engine.parameters()
        self.lbfgs = torch.optim.LBFGS(
            [self.theta],
            **self.settings,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-32,  # as pykan's MultKAN.fit: never stop early
            tolerance_change=1e-32,
        )

    def step(self) -> None:
        """Up to `max_iter` iterations."""
        self.theta.copy_(self.engine.parameters())
        self.lbfgs.step(self._closure)
        self.engine.set_parameters(self.theta)

    def _closure(self) -> Tensor:
        loss, self.theta.grad = self.engine.loss_and_gradient(self.theta)
        return torch.tensor(loss, dtype=torch.float64)
