"""What a training leaves: its history, checkpoints and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from kanbench.network.spline_network import SplineNetwork
from kanbench.training.resume import Stateful


class Row(TypedDict):
    """One epoch: losses are mean squared errors at its end, `time` (seconds) and `n_evals` are cumulative.

    The last three keys are there where grids are refined by attribution (section 2.2).
    """

    grid_size: int
    epoch: int
    train_loss: float
    test_loss: float
    dense_mse: float
    time: float
    n_evals: int
    num_params: int
    attribution_threshold: NotRequired[float]
    important_neurons: NotRequired[int]
    total_neurons: NotRequired[int]


Report = Callable[[Row], None]


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
    """What a training leaves; before the first epoch has ended well, all checkpoints are the untrained model."""

    device: str  # where it ran: `cpu` or `cuda`
    engine: str  # what evaluated the model
    untrained: Checkpoint  # epoch 0
    at_threshold: Checkpoint
    final: Checkpoint
    history: list[Row] = field(default_factory=list)  # one per epoch that ran and ended with finite losses
    stages: list[Stage] = field(default_factory=list)  # those that have begun
    stopped: str | None = None  # why it ended early


class Stopwatch(Stateful):
    """Adds up the seconds spent inside its `with` blocks."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = self.started = 0.0

    def __enter__(self) -> None:
        self.started = now(self.device)

    def __exit__(self, *exception: object) -> None:
        self.seconds += now(self.device) - self.started


def now(device: str = "cpu") -> float:
    """Seconds on a clock, after all that the device has been asked to do is done."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()
