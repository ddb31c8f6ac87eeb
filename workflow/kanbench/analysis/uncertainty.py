"""How large a difference is, and how sure: factors with intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, nan

import numpy as np
from numpy.typing import ArrayLike

from kanbench.io.numbers import factor_text

LEVEL = 0.95
RESAMPLES = 9999
# The smallest and the largest of n values hold the median between them with a probability of 1 - 2^(1-n): 94 % for 5,
# 88 % for 4, 50 % for 2. Below 5 no interval that is made of them is one of 95 %.
ENOUGH_SEEDS = 5


def interval(values: ArrayLike) -> tuple[float, float]:
    """A bootstrap interval of the median (percentiles, 9999 resamples, always the same); nan for a single value."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return nan, nan
    from scipy.stats import bootstrap  # takes a second to import

    rng = np.random.default_rng(0)
    found = bootstrap(
        (values,), np.median, axis=-1, confidence_level=LEVEL, n_resamples=RESAMPLES, method="percentile", rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Factor:
    """How many times larger one error is than another, in the median over seeds.

    From `low` to `high` is a bootstrap interval at the level `LEVEL`; both are nan for one seed.
    """

    value: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of_logs(cls, logs: ArrayLike) -> Factor:
        """From the logarithms of the ratios, one per seed: errors are paired by seed."""
        logs = np.asarray(logs, dtype=float)
        low, high = interval(logs)
        return cls(exp(np.median(logs)), exp(low), exp(high), len(logs))

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
        between = f"interval {factor_text(self.low)} to {factor_text(self.high)}, {self.seeds} seeds"
        if self.decided is None:
            return f"{between}: too few to decide"
        return f"95 % {between}" + ("" if self.decided else ": not decided")
