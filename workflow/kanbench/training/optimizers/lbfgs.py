"""L-BFGS (Liu & Nocedal, 1989) with a strong Wolfe line search: the same iterations as in torch, with less overhead."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from kanbench.engine import CountingEngine, flops
from kanbench.io.kernel_cache import cache, compiled_unfused
from kanbench.problems import Array
from kanbench.training.optimizers.line_search import Line, Point, strong_wolfe
from kanbench.training.optimizers.two_loops import dot, remember_and_apply

TOLERANCE = 1e-32  # as in pykan's MultKAN.fit: never stop early


class Memory(NamedTuple):
    """The last iteration, and the last m pairs (Δθ, Δgradient), which represent the inverse Hessian."""

    begun: bool  # whether there was an iteration
    change: Array  # Δθ of the last one, shape (P,)
    gradient: Array  # before the last one, shape (P,)
    s: Array  # for this and the fields below, see `remember_and_apply`
    y: Array
    rho: Array
    alpha: Array
    scale: float
    newest: int
    n_pairs: int


def empty_memory(size: int, like: Array) -> Memory:
    """Make a memory for `size` pairs of vectors with the shape and precision of `like`."""
    (change, gradient), (s, y), (rho, alpha) = (
        np.zeros((2, *shape), like.dtype) for shape in (like.shape, (size, *like.shape), (size,))
    )
    return Memory(False, change, gradient, s, y, rho, alpha, 1.0, -1, 0)


class Work(NamedTuple):
    """The work of one step, from which its operations are counted."""

    iterations: int
    pairs: int  # applied in the two-loop recursion, summed over iterations
    trials: int  # of the line searches


@compiled_unfused
def iterate(
    engine: Any, theta: Array, memory: Memory, lr: float, max_iter: int, max_eval: int
) -> tuple[int, tuple[Array, Memory, Work]]:
    """Do up to `max_iter` iterations from θ; see `LBFGS` for the arguments and `Engine.run` for the result."""
    loss, gradient = engine.loss_and_gradient(theta)
    iterations, pairs, trials = 0, 0, 0
    begun, change, before, s, y, rho, alpha, scale, newest, n_pairs = memory
    while iterations < max_iter:
        direction = gradient.copy()
        scale, newest, n_pairs = remember_and_apply(
            direction, change, gradient - before, s, y, rho, alpha, scale, newest, n_pairs
        )
        iterations, pairs = iterations + 1, pairs + n_pairs
        slope = dot(gradient, direction)
        if not slope < -TOLERANCE:
            break
        t = lr if begun else min(1.0, 1 / dot(gradient, np.sign(gradient))) * lr
        start = Point(0.0, loss, slope, gradient)
        found, tried = strong_wolfe(Line(engine, theta, direction), start, t)
        begun, change, before = True, theta.dtype.type(found.t) * direction, gradient
        theta, trials = theta + change, trials + tried
        progress, loss, gradient = abs(found.value - loss), found.value, found.gradient
        if 1 + trials >= max_eval or progress < TOLERANCE:
            break
    memory = Memory(begun, change, before, s, y, rho, alpha, scale, newest, n_pairs)
    return 1 + trials, (theta, memory, Work(iterations, pairs, trials))


class LBFGS:
    """L-BFGS.

    Args:
        lr (float): First trial step of every line search.
        max_iter (int): Iterations in one step, each with its own line search.
        max_eval (int): Gradient evaluations in one step after which no further iteration starts.
        history_size (int): Number of stored pairs that approximate the inverse Hessian.
    """

    def __init__(self, lr: float, max_iter: int, max_eval: int, history_size: int) -> None:
        self.lr, self.max_iter, self.max_eval, self.history_size = float(lr), max_iter, max_eval, history_size
        self.restart()

    def restart(self) -> None:
        self.memory: Memory | None = None

    def state(self) -> dict[str, Any]:
        """Copy the last iteration and the pairs; None before the first iteration."""
        if (memory := self.memory) is None or not memory.begun:
            return {"last": None, "memory": None}
        pairs = [array[: memory.n_pairs].copy() for array in (memory.s, memory.y, memory.rho)]
        ring = [memory.scale, memory.newest, memory.n_pairs]
        return {"last": [memory.change, memory.gradient], "memory": {"pairs": pairs, "ring": ring}}

    def resume(self, state: dict[str, Any]) -> None:
        self.restart()
        if state["last"] is not None:
            change, gradient = state["last"]
            scale, newest, n_pairs = state["memory"]["ring"]
            memory = empty_memory(self.history_size, change)
            for array, values in zip((memory.s, memory.y, memory.rho), state["memory"]["pairs"], strict=True):
                array[: len(values)] = values
            self.memory = Memory(True, change, gradient, *memory[3:7], scale, newest, n_pairs)

    def step(self, engine: CountingEngine, theta: Array) -> Array:
        """Do up to `max_iter` iterations."""
        compile_for(theta.dtype)
        memory = self.memory or empty_memory(self.history_size, theta)
        settings = self.lr, self.max_iter, self.max_eval
        theta, self.memory, work = engine.run(iterate, theta.copy(), memory, *settings)
        per_parameter = flops.LBFGS_PAIR * work.pairs + flops.LBFGS_ITERATION * work.iterations
        engine.flops += (per_parameter + flops.LINE_SEARCH * work.trials) * len(theta)
        return theta


@functools.cache
def compile_for(dtype: np.dtype[Any]) -> None:
    """Compile the functions that a loop in Python calls, for a precision, unless this machine has them cached."""

    def compile() -> None:
        zeros = np.zeros(1, dtype)
        remember_and_apply(
            zeros.copy(), zeros, zeros, *np.zeros((2, 1, 1), dtype), *np.zeros((2, 1), dtype), 1.0, -1, 0
        )
        dot(zeros, zeros)

    cache.once(f"lbfgs_{dtype}", compile)
