"""The result of one training: its history, checkpoints and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from kanbench.network.spline_network import SplineNetwork
from kanbench.training.resume import Stateful


class Row(TypedDict):
    """One epoch: losses are mean squared errors at its end, `time` (seconds), `n_evals` and `flops` are
    cumulative.

    The last three keys are there where grids are refined by attribution (section 2.2).
    """

    grid_size: int
    epoch: int
    train_loss: float
    test_loss: float
    dense_mse: float
    time: float
    n_evals: int
    flops: int
    num_params: int
    attribution_threshold: NotRequired[float]
    important_neurons: NotRequired[int]
    total_neurons: NotRequired[int]


OnEpoch = Callable[[Row], None]


class Stage(TypedDict):
    """What a stage began with; `intervals` is a list per layer, of those of its input nodes."""

    grid_size: int
    intervals: list[list[int]]


@dataclass(frozen=True)
class Checkpoint:
    """A network, and the row of the history that belongs to it."""

    row: Row
    network: SplineNetwork


@dataclass
class Training:
    """The result of one training; before the first epoch has ended well, all checkpoints are the untrained model."""

    device: str  # where it ran: `cpu` or `cuda`
    engine: str  # what evaluated the model
    clock: str  # what `time` was measured by: `thread` (its CPU time) or `wall`
    untrained: Checkpoint  # epoch 0
    at_threshold: Checkpoint
    final: Checkpoint
    history: list[Row] = field(default_factory=list)  # one per epoch that ran and ended with finite losses
    stages: list[Stage] = field(default_factory=list)  # those that have begun
    stopped: str | None = None  # why it ended early
    timings: int = 1  # how often it was timed; the least time of every epoch counts


class Stopwatch(Stateful):
    """The seconds of every epoch, each of which is one `with` block.

    What one thread of the CPU computes alone is timed by the time that the processor spent on it. Other processes that
    want the processor then cost nothing, which they do on a wall clock, in every epoch that takes longer than a slice
    of the scheduler: no repetition finds those undisturbed. On a GPU, or with more threads, it is the wall clock.

    Attributes:
        clock (str): `thread` or `wall`.
        epochs (list of float): Seconds.
    """

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        self.clock = "thread" if device == "cpu" and threads == 1 else "wall"
        self.epochs: list[float] = []
        self.total = self.started = 0.0

    def state(self) -> dict[str, Any]:
        return {"epochs": list(self.epochs), "total": self.total}

    def __enter__(self) -> None:
        self.started = self.now()

    def __exit__(self, *exception: object) -> None:
        self.epochs.append(self.now() - self.started)
        self.total += self.epochs[-1]

    def now(self) -> float:
        return time.thread_time() if self.clock == "thread" else now(self.device)


def now(device: str = "cpu") -> float:
    """Seconds on the wall clock, after all that the device has been asked to do is done."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()
