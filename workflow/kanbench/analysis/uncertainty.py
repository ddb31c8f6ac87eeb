"""Factors between errors, with confidence intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from kanbench.io.numbers import factor_text

LEVEL = 0.95
# Fewer seeds leave at most three degrees of freedom for the spread, and no way to check that the logarithms are
# normally distributed, as the interval assumes.
ENOUGH_SEEDS = 5


def interval(values: ArrayLike) -> tuple[float, float]:
    """Student's t confidence interval of the mean at level `LEVEL`; nan for a single value."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return nan, nan
    from scipy.special import stdtrit  # scipy.stats takes five times as long to import

    mean = float(values.mean())
    half_width = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1)) / sqrt(len(values))
    return mean - half_width, mean + half_width


def geometric_mean(values: ArrayLike) -> float:
    """Geometric mean of non-negative numbers, ignoring nan; a single number is returned unchanged."""
    every = np.asarray(values, dtype=float)
    there = every[~np.isnan(every)]
    if len(there) < 2:
        return float(there[0]) if len(there) else nan
    with np.errstate(divide="ignore"):  # a 0 makes the mean 0
        return float(np.exp(np.log(there).mean()))


@dataclass(frozen=True)
class Factor:
    """The ratio of two errors, as the geometric mean over seeds.

    This equals the ratio of the geometric means, so a factor agrees with the errors shown beside it. [`low`, `high`] is
    Student's t interval of the mean logarithm at level `LEVEL`, transformed back; both are nan for one seed.
    """

    value: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of_logs(cls, logs: ArrayLike) -> Factor:
        """Make a factor from the logarithms of the ratios, one per seed: errors are paired by seed."""
        logs = np.asarray(logs, dtype=float)
        # With two very different seeds, the exponential of a bound may overflow.
        value, low, high = np.exp(np.clip([logs.mean(), *interval(logs)], -700, 700)).tolist()
        return cls(value, low, high, len(logs))

    def inverse(self) -> Factor:
        return Factor(1 / self.value, 1 / self.high, 1 / self.low, self.seeds)

    @property
    def decided(self) -> bool | None:
        """Whether the interval excludes 1; None with fewer than `ENOUGH_SEEDS` seeds."""
        if self.seeds < ENOUGH_SEEDS:
            return None
        return not self.low <= 1 <= self.high

    @property
    def certainty(self) -> str:
        """The interval and the number of seeds, in words."""
        if self.seeds == 1:
            return "one seed"
        return f"95\u00a0% CI {factor_text(self.low)}–{factor_text(self.high)}, {self.seeds} seeds"
