"""The interface to pykan: convert networks to KANs and back, and read and write KANs' checkpoints.

pykan has side effects: its constructor reseeds the global generators of torch, numpy and `random` and modifies the
width list passed to it; `refine` turns on `auto_save`, after which every call writes into the working folder. This
module hides them.

pykan stores all rows of a layer with the same number of knots. If nodes have fewer intervals, the KAN gets an attribute
`intervals`, the intervals of each node by layer; whatever follows a node's own knots and coefficients is padding. If
the base functions of some nodes are fixed, it gets an attribute `fixed_base` of the same form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from kan import KAN
from kan.utils import SYMBOLIC_LIB
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from kanbench.errors import InputError, one_line
from kanbench.io.readers import parser_errors, read_tensors
from kanbench.network.checkpoint_config import (
    FIXED_BASE,
    INTERVALS,
    coef_shapes,
    grid_shapes,
    orders,
    read_model_config,
)
from kanbench.network.checkpoints import FLAGS, config_of, network_of, state_of
from kanbench.network.spline_network import BASE_FUNCTIONS, PARTS, SplineNetwork
from kanbench.network.typed_kan import TypedKAN, default_dtype

PREDICTION_CHUNK = 1000  # samples per call, to fit in cache: 10,000 samples at G = 100 take a sixth of the time


@contextlib.contextmanager
def global_random_state_kept() -> Iterator[None]:
    """Restore the global random states of torch, numpy and `random` at the end of the block."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    # By default, fork_rng would initialize every GPU of the machine, and warn if there are several.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def is_kan(model: object) -> bool:
    return isinstance(model, KAN)


def to_pykan(network: SplineNetwork) -> KAN:
    """Convert a network to a KAN, on the CPU and in the network's precision."""
    model = _blank(config_of(network), getattr(torch, str(network.dtype)))
    # Copied into torch's memory: the last digits of MKL's results depend on alignment.
    model.load_state_dict({name: torch.tensor(value) for name, value in state_of(network).items()})
    return model


def from_pykan(model: KAN) -> SplineNetwork:
    """Convert a KAN to a network; it shares no memory with the KAN.

    Raises:
        InputError: The KAN is not a sum of splines: it has multiplication nodes, symbolic functions, affine maps other
            than the bias of the last layer, omitted inputs, or several base functions; or the trained parts differ
            between layers.
    """
    if model.base_fun_name not in BASE_FUNCTIONS:  # the name may also be a user's function
        raise InputError("KAN", f"base function {one_line(model.base_fun_name)}", ", ".join(BASE_FUNCTIONS))
    base = {"silu": torch.nn.SiLU, "identity": torch.nn.Identity}.get(model.base_fun_name)
    trained = [{part for part in PARTS if getattr(layer, part).requires_grad} for layer in model.act_fun]
    inputs = model.input_id.tolist()
    other_base = base and not all(isinstance(layer.base_fun, base) for layer in model.act_fun)
    for condition, found, allowed in (
        (inputs != list(range(model.width_in[0])), f"inputs {inputs}", "all inputs"),
        (other_base, "several base functions", "one"),
        (any(parts != trained[0] for parts in trained), f"trained parts {trained}", "the same in all layers"),
        (maps := _trainable_maps(model), f"trainable {', '.join(maps)}", ", ".join(PARTS)),
    ):
        if condition:
            raise InputError("KAN", found, allowed)
    config = {key: getattr(model, key) for key in ("width", "mult_arity", "base_fun_name")}
    config |= {"grid": [layer.num for layer in model.act_fun], "k": [layer.k for layer in model.act_fun]}
    config |= {INTERVALS: _intervals(model), FIXED_BASE: _fixed_base(model), **dict.fromkeys(FLAGS, True)}
    state = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    return dataclasses.replace(network_of(config, state, about="KAN"), fixed=frozenset(PARTS) - trained[0])


@torch.no_grad()
def write_back(model: KAN, network: SplineNetwork, inputs: NDArray[np.floating]) -> None:
    """Update a KAN in place from a network that was made from it (`from_pykan`) and then trained and refined.

    Its parameters stay the same objects and keep their device, precision and `requires_grad`, but lose their gradients.
    Their new values are stored in new memory, because pykan's refined models share some with their parents.

    Args:
        inputs (array of shape (n, d)): The last samples, with which pykan plots, prunes, refines and attributes.
    """
    for layer, own in zip(model.act_fun, network.layers, strict=True):
        layer.num = max(own.intervals)
        knots, coef = own.padded(layer.num)
        for name, value in (("grid", knots), ("coef", coef), *((name, getattr(own, name)) for name in PARTS[1:])):
            _put(getattr(layer, name), value)
    _put(model.node_bias[-1], network.output_bias)
    grids = [layer.num for layer in model.act_fun]
    model.grid = grids if isinstance(model.grid, list) else max(grids)
    if _are_padded(model, network.intervals):
        model.intervals = network.intervals
    else:
        vars(model).pop("intervals", None)
    model.acts = None  # pykan computes them from the cached inputs when it needs them
    model.cache_data = torch.tensor(inputs).to(model.node_bias[-1])


