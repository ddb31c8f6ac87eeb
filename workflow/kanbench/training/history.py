"""What a training leaves: its history, checkpoints and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kanbench.network.spline_network import SplineNetwork
from kanbench.training.resume import Stateful

CHECKPOINTS = ("untrained", "at_threshold", "final")

Row = dict[str, Any]
Report = Callable[[Row], None]


@dataclass(frozen=True)
class Checkpoint:
    """A network, and the row of the history that belongs to it."""

    row: Row
    network: SplineNetwork

    def to_dict(self) -> dict[str, Any]:
        """In builtin types and arrays."""
        return {"row": self.row, "network": self.network.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Checkpoint:
        return cls(content["row"], SplineNetwork.from_dict(content["network"]))


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

    def state(self) -> dict[str, Any]:
        """What `resumed` makes this of."""
        checkpoints = {name: getattr(self, name).to_dict() for name in CHECKPOINTS}
        return {"checkpoints": checkpoints, "history": self.history, "stages": self.stages, "stopped": self.stopped}

    @classmethod
    def resumed(cls, device: str, engine: str, state: dict[str, Any]) -> Training:
        checkpoints = {name: Checkpoint.from_dict(content) for name, content in state["checkpoints"].items()}
        rest = {name: state[name] for name in ("history", "stages", "stopped")}
        return cls(device, engine, **checkpoints, **rest)


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
