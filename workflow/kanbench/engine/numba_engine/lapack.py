"""Cholesky factors and products with symmetric matrices in numpy, by scipy's LAPACK and BLAS.

Importing `scipy.linalg` takes a third of a second; the two extension modules that are needed of it take ten
milliseconds, and are loaded from their files.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
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
    folder = Path(scipy.__file__).parent / "linalg"
    file = next((file for suffix in EXTENSION_SUFFIXES if (file := folder / f"{name}{suffix}").exists()), None)
    if file is None:
        return importlib.import_module(public)
    loader = ExtensionFileLoader(full_name, str(file))
    spec = importlib.util.spec_from_file_location(full_name, file, loader=loader)
    assert spec is not None  # there is a loader
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


_lapack = extension("_flapack", "scipy.linalg.lapack")
_blas = extension("_fblas", "scipy.linalg.blas")
dpotrf, dpotrs, dsymm, dsyrk = _lapack.dpotrf, _lapack.dpotrs, _blas.dsymm, _blas.dsyrk


def cholesky(matrix: Array, shift: float) -> Callable[[Array], Array] | None:
    """The function that solves (M + shift I) x = b, for M symmetric, in float64; None where that is not definite.

    Of M only the lower triangle counts, and it is overwritten.
    """
    matrix.flat[:: len(matrix) + 1] += shift
    # What is the lower triangle by rows is the upper one by columns, as LAPACK has it.
    factor, info = dpotrf(matrix.T, lower=False, overwrite_a=True, clean=False)
    return None if info else lambda b: dpotrs(factor, b, lower=False)[0]
