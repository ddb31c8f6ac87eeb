"""The result of one training: its history, checkpoints and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from kanbench.network.spline_network import SplineNetwork
from kanbench.training.resume import Stateful


class Row(TypedDict):
    """One epoch: mean squared errors at its end, and cumulative `time` (seconds), `n_evals` and `flops`.

    The last three keys exist only if grids are refined by attribution (section 2.2).
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
    """The grids that a stage began with.

    Attributes:
        intervals (list of lists of int): For every layer, the intervals of each of its input nodes.
    """

    grid_size: int
    intervals: list[list[int]]


@dataclass(frozen=True)
class Checkpoint:
    """A network and its row of the history."""

    row: Row
    network: SplineNetwork


@dataclass
class Training:
    """The result of one training.

    Until an epoch has ended with finite losses, all checkpoints are the untrained model.
    """

    device: str  # `cpu` or `cuda`
    engine: str  # the name of the engine that evaluated the model
    clock: str  # measured `time`: `thread` (CPU time of the thread) or `wall`
    untrained: Checkpoint  # epoch 0
    at_threshold: Checkpoint
    final: Checkpoint
    history: list[Row] = field(default_factory=list)  # one per evaluated epoch with finite losses
    stages: list[Stage] = field(default_factory=list)  # those that have begun
    stopped: str | None = None  # why it ended early
    timings: int = 1  # how often it was timed; the shortest time of every epoch counts


class Stopwatch(Stateful):
    """Times epochs; each is one `with` block.

    A training on one CPU thread is timed by that thread's CPU time. The wall clock would include other processes, at
    least in every epoch that is longer than a scheduler time slice, and no repetition could avoid that. On a GPU, or
    with several threads, the wall clock is used.

    Attributes:
        clock (str): `thread` or `wall`.
        epochs (list of float): Seconds of each epoch.
        total (float): Their sum.
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
    """Wall-clock time in seconds, read after the device has finished all pending work."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()
