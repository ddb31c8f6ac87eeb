"""L-BFGS (Liu & Nocedal, 1989) with a strong Wolfe line search: the iterations of torch's, with less around them.

torch's works on parameters that it gathers and scatters for every evaluation, and its two-loop recursion is forty small
operations of torch; for a network of a few hundred parameters that takes longer than evaluating it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kanbench.engine import Engine
from kanbench.optimizers.line_search import Line, Point, strong_wolfe
from kanbench.optimizers.two_loops import remember_and_apply

TOLERANCE = 1e-32  # as pykan's MultKAN.fit: never stop early


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
        self.lr, self.max_iter, self.max_eval, self.history_size = lr, max_iter, max_eval, history_size

    def restart(self, engine: Engine) -> None:
        self.engine = engine
        self.memory: Memory | None = None
        self.change: Tensor | None = None  # of θ, in the last iteration
        self.previous_gradient: Tensor | None = None

    def state(self) -> dict[str, Any]:
        return {
            "change": _copy(self.change),
            "previous_gradient": _copy(self.previous_gradient),
            "memory": self.memory and self.memory.kept(),
        }

    def resume(self, engine: Engine, state: dict[str, Any]) -> None:
        self.engine = engine
        self.change, self.previous_gradient = _copy(state["change"]), _copy(state["previous_gradient"])
        self.memory = None
        if state["memory"] is not None:
            self.memory = Memory(self.history_size, self.change)
            self.memory.resume(state["memory"])

    def step(self) -> None:
        """Up to `max_iter` iterations."""
        theta, before = self.engine.parameters(), self.engine.n_evals
        loss, gradient = self.engine.loss_and_gradient(theta)
        for _ in range(self.max_iter):
            direction = self._direction(gradient)
            slope = torch.dot(gradient, direction).item()
            if not slope < -TOLERANCE:
                break
            t = self.lr if self.memory else min(1.0, 1 / gradient.abs().sum().item()) * self.lr
            self.previous_gradient = gradient
            found = strong_wolfe(Line(self.engine, theta, direction), Point(0.0, loss, slope, gradient), t)
            self.change = direction * found.t
            theta = theta + self.change
            progress, loss, gradient = abs(found.value - loss), found.value, found.gradient
            if self.engine.n_evals - before >= self.max_eval or progress < TOLERANCE:
                break
        self.engine.set_parameters(theta)

    def _direction(self, gradient: Tensor) -> Tensor:
        """Where the next line search goes."""
        if self.change is None:
            return -gradient
        if self.memory is None:
            self.memory = Memory(self.history_size, gradient)
        return self.memory.direction(gradient, self.change, gradient - self.previous_gradient)


class Memory:
    """The last `size` pairs Δθ, Δgradient, in the place of the inverse Hessian.

    On the CPU, whatever the device: four hundred operations on vectors that short take a GPU milliseconds.
    """

    def __init__(self, size: int, like: Tensor) -> None:
        pairs = np.zeros((2, size, len(like)), like.cpu().numpy().dtype)
        self.arrays = *pairs, *np.zeros((2, size), pairs.dtype)
        self.state = 1.0, -1, 0  # scale, newest, count

    def kept(self) -> dict[str, Any]:
        """The pairs by value, and what else there is to remember."""
        *_, count = self.state
        return {"pairs": [torch.from_numpy(array[:count].copy()) for array in self.arrays[:3]], "state": self.state}

    def resume(self, kept: dict[str, Any]) -> None:
        self.state = kept["state"]
        for array, values in zip(self.arrays, kept["pairs"], strict=False):
            array[: len(values)] = values.cpu().numpy()

    def direction(self, gradient: Tensor, change: Tensor, difference: Tensor) -> Tensor:
        """Remember a pair; return -H gradient."""
        result = gradient.to("cpu", copy=True)
        vectors = (vector.cpu().numpy() for vector in (result, change, difference))
        self.state = remember_and_apply(*vectors, *self.arrays, *self.state)
        return result.to(gradient.device)


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
