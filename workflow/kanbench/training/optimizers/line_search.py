"""A line search for the strong Wolfe conditions (Nocedal & Wright, Algorithms 3.5 and 3.6).

It decides as torch's L-BFGS does (itself based on Schmidt's minFunc), except that nan counts as too high.

The functions run in Python with an engine that is not compiled, and are compiled into the optimizer's loop with one
that is; both take the same steps.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba.core.extending import register_jitable

from kanbench.problems import Array
from kanbench.training.optimizers.two_loops import dot

ARMIJO = 1e-4
CURVATURE = 0.9
MAX_TRIALS = 25
SMALLEST_BRACKET = 1e-9  # width of a bracket, as the largest change of a parameter


class Line(NamedTuple):
    """The line θ + t d; `engine` is an engine, or its compiled counterpart."""

    engine: Any
    theta: Array
    direction: Array


class Point(NamedTuple):
    """A point on a line: t, the loss, its derivative with respect to t, and the gradient."""

    t: float
    value: float
    slope: float
    gradient: Array


@register_jitable
def point_at(line: Line, t: float) -> Point:
    """Evaluate loss, slope and gradient at t."""
    step = line.theta.dtype.type(t) * line.direction  # in the precision of θ, compiled or not
    loss, gradient = line.engine.loss_and_gradient(line.theta + step)
    return Point(t, loss, dot(gradient, line.direction), gradient)


@register_jitable
def strong_wolfe(line: Line, start: Point, t: float) -> tuple[Point, int]:
    """Find a point that satisfies the strong Wolfe conditions; failing that, the lowest point found.

    Args:
        start (Point): At t = 0, with a negative slope.
        t (float): The first trial step.

    Returns:
        point, number of trials
    """
    before, point = start, point_at(line, t)
    for trial in range(MAX_TRIALS):
        if _too_high(point, start) or (trial > 1 and point.value >= before.value):
            return _zoom(line, start, before, point, trial + 1)
        if abs(point.slope) <= -CURVATURE * start.slope:
            return point, trial + 1
        if point.slope >= 0:
            return _zoom(line, start, before, point, trial + 1)
        lowest, highest = point.t + 0.01 * (point.t - before.t), 10 * point.t
        before, point = point, point_at(line, _minimum_of_cubic(before, point, lowest, highest))
    return point if point.value < start.value else start, MAX_TRIALS + 1


@register_jitable
def _zoom(line: Line, start: Point, left: Point, right: Point, trials: int) -> tuple[Point, int]:
    """Narrow a bracket until a point in it satisfies the conditions; `trials` have been used so far."""
    low, high = right, left
    if left.value <= right.value or math.isnan(right.value):
        low, high = left, right
    near_the_end, reach = False, np.abs(line.direction).max()
    while trials <= MAX_TRIALS:
        first, last = min(low.t, high.t), max(low.t, high.t)
        if (last - first) * reach < SMALLEST_BRACKET:
            break
        t = _minimum_of_cubic(low, high, first, last)
        margin = 0.1 * (last - first)
        if min(last - t, t - first) >= margin:
            near_the_end = False
        elif near_the_end or t >= last or t <= first:
            t, near_the_end = last - margin if last - t < t - first else first + margin, False
        else:
            near_the_end = True
        point, trials = point_at(line, t), trials + 1
        if _too_high(point, start) or point.value >= low.value:
            high = point
            if high.value < low.value:
                low, high = high, low
        elif abs(point.slope) <= -CURVATURE * start.slope:
            return point, trials
        else:
            low, high = point, low if point.slope * (high.t - low.t) >= 0 else high
    return low, trials


@register_jitable
def _too_high(point: Point, start: Point) -> bool:
    return not point.value <= start.value + ARMIJO * point.t * start.slope


@register_jitable
def _minimum_of_cubic(left: Point, right: Point, low: float, high: float) -> float:
    """Minimum in [low, high] of the cubic Hermite interpolant of two points; the midpoint if there is none."""
    if left.t > right.t:
        left, right = right, left
    middle = (low + high) / 2
    if left.t == right.t:
        return middle
    d1 = left.slope + right.slope - 3 * (left.value - right.value) / (left.t - right.t)
    square = d1 * d1 - left.slope * right.slope  # d1**2 raises an error where this is inf
    if not square >= 0:
        return middle
    d2 = math.sqrt(square)
    divisor = right.slope - left.slope + 2 * d2
    if divisor == 0:
        return middle
    return min(max(right.t - (right.t - left.t) * (right.slope + d2 - d1) / divisor, low), high)
