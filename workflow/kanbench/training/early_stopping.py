"""Rules that end a training before its last epoch."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import inf
from typing import Any

from kanbench.training.history import Row
from kanbench.training.resume import Stateful


class StopRule(Stateful, ABC):
    @abstractmethod
    def update(self, row: Row, last_of_stage: bool) -> str | None:
        """Take the next row of the history; return the reason to stop after it, or None."""


@dataclass
class Stagnation(StopRule):
    """Stops when the training loss has not fallen by the relative `tolerance` within `epochs` epochs."""

    epochs: int
    tolerance: float
    _best: float = inf
    _since: int = 0

    def update(self, row: Row, last_of_stage: bool) -> str | None:
        if row["train_loss"] < self._best * (1 - self.tolerance):
            self._best, self._since = row["train_loss"], row["epoch"]
        if row["epoch"] - self._since < self.epochs:
            return None
        return f"the training loss decreased by less than {100 * self.tolerance:g} % in {self.epochs} epochs"


@dataclass
class WorseningStages(StopRule):
    """Stops when the test loss has risen from one stage end to the next, `stages` times in a row."""

    stages: int
    _losses: list[float] = field(default_factory=list)

    def update(self, row: Row, last_of_stage: bool) -> str | None:
        if not last_of_stage:
            return None
        self._losses.append(row["test_loss"])
        recent = self._losses[-self.stages - 1 :]
        if len(recent) <= self.stages or any(after <= before for before, after in itertools.pairwise(recent)):
            return None
        return f"the test loss increased in {self.stages} consecutive stages"


STOP_RULES: dict[str, type[StopRule]] = {"stagnation": Stagnation, "worsening_stages": WorseningStages}


def make_stop_rule(rule: str, **settings: Any) -> StopRule:
    """Make the stop rule with this name, one of `STOP_RULES`."""
    return STOP_RULES[rule](**settings)
