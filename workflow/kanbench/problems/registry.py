"""The registry of problems: target functions on boxes, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Interval = tuple[float, float]
Target = Callable[[Array], Array]


@dataclass(frozen=True)
class Problem:
    """A target function on a box: it maps inputs of shape (n, d) to values of shape (n, 1)."""

    name: str
    target: Target
    domain: tuple[Interval, ...]

    @property
    def dim(self) -> int:
        return len(self.domain)


PROBLEMS: dict[str, Problem] = {}


def problem(*domain: Interval, name: str | None = None) -> Callable[[Target], Target]:
    """Register the decorated function as a problem on `domain`, by default under its own name."""

    def register(target: Target) -> Target:
        key = name or target.__name__
        PROBLEMS[key] = Problem(key, target, domain)
        return target

    return register
