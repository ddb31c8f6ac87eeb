"""A line search that ends where the strong Wolfe conditions hold (Nocedal & Wright, Algorithms 3.5 and 3.6).

The same decisions as in torch's L-BFGS (itself after Schmidt's minFunc), but that a value which is not a number counts
as too high.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kanbench.engine import CountingEngine, flops
from kanbench.problems import Array

ARMIJO = 1e-4
CURVATURE = 0.9
MAX_TRIALS = 25
SMALLEST_BRACKET = 1e-9  # of the largest change of a parameter


class Point(NamedTuple):
    """On the line θ + t d: t, the loss there, its derivative by t, and the gradient."""

    t: float
    value: float
    slope: float
    gradient: Array


class Line:
    """The loss along θ + t d."""

    def __init__(self, engine: CountingEngine, theta: Array, direction: Array) -> None:
        self.engine, self.theta, self.direction = engine, theta, direction

    def at(self, t: float) -> Point:
        self.engine.flops += flops.LINE_SEARCH * len(self.theta)
        loss, gradient = self.engine.loss_and_gradient(self.theta + t * self.direction)
        return Point(t, loss, float(gradient @ self.direction), gradient)


def strong_wolfe(line: Line, start: Point, t: float) -> Point:
    """Find a point on a line that meets the conditions, or the lowest that was found.

    Args:
        start (Point): Where t = 0; its slope is negative.
        t (float): The first trial.
    """
    before, point = start, line.at(t)
    for trial in range(MAX_TRIALS):
        if _too_high(point, start) or (trial > 1 and point.value >= before.value):
            return _zoom(line, start, before, point, trial)
        if abs(point.slope) <= -CURVATURE * start.slope:
            return point
        if point.slope >= 0:
            return _zoom(line, start, before, point, trial)
        bounds = point.t + 0.01 * (point.t - before.t), 10 * point.t
        before, point = point, line.at(_minimum_of_cubic(before, point, *bounds))
    return min(start, point, key=lambda end: end.value)


def _zoom(line: Line, start: Point, left: Point, right: Point, trials: int) -> Point:
    """Narrow a bracket until a point in it meets the conditions."""
    low, high = (left, right) if left.value <= right.value or math.isnan(right.value) else (right, left)
    near_the_end, reach = False, float(np.abs(line.direction).max())
    for _ in range(trials, MAX_TRIALS):
        first, last = min(low.t, high.t), max(low.t, high.t)
        if (last - first) * reach < SMALLEST_BRACKET:
            break
        t = _minimum_of_cubic(left, right, first, last)
        margin = 0.1 * (last - first)
        if min(last - t, t - first) >= margin:
            near_the_end = False
        elif near_the_end or t >= last or t <= first:
            t, near_the_end = last - margin if last - t < t - first else first + margin, False
        else:
            near_the_end = True
        point = line.at(t)
        if _too_high(point, start) or point.value >= low.value:
            high = point
            if high.value < low.value:
                low, high = high, low
        elif abs(point.slope) <= -CURVATURE * start.slope:
            return point
        else:
            low, high = point, low if point.slope * (high.t - low.t) >= 0 else high
        left, right = low, high
    return low


def _too_high(point: Point, start: Point) -> bool:
    return not point.value <= start.value + ARMIJO * point.t * start.slope


def _minimum_of_cubic(left: Point, right: Point, low: float, high: float) -> float:
    """The minimum of the cubic through two points with their slopes, from low to high; the middle if it has none."""
    if left.t > right.t:
        left, right = right, left
    d1 = left.slope + right.slope - 3 * (left.value - right.value) / (left.t - right.t)
    square = d1 * d1 - left.slope * right.slope  # d1**2 raises an error where this is inf
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    divisor = right.slope - left.slope + 2 * d2
    if divisor == 0:
        return (low + high) / 2
    return min(max(right.t - (right.t - left.t) * (right.slope + d2 - d1) / divisor, low), high)
