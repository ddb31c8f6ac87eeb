"""Cholesky factorisation of numpy arrays, with scipy's LAPACK."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kanbench.io.extensions import extension

Array = NDArray[np.floating]  # of float64

_lapack = extension("_flapack", "scipy.linalg.lapack")


def cholesky(matrix: Array, shift: float) -> Callable[[Array], Array] | None:
    """See `kanbench.engine.linearization.Linearization`."""
    np.einsum("ii->i", matrix)[:] += shift
    # LAPACK stores matrices by columns: the lower triangle of a row-major matrix is its upper triangle.
    lower = matrix.flags.f_contiguous
    factor, info = _lapack.dpotrf(matrix if lower else matrix.T, lower=lower, overwrite_a=True, clean=False)
    return None if info else lambda b: _lapack.dpotrs(factor, b, lower=lower)[0]
