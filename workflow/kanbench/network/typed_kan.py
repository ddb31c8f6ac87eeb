"""pykan's KAN with a precision of its own: its methods work whatever torch's default precision is."""

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
    """Inside, torch makes tensors of this type where it is not told which."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class TypedKAN(KAN):
    """A KAN whose methods (`copy`, `prune`, `refine` …) give KANs of its precision, which save versions if it does.

    pykan makes new models and layers in torch's default precision, float32, which cannot be evaluated together with
    those of float64, and lets them save every version into a folder that only its constructor makes.
    """

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """The outputs, shape (n, outputs), for inputs of shape (n, d) and any floating type."""
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
