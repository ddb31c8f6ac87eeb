"""Compile what the compiled engine uses before it is used."""

from __future__ import annotations

import itertools

import torch

from kanbench.engine.compiled import WINDOWS, CompiledEngine
from kanbench.models import build_model

DTYPES = (torch.float64, torch.float32)


def compile_all() -> None:
    """Compile the kernels for all models, unless that has been done on this machine."""
    for dtype, window in itertools.product(DTYPES, WINDOWS):
        _engine(dtype, window)


def compile_kernels(dtype: torch.dtype, window: int) -> None:
    """Use the kernels for a precision, and for splines of orders less than `window`, in every way that there is."""
    engine = _engine(dtype, window)
    theta = engine.parameters()
    engine.loss_and_gradient(theta)
    engine.predict(engine.x)
    engine.chunk = 2
    engine.loss_and_gradient(theta)
    sparse = engine.linearize(theta)
    sparse.jacobian()
    sparse.pull(sparse.push(theta.double()))
    sparse.normal_matrix()
    sparse._sparse_products()
    sparse.add_overlaps(0, *sparse._jacobian_rows(), sparse.kernel_matrix().numpy())


def _engine(dtype: torch.dtype, window: int) -> CompiledEngine:
    """For a small model."""
    x = torch.linspace(-1, 1, 8, dtype=dtype).reshape(4, 2)
    return CompiledEngine(build_model([2, 2, 1], grid=3, k=window - 1, dtype=dtype), x, x[:, :1])
