"""Symmetric products of numpy arrays, with scipy's BLAS."""

from __future__ import annotations

from kanbench.io.extensions import extension

_blas = extension("_fblas", "scipy.linalg.blas")
dsymm, dsyrk = _blas.dsymm, _blas.dsyrk
