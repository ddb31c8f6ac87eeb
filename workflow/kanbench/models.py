"""pykan models without side effects: build, copy by value, count parameters, read and write checkpoints.

pykan's constructor reseeds the global generators of torch, numpy and `random` and changes the width list that it is
given; `refine` switches `auto_save` on, after which every call writes into the working folder. None of that leaves
this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from kan import KAN
from kan.KANLayer import KANLayer
from kan.spline import curve2coef
from kan.Symbolic_KANLayer import Symbolic_KANLayer
from kan.utils import SYMBOLIC_LIB
from torch import Tensor

from kanbench.errors import InputError
from kanbench.model_config import INTERVALS, coef_shapes, grid_shapes, read_model_config
from kanbench.reading import clear_errors, read_tensors

PREDICTION_CHUNK = 1000  # samples at once: 10,000 in chunks take a sixth of the time at G = 100, in cache


@contextlib.contextmanager
def global_random_state_kept() -> Iterator[None]:
    """Put the global random states of torch, numpy and `random` back on leaving the block."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    # By itself fork_rng begins to use every GPU of the machine, and warns where there are several.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build_model(
    width: Sequence[int],
    grid: int,
    k: int = 3,
    seed: int = 1,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> KAN:
    """Return pykan's `KAN(width, grid, k, seed)`, as pykan initialises it in float32, then converted to `dtype`.

    pykan fits its first splines by least squares in float32, whose last digits differ from call to call (MKL's depend
    on how memory is aligned), and trainings that begin a rounding error apart end apart. Here the same fit is done in
    float64 and rounded, so that the model is the same in every process.

    Symbolic functions stay part of the model (a user of a checkpoint may want them), but nothing is ever saved by
    pykan on its own.
    """
    return _construct(_exact_fit, width, grid, k, seed, dtype, device)


def blank_model(
    width: Sequence[int],
    grid: int,
    k: int = 3,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> KAN:
    """A model whose parameters are still to be given: its splines are zero, which saves pykan's fit of each of them."""
    return _construct(_no_fit, width, grid, k, 0, dtype, device)


def _construct(fit: Callable, width, grid, k, seed, dtype, device, **more) -> KAN:
    """pykan's model, with `fit` in place of its `curve2coef`."""
    fitted = mock.patch("kan.KANLayer.curve2coef", fit)
    with global_random_state_kept(), default_dtype(torch.float32), fitted:
        model = KAN(width=list(width), grid=grid, k=k, seed=seed, auto_save=False, **more)
    return quiet(model.type(dtype).to(device))  # pykan's `to` takes a device only


def _exact_fit(x: Tensor, y: Tensor, grid: Tensor, k: int) -> Tensor:
    """pykan's `curve2coef`, in float64 whatever the precision of its arguments."""
    return curve2coef(x.double(), y.double(), grid.double(), k).to(y.dtype)


def _no_fit(x: Tensor, y: Tensor, grid: Tensor, k: int) -> Tensor:
    return torch.zeros(y.shape[1], y.shape[2], grid.shape[1] - k - 1)


def quiet(model: KAN) -> KAN:
    """Switch off what pykan computes and writes on the side; the model's output does not change."""
    model.auto_save = False
    model.save_act = False
    model.symbolic_enabled = any(layer.mask.any() for layer in model.symbolic_fun)
    return model


def trainable_parameters(model: KAN) -> dict[str, torch.nn.Parameter]:
    """The parameters that hold what is trained, by their name in the `state_dict`; see `live_entries`.

    pykan marks the affine parameters of its symbolic functions as trainable too; they are dead unless a function has
    been fixed, and are left out.
    """
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith("symbolic_fun")
    }


def intervals(layer: KANLayer) -> tuple[int, ...]:
    """The grid intervals of every input node of a layer.

    pykan stores all rows of a layer with the same number of knots. Where a node has fewer intervals than the widest
    (see `kanbench.grids`), the layer has an attribute of this name, and what follows the node's own knots and
    coefficients in its row is padding.
    """
    return getattr(layer, "intervals", (layer.num,) * layer.in_dim)


def live_entries(model: KAN) -> dict[str, Tensor]:
    """Which entries of the trainable parameters are trained: boolean tensors of their shapes.

    Not trained are the edges that are masked, and the coefficients that only pad their row.
    """
    live = {name: torch.ones_like(p, dtype=torch.bool) for name, p in trainable_parameters(model).items()}
    for index, layer in enumerate(model.act_fun):
        parts = live_parts(layer)
        live.update({name: value for part, value in parts.items() if (name := f"act_fun.{index}.{part}") in live})
    return live


def live_parts(layer: KANLayer) -> dict[str, Tensor]:
    """Which entries of a layer's `coef`, `scale_base` and `scale_sp` count in its output, trained or not."""
    edges = layer.mask != 0
    n_coef = torch.tensor(intervals(layer), device=edges.device) + layer.k
    in_row = torch.arange(layer.coef.shape[2], device=edges.device) < n_coef[:, None]
    return {"coef": edges[:, :, None] & in_row[:, None, :], "scale_base": edges, "scale_sp": edges}


def count_parameters(model: KAN) -> int:
    """The number of parameters that are trained."""
    return sum(int(live.sum()) for live in live_entries(model).values())


@torch.no_grad()
def predict(model: KAN, x: Tensor) -> Tensor:
    """The output of a model, shape (n, 1), for inputs of shape (n, d)."""
    return torch.cat([model(chunk) for chunk in x.split(PREDICTION_CHUNK)])


