"""What a training leaves: its history, checkpoints and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from kanbench.models import Snapshot

CHECKPOINTS = ("untrained", "at_threshold", "final")

Row = dict[str, Any]
Report = Callable[[Row], None]


@dataclass(frozen=True)
class Checkpoint:
    """A model by value, and the row of the history that belongs to it."""

    row: Row
    snapshot: Snapshot

    def plain(self) -> dict[str, Any]:
        """In builtin types and tensors."""
        return {"row": self.row, "snapshot": vars(self.snapshot)}

    @classmethod
    def of_plain(cls, row: Row, snapshot: dict[str, Any]) -> Checkpoint:
        return cls(row, Snapshot(**snapshot))


@dataclass
class Training:
    """What a training leaves.

    Attributes
    ----------
    device : str
        Where it ran: `cpu` or `cuda`.
    engine : str
        What evaluated the model.
    history : list of rows
        One per epoch that ran and ended with finite losses.
    untrained : Checkpoint
        Epoch 0.
    at_threshold, final : Checkpoint
        Before the first epoch has ended well, the untrained model.
    stages : list of dict
        What every stage began with: its `grid_size`, and `intervals`, a list per layer of those of its input nodes.
    stopped : str or None
        Why it ended early.
    """

    device: str
    engine: str
    untrained: Checkpoint
    at_threshold: Checkpoint
    final: Checkpoint
    history: list[Row] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None


class Stopwatch:
    """Adds up the seconds spent inside its `with` blocks."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = now(self.device)

    def __exit__(self, *exception: object) -> None:
        self.seconds += now(self.device) - self._start


def now(device: str = "cpu") -> float:
    """Seconds on a clock, after all that the device has been asked to do is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