def _put(parameter: Parameter, value: NDArray[np.floating]) -> None:
    parameter.data, parameter.grad = torch.tensor(value).to(parameter), None


def is_mean_square(loss: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether a loss function of predictions and labels, shapes (n, outputs), is the mean squared error.

    It is tested on differences of many magnitudes and both signs.
    """
    label = torch.linspace(-3, 3, 41).cos()[:, None]
    difference = 10 ** torch.linspace(-4, 3, 41)[:, None] * torch.linspace(0, 50, 41).cos().sign()[:, None]
    losses = [torch.mean(part**2).item() for part in (difference, difference[::2] / 7)]
    try:
        found = [float(loss(label + difference, label)), float(loss(label[::2] + difference[::2] / 7, label[::2]))]
    except Exception:  # a user's function may raise anything, such as for an unexpected number of samples
        return False
    return bool(np.allclose(found, losses, rtol=1e-3))


def refit(network: SplineNetwork, grid: int, x: NDArray[np.floating]) -> SplineNetwork:
    """Refine to `grid` intervals with pykan's own `refine`, which fits the splines on samples x, shape (n, d)."""
    model = to_pykan(network)
    model.cache_data = torch.tensor(x.astype(network.dtype))
    model.save_act = True  # pykan refines from the activations
    silent = contextlib.redirect_stdout(io.StringIO())
    with global_random_state_kept(), silent:
        return _like(network, from_pykan(model.refine(grid)))


def update_grid(network: SplineNetwork, x: NDArray[np.floating]) -> SplineNetwork:
    """Update grids with pykan's own `update_grid`, on samples x, shape (n, d)."""
    model = to_pykan(network)
    model.update_grid(torch.tensor(x.astype(network.dtype)))
    return _like(network, from_pykan(model))


def _like(network: SplineNetwork, other: SplineNetwork) -> SplineNetwork:
    """`other` with the fixed base functions of `network`, which pykan does not know."""
    pairs = zip(network.layers, other.layers, strict=True)
    layers = (dataclasses.replace(after, fixed_base=before.fixed_base) for before, after in pairs)
    return dataclasses.replace(other, layers=tuple(layers))


def _blank(config: Mapping[str, Any], dtype: torch.dtype) -> KAN:
    """Make a KAN from a configuration, on the CPU, without its parameters' values.

    pykan fits every spline of a new model to noise. To save time, the model is made with order 1 and one interval, and
    gets its order and grid afterwards.
    """
    passed_on = ("mult_arity", "affine_trainable", "sp_trainable", "sb_trainable")
    more = {key: config[key] for key in passed_on} | {"base_fun": config["base_fun_name"], "auto_save": False}
    with global_random_state_kept(), default_dtype(torch.float32):
        model = TypedKAN(width=[list(nodes) for nodes in config["width"]], grid=1, k=1, **more)
    model.type(dtype)  # pykan's `to` takes a device only
    for key in ("grid", "k", "grid_eps", "grid_range"):
        setattr(model, key, config[key])
    shapes = zip(model.act_fun, coef_shapes(config), grid_shapes(config), orders(config), strict=True)
    for layer, coef, grid, k in shapes:
        layer.k, layer.num, layer.grid_eps = k, coef[2] - k, config["grid_eps"]
        layer.grid = Parameter(torch.zeros(grid, dtype=dtype), requires_grad=False)
        layer.coef = Parameter(torch.zeros(coef, dtype=dtype))
    for key in (INTERVALS, FIXED_BASE):
        if key in config:
            setattr(model, key, config[key])
    return _without_side_effects(model)


def _without_side_effects(model: KAN) -> KAN:
    """Turn off pykan's additional computations and files; the model's output does not change."""
    model.auto_save = model.save_act = False
    model.symbolic_enabled = any(layer.mask.any() for layer in model.symbolic_fun)
    return model


def _intervals(model: KAN) -> list[list[int]]:
    """The grid intervals of each node, by layer."""
    return getattr(model, "intervals", None) or [[layer.num] * layer.in_dim for layer in model.act_fun]


def _are_padded(model: KAN, intervals: list[list[int]]) -> bool:
    """Whether any node has fewer intervals than the rows of its layer."""
    return any(set(counts) != {layer.num} for layer, counts in zip(model.act_fun, intervals, strict=True))


def _fixed_base(model: KAN) -> list[list[bool]]:
    """For each node, whether its base functions are fixed, by layer."""
    return getattr(model, FIXED_BASE, None) or [[False] * layer.in_dim for layer in model.act_fun]


def count_parameters(model: KAN) -> int:
    """Count the trained parameters, without masked edges, fixed base functions and padding.

    The affine parameters of symbolic functions, which pykan also marks as trainable, are not counted: they are dead
    unless a function has been fixed.
    """
    count = sum(parameter.numel() for parameter in _trainable_maps(model).values())
    for layer, counts, fixed in zip(model.act_fun, _intervals(model), _fixed_base(model), strict=True):
        edges = (layer.mask != 0).sum(1).tolist()
        sizes = {"coef": [n + layer.k for n in counts], "scale_sp": [1] * len(edges)}
        sizes["scale_base"] = [int(not is_fixed) for is_fixed in fixed]
        for part, size in sizes.items():
            if getattr(layer, part).requires_grad:
                count += sum(n * m for n, m in zip(edges, size, strict=True))
    return count


def _trainable_maps(model: KAN) -> dict[str, Parameter]:
    """The trained affine maps of nodes, by parameter name."""
    named = model.named_parameters()
    return {name: p for name, p in named if p.requires_grad and not name.startswith(("act_fun", "symbolic_fun"))}


@torch.no_grad()
def predict(model: KAN, x: Tensor) -> Tensor:
    """Evaluate a model: outputs of shape (n, outputs) for inputs of shape (n, d)."""
    return torch.cat([model(chunk) for chunk in x.split(PREDICTION_CHUNK)])


def save_checkpoint(model: KAN, base: str | Path, inputs: Tensor) -> None:
    """Write a KAN's checkpoint; see `kanbench.network.checkpoints.write_checkpoint` for networks."""
    device = model.device
    model.to("cpu")
    symbolic_enabled, model.symbolic_enabled = model.symbolic_enabled, True
    try:
        model.cache_data = inputs.detach().cpu().clone()
        model.saveckpt(str(base))
    finally:
        model.symbolic_enabled = symbolic_enabled
        model.to(device)
    rows, fixed = _intervals(model), _fixed_base(model)
    more: dict[str, Any] = {}
    if _are_padded(model, rows):
        more[INTERVALS] = rows
    if any(map(any, fixed)):
        more[FIXED_BASE] = fixed
    if more:
        with Path(f"{base}_config.yml").open("a", encoding="utf-8") as config:
            yaml.safe_dump(more, config)


def load_checkpoint(base: str | Path, trusted: bool = False) -> KAN:
    """Read a checkpoint like `KAN.loadckpt`, but in its stored precision, on the CPU, and safely.

    pykan's own loader relies on torch's defaults for what a pickle may execute, and takes device and sizes from the
    configuration unchecked. Here only tensors are read, and the model is built only if the configuration matches their
    shapes.

    Args:
        base (path): The files are `{base}_config.yml`, `{base}_state` and, optionally, `{base}_cache_data`.
        trusted (bool): See `kanbench.io.readers.read_tensors`.

    Raises:
        InputError: A file is missing, damaged or refused, or the files do not fit together.
    """
    config, state = read_model_config(f"{base}_config.yml"), read_tensors(f"{base}_state", trusted)
    _check_state(base, config, state)
    dtype = next(value.dtype for name, value in state.items() if name.endswith(".coef"))
    with parser_errors(f"{base}_config.yml"):
        model = _blank(config, dtype)
    with parser_errors(f"{base}_state"):
        model.load_state_dict(state)
    for number, layer in enumerate(model.symbolic_fun):
        key = f"symbolic.funs_name.{number}"
        unknown = {name for row in config[key] for name in row} - SYMBOLIC_LIB.keys()
        if unknown:
            raise InputError(f"{base}_config.yml: {key}", f"{min(unknown)[:100]!r}", ", ".join(SYMBOLIC_LIB))
        for j, row in enumerate(config[key]):
            for i, name in enumerate(row):
                layer.funs_name[j][i] = name
                layer.funs[j][i], layer.funs_sympy[j][i], _, layer.funs_avoid_singularity[j][i] = SYMBOLIC_LIB[name]
    if Path(f"{base}_cache_data").exists():
        model.cache_data = read_tensors(f"{base}_cache_data", trusted)
    return _without_side_effects(model)


def _check_state(base: str | Path, config: Mapping[str, Any], state: Any) -> None:
    """Check the tensors of a checkpoint before allocating the memory that its configuration claims."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{base}_state", "no named tensors", "the state of a model")
    for end, name, allowed in (
        (".coef", "coefficients", coef_shapes(config)),
        (".grid", "knots", grid_shapes(config)),  # which take memory even in a layer without outputs
    ):
        tensors = [value for key, value in state.items() if key.endswith(end)]
        shapes = [tuple(value.shape) for value in tensors]
        if shapes != allowed or not all(value.is_floating_point() for value in tensors):
            found = f"{name} of shapes {str(shapes)[:99]}"
            raise InputError(f"{base}_state", found, f"{str(allowed)[:99]}, as the configuration beside it says")
