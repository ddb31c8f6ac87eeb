"""pykan's forward and its derivatives in compiled loops over samples, live edges and the splines' coefficients.

A sample meets only k + 1 of the G + k basis functions of a spline, so an evaluation costs about the same for every G.
See `kanbench.engine.kernels` for the mathematics; here the model is taken apart into arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from kan import KAN
from numpy.typing import NDArray
from torch import Tensor

from kanbench.engine import inputs, kernels
from kanbench.engine.checks import base_function, check_model
from kanbench.engine.simd import LANES
from kanbench.engine.structures import BLOCK, EDGE, LAYER, NODE, Block, Inputs, Network, Tables, cache
from kanbench.engine.tables import tabulate_row
from kanbench.engine.threads import map_in_order
from kanbench.models import intervals, live_entries, live_parts, trainable_parameters

if TYPE_CHECKING:
    from kanbench.engine.sparse import SparseLinearization

Array = NDArray[np.floating]
Result = TypeVar("Result")

WINDOWS = (4, 6)  # numbers of basis functions that code is compiled for: orders up to 3, and up to 5
CHUNK = 32 * BLOCK  # samples whose sums are formed apart, by one thread or another: sums must not depend on how many
KEPT_INPUTS = 2**28  # bytes of the first layer's inputs that are kept rather than computed in every evaluation


class CompiledEngine:
    """See `Engine`. For models on the CPU, of sums of splines; float64 or float32.

    Changes of the model from outside are seen after `grids_changed`. More than one thread is used for more than CHUNK
    samples; results do not depend on their number.
    """

    def __init__(self, model: KAN, x: Tensor, y: Tensor, threads: int = 1) -> None:
        check_model("compiled", ["cpu"], model, y)
        self.base_kind = inputs.BASE_FUNCTIONS[base_function("compiled", model)]
        self.model, self.x, self.y, self.threads = model, x, y, threads
        self.y_array = np.ascontiguousarray(y.detach().numpy()[:, 0])
        self.dtype = self.y_array.dtype
        self.x_array = self._inputs(x)
        self.n_evals, self.chunk = 0, CHUNK
        self.grids_changed()

    def grids_changed(self) -> None:
        order = max(layer.k for layer in self.model.act_fun)
        window = next(width for width in WINDOWS if width > order)
        cache.once(f"{self.dtype}_{window}", lambda: _compile(self.y.dtype, window))
        positions = self._link_parameters()
        self.network = _network(self.model, positions, window, self.dtype, self.base_kind)
        self.tables = _tables(self.network, window, self.dtype)
        e, b, a = _tables(self.network, window, np.dtype(float))
        self.derivatives = Tables(e, b, np.tile(a, 2))  # sums over samples; see `kernels.add_derivatives`
        self.block, self.places = self._room(), None
        self.first = self._first_inputs()

    def _link_parameters(self) -> dict[str, int]:
        """Lay out the vector of all parameters, θ and then what is held fixed; return where which parameter begins."""
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
        return positions

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
        return torch.from_numpy(self._values(self._write(theta), self.x_array, self.first) - self.y_array)

    def loss_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        self.n_evals += 1
        parameters, gradient = self._write(theta), np.empty(self.n_trained, self.dtype)
        data = self.x_array, self.y_array, self.network
        if len(self.y_array) <= self.chunk:
            room = self.derivatives, gradient, self.block
            loss = kernels.loss_and_gradient(parameters, *data, self.tables, self.first, *room)
        else:
            loss = self._sum_of_chunks(parameters, gradient) / len(self.y_array)
        return loss, torch.from_numpy(gradient)

    def residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        linearization = self.linearize(theta)
        return linearization.residuals.to(theta.dtype), linearization.jacobian().to(theta.dtype)

    def linearize(self, theta: Tensor) -> SparseLinearization:
        from kanbench.engine.sparse import SparseLinearization, find_places  # imports scipy, which only this needs

        self.n_evals += 1
        parameters = self._write(theta)
        poison = kernels.fill_tables(parameters, self.network, self.tables)
        tables = Tables(*map(np.copy, self.tables))  # the engine's own follow every evaluation
        if self.places is None:
            self.places = find_places(self.network, self.n_trained)
        network = self.network, tables, poison, self.first
        sparse = SparseLinearization(parameters, self.x_array, *network, self.places, self.threads)
        values = self._values(parameters, self.x_array, self.first) if sparse.values is None else sparse.values
        sparse.residuals = torch.from_numpy((values - self.y_array).astype(float))
        return sparse

    def predict(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._values(self._read(), self._inputs(x), self._no_inputs()))[:, None]

    def _values(self, parameters: Array, x: Array, first: Inputs) -> Array:
        """f(x; θ), shape (n,)."""
        poison = kernels.fill_tables(parameters, self.network, self.tables)
        values = np.empty(len(x), self.dtype)
        rest = x, values, self.network, self.tables, poison, first, values, self.derivatives
        if len(x) <= self.chunk:
            kernels.evaluate(kernels.VALUES, 0, len(x), *rest, self.block)
            return values
        self._chunks(lambda start, stop: kernels.evaluate(kernels.VALUES, start, stop, *rest, self._room()), len(x))
        return values

    def _sum_of_chunks(self, parameters: Array, gradient: Array) -> float:
        """Fill the gradient and return the sum of the squared residuals, for any number of samples."""
        poison = kernels.fill_tables(parameters, self.network, self.tables)
        for part in self.derivatives:
            part[:] = 0

        def evaluate(start: int, stop: int) -> tuple[float, Tables]:
            part = Tables(*map(np.zeros_like, self.derivatives))
            rest = self.network, self.tables, poison, self.first, self.y_array, part, self._room()
            return kernels.evaluate(kernels.GRADIENT, start, stop, self.x_array, self.y_array, *rest), part

        total = 0.0
        for value, part in self._chunks(evaluate, len(self.y_array)):
            total += value
            for derivatives, summand in zip(self.derivatives, part, strict=True):
                np.add(derivatives, summand, out=derivatives)
        kernels.add_pieces(self.network, self.derivatives)
        kernels.chain_rule(parameters, self.network, self.derivatives, gradient)
        return total

    def _chunks(self, function: Callable[[int, int], Result], n: int) -> list[Result]:
        """The results of `function(start, stop)` for every chunk of n samples, in their order."""
        starts = range(0, n, self.chunk)
        threads = min(self.threads, len(starts))
        return map_in_order(lambda start: function(start, min(start + self.chunk, n)), starts, threads)

    def _room(self) -> Block:
        return kernels.new_block(self.network, self.dtype.type(0))

    def _inputs(self, x: Tensor) -> Array:
        return np.ascontiguousarray(x.detach()[:, self.model.input_id.long()].numpy(), self.dtype)

    def _no_inputs(self) -> Inputs:
        return inputs.new_inputs(0, 0, self.dtype.type(0))

    def _first_inputs(self) -> Inputs:
        """All that the edges of the first layer need to know of the training inputs; nothing, if that is too much."""
        size = self.x_array.size
        if size * (np.dtype(np.int32).itemsize + 2 * self.dtype.itemsize) > KEPT_INPUTS:
            return self._no_inputs()
        first = inputs.new_inputs(size, 0, self.dtype.type(0))
        inputs.first_inputs(self.x_array, self.network, first)
        return first


def _compile(dtype: torch.dtype, window: int) -> None:
    from kanbench.engine.ahead import compile_kernels  # which imports this module

    compile_kernels(dtype, window)


def _network(model: KAN, positions: dict[str, int], window: int, dtype: np.dtype, base_kind: int) -> Network:
    """The model in arrays; `positions` says where in the vector of all parameters those of a part of a layer begin."""
    edges, target = _edges(model, positions)
    nodes, rows, first_bucket, first_piece = np.zeros(sum(layer.in_dim for layer in model.act_fun), NODE), [], 0, 0
    left, right, density = [], [], []
    for node, (t, k) in zip(nodes, _rows_of_knots(model), strict=True):
        row = tabulate_row(t, k, window, first_piece)
        node["first_bucket"], node["last_bucket"], node["steps"] = first_bucket, len(row.buckets) - 1, row.steps
        node["first_piece"], node["n_pieces"] = first_piece, len(t) - 1
        node["lowest"], node["highest"], node["density"] = t[0], t[-1], row.density
        first_bucket, first_piece = first_bucket + len(row.buckets), first_piece + len(t) - 1
        left.append(t[:-1])
        right.append(t[1:])
        density.append(_inverse(np.diff(t)))
        rows.append(row)
    _place(nodes, edges, target, window)
    return Network(
        layers=_layers(model, nodes),
        nodes=nodes,
        edges=edges,
        buckets=np.concatenate([row.buckets for row in rows]),
        left=np.concatenate(left),
        right=np.concatenate(right),
        density=np.concatenate(density),
        window=np.concatenate([row.window for row in rows]),
        polynomials=np.concatenate([row.polynomials for row in rows]).astype(dtype).ravel(),
        base_kind=base_kind,
        w=(0,) * window,
    )


def _rows_of_knots(model: KAN) -> Iterator[tuple[Array, int]]:
    """The knots of every node that edges may leave, without padding, and its order."""
    for layer in model.act_fun:
        for knots, count in zip(layer.grid.detach().double().numpy(), intervals(layer), strict=True):
            yield knots[: count + 1 + 2 * layer.k].copy(), layer.k


def _inverse(lengths: Array) -> Array:
    """1 / lengths; 0 for knots that coincide (no number is between them) or are not numbers."""
    with np.errstate(all="ignore"):
        inverse = 1 / lengths
    return np.where(np.isfinite(inverse), inverse, 0)


def _edges(model: KAN, positions: dict[str, int]) -> tuple[NDArray, NDArray[np.int64]]:
    """The live edges by the node that they leave, and the nodes of the next layer to which they go."""
    parts, targets, first_node = [], [], 0
    for number, layer in enumerate(model.act_fun):
        mask = layer.mask.detach().double().numpy()
        source, target = np.nonzero(mask)
        edges = np.zeros(len(source), EDGE)
        edges["node"], edges["mask"] = first_node + source, mask[source, target]
        edges["n_coef"] = (np.array(intervals(layer)) + layer.k)[source]
        edges["coef_at"] = positions[f"act_fun.{number}.coef"] + np.cumsum(edges["n_coef"]) - edges["n_coef"]
        edges["base_at"] = positions[f"act_fun.{number}.scale_base"] + np.arange(len(source))
        edges["sp_at"] = positions[f"act_fun.{number}.scale_sp"] + np.arange(len(source))
        parts.append(edges)
        targets.append(target)
        first_node += layer.in_dim
    return np.concatenate(parts), np.concatenate(targets)


def _place(nodes: NDArray, edges: NDArray, target: NDArray[np.int64], window: int) -> None:
    """Give the edges of every node their lanes, and the nodes their places in the tables."""
    first_row = first_coef = first_base = 0
    for index, node in enumerate(nodes):
        leaving = edges["node"] == index
        if leaving.any():
            node["first_target"] = target[leaving].min()
            span = target[leaving].max() - node["first_target"] + 1
            node["lanes"] = 1 if span == 1 else -(-span // LANES) * LANES
            edges["lane"][leaving] = target[leaving] - node["first_target"]
        node["row"] = LANES if node["lanes"] == 1 else window * node["lanes"]
        node["first_row"], node["first_coef"], node["first_base"] = first_row, first_coef, first_base
        first_row += (node["n_pieces"] + 1) * node["row"]
        first_coef += max(edges["n_coef"][leaving].max(initial=0), window) * node["lanes"]
        first_base += node["lanes"]


def _layers(model: KAN, nodes: NDArray) -> NDArray:
    """The layers and the output; the values of a sample leave room for the lanes that come from the layer before."""
    layers, at = np.zeros(len(model.act_fun) + 1, LAYER), 0
    widths = [*(layer.in_dim for layer in model.act_fun), 1]
    for layer, first_node, width, before in zip(layers, np.cumsum([0, *widths]), widths, [0, *widths], strict=False):
        feeding = nodes[first_node - before : first_node]
        layer["first_node"], layer["width"], layer["at"] = first_node, width, at
        layer["stride"] = max(width, (feeding["first_target"] + feeding["lanes"]).max(initial=0))
        at += layer["stride"] * BLOCK
    return layers


def _tables(network: Network, window: int, dtype: np.dtype) -> Tables:
    """Zeros for the parameters of a network, or for derivatives by them."""
    last, n_edges = network.nodes[-1], network.edges
    n_coef = max(n_edges["n_coef"][n_edges["node"] == len(network.nodes) - 1].max(initial=0), window)
    rows = last["first_row"] + (last["n_pieces"] + 1) * last["row"]
    sizes = last["first_coef"] + n_coef * last["lanes"], last["first_base"] + last["lanes"], rows
    return Tables(*(np.zeros(size, dtype) for size in sizes))
