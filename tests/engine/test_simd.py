"""Vectors in compiled code against numpy, in both precisions."""

import numpy as np
import pytest
from scipy.special import expit

from kanbench.engine.numba_engine.inputs import sigmoid
from kanbench.engine.numba_engine.simd import LANES, gather, load, powers, select, store, total, wide
from kanbench.io.kernel_cache import compiled


@compiled
def calculate(a, b, index, results):
    x, y = load(a, 1), load(b, 0)
    store(x * 2.0 + y, results[0], 0)
    store((1 - x) / y, results[1], 0)
    store(select(x < y, x, 0), results[2], 0)
    store(select((x <= y) & (x < 0.5), y, x), results[3], 0)
    store(gather(a, (wide(load(index, 0)) + 1) - 1), results[4], 0)
    store(powers(a[2], (0, 0, 0, 0)), results[5], 0)
    store(powers(a[2], (0, 0, 0, 0, 0, 0)), results[6], 0)
    store(select(x == select(x < y, x, y), x, y), results[7], 0)
    return total(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_operations(dtype):
    random = np.random.default_rng(0)
    a, b = (random.uniform(0.1, 1, LANES + 2).astype(dtype) for _ in range(2))
    index = random.integers(0, LANES, LANES).astype(np.int32)
    results = np.zeros((8, LANES), dtype)
    sum_of_lanes = calculate(a, b, index, results)
    x, y = a[1 : 1 + LANES], b[:LANES]
    expected = [
        2 * x + y,
        (1 - x) / y,
        np.where(x < y, x, 0),
        np.where((x <= y) & (x < 0.5), y, x),
        a[index],
        np.tile(a[2] ** np.arange(4), 2),
        a[2] ** np.arange(8),
        np.minimum(x, y),
    ]
    np.testing.assert_allclose(results, expected, rtol=4 * np.finfo(dtype).eps)
    assert sum_of_lanes == pytest.approx(float(x.sum(dtype=float)), rel=float(4 * np.finfo(dtype).eps))


@compiled
def sigmoids(x, values):
    for i in range(0, len(x), LANES):
        store(sigmoid(load(x, i)), values, i)


def test_sigmoid():
    x = np.concatenate([np.linspace(-40, 40, 4001), [0, 1e-300, 700, -700, 1e5, -1e5, np.inf]])
    values = np.empty_like(x)
    sigmoids(x, values)
    np.testing.assert_allclose(values, expit(x), rtol=1e-15, atol=1e-304)
    hostile = np.full(LANES, np.nan)
    sigmoids(hostile, hostile)
    assert np.isnan(hostile).all()
