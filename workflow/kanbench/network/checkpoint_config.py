"""What a checkpoint's configuration says of a model, checked before a model is built from it."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.io.readers import read_yaml
from kanbench.network.spline_network import BASE_FUNCTIONS

MAX_STORED_ORDER = 100  # of splines; pykan's extension of the grid takes the square of it
INTERVALS = "intervals"  # the key of a checkpoint's configuration that is ours, not pykan's
Config = Mapping[str, Any]


def _integer(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _lists(value: Any, depth: int, of: Callable[[Any], bool] = _integer) -> bool:
    """Whether a value is lists in lists, `depth` deep, of something."""
    return of(value) if depth == 0 else type(value) is list and all(_lists(item, depth - 1, of) for item in value)


def _order(value: Any) -> bool:
    return _integer(value) and value <= MAX_STORED_ORDER


def _arity(value: Any) -> bool:
    return _integer(value) and value > 0


def _flag(value: Any) -> bool:
    return type(value) is bool


def _number(value: Any) -> bool:
    return type(value) in (int, float)


REQUIRED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "width": (
        lambda v: _lists(v, 2) and len(v) > 1 and all(len(n) == 2 for n in v),
        "[nodes, products] of every layer",
    ),
    "grid": (lambda v: _integer(v) or _lists(v, 1), "an integer, or one for every layer"),
    "k": (lambda v: _order(v) or _lists(v, 1, _order), f"an integer up to {MAX_STORED_ORDER}, or one for every layer"),
    "mult_arity": (lambda v: _arity(v) or _lists(v, 2, _arity), "an integer from 1 on, or lists of them"),
    "base_fun_name": (lambda v: v in BASE_FUNCTIONS, ", ".join(BASE_FUNCTIONS)),
    "affine_trainable": (_flag, "true or false"),
    "sp_trainable": (_flag, "true or false"),
    "sb_trainable": (_flag, "true or false"),
    "grid_eps": (_number, "a number"),
    "grid_range": (lambda v: _lists(v, 1, _number) and len(v) == 2, "two numbers"),
}


def read_model_config(path: str | Path) -> Config:
    """Read the configuration that pykan's `saveckpt` wrote.

    Raises:
        InputError: It is none: says which key is wrong.
    """
    config = read_yaml(path)
    for key, (fits, allowed) in REQUIRED.items():
        if key not in config or not fits(config[key]):
            raise _wrong(path, config, key, allowed)
    layers = len(config["width"]) - 1
    for key in ("grid", "k"):
        if type(config[key]) is list and len(config[key]) != layers:
            raise _wrong(path, config, key, "one number for every layer")
    arity, products = config["mult_arity"], [count for _, count in config["width"]]
    if type(arity) is list and [len(row) for row in arity] != products:
        raise _wrong(path, config, "mult_arity", "for every layer one list, with a number for every product")
    for layer, (inputs, outputs, _) in enumerate(coef_shapes(config)):
        _check_table(path, config, f"symbolic.funs_name.{layer}", outputs, inputs)
    if INTERVALS in config:
        _check_intervals(path, config)
    return config


def _wrong(path: str | Path, config: Config, key: str, allowed: str) -> InputError:
    return InputError(f"{path}: {key}", reprlib.repr(config.get(key))[:100], allowed)


def coef_shapes(config: Config) -> list[tuple[int, int, int]]:
    """The shape of every layer's spline coefficients: inputs, outputs, grid intervals + order."""
    width, arity = config["width"], config["mult_arity"]
    shapes = []
    for layer in range(len(width) - 1):
        nodes, products = width[layer + 1]
        factors = sum(arity[layer + 1]) if type(arity) is list else arity * products
        grid, k = (value[layer] if type(value) is list else value for value in (config["grid"], config["k"]))
        shapes.append((sum(width[layer]), nodes + factors, grid + k))
    return shapes


def orders(config: Config) -> list[int]:
    """The order of every layer's splines."""
    return config["k"] if type(config["k"]) is list else [config["k"]] * (len(config["width"]) - 1)


def grid_shapes(config: Config) -> list[tuple[int, int]]:
    """The shape of every layer's knots: inputs, grid intervals + 1 + the order on either side."""
    return [(inputs, coef + k + 1) for (inputs, _, coef), k in zip(coef_shapes(config), orders(config), strict=True)]


def _check_table(path: str | Path, config: Config, key: str, rows: int, columns: int) -> None:
    names: Any = config.get(key)
    whole = _lists(names, 2, lambda v: type(v) is str) and len(names) == rows
    if not whole or any(len(row) != columns for row in names):
        raise _wrong(path, config, key, f"{rows} lists of {columns} names")


def _check_intervals(path: str | Path, config: Config) -> None:
    counts: list[list[int]] = config[INTERVALS]
    shapes = coef_shapes(config)
    fits = _lists(counts, 2) and [len(row) for row in counts] == [inputs for inputs, _, _ in shapes]
    grid = config["grid"] if type(config["grid"]) is list else [config["grid"]] * len(shapes)
    if not fits or any(count > most for row, most in zip(counts, grid, strict=True) for count in row):
        raise _wrong(path, config, INTERVALS, "an integer up to the grid for every node with outgoing edges")