@dataclass(frozen=True)
class Snapshot:
    """A model by value: training goes on without changing it (pykan's own copies share storage)."""

    width: list[int]
    grid: int
    k: int
    intervals: list[tuple[int, ...]]
    state: dict[str, Tensor]

    @classmethod
    def of(cls, model: KAN) -> Snapshot:
        state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        rows = [intervals(layer) for layer in model.act_fun]
        return cls([nodes for nodes, _ in model.width], model.grid, model.k, rows, state)

    def restore(self) -> KAN:
        """Build the model again, on the device and in the precision that it had."""
        coef = self.state["act_fun.0.coef"]
        model = blank_model(self.width, self.grid, self.k, dtype=coef.dtype, device=coef.device)
        model.load_state_dict(self.state)
        return with_intervals(model, self.intervals)

    def digest(self) -> str:
        """A SHA-256 of all of it."""
        digest = hashlib.sha256(repr((self.width, self.grid, self.k, self.intervals)).encode())
        for name, value in self.state.items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def with_intervals(model: KAN, rows: Sequence[Sequence[int]]) -> KAN:
    """Note how many intervals every row has, by layer; see `intervals`."""
    for layer, counts in zip(model.act_fun, rows, strict=True):
        layer.intervals = tuple(int(count) for count in counts)
    return model


def save_checkpoint(model: KAN, base: str, inputs: Tensor) -> None:
    """Write `{base}_config.yml`, `_state` and `_cache_data`, for `KAN.loadckpt(base)` on any machine, CUDA or not.

    Parameters
    ----------
    inputs : Tensor of shape (n, d)
        Samples that come with the model as `cache_data` (pykan plots, prunes and refines with them).
    """
    device = model.device
    model.to("cpu")
    symbolic_enabled, model.symbolic_enabled = model.symbolic_enabled, True
    try:
        model.cache_data = inputs.detach().cpu().clone()
        model.saveckpt(base)
        _note_intervals(model, f"{base}_config.yml")
    finally:
        model.symbolic_enabled = symbolic_enabled
        model.to(device)


def _note_intervals(model: KAN, path: str) -> None:
    """Add the intervals of every row to a checkpoint's configuration, where they differ; pykan reads other keys."""
    rows = [list(intervals(layer)) for layer in model.act_fun]
    if any(count != layer.num for layer, counts in zip(model.act_fun, rows, strict=True) for count in counts):
        with Path(path).open("a") as config:
            yaml.safe_dump({INTERVALS: rows}, config)


def load_checkpoint(base: str | Path, dtype: torch.dtype | None = None, trusted: bool = False) -> KAN:
    """Read a checkpoint as `KAN.loadckpt` does, but in the precision it was stored with, on the CPU, and safely.

    pykan's own loader leaves the choice of what a pickle may do to torch's defaults and takes the device and the sizes
    from the configuration as they are. Here the tensors are read as tensors only, and the model that the configuration
    describes is built only if it has their shapes.

    Parameters
    ----------
    base : path
        `{base}_config.yml`, `{base}_state` and, where there is one, `{base}_cache_data` are read.
    dtype : torch.dtype, optional
    trusted : bool
        See `kanbench.reading.read_tensors`.

    Raises
    ------
    InputError
        A file is missing, damaged or refused, or they do not belong together.
    """
    config, state = read_model_config(f"{base}_config.yml"), read_tensors(f"{base}_state", trusted)
    _check_state(base, config, state)
    passed_on = ("mult_arity", "affine_trainable", "grid_eps", "grid_range", "sp_trainable", "sb_trainable")
    more = {key: config[key] for key in passed_on} | {"base_fun": config["base_fun_name"]}
    dtype = dtype or next(value.dtype for name, value in state.items() if name.endswith(".coef"))
    with clear_errors(f"{base}_config.yml"):
        model = _construct(_no_fit, config["width"], config["grid"], config["k"], 0, dtype, "cpu", **more)
    with clear_errors(f"{base}_state"):
        model.load_state_dict(state)
    for index, layer in enumerate(model.symbolic_fun):
        key = f"symbolic.funs_name.{index}"
        unknown = {name for row in config[key] for name in row} - SYMBOLIC_LIB.keys()
        if unknown:
            raise InputError(
                f"{base}_config.yml: {key}: found {min(unknown)[:100]!r}; allowed: {', '.join(SYMBOLIC_LIB)}"
            )
        _name_functions(layer, config[key])
    if Path(f"{base}_cache_data").exists():
        model.cache_data = read_tensors(f"{base}_cache_data", trusted)
    quiet(model)
    return with_intervals(model, config[INTERVALS]) if INTERVALS in config else model


def _check_state(base: str | Path, config: dict[str, Any], state: Any) -> None:
    """Check the tensors of a checkpoint, before memory is taken for what its configuration claims."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{base}_state: found no tensors by name; allowed: the state of a model")
    for end, name, allowed in (
        (".coef", "coefficients", coef_shapes(config)),
        (".grid", "knots", grid_shapes(config)),  # of a layer without outputs, they are what takes memory
    ):
        tensors = [value for key, value in state.items() if key.endswith(end)]
        shapes = [tuple(value.shape) for value in tensors]
        if shapes != allowed or not all(value.is_floating_point() for value in tensors):
            raise InputError(
                f"{base}_state: found {name} of shapes {str(shapes)[:99]}; allowed: {str(allowed)[:99]}, as the "
                "configuration beside it says"
            )


def _name_functions(layer: Symbolic_KANLayer, names: list[list[str]]) -> None:
    """Give the edges of a symbolic layer the functions of pykan's library that have these names."""
    for j, row in enumerate(names):
        for i, name in enumerate(row):
            layer.funs_name[j][i] = name
            layer.funs[j][i], layer.funs_sympy[j][i], _, layer.funs_avoid_singularity[j][i] = SYMBOLIC_LIB[name]
