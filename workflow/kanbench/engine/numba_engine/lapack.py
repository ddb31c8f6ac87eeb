"""Cholesky factorisation and symmetric products of numpy arrays, with scipy's LAPACK and BLAS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kanbench.io.extensions import extension

Array = NDArray[np.floating]  # of float64


_lapack = extension("_flapack", "scipy.linalg.lapack")
_blas = extension("_fblas", "scipy.linalg.blas")
dpotrf, dpotrs, dsymm, dsyrk = _lapack.dpotrf, _lapack.dpotrs, _blas.dsymm, _blas.dsyrk


def cholesky(matrix: Array, shift: float) -> Callable[[Array], Array] | None:
    """See `kanbench.engine.linearization.Linearization`."""
    np.einsum("ii->i", matrix)[:] += shift
    # LAPACK stores matrices by columns: the lower triangle of a row-major matrix is its upper triangle.
    lower = matrix.flags.f_contiguous
    factor, info = dpotrf(matrix if lower else matrix.T, lower=lower, overwrite_a=True, clean=False)
    return None if info else lambda b: dpotrs(factor, b, lower=lower)[0]
