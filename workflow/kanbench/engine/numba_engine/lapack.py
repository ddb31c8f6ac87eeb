"""Cholesky factors and products with symmetric matrices in numpy, by scipy's LAPACK and BLAS."""

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
    matrix.flat[:: len(matrix) + 1] += shift
    # What is the lower triangle by rows is the upper one by columns, as LAPACK has it.
    factor, info = dpotrf(matrix.T, lower=False, overwrite_a=True, clean=False)
    return None if info else lambda b: dpotrs(factor, b, lower=False)[0]
