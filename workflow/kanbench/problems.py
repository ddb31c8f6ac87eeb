"""The functions to be learned, with their domains.

A problem is one decorated function; nothing else has to be edited to add one. The functions use tensor methods only,
so that this module, which the Snakefile reads to check dataset names, does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Interval = tuple[float, float]


@dataclass(frozen=True)
class Problem:
    """A target function on a box.

    Attributes
    ----------
    name : str
    target : callable
        Maps inputs of shape (n, d) to values of shape (n, 1).
    domain : tuple of (low, high), one per dimension
    """

    name: str
    target: Callable[[Tensor], Tensor]
    domain: tuple[Interval, ...]

    @property
    def dim(self) -> int:
        return len(self.domain)


PROBLEMS: dict[str, Problem] = {}


def problem(*domain: Interval) -> Callable:
    """Register the decorated function, under its own name, as a problem on `domain`."""

    def register(target: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        PROBLEMS[target.__name__] = Problem(target.__name__, target, domain)
        return target

    return register


@problem((-1, 1), (-1, 1))
def poisson_2d_sin(x: Tensor) -> Tensor:
    """-Δu for u = sin πx sin πy."""
    x, y = x[:, [0]], x[:, [1]]
    return 2 * pi**2 * (pi * x).sin() * (pi * y).sin()


@problem((-1, 1), (-1, 1))
def poisson_2d_poly(x: Tensor) -> Tensor:
    """-Δu for u = x(1-x) y(1-y)."""
    x, y = x[:, [0]], x[:, [1]]
    return 2 * y * (1 - y) + 2 * x * (1 - x)


@problem((-1, 1), (-1, 1))
def poisson_2d_highfreq(x: Tensor) -> Tensor:
    """-Δu for u = sin 4πx sin 4πy."""
    x, y = x[:, [0]], x[:, [1]]
    return 32 * pi**2 * (4 * pi * x).sin() * (4 * pi * y).sin()


@problem((-1, 1), (-1, 1))
def poisson_2d_spec(x: Tensor) -> Tensor:
    """Δu for u = sin πx sin πy², the example of the KAN paper's section on partial differential equations."""
    x, y = x[:, [0]], x[:, [1]]
    return -(pi**2) * (1 + 4 * y**2) * (pi * x).sin() * (pi * y**2).sin() + 2 * pi * (pi * x).sin() * (pi * y**2).cos()
