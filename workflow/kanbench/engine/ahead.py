"""Compile ahead of time what the compiled engine would compile when it is first used."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from kanbench.engine import make_engine
from kanbench.models import build_model

DTYPES = ("float64", "float32")
ORDERS = (3, 5)  # the highest that each set of kernels is for


def compile_kernels(dtypes: Sequence[str] = DTYPES, orders: Sequence[int] = ORDERS) -> None:
    """Use a small model of each kind in every way that an optimizer does."""
    for dtype, k in itertools.product(dtypes, orders):
        x = torch.linspace(-1, 1, 8, dtype=getattr(torch, dtype)).reshape(4, 2)
        engine = make_engine("compiled", build_model([2, 2, 1], grid=3, k=k, dtype=x.dtype), x, x[:, :1])
        theta = engine.parameters()
        engine.residuals(theta)
        engine.loss_and_gradient(theta)
        engine.residuals_and_jacobian(theta)
        engine.predict(x)
