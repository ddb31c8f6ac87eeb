"""L-BFGS (Liu & Nocedal, 1989) with a strong Wolfe line search: the iterations of torch's, with less around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kanbench.engine import CountingEngine, flops
from kanbench.io.kernel_cache import cache
from kanbench.problems import Array
from kanbench.training.optimizers.line_search import Line, Point, strong_wolfe
from kanbench.training.optimizers.two_loops import remember_and_apply

TOLERANCE = 1e-32  # as pykan's MultKAN.fit: never stop early


class LBFGS:
    """
    Args:
        lr (float): Length of the first trial step of every line search.
        max_iter (int): Iterations in one step; each has a line search of its own.
        max_eval (int): Evaluations of the gradient in one step after which no further iteration is begun.
        history_size (int): Pairs of parameter and gradient differences that approximate the Hessian.
    """

    def __init__(self, lr: float, max_iter: int, max_eval: int, history_size: int) -> None:
        self.lr, self.max_iter, self.max_eval, self.history_size = lr, max_iter, max_eval, history_size
        self.restart()

    def restart(self) -> None:
        self.memory: Memory | None = None
        self.last: tuple[Array, Array] | None = None  # of the last iteration, Δθ and the gradient before it

    def state(self) -> dict[str, Any]:
        return {"last": self.last, "memory": self.memory and self.memory.state()}

    def resume(self, state: dict[str, Any]) -> None:
        self.restart()
        if state["last"] is not None:
            self.last = change, _ = tuple(state["last"])
            if state["memory"] is not None:
                self.memory = Memory(self.history_size, change)
                self.memory.resume(state["memory"])

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """Up to `max_iter` iterations."""
        before = engine.n_evals
        loss, gradient = engine.loss_and_gradient(theta)
        for _ in range(self.max_iter):
            direction = self._direction(gradient)
            pairs = self.memory.count if self.memory else 0
            engine.flops += (flops.LBFGS_PAIR * pairs + flops.LBFGS_ITERATION) * len(theta)
            slope = float(gradient @ direction)
            if not slope < -TOLERANCE:
                break
            t = self.lr if self.memory else min(1.0, 1 / float(np.abs(gradient).sum())) * self.lr
            found = strong_wolfe(Line(engine, theta, direction), Point(0.0, loss, slope, gradient), t)
            change = direction * found.t
            self.last = change, gradient
            theta = theta + change
            progress, loss, gradient = abs(found.value - loss), found.value, found.gradient
            if engine.n_evals - before >= self.max_eval or progress < TOLERANCE:
                break
        return theta

    def _direction(self, gradient: Array) -> Array:
        """Where the next line search goes."""
        if self.last is None:
            return -gradient
        change, previous = self.last
        if self.memory is None:
            self.memory = Memory(self.history_size, gradient)
        return self.memory.direction(gradient, change, gradient - previous)


class Memory:
    """The last `size` pairs Δθ, Δgradient, in the place of the inverse Hessian."""

    def __init__(self, size: int, like: Array) -> None:
        compile_for(like.dtype)
        pairs = np.zeros((2, size, len(like)), like.dtype)
        self.arrays = *pairs, *np.zeros((2, size), like.dtype)
        self.ring = 1.0, -1, 0  # scale, newest, count

    @property
    def count(self) -> int:
        """Of remembered pairs."""
        return self.ring[2]

    def state(self) -> dict[str, Any]:
        """The pairs by value, and what else there is to remember."""
        return {"pairs": [array[: self.count].copy() for array in self.arrays[:3]], "ring": list(self.ring)}

    def resume(self, state: dict[str, Any]) -> None:
        self.ring = tuple(state["ring"])
        for array, values in zip(self.arrays, state["pairs"], strict=False):
            array[: len(values)] = values

    def direction(self, gradient: Array, change: Array, difference: Array) -> Array:
        """Remember a pair; return -H gradient."""
        result = gradient.copy()
        self.ring = remember_and_apply(result, change, difference, *self.arrays, *self.ring)
        return result


def compile_for(dtype: np.dtype | str) -> None:
    """Compile the recursion for a precision, unless that has been done on this machine."""
    zeros = np.zeros(1, dtype)
    cache.once(f"lbfgs_{dtype}", lambda: Memory(1, zeros).direction(zeros, zeros, zeros))
