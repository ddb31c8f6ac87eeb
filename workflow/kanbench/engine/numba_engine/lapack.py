"""Cholesky factors and products with symmetric matrices in numpy, by scipy's LAPACK and BLAS.

Importing `scipy.linalg` takes a third of a second; the two extension modules that are needed of it take ten
milliseconds, and are loaded from their files.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.floating]  # of float64


def extension(name: str, public: str) -> ModuleType:
    """`scipy.linalg.{name}` without `scipy.linalg`, or `public`, which has its functions, where it has no such file.

    Under its own name, so that an import of `scipy.linalg`, before or afterwards, meets the same module.
    """
    full_name = f"scipy.linalg.{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    spec = PathFinder.find_spec(full_name, [str(Path(scipy.__file__).parent / "linalg")])
    if spec is None or spec.loader is None:
        return importlib.import_module(public)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_lapack = extension("_flapack", "scipy.linalg.lapack")
_blas = extension("_fblas", "scipy.linalg.blas")
dpotrf, dpotrs, dsymm, dsyrk = _lapack.dpotrf, _lapack.dpotrs, _blas.dsymm, _blas.dsyrk


def cholesky(matrix: Array, shift: float) -> Callable[[Array], Array] | None:
    """See `kanbench.engine.linearization.Linearization`."""
    np.einsum("ii->i", matrix)[:] += shift
    # LAPACK has matrices by columns; what is the lower triangle by rows is the upper one by columns.
    lower = matrix.flags.f_contiguous
    factor, info = dpotrf(matrix if lower else matrix.T, lower=lower, overwrite_a=True, clean=False)
    return None if info else lambda b: dpotrs(factor, b, lower=lower)[0]
