"""Paired time measurements and their statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kanbench.training.history import now

Measure = Callable[[], float]  # does something and returns the seconds that it took

# Least seconds of the repeated calls that make one measurement. A single short call would find its data and code
# evicted from cache by the other side, which does not happen in training.
LONG_ENOUGH = 5e-3
FEWEST_PAIRS = 3
PATIENCE = 4  # multiple of the requested time after which fewer pairs are accepted


def repeated(call: Callable[[], object], device: str = "cpu") -> Measure:
    """Make a measurement of `call`: seconds per call, from repeated calls that take `LONG_ENOUGH`."""
    call()  # warm-up: compile, allocate
    count = max(1, math.ceil(LONG_ENOUGH / seconds_of(call, 1, device)))
    return lambda: seconds_of(call, count, device) / count


def in_a_row(measure: Measure) -> Measure:
    """Make a measurement that averages as many of `measure` as take `LONG_ENOUGH`, for calls that are not all alike."""

    def mean() -> float:
        seconds = [measure()]
        while sum(seconds) < LONG_ENOUGH:
            seconds.append(measure())
        return sum(seconds) / len(seconds)

    return mean


def seconds_of(call: Callable[[], object], count: int = 1, device: str = "cpu") -> float:
    """Seconds of `count` successive calls."""
    start = now(device)
    for _ in range(count):
        call()
    return now(device) - start


def in_turns(measures: Sequence[Measure], seconds: float, fewest: int = FEWEST_PAIRS) -> list[list[float]]:
    """Measure alternately, A B A B …, for about `seconds`.

    Takes at least `fewest` pairs, or, if these take longer than `PATIENCE` times `seconds`, at least one.

    Returns:
        list of lists of float: The results of each of `measures`; the n-th of each form a pair.
    """
    pairs, start = [], now()
    while True:
        pairs.append([measure() for measure in measures])
        elapsed = now() - start
        if elapsed >= seconds * (1 if len(pairs) >= fewest else PATIENCE):
            return [list(values) for values in zip(*pairs, strict=True)]


def spread(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    """Median, quartiles and minimum."""
    smallest, q1, median, q3 = np.percentile(values, [0, 25, 50, 75]).tolist()
    return {"median": median, "q1": q1, "q3": q3, "min": smallest}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Fit the exponent a of seconds ∝ sizes^a by least squares on the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
