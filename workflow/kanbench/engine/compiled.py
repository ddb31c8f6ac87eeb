"""pykan's forward and its derivatives in compiled loops over samples, live edges and the basis functions that are live.

A sample meets only k + 1 of the G + k basis functions of a spline, so an evaluation costs about the same for every G.
See `kanbench.engine.kernels` for the mathematics; here the model is taken apart into arrays.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from kan import KAN
from numpy.typing import NDArray
from torch import Tensor

from kanbench.engine import kernels
from kanbench.engine.kernels import Edges, Grids
from kanbench.errors import InputError
from kanbench.models import intervals, live_entries, live_parts, trainable_parameters

Array = NDArray[np.floating]

WINDOWS = (4, 6)  # numbers of basis functions that code is compiled for: orders up to 3, and up to 5


class CompiledEngine:
    """See `Engine`. For models on the CPU, of sums of splines; float64 or float32.

    Changes of the model from outside are seen after `grids_changed`.
    """

    def __init__(self, model: KAN, x: Tensor, y: Tensor) -> None:
        _check(model, y)
        self.base_kind = _base_kind(model)
        self.model, self.x, self.y = model, x, y
        self.y_array = np.ascontiguousarray(y.detach().numpy()[:, 0])
        self.dtype, self.n_inputs = self.y_array.dtype, model.act_fun[0].in_dim
        self.no_gradient, self.no_jacobian = np.empty(0, self.dtype), np.empty((0, 0), self.dtype)
        self.n_evals = 0
        self.grids_changed()

    def grids_changed(self) -> None:
        order = max(layer.k for layer in self.model.act_fun)
        self.lanes = (self.dtype.type(0),) * next(width for width in WINDOWS if width > order)
        self._link_parameters()
        self.grids = _grids(self.model, len(self.lanes), self.dtype.type)
        self.first = self._first_inputs(self.x)

    def _link_parameters(self) -> None:
        """Lay out the vector of all parameters, θ and then what is held fixed, and where the model keeps them."""
        live, trained = live_entries(self.model), trainable_parameters(self.model)
        self.links, at, positions, fixed = [], 0, {}, []
        for name, entries in live.items():
            parameter = trained[name]
            if not parameter.is_contiguous():  # pykan makes others
                parameter.data = parameter.data.contiguous()
            index = None if entries.all() else np.flatnonzero(entries.numpy())
            positions[name], size = at, int(entries.sum())
            self.links.append((parameter.detach().numpy().reshape(-1), slice(at, at + size), index))
            at += size
        self.n_trained = at
        for number, layer in enumerate(self.model.act_fun):
            for part, where in live_parts(layer).items():
                if (name := f"act_fun.{number}.{part}") not in positions:
                    positions[name] = at
                    fixed.append(getattr(layer, part).detach()[where].numpy())
                    at += len(fixed[-1])
        self.all_parameters = np.concatenate([np.empty(self.n_trained, self.dtype), *fixed])
        self.edges = _edges(self.model, positions, len(self.lanes), self.dtype)

    def parameters(self) -> Tensor:
        return torch.from_numpy(self._read()[: self.n_trained].copy())

    def _read(self) -> Array:
        """The vector of all parameters, θ as it is in the model."""
        for values, part, index in self.links:
            self.all_parameters[part] = values if index is None else values[index]
        return self.all_parameters

    def set_parameters(self, theta: Tensor) -> None:
        self._write(theta)

    def _write(self, theta: Tensor) -> Array:
        """Give the model θ; return the vector of all parameters."""
        self.all_parameters[: self.n_trained] = theta.detach().numpy()
        for values, part, index in self.links:
            values[slice(None) if index is None else index] = self.all_parameters[part]
        return self.all_parameters

    def residuals(self, theta: Tensor) -> Tensor:
        self.n_evals += 1
        values, _ = self._evaluate(kernels.VALUES, self._write(theta), self.first)
        return torch.from_numpy(values - self.y_array)

    def loss_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        self.n_evals += 1
        gradient = np.empty(self.n_trained, self.dtype)
        _, loss = self._evaluate(kernels.GRADIENT, self._write(theta), self.first, gradient=gradient)
        return loss, torch.from_numpy(gradient)

    def residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        self.n_evals += 1
        jacobian = np.zeros((len(self.y_array), self.n_trained), self.dtype)
        values, _ = self._evaluate(kernels.JACOBIAN, self._write(theta), self.first, jacobian=jacobian)
        return torch.from_numpy(values - self.y_array), torch.from_numpy(jacobian)

    def predict(self, x: Tensor) -> Tensor:
        values, _ = self._evaluate(kernels.VALUES, self._read(), self._first_inputs(x))
        return torch.from_numpy(values)[:, None]

    def _evaluate(
        self, task: int, parameters: Array, first: kernels.Inputs, gradient: Array | None = None, jacobian=None
    ) -> tuple[Array, float]:
        """See `kernels.evaluate`."""
        values = np.empty(len(first.window) // self.n_inputs, self.dtype)
        gradient = self.no_gradient if gradient is None else gradient
        jacobian = self.no_jacobian if jacobian is None else jacobian
        loss = kernels.evaluate(
            task,
            parameters,
            self.y_array,
            self.grids,
            self.edges,
            self.base_kind,
            first,
            values,
            gradient,
            jacobian,
            self.lanes,
        )
        return values, loss

    def _first_inputs(self, x: Tensor) -> kernels.Inputs:
        """All that the edges of the first layer need to know of x, shape (m, d)."""
        x = np.ascontiguousarray(x.detach()[:, self.model.input_id.long()].numpy(), self.dtype)
        inputs = kernels.new_inputs(x.size, self.lanes)
        kernels.evaluate_inputs(x.ravel(), 0, self.grids, self.edges, self.base_kind, inputs, self.lanes)
        return inputs


def _grids(model: KAN, window: int, dtype: type) -> Grids:
    """The tables of all rows of knots."""
    left, density_of_piece, windows = [np.zeros(1)], [np.zeros(1)], [np.zeros(1, np.int64)]  # begin with the piece 0
    polynomials, buckets, ends, n_pieces = [np.zeros((1, window, window))], [], [], 1
    for layer in model.act_fun:
        for knots, count in zip(layer.grid.detach().numpy(), intervals(layer), strict=True):
            t = knots[: count + 1 + 2 * layer.k].copy()
            new_pieces = len(t) - 1
            polynomials.append(np.zeros((new_pieces, window, window)))
            windows.append(np.zeros(new_pieces, np.int64))
            kernels.tabulate(t.astype(float), layer.k, polynomials[-1], windows[-1], max(count + layer.k, window))
            buckets.append(np.zeros(kernels.BUCKETS_PER_INTERVAL * new_pieces + 1, np.int64))
            ends.append((t[0], t[-1], _inverse(t[-1:] - t[:1])[0] * (len(buckets[-1]) - 1)))
            kernels.fill_buckets(t, n_pieces, dtype(ends[-1][2]), buckets[-1])
            left.append(t[:-1])
            density_of_piece.append(_inverse(np.diff(t)))
            n_pieces += new_pieces
    lowest, highest, density = (np.array(part, dtype) for part in zip(*ends, strict=True))
    return Grids(
        first_bucket=np.cumsum([0, *map(len, buckets)]),
        buckets=np.concatenate(buckets),
        lowest=lowest,
        highest=highest,
        density=density,
        left=np.concatenate(left).astype(dtype),
        density_of_piece=np.concatenate(density_of_piece).astype(dtype),
        window=np.concatenate(windows),
        polynomials=np.concatenate(polynomials).astype(dtype).ravel(),
    )


def _inverse(lengths: Array) -> Array:
    """1 / lengths; 0 for knots that coincide (no number is between them) or are not numbers."""
    with np.errstate(all="ignore"):
        inverse = 1 / lengths
    return np.where(np.isfinite(inverse), inverse, 0)


def _edges(model: KAN, positions: dict[str, int], window: int, dtype: np.dtype) -> Edges:
    """The live edges, and where the parts of the layers are in the vector of all parameters."""
    columns, leaving = [], []
    for number, layer in enumerate(model.act_fun):
        mask = layer.mask.detach().numpy()
        source, target = np.nonzero(mask)
        n_coef = (np.array(intervals(layer)) + layer.k)[source]
        edge, coef = np.arange(len(source)), np.cumsum(n_coef) - n_coef
        at = {part: positions[f"act_fun.{number}.{part}"] for part in ("coef", "scale_base", "scale_sp")}
        positions_of_edges = at["coef"] + coef, at["scale_base"] + edge, at["scale_sp"] + edge
        columns.append((target, mask[source, target], n_coef, *positions_of_edges))
        leaving.extend(np.count_nonzero(mask, axis=1))
    target, mask, n_coef, coef_at, base_at, sp_at = map(np.concatenate, zip(*columns, strict=True))
    return Edges(
        first_node=np.cumsum([0, *(layer.in_dim for layer in model.act_fun), 1]),
        first_edge=np.cumsum([0, *leaving]),
        target=target,
        mask=mask.astype(dtype),
        first_coef=np.cumsum([0, *np.maximum(n_coef, window)]),
        n_coef=n_coef,
        coef_at=coef_at,
        base_at=base_at,
        sp_at=sp_at,
    )


def _check(model: KAN, y: Tensor) -> None:
    """Raise `InputError` for a model that is more than sums of splines."""
    nodes = model.depth
    affine = ("subnode_scale", 1), ("subnode_bias", 0), ("node_scale", 1), ("node_bias", 0)
    scaled = [f"{name}_{n}" for name, value in affine for n in range(nodes) if (getattr(model, name)[n] != value).any()]
    known = re.compile(r"act_fun\.\d+\.(coef|scale_base|scale_sp)")
    other = [name for name in trainable_parameters(model) if not known.fullmatch(name)]
    orders = sorted({layer.k for layer in model.act_fun} - set(range(1, max(WINDOWS))))
    for condition, found in (
        (y.device.type != "cpu", f"device {y.device}; allowed: cpu"),
        (y.dtype not in (torch.float32, torch.float64), f"{y.dtype}; allowed: torch.float32, torch.float64"),
        (any(mult for _, mult in model.width), f"multiplication nodes in width {model.width}; allowed: none"),
        (model.width[-1][0] != 1, f"{model.width[-1][0]} outputs; allowed: 1"),
        (orders, f"splines of order {orders}; allowed: 1 to {max(WINDOWS) - 1}"),
        (model.symbolic_enabled and any(f.mask.any() for f in model.symbolic_fun), "symbolic functions; allowed: none"),
        (scaled, f"{', '.join(scaled)}; allowed: scales of 1 and biases of 0"),
        (other, f"trainable {', '.join(other)}; allowed: coef, scale_base and scale_sp"),
    ):
        if condition:
            raise InputError(f"engine compiled: found {found}")


def _base_kind(model: KAN) -> int:
    """The number by which the kernels know the model's base function."""
    found = {id(layer.base_fun): layer.base_fun for layer in model.act_fun}.values()
    if all(isinstance(function, torch.nn.SiLU) for function in found):
        return kernels.SILU
    if all(isinstance(function, torch.nn.Identity) for function in found):
        return kernels.IDENTITY
    if model.base_fun_name == "zero" and all(function is model.base_fun for function in found):
        return kernels.ZERO
    names = ", ".join(str(function) for function in found)
    raise InputError(f"engine compiled: found base function {names}; allowed: silu, identity, zero")
