"""The scale of targets: variances in closed form, and which problems are degenerate."""

from math import pi

import numpy as np
import pytest

from kanbench.problems import PROBLEMS, Problem
from kanbench.problems.samples import make_dataset
from kanbench.problems.target_scale import TargetScale, scale_of, target_scale


# The variance of d π² ∏ sin πxᵢ is (d π²)² / 2^d. The mean of its fourth power is (3/2)^d times the square of that, so
# that the estimate from 10,000 independent points has a relative standard deviation of sqrt(((3/2)^d - 1) / 10,000);
# Sobol points are better in few dimensions.
@pytest.mark.parametrize(("d", "tolerance"), [(2, 1e-3), (3, 1e-3), (4, 2e-3), (10, 3 * (1.5**10 / 10_000) ** 0.5)])
def test_variance_of_products_of_sines(d, tolerance):
    exact = (d * pi**2) ** 2 / 2**d
    assert target_scale(f"poisson_{d}d_sin").variance == pytest.approx(exact, rel=tolerance)


def test_variance_of_other_problems():
    assert target_scale("poisson_2d_highfreq").variance == pytest.approx((32 * pi**2) ** 2 / 4, rel=5e-3)
    # 2y(1-y) + 2x(1-x): x(1-x) has the mean -1/3, its square 8/15
    assert target_scale("poisson_2d_poly").variance == pytest.approx(8 * (8 / 15 - 1 / 9), rel=1e-3)


def test_it_is_that_of_the_dense_sample():
    label = make_dataset(PROBLEMS["poisson_3d_poly"], 10, 10, 500, 7).dense_label
    scale = target_scale("poisson_3d_poly", 500, 7)
    assert scale.variance == pytest.approx(np.square(label - label.mean()).mean(), rel=1e-12)
    assert scale.variance == pytest.approx(label.var(), rel=1e-12)
    assert scale != target_scale("poisson_3d_poly")


@pytest.mark.parametrize(("name", "exact"), [("initialization_f1", 1 / 9), ("feynman_18", 1 / 3 + 1 / 9)])
def test_mean_squares(name, exact):
    """Of xy, and of a + bc, in closed form; and of the sample itself."""
    assert target_scale(name).mean_square == pytest.approx(exact, rel=1e-3)
    label = make_dataset(PROBLEMS["initialization_f2"], 1, 1, 10_000, 0).dense_label
    assert target_scale("initialization_f2").mean_square == pytest.approx(np.square(label).mean(), rel=1e-13)


def test_which_problems_are_degenerate():
    poisson = [name for name in PROBLEMS if name.startswith("poisson_")]
    degenerate = {name for name in poisson if target_scale(name).is_degenerate}
    in_many = {name for name in poisson if PROBLEMS[name].dim >= 10}
    assert degenerate == in_many | {"poisson_4d_poly"}


def test_the_rule_of_degenerate_problems(monkeypatch):
    """On a line: where |x| is above 1 - share, the target is 1, or else as near zero as `low`."""
    for share, low, expected in [(0.6, 0.0, False), (0.4, 0.0, True), (0.4, 0.5, False)]:

        def target(x, share=share, low=low):
            return np.where(np.abs(x) > 1 - share, np.sign(x), low * np.sign(x))

        monkeypatch.setitem(PROBLEMS, "line", Problem("line", target, ((-1, 1),)))
        target_scale.cache_clear()
        assert target_scale("line").is_degenerate == expected
    target_scale.cache_clear()


def test_a_hundred_dimensions():
    """No sample of this size sees the variance, 7.7e-25: what is there is a millionth of it, and typically 1e-19."""
    scale = target_scale("poisson_100d_sin")
    assert 0 < scale.variance < 1e-4 * (100 * pi**2) ** 2 / 2**100
    assert scale.typical < 1e-15
    assert scale.in_words().startswith(f"the target differs from its mean by typically {scale.typical:.2g}, at most ")


@pytest.mark.parametrize("factor", [1.0, 1e-9, 1e12, -3e-30])
@pytest.mark.parametrize(("dtype", "rounding"), [("float64", 2e-16), ("float32", 6e-8)])
def test_constant_is_what_differs_by_rounding_relative_to_its_size(factor, dtype, rounding):
    x = np.random.default_rng(0).uniform(-1, 1, 1000)
    assert scale_of((factor * (1 + rounding * x)).astype(dtype)).is_constant
    assert not scale_of((factor * (1 + 1e3 * rounding * x)).astype(dtype)).is_constant
    assert not scale_of((factor * x).astype(dtype)).is_constant
    exact = scale_of(np.full(10, factor, dtype))
    assert exact == TargetScale(0.0, 0.0, 0.0, exact.mean)
    assert exact.mean == pytest.approx(factor, rel=10 * rounding, abs=0)
