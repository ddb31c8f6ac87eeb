"""A KAN of pykan that keeps its own precision, independent of torch's default dtype."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from kan import KAN
from torch import Tensor


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype inside the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class TypedKAN(KAN):
    """A KAN whose methods (`copy`, `prune`, `refine` …) return KANs of the same precision and `auto_save` setting.

    pykan itself creates new models and layers in torch's default dtype, float32, which cannot be combined with layers
    in float64, and turns on `auto_save`, which writes into a folder that only the constructor creates.
    """

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """The outputs, shape (n, outputs), for inputs of shape (n, d) and any floating-point dtype."""
        return super().forward(x.to(self.act_fun[0].coef.dtype), *args, **options)


def _in_its_precision(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapped(self: TypedKAN, *args: Any, **options: Any) -> Any:
        with default_dtype(self.act_fun[0].coef.dtype):
            result = method(self, *args, **options)
        if type(result) is KAN:
            result.__class__ = TypedKAN
            result.auto_save, result.save_act = self.auto_save, self.save_act
        return result

    return wrapped


for _name, _method in vars(KAN).items():
    if isinstance(_method, FunctionType) and not _name.startswith("_") and _name not in vars(TypedKAN):
        setattr(TypedKAN, _name, _in_its_precision(_method))
