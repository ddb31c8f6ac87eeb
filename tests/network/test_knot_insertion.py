"""Knot insertion against scipy's."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

from kanbench.io.kernel_cache import cache
from kanbench.network.knot_insertion import halve_intervals, insert_knot


@pytest.fixture(scope="module", autouse=True)
def compiled_code_is_kept():
    cache.open()


def random_splines(k, grid, seed):
    random = np.random.default_rng(seed)
    t = np.cumsum(random.uniform(0.1, 1, grid + 1 + 2 * k))
    return t, random.normal(size=(3, grid + k))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("where", [0.01, 0.4, 0.99])
def test_one_knot(k, where):
    t, c = random_splines(k, 4, seed=k)
    x = t[k] + where * (t[-k - 1] - t[k])
    expected = BSpline(t, c.T, k).insert_knot(x)
    ours_t, ours_c = np.pad(t, (0, 1)), np.pad(c, ((0, 0), (0, 1)))
    insert_knot(x, ours_t, ours_c, k, len(t))
    np.testing.assert_array_equal(ours_t, expected.t)
    np.testing.assert_allclose(ours_c, expected.c.T, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("k", [1, 3])
def test_many_knots_keep_the_splines_and_halve_intervals(k):
    t, c = random_splines(k, 5, seed=7)
    samples = np.sort(np.random.default_rng(1).uniform(t[k], t[-k - 1], 200))
    ours_t, ours_c = np.pad(t, (0, 40)), np.pad(c, ((0, 0), (0, 40)))
    halve_intervals(ours_t, ours_c, k, len(t), samples)
    assert set(t) <= set(ours_t) and (np.diff(ours_t) > 0).all()
    np.testing.assert_allclose(BSpline(ours_t, ours_c.T, k)(samples), BSpline(t, c.T, k)(samples), rtol=0, atol=1e-14)
    assert np.diff(ours_t[k:-k]).max() <= np.diff(t[k:-k]).max() / 4


def test_knots_go_where_samples_are():
    """The widest interval has none."""
    t = np.array([-2.0, -1, 0, 1, 11, 12, 13])
    samples = np.array([0.2, 0.7])
    ours_t = np.pad(t, (0, 2))
    halve_intervals(ours_t, np.zeros((1, len(t) + 2 - 2)), 1, len(t), samples)
    np.testing.assert_array_equal(ours_t, [-2, -1, 0, 0.25, 0.5, 1, 11, 12, 13])
    ours_t = np.pad(t, (0, 1))
    halve_intervals(ours_t, np.zeros((1, len(t) + 1 - 2)), 1, len(t), np.array([50.0]))
    np.testing.assert_array_equal(ours_t, [-2, -1, 0, 1, 6, 11, 12, 13])
