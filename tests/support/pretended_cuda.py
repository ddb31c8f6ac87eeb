"""Tensors that say they are on a GPU, for machines that have none, and refuse what tensors on a GPU refuse.

The numbers are in memory as ever, and what is computed is computed on the CPU, so that whole trainings run, with all
their decisions. But tensors of the two devices do not mix, `.numpy()` needs `.cpu()`, and new tensors are on the device
that they were asked for, as torch has it: exceptions are numbers (tensors without dimensions) of the CPU, indices on
the CPU, and copies. What this cannot show is whether CUDA's kernels are right, fast and deterministic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda:0")
aten = torch.ops.aten
MAY_MIX = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
}


class OnCuda(torch.Tensor):
    """A tensor that says it is on `cuda:0`; `values` has its numbers."""

    values: torch.Tensor
    device, is_cuda, is_cpu = CUDA, True, False

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> OnCuda:
        like = {"strides": values.stride(), "storage_offset": values.storage_offset(), "dtype": values.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, values.size(), **like)
        tensor.values = values
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"OnCuda({self.values!r})"

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, other: torch.Tensor) -> None:
        assert isinstance(other, OnCuda)
        torch._C.TensorBase.data.__set__(self, other)  # sizes and strides
        self.values = other.values


class Moves(TorchFunctionMode):
    """`.to()` and `.cpu()`, where torch would find that nothing has to be done; and `cuda` is `cuda:0`."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.device and len(args) > 1:  # with an index
            return func(*args)

        def with_index(value: Any) -> Any:
            return CUDA if isinstance(value, (str, torch.device)) and str(value) == "cuda" else value

        args, kwargs = tree_map(with_index, (args, kwargs or {}))
        if func is torch.Tensor.cpu:
            return moved(args[0], "cpu")
        if func is torch.Tensor.tolist:
            return moved(args[0], "cpu").tolist()
        return moved(*args, **kwargs) if func is torch.Tensor.to else func(*args, **kwargs)


def moved(tensor: torch.Tensor, *where: Any, copy: bool = False, **more: Any) -> torch.Tensor:
    """`tensor.to(*where, copy=copy, **more)`."""
    if where and isinstance(where[0], torch.Tensor):
        device, dtype = where[0].device, where[0].dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*where, **more)
    device = device or tensor.device
    values = tensor.values if isinstance(tensor, OnCuda) else tensor
    result = values.to(dtype or tensor.dtype, copy=copy)
    if device.type == "cpu":
        return result
    return tensor if result is values and isinstance(tensor, OnCuda) else OnCuda(result.detach())


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Callable, args: tuple, kwargs: dict) -> Any:
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    device = kwargs.get("device")
    on_cuda = any(isinstance(tensor, OnCuda) for tensor in tensors)
    if on_cuda and func not in MAY_MIX:
        strangers = [tensor for tensor in tensors if not isinstance(tensor, OnCuda) and tensor.dim()]
        if strangers:
            raise RuntimeError(
                f"{func}: found a tensor on the CPU, shape {tuple(strangers[0].shape)}, among those on cuda:0"
            )
    if device is not None:
        on_cuda = torch.device(device).type == "cuda"
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func in (aten.copy_.default, aten.index_put_.default):
        on_cuda = isinstance(args[0], OnCuda)
    wrappers = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, OnCuda)}
    args, kwargs = tree_map(lambda value: value.values if isinstance(value, OnCuda) else value, (args, kwargs))
    result = func(*args, **kwargs)

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not on_cuda:
            return value
        return wrappers.get(id(value)) if id(value) in wrappers else OnCuda(value)

    return tree_map(wrap, result)


@contextlib.contextmanager
def pretended_cuda() -> Iterator[mock.Mock]:
    """Inside, torch has a CUDA device. Gives the mock of `torch.cuda.synchronize`."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)  # as FakeTensorMode does: `torch.tensor` shall ask the mode for a copy
    try:
        with (
            mock.patch("torch.cuda.is_available", return_value=True),
            mock.patch("torch.cuda.is_initialized", return_value=False),
            mock.patch("torch.cuda._lazy_init"),
            mock.patch("kanbench.engine.torch_engine.engine.Recorded", lambda function, vector: function),
            mock.patch("torch.cuda.synchronize") as synchronize,
            Moves(),
            Mode(),
        ):
            yield synchronize
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_swap_module_params_on_conversion(False)
