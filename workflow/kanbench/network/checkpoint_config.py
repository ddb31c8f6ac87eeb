"""Read and check a checkpoint's configuration before a model is built from it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, ValidationError, convert

from kanbench.errors import InputError
from kanbench.io.untrusted.yaml_notes import read_dumped_yaml
from kanbench.network.spline_network import BASE_FUNCTIONS

MAX_STORED_ORDER = 100  # of splines; pykan extends grids in time quadratic in it
# Keys that kanbench adds to pykan's configuration; their values are by layer and node.
INTERVALS = "intervals"
FIXED_BASE = "fixed_base"  # whether the base functions of a node's outgoing edges are fixed, not trained
Config = Mapping[str, Any]

Count = Annotated[int, Meta(ge=0, lt=1 << 31)]
Order = Annotated[int, Meta(ge=0, le=MAX_STORED_ORDER)]
Arity = Annotated[int, Meta(ge=1, lt=1 << 31)]
Number = int | float
TWO = Meta(min_length=2, max_length=2)
REQUIRED: dict[str, tuple[Any, str]] = {
    "width": (Annotated[list[Annotated[list[Count], TWO]], Meta(min_length=2)], "[nodes, products] of every layer"),
    "grid": (Count | list[Count], "an integer, or one for every layer"),
    "k": (Order | list[Order], f"an integer up to {MAX_STORED_ORDER}, or one for every layer"),
    "mult_arity": (Arity | list[list[Arity]], "an integer, at least 1, or lists of them"),
    "base_fun_name": (Literal[BASE_FUNCTIONS], ", ".join(BASE_FUNCTIONS)),
    **dict.fromkeys(("affine_trainable", "sp_trainable", "sb_trainable"), (bool, "true or false")),
    "grid_eps": (Number, "a number"),
    "grid_range": (Annotated[list[Number], TWO], "two numbers"),
}


def read_model_config(path: str | Path) -> Config:
    """Read a configuration that pykan's `saveckpt` wrote; its numbers may be numpy scalars.

    Raises:
        InputError: The file is damaged or a key is invalid; names the key.
    """
    config = read_dumped_yaml(path)

    def wrong(key: str, allowed: str) -> InputError:
        return InputError(f"{path}: {key}", reprlib.repr(config.get(key))[:100], allowed)

    def check(key: str, kind: Any, allowed: str) -> None:
        try:
            config[key] = convert(config.get(key), kind)
        except ValidationError as error:
            raise wrong(key, allowed) from error

    for key, (kind, allowed) in REQUIRED.items():
        check(key, kind, allowed)
    layers = len(config["width"]) - 1
    for key in ("grid", "k"):
        if isinstance(config[key], list) and len(config[key]) != layers:
            raise wrong(key, "one number for every layer")
    arity, products = config["mult_arity"], [count for _, count in config["width"]]
    if isinstance(arity, list) and [len(row) for row in arity] != products:
        raise wrong("mult_arity", "for every layer one list, with a number for every product")
    shapes = coef_shapes(config)
    for layer, (inputs, outputs, _) in enumerate(shapes):
        key, allowed = f"symbolic.funs_name.{layer}", f"{outputs} lists of {inputs} names"
        check(key, list[list[str]], allowed)
        if len(config[key]) != outputs or any(len(row) != inputs for row in config[key]):
            raise wrong(key, allowed)
    if INTERVALS in config:
        allowed = "an integer up to the grid for every node with outgoing edges"
        check(INTERVALS, list[list[Count]], allowed)
        most = [n_coef - k for (_, _, n_coef), k in zip(shapes, orders(config), strict=True)]
        counts = config[INTERVALS]
        if [len(row) for row in counts] != [inputs for inputs, _, _ in shapes] or any(
            max(row, default=0) > grid for row, grid in zip(counts, most, strict=True)
        ):
            raise wrong(INTERVALS, allowed)
    if FIXED_BASE in config:
        allowed = "true or false for every node with outgoing edges"
        check(FIXED_BASE, list[list[bool]], allowed)
        if [len(row) for row in config[FIXED_BASE]] != [inputs for inputs, _, _ in shapes]:
            raise wrong(FIXED_BASE, allowed)
    return config


def coef_shapes(config: Config) -> list[tuple[int, int, int]]:
    """The shape of each layer's spline coefficients: (inputs, outputs, grid intervals + order)."""
    width, arity = config["width"], config["mult_arity"]
    shapes = []
    for layer, (grid, k) in enumerate(zip(_by_layer(config, "grid"), orders(config), strict=True)):
        nodes, products = width[layer + 1]
        factors = sum(arity[layer + 1]) if isinstance(arity, list) else arity * products
        shapes.append((sum(width[layer]), nodes + factors, grid + k))
    return shapes


def orders(config: Config) -> list[int]:
    """The spline order of each layer."""
    return _by_layer(config, "k")


def _by_layer(config: Config, key: str) -> list[int]:
    value = config[key]
    return value if isinstance(value, list) else [value] * (len(config["width"]) - 1)


def grid_shapes(config: Config) -> list[tuple[int, int]]:
    """The shape of each layer's knots: (inputs, grid intervals + 1 + 2 · order)."""
    return [(inputs, coef + k + 1) for (inputs, _, coef), k in zip(coef_shapes(config), orders(config), strict=True)]
