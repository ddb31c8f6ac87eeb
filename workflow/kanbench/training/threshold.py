"""The interpolation threshold: the epoch with the best test loss before overfitting sets in."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from kanbench.training.resume import Stateful


@dataclass
class Threshold(Stateful):
    """Finds the interpolation threshold during training.

    Overfitting sets in after `patience` consecutive epochs with a test loss above best × (1 + `tolerance`); a lower
    loss resets the count. Later epochs are ignored, however low their loss.
    """

    patience: int
    tolerance: float
    best: float = inf
    passed: bool = False
    _above: int = 0

    def update(self, test_loss: float) -> bool:
        """Take the next epoch's test loss; return whether that epoch is the threshold so far."""
        if self.passed:
            return False
        if test_loss < self.best:
            self.best, self._above = test_loss, 0
            return True
        self._above = self._above + 1 if test_loss > self.best * (1 + self.tolerance) else 0
        self.passed = self._above >= self.patience
        return False
