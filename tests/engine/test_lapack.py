"""scipy's LAPACK and BLAS without scipy.linalg."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kanbench.engine.torch_engine.cholesky import cholesky

RANDOM = np.random.default_rng(0)
A = RANDOM.normal(size=(40, 30))

COMPARED = """
import numpy as np
from kanbench.engine.torch_engine.cholesky import cholesky
a = np.random.default_rng(0).normal(size=(40, 30))
def same():
    m = lapack.dsyrk(1.0, a, trans=True)
    assert np.array_equal(m, scipy.linalg.blas.dsyrk(1.0, a, trans=True))
    full = scipy.linalg.blas.dsymm(1.0, m, np.eye(30))
    assert np.array_equal(full, lapack.dsymm(1.0, m, np.eye(30)))
    factor = scipy.linalg.cho_factor(full + 0.1 * np.eye(30), check_finite=False)
    x = scipy.linalg.cho_solve(factor, a[0])
    assert np.array_equal(x, cholesky(m.T.copy(), 0.1)(a[0]))
same()
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import scipy.linalg; from kanbench.engine.numba_engine import lapack",
        "from kanbench.engine.numba_engine import lapack; import sys\n"
        "assert 'scipy.linalg' not in sys.modules; import scipy.linalg",
        "from kanbench.engine.numba_engine import lapack; import scipy.linalg\n"
        "from kanbench.io.extensions import extension\n"
        "assert extension('_nothing', 'scipy.linalg.lapack') is scipy.linalg.lapack",
    ],
    ids=["after scipy.linalg", "before scipy.linalg", "no such file"],
)
def test_scipy_linalg_beside_it(imports):
    subprocess.run([sys.executable, "-W", "error", "-c", imports + COMPARED], check=True)


def test_threads_are_limited():
    """By the variable that limits those of scipy, whose OpenBLAS this is."""
    code = (
        "import threadpoolctl, kanbench.engine.numba_engine.lapack as lapack\n"
        "print(*(pool['num_threads'] for pool in threadpoolctl.threadpool_info() if 'scipy' in pool['filepath']))"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {"1"}


@pytest.mark.parametrize("order", ["C", "F"])
def test_cholesky(order):
    """Only the lower triangle counts."""
    gram = A.T @ A
    matrix, b = np.asarray(np.tril(gram) + np.triu(A[:30], 1), order=order), A[0]
    x = cholesky(matrix, 0.5)(b)
    np.testing.assert_allclose((gram + 0.5 * np.eye(30)) @ x, b, rtol=1e-12, atol=1e-12)


def test_a_matrix_that_is_not_definite():
    gram = A @ A.T
    assert cholesky(gram.copy(), -1.0) is None
    assert cholesky(gram, 1e-6) is not None
