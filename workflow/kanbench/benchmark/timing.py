"""Measuring times: pairs of calls in turns, and what to say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kanbench.training.history import now

Measure = Callable[[], float]  # does something and returns the seconds that it took

# Seconds of calls in a row that make one measurement. In training calls follow each other; a single short one after the
# other side's would find its data, and its code, out of cache.
LONG_ENOUGH = 5e-3
FEWEST_PAIRS = 3
PATIENCE = 4  # times the seconds asked for, after which fewer pairs have to do


def repeated(call: Callable[[], object], device: str = "cpu") -> Measure:
    """A measurement of `call`, as often in a row as takes `LONG_ENOUGH`: seconds of one call."""
    call()  # what is done only once: compiling, allocating
    count = max(1, math.ceil(LONG_ENOUGH / seconds_of(call, 1, device)))
    return lambda: seconds_of(call, count, device) / count


def in_a_row(measure: Measure) -> Measure:
    """The mean of as many measurements in a row as take `LONG_ENOUGH`, for calls that differ from each other."""

    def mean() -> float:
        seconds = [measure()]
        while sum(seconds) < LONG_ENOUGH:
            seconds.append(measure())
        return sum(seconds) / len(seconds)

    return mean


def seconds_of(call: Callable[[], object], count: int = 1, device: str = "cpu") -> float:
    """Seconds of `count` calls in a row."""
    start = now(device)
    for _ in range(count):
        call()
    return now(device) - start


def in_turns(measures: Sequence[Measure], seconds: float, fewest: int = FEWEST_PAIRS) -> list[list[float]]:
    """Measure A B A B … for about `seconds`; what each of `measures` found, the n-th values being a pair.

    At least `fewest` pairs, unless they take `PATIENCE` times as long; at least one.
    """
    pairs, start = [], now()
    while True:
        pairs.append([measure() for measure in measures])
        elapsed = now() - start
        if elapsed >= seconds * (1 if len(pairs) >= fewest else PATIENCE):
            return [list(values) for values in zip(*pairs, strict=True)]


def spread(values: Sequence[float] | NDArray[np.floating]) -> dict[str, float]:
    """Median, quartiles, and the smallest."""
    smallest, q1, median, q3 = np.percentile(values, [0, 25, 50, 75]).tolist()
    return {"median": median, "q1": q1, "q3": q3, "min": smallest}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The a of seconds ∝ sizes^a, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
