"""How large a problem's target is: what errors have to be compared with.

A mean squared error means nothing without the variance of the target, which is the error of the best constant. And
where the target is a product of many factors, the variance means little too: nearly everywhere the target is next to
nothing, and a few points, those that happen to lie near a maximum in every dimension, make up the variance. There the
error on a sample says how a model does at a handful of points, and says it differently for every sample.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from kanbench.problems.registry import PROBLEMS, Array
from kanbench.problems.samples import make_dataset

# At every second point a constant is right to a hundredth of the largest deviation: in a plot the target would be a
# line. On 10,000 points the ratio is 0.15 to 0.36 for the problems on the square, 0.18 and 0.09 for the products of
# sines in 3 and 4 dimensions, and 0.003 in 10, where a hundredth of the points have half of the variance.
DEGENERATE = 0.01
ROUNDING = 8  # units in the last place of a mean: what is no farther from it is so by rounding


@dataclass(frozen=True)
class TargetScale:
    """Of a target f on a sample, with mean m.

    Attributes:
        variance (float): The mean of (f - m)²: the mean squared error of the constant m, the best there is.
        typical, largest (float): The median and the maximum of |f - m|.
    """

    variance: float
    typical: float
    largest: float
    mean: float

    @property
    def mean_square(self) -> float:
        """The mean of f², which relative L2 errors are relative to."""
        return self.variance + self.mean**2

    @property
    def is_constant(self) -> bool:
        """Whether nothing of the target but rounding can be seen on the sample, relative to its own size."""
        return _is_rounding(self.variance**0.5, self.mean)

    @property
    def is_degenerate(self) -> bool:
        """Whether a constant is as good as the target at most points."""
        return self.typical < DEGENERATE * self.largest

    def in_words(self) -> str:
        return (
            f"the target differs from its mean by typically {self.typical:.2g}, at most {self.largest:.2g} (variance "
            f"{self.variance:.2g}): at most points a constant is as good"
        )


def _is_rounding(deviation: float, mean: float, dtype: Any = float) -> bool:
    """Whether numbers of this type differ from their mean by rounding errors only."""
    return not deviation > ROUNDING * float(np.finfo(dtype).eps) * abs(mean)


def scale_of(target: Array) -> TargetScale:
    """The scale of the targets of a sample, an array of any shape; of what is constant in its precision, none."""
    dtype, target = target.dtype, target.astype(float)
    mean = float(target.mean())
    deviation = np.sort(np.abs(target - mean), axis=None)
    variance = float(np.square(deviation).mean())
    if _is_rounding(variance**0.5, mean, dtype):
        return TargetScale(0.0, 0.0, 0.0, mean)
    return TargetScale(variance, float(deviation[(len(deviation) - 1) // 2]), float(deviation[-1]), mean)


@dataclass(frozen=True)
class TargetUnits:
    """The units in which a training works: z = (y - offset) / scale, for targets y of shape (n, outputs).

    One scale for all outputs, so that the mean square of all errors is that in the targets' units over scale².

    Attributes:
        offset (float, or array of shape (outputs,) for several): Of every output its own.
        scale (float): Not 0, and may be negative.
    """

    offset: float | Array = 0.0
    scale: float = 1.0

    @classmethod
    def standardizing(cls, target: Array) -> TargetUnits:
        """Units in which the targets of a sample have mean 0 and deviation 1, and the largest of them is positive.

        Every output has mean 0; 1 is the deviation of all together, so that the outputs keep their sizes relative to
        each other, as the loss that counts their errors alike has it.

        So c f + d is the same target as f for any c that is not 0, also a negative one, and any d. What differs from
        its mean by rounding errors only keeps its scale.
        """
        target = target.astype(float)
        offset = target.mean(axis=0) if target.ndim > 1 and target.shape[1] > 1 else float(target.mean())
        deviation = target - offset
        scale = float(np.sqrt(np.square(deviation).mean()))
        if _is_rounding(scale, np.abs(offset).max()):
            return cls(offset)
        return cls(offset, float(np.copysign(scale, deviation.flat[np.abs(deviation).argmax()])))

    def of(self, target: Array) -> Array:
        """z, in the precision of y."""
        return ((target.astype(float) - self.offset) / self.scale).astype(target.dtype)


@functools.cache
def target_scale(problem: str, dense_num: int = 10_000, seed: int = 0) -> TargetScale:
    """The scale of a problem's target on the dense sample, in float64; by default that of the default configuration."""
    return scale_of(make_dataset(PROBLEMS[problem], 0, 0, dense_num, seed).dense_label)
