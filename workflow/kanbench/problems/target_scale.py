"""The scale of a problem's target, as a reference for errors.

A mean squared error means little without the variance of the target, which is the error of the best constant. For a
product of many factors, even the variance means little: the target is nearly zero almost everywhere, and a few points
that happen to lie near a maximum in every dimension make up the variance. The error then describes the model at a
handful of points, which differ from sample to sample.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from kanbench.problems.registry import PROBLEMS, Array
from kanbench.problems.samples import make_dataset

# Limit on median / maximum deviation from the mean: at half of the points a constant is accurate to a hundredth of the
# largest deviation, so a plot would show a line. On 10,000 points the ratio is 0.15 to 0.36 for the problems on the
# square, 0.18 and 0.09 for products of sines in 3 and 4 dimensions, and 0.003 in 10, where 1 % of the points make up
# half of the variance.
DEGENERATE = 0.01
ROUNDING = 8  # machine epsilons, relative to the mean: smaller deviations are taken for rounding errors


@dataclass(frozen=True)
class TargetScale:
    """The scale of a target f with mean m on a sample.

    Attributes:
        variance (float): The mean of (f - m)², which is the mean squared error of the best constant, m.
        typical, largest (float): The median and the maximum of |f - m|.
        mean (float): m.
    """

    variance: float
    typical: float
    largest: float
    mean: float

    @property
    def mean_square(self) -> float:
        """The mean of f², the denominator of squared relative L2 errors."""
        return self.variance + self.mean**2

    @property
    def is_constant(self) -> bool:
        """Whether the target is constant on the sample up to rounding errors."""
        return _is_rounding(self.variance**0.5, self.mean)

    @property
    def is_degenerate(self) -> bool:
        """Whether a constant approximates the target well at most points."""
        return self.typical < DEGENERATE * self.largest

    def in_words(self) -> str:
        """Explain why the target is degenerate."""
        return (
            f"the target differs from its mean by typically {self.typical:.2g}, at most {self.largest:.2g} (variance "
            f"{self.variance:.2g}): at most points a constant is as good"
        )


def _is_rounding(deviation: float, mean: float, dtype: Any = float) -> bool:
    """Whether numbers of this dtype differ from their mean only by rounding errors."""
    return not deviation > ROUNDING * float(np.finfo(dtype).eps) * abs(mean)


def scale_of(target: Array) -> TargetScale:
    """The scale of the targets of a sample, an array of any shape.

    If the targets are constant in their precision, variance and deviations are 0.
    """
    dtype, target = target.dtype, target.astype(float)
    mean = float(target.mean())
    deviation = np.sort(np.abs(target - mean), axis=None)
    variance = float(np.square(deviation).mean())
    if _is_rounding(variance**0.5, mean, dtype):
        return TargetScale(0.0, 0.0, 0.0, mean)
    return TargetScale(variance, float(deviation[(len(deviation) - 1) // 2]), float(deviation[-1]), mean)


@dataclass(frozen=True)
class TargetUnits:
    """The units of a training: z = (y - offset) / scale, for targets y of shape (n, outputs).

    All outputs share one scale, so the mean squared error in these units is that in the target's units over scale².

    Attributes:
        offset (float, or array of shape (outputs,) if there are several): One for each output.
        scale (float): Not 0; may be negative.
    """

    offset: float | Array = 0.0
    scale: float = 1.0

    @classmethod
    def standardizing(cls, target: Array) -> TargetUnits:
        """Units in which a sample's targets have mean 0 and standard deviation 1, and the largest is positive.

        Each output has mean 0, but all outputs together have deviation 1. They keep their relative sizes because the
        loss weights their errors equally.

        In these units c f + d is the same target as f, for any c ≠ 0 and any d. A target that is constant up to
        rounding errors is not scaled.

        Args:
            target (array of shape (n, outputs) or (n,)): The targets of the sample.
        """
        target = target.astype(float)
        offset = target.mean(axis=0) if target.ndim > 1 and target.shape[1] > 1 else float(target.mean())
        deviation = target - offset
        scale = float(np.sqrt(np.square(deviation).mean()))
        if _is_rounding(scale, np.abs(offset).max()):
            return cls(offset)
        return cls(offset, float(np.copysign(scale, deviation.flat[np.abs(deviation).argmax()])))

    def of(self, target: Array) -> Array:
        """Convert targets y to z, in the dtype of y."""
        return ((target.astype(float) - self.offset) / self.scale).astype(target.dtype)


@functools.cache
def target_scale(problem: str, dense_num: int = 10_000, seed: int = 0) -> TargetScale:
    """The scale of a problem's target on the dense sample, in float64; the defaults match the default configuration."""
    return scale_of(make_dataset(PROBLEMS[problem], 0, 0, dense_num, seed).dense_label)
