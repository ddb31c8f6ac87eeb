"""Cholesky factors in compiled code, against numpy."""

import numpy as np
import pytest

from kanbench.engine.numba_engine import cholesky
from kanbench.engine.numba_engine.simd import LANES


def factor_of(matrix, shift):
    strips = np.full(cholesky.begin_of(-(-len(matrix) // LANES) * LANES), np.nan)
    return cholesky.factorise(matrix, shift, strips), strips


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 16, 63, 64, 65, 72, 73, 130, 211])
def test_solutions(n):
    """Of all sizes; only the upper triangle counts, and it stays as it is."""
    a = np.random.default_rng(n).normal(size=(n, n + 20))
    gram, b = a @ a.T, a[:, 0].copy()
    matrix = np.triu(gram) + np.tril(np.full((n, n), np.nan), -1)
    given = matrix.copy()
    definite, strips = factor_of(matrix, 0.5)
    assert definite
    expected = np.linalg.solve(gram + 0.5 * np.eye(n), b)
    for _ in range(2):
        np.testing.assert_allclose(cholesky.solve(strips, b), expected, rtol=0, atol=1e-11 * abs(expected).max())
    np.testing.assert_array_equal(matrix, given)


@pytest.mark.parametrize("n", [1, 8, 100])
@pytest.mark.parametrize("last", [-1e-3, 0.0, np.nan])
def test_a_matrix_that_is_not_definite(n, last):
    matrix = np.eye(n)
    matrix[-1, -1] = last
    assert not factor_of(matrix, 0.0)[0]
    assert factor_of(matrix, 1.0)[0] == (not np.isnan(last))
