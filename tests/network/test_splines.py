"""Splines against scipy's and pykan's."""

import numpy as np
import pytest
import torch
from kan.spline import B_batch
from scipy.interpolate import BSpline

from kanbench.network.splines import basis_matrix, basis_polynomials, evaluate_splines, greville

ORDERS = (1, 2, 3, 4, 5)


def random_knots(k, seed, grid=7):
    return np.cumsum(np.random.default_rng(seed).uniform(0.1, 1, grid + 1 + 2 * k)) - 3


def points(t):
    """In the knots, beyond them, and at them; pykan's intervals are closed on the left."""
    low, high = 1.5 * t[0] - 0.5 * t[-1], 1.5 * t[-1] - 0.5 * t[0]
    return np.concatenate([np.random.default_rng(0).uniform(low, high, 500), t])


@pytest.mark.parametrize("k", ORDERS)
def test_splines_are_scipys(k):
    t = random_knots(k, seed=k)
    c, x = np.random.default_rng(k).normal(size=(4, len(t) - k - 1)), points(t)
    steps = np.arange(1, k + 1)  # scipy's domain ends k knots before the last: as many more make it all of t
    longer, padded = np.r_[t[0] - steps[::-1], t, t[-1] + steps], np.pad(c, ((0, 0), (k, k)))
    expected = np.nan_to_num(BSpline(longer, padded.T, k, extrapolate=False)(x))
    np.testing.assert_allclose(evaluate_splines(x, t, k, c), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("k", ORDERS)
def test_the_basis_is_pykans(k):
    for seed in range(20):
        t = random_knots(k, seed)
        x = points(t)
        expected = B_batch(torch.from_numpy(x)[:, None], torch.from_numpy(t)[None], k)[:, 0].numpy()
        np.testing.assert_allclose(basis_matrix(x, t, k), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("k", ORDERS)
def test_at_repeated_knots_basis_functions_are_zero_as_pykans(k):
    t = random_knots(k, seed=1)
    t[k + 2] = t[k + 1]
    t[-1] = t[-2]
    x = points(t)
    expected = B_batch(torch.from_numpy(x)[:, None], torch.from_numpy(t)[None], k)[:, 0].numpy()
    np.testing.assert_allclose(basis_matrix(x, t, k), expected, rtol=0, atol=1e-14)


def test_polynomials_join_smoothly_and_sum_to_one():
    k, t = 3, random_knots(3, seed=2)
    p = basis_polynomials(t, k)
    assert p.shape == (len(t) - 1, k + 1, k + 1)
    np.testing.assert_allclose(p[k:-k].sum(axis=1), [[1, 0, 0, 0]] * 7, rtol=0, atol=1e-14)  # on the domain
    width = np.diff(t)
    for derivative in range(k):  # B_(m - k + r) on span m is row r; on the next span it is row r - 1
        power = np.arange(k + 1)
        factors = np.array([np.prod([q - i for i in range(derivative)]) for q in power])
        left = (p[:-1, 1:] * factors).sum(axis=2) / width[:-1, None] ** derivative
        right = p[1:, :-1, derivative] * factors[derivative] / width[1:, None] ** derivative
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", ORDERS)
def test_greville_abscissae_give_the_identity(k):
    t = random_knots(k, seed=k)
    x = np.linspace(t[k], t[-k - 1], 200)
    np.testing.assert_allclose(basis_matrix(x, t, k) @ greville(t, k), x, rtol=0, atol=1e-13)


def test_any_array_will_do_and_none_is_changed():
    t, c, x = (part.astype(np.float32) for part in (random_knots(3, 1), np.ones((2, 10)), np.linspace(-2, 2, 9)))
    for array in (t, c, x):
        array.flags.writeable = False
    values = evaluate_splines(x[::2], t, 3, np.asfortranarray(c))
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, evaluate_splines(x.astype(float), t.astype(float), 3, c.astype(float))[::2])
    assert np.isfinite(evaluate_splines(np.array([np.nan, np.inf, -np.inf]), t, 3, c)).all()
