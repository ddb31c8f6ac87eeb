"""Checkpoints: read and write networks in the files of pykan's `saveckpt` and `loadckpt`, without pykan and torch."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_folder
from kanbench.io.torch_file import read_arrays, write_arrays
from kanbench.network.checkpoint_config import FIXED_BASE, INTERVALS, Config, coef_shapes, orders, read_model_config
from kanbench.network.spline_network import SplineLayer, SplineNetwork
from kanbench.problems import Array

CONSTANTS = {  # constant keys of a configuration: pykan's defaults, but without automatic saving
    "mult_arity": 2,
    "symbolic_enabled": True,
    "affine_trainable": False,
    "grid_eps": 0.02,
    "grid_range": [-1, 1],
    "state_id": 0,
    "auto_save": False,
    "ckpt_path": "./model",
    "round": 0,
    "device": "cpu",
}
FLAGS = {"sp_trainable": "scale_sp", "sb_trainable": "scale_base"}  # pykan's flags for trained parts
NEUTRAL = {"node_bias": 0, "node_scale": 1, "subnode_bias": 0, "subnode_scale": 1}  # identity affine maps


class NoSumOfSplinesError(InputError):
    """A pykan model that a SplineNetwork cannot represent."""


def write_checkpoint(network: SplineNetwork, base: str | Path, inputs: ArrayLike) -> None:
    """Write `{base}_config.yml`, `_state` and `_cache_data` atomically, for `KAN.loadckpt(base)` on any machine.

    Args:
        inputs (array of shape (n, d)): Samples stored with the model as `cache_data`, which pykan uses for plotting,
            pruning and refinement.

    Raises:
        InputError: The files cannot be written.
    """
    config = config_of(network)
    rows = {key: config.pop(key) for key in (INTERVALS, FIXED_BASE) if key in config}
    with atomic_folder(Path(base).parent, about=base) as folder:
        path = folder / Path(base).name
        with Path(f"{path}_config.yml").open("w", encoding="utf-8", newline="\n") as file:
            yaml.safe_dump(config, file)
            file.write(yaml.safe_dump(rows) if rows else "")  # keys unknown to pykan come last
        write_arrays(f"{path}_state", state_of(network))
        write_arrays(f"{path}_cache_data", np.asarray(inputs))


def read_checkpoint(base: str | Path) -> SplineNetwork:
    """Read a network from `{base}_config.yml` and `{base}_state`, in the precision of its first coefficients.

    Raises:
        InputError: A file is missing, damaged or refused, or the files do not fit together.
        NoSumOfSplinesError: The model has multiplication nodes, symbolic functions, or affine maps other than the bias
            of the last layer.
    """
    config, state = read_model_config(f"{base}_config.yml"), read_arrays(f"{base}_state")
    if not isinstance(state, dict):
        raise InputError(f"{base}_state", "an array", "the state of a model, arrays by name")
    return network_of(config, state, about=base)


def config_of(network: SplineNetwork) -> dict[str, Any]:
    """The configuration of a network as a KAN.

    It has `intervals` only if nodes differ in them, and `fixed_base` only if a base function is fixed.
    """
    k = [layer.order for layer in network.layers]
    config = {
        "width": [[nodes, 0] for nodes in network.width],
        "grid": network.grid,
        "k": k[0] if len(set(k)) == 1 else k,
        "base_fun_name": network.base,
        **CONSTANTS,
        **{flag: part not in network.fixed for flag, part in FLAGS.items()},
    }
    for number, layer in enumerate(network.layers):
        config[f"symbolic.funs_name.{number}"] = [["0"] * layer.inputs for _ in range(layer.outputs)]
    if any(count != network.grid for counts in network.intervals for count in counts):
        config[INTERVALS] = network.intervals
    if any(layer.fixed_base.any() for layer in network.layers):
        config[FIXED_BASE] = [layer.fixed_base.tolist() for layer in network.layers]
    return config


def state_of(network: SplineNetwork) -> dict[str, Array]:
    """The `state_dict` of a network as a KAN, in pykan's order; rows are padded to the largest grid."""
    state: dict[str, Array] = {}
    layers = list(enumerate(network.layers))
    for n, layer in layers:
        state |= {f"{name}_{n}": np.full(layer.outputs, value, network.dtype) for name, value in NEUTRAL.items()}
    state[f"node_bias_{len(layers) - 1}"] = network.output_bias
    for n, layer in layers:
        knots, coef = layer.padded(network.grid)
        state |= {f"act_fun.{n}.grid": knots, f"act_fun.{n}.coef": coef}
        state |= {f"act_fun.{n}.{name}": getattr(layer, name) for name in ("mask", "scale_base", "scale_sp")}
    for n, layer in layers:
        state[f"symbolic_fun.{n}.mask"] = np.zeros((layer.outputs, layer.inputs), network.dtype)
        state[f"symbolic_fun.{n}.affine"] = np.zeros((layer.outputs, layer.inputs, 4), network.dtype)
    return state


