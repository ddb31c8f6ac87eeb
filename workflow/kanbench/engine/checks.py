"""Which models the engines for sums of splines take."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from kan import KAN
from torch import Tensor

from kanbench.errors import InputError
from kanbench.models import trainable_parameters

MAX_ORDER = 5


def check_model(engine: str, devices: Sequence[str], model: KAN, y: Tensor) -> None:
    """Raise `InputError` for a model that is more than sums of splines, and for data that an engine does not take.

    Parameters
    ----------
    engine : str
        Its name, for the message.
    devices : sequence of str
        The types of device that it runs on.
    y : Tensor of shape (n, 1)
    """
    affine = ("subnode_scale", 1), ("subnode_bias", 0), ("node_scale", 1), ("node_bias", 0)
    scaled = [
        f"{name}_{n}" for name, value in affine for n in range(model.depth) if (getattr(model, name)[n] != value).any()
    ]
    known = re.compile(r"act_fun\.\d+\.(coef|scale_base|scale_sp)")
    other = [name for name in trainable_parameters(model) if not known.fullmatch(name)]
    orders = sorted({layer.k for layer in model.act_fun} - set(range(1, MAX_ORDER + 1)))
    for condition, found in (
        (y.device.type not in devices, f"device {y.device}; allowed: {', '.join(devices)}"),
        (y.dtype not in (torch.float32, torch.float64), f"{y.dtype}; allowed: torch.float32, torch.float64"),
        (any(mult for _, mult in model.width), f"multiplication nodes in width {model.width}; allowed: none"),
        (model.width[-1][0] != 1, f"{model.width[-1][0]} outputs; allowed: 1"),
        (orders, f"splines of order {orders}; allowed: 1 to {MAX_ORDER}"),
        (model.symbolic_enabled and any(f.mask.any() for f in model.symbolic_fun), "symbolic functions; allowed: none"),
        (scaled, f"{', '.join(scaled)}; allowed: scales of 1 and biases of 0"),
        (other, f"trainable {', '.join(other)}; allowed: coef, scale_base and scale_sp"),
    ):
        if condition:
            raise InputError(f"engine {engine}: found {found}")


def base_function(engine: str, model: KAN) -> str:
    """The name that pykan has for the base function of all layers.

    Raises
    ------
    InputError
        It is none of `silu`, `identity` and `zero`, or not the same in all layers.
    """
    found = {id(layer.base_fun): layer.base_fun for layer in model.act_fun}.values()
    for name, kind in (("silu", torch.nn.SiLU), ("identity", torch.nn.Identity)):
        if all(isinstance(function, kind) for function in found):
            return name
    if model.base_fun_name == "zero" and all(function is model.base_fun for function in found):
        return "zero"
    names = ", ".join(str(function) for function in found)
    raise InputError(f"engine {engine}: found base function {names}; allowed: silu, identity, zero")
