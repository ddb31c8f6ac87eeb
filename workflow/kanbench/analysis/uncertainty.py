"""How large a difference is, and how sure: factors with intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from kanbench.io.numbers import factor_text

LEVEL = 0.95
# With fewer, the spread of the seeds is known from three differences at most, and whether the logarithms are spread as
# the interval supposes, from none.
ENOUGH_SEEDS = 5


def interval(values: ArrayLike) -> tuple[float, float]:
    """Student's interval of the mean at the level `LEVEL`; nan for a single value."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return nan, nan
    from scipy.special import stdtrit  # scipy.stats takes five times as long to import

    middle = float(values.mean())
    reach = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1)) / sqrt(len(values))
    return middle - reach, middle + reach


def geometric_mean(values: ArrayLike) -> float:
    """Of numbers that are not negative, without those that are nan; a single one stays as it is, to the bit."""
    every = np.asarray(values, dtype=float)
    there = every[~np.isnan(every)]
    if len(there) < 2:
        return float(there[0]) if len(there) else nan
    with np.errstate(divide="ignore"):  # a 0 makes the mean 0
        return float(np.exp(np.log(there).mean()))


@dataclass(frozen=True)
class Factor:
    """How many times larger one error is than another, in the geometric mean over seeds.

    That is the ratio of the errors' geometric means: no factor contradicts the errors beside it. From `low` to `high`
    is Student's interval of the mean logarithm, at the level `LEVEL`; both are nan for one seed.
    """

    value: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of_logs(cls, logs: ArrayLike) -> Factor:
        """From the logarithms of the ratios, one per seed: errors are paired by seed."""
        logs = np.asarray(logs, dtype=float)
        # Of two seeds that differ much, an end may be beyond the largest number.
        value, low, high = np.exp(np.clip([logs.mean(), *interval(logs)], -700, 700)).tolist()
        return cls(value, low, high, len(logs))

    def inverse(self) -> Factor:
        return Factor(1 / self.value, 1 / self.high, 1 / self.low, self.seeds)

    @property
    def decided(self) -> bool | None:
        """Whether the interval does not hold 1; None if there are too few seeds to tell."""
        if self.seeds < ENOUGH_SEEDS:
            return None
        return not self.low <= 1 <= self.high

    @property
    def certainty(self) -> str:
        """The interval and the number of seeds, in words."""
        if self.seeds == 1:
            return "one seed"
        return f"95\u00a0% CI {factor_text(self.low)}–{factor_text(self.high)}, {self.seeds} seeds"