def network_of(config: Config, state: Mapping[str, Array], about: Any) -> SplineNetwork:
    """Make a network from the configuration and state of a KAN; it shares no memory with the state.

    Args:
        config (mapping): With the keys `width`, `mult_arity`, `grid`, `k`, `base_fun_name`, those of FLAGS and,
            optionally, `intervals` and `fixed_base`.
        state (mapping of arrays): The `state_dict`.
        about (str or path): The place that errors name.

    Raises:
        InputError, NoSumOfSplinesError: As in `read_checkpoint`.
    """
    if any(products or not nodes for nodes, products in config["width"]):
        raise NoSumOfSplinesError(f"{about}: width", reprlib.repr(config["width"]), "layers of nodes that only add")
    checked, parts = _State(state, about), zip(coef_shapes(config), orders(config), strict=True)
    layers = [_layer(config, checked, n, shape, k) for n, (shape, k) in enumerate(parts)]
    bias = checked.array(f"node_bias_{len(layers) - 1}", (layers[-1].outputs,))
    fixed = frozenset(part for flag, part in FLAGS.items() if not config[flag])
    network = SplineNetwork(tuple(layers), bias.copy(), config["base_fun_name"], fixed)
    return network.astype(layers[0].coef[0].dtype)


class _State:
    """The arrays of a checkpoint; their shapes are checked on access."""

    def __init__(self, arrays: Mapping[str, Array], about: Any) -> None:
        self.arrays, self.about = arrays, about

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        found = self.arrays[name].shape if name in self.arrays else "none"
        if found != shape:
            raise InputError(f"{self.about}_state: {name}", found, f"an array of shape {shape}")
        return self.arrays[name]

    def check(self, name: str, shape: tuple[int, ...], value: int, what: str) -> None:
        if (self.array(name, shape) != value).any():
            raise NoSumOfSplinesError(self.about, f"{what} ({name})", "a model that is a sum of splines")


def _layer(config: Mapping[str, Any], state: _State, n: int, shape: tuple[int, int, int], k: int) -> SplineLayer:
    """Layer n; `shape` is that of its padded coefficients."""
    inputs, outputs, n_coef = shape
    state.check(f"symbolic_fun.{n}.mask", (outputs, inputs), 0, "symbolic functions")
    for name, value in NEUTRAL.items():
        if name != "node_bias" or n < len(config["width"]) - 2:
            state.check(f"{name}_{n}", (outputs,), value, "affine maps")
    knots = state.array(f"act_fun.{n}.grid", (inputs, n_coef + k + 1))
    coef = state.array(f"act_fun.{n}.coef", shape)
    sizes = [count + k for count in config[INTERVALS][n]] if INTERVALS in config else [n_coef] * inputs
    # Nonzero padding, as after training with pykan, is part of the function.
    sizes = [n_coef if c[:, size:].any() else size for c, size in zip(coef, sizes, strict=True)]
    own_knots = tuple(t[: size + k + 1].copy() for t, size in zip(knots, sizes, strict=True))
    own_coef = tuple(c[:, :size].copy() for c, size in zip(coef, sizes, strict=True))
    names = (f"act_fun.{n}.{name}" for name in ("scale_base", "scale_sp", "mask"))
    scale_base, scale_sp, mask = (state.array(name, (inputs, outputs)).copy() for name in names)
    fixed_base = np.array(config[FIXED_BASE][n] if FIXED_BASE in config else [False] * inputs)
    return SplineLayer(own_knots, own_coef, scale_base, scale_sp, mask, k, fixed_base)
