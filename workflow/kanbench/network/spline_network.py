"""A Kolmogorov-Arnold network of splines, as an immutable value.

Layer l maps n_l numbers to n_(l+1): its output j is Σ_i φ_ij(x_i) over its inputs i, with the *edge* from i to j

    φ(x) = mask · (scale_base · base(x) + scale_sp · Σ_c coef_c B_c(x))

where B_c are the B-splines of order k on the knots of node i. Each node has its own knots, which its outgoing edges
share. The outputs of the last layer plus a bias are the outputs of the network. This is pykan's `MultKAN` without
multiplication nodes, symbolic functions and affine maps.

A network does not evaluate itself (see the engines) and never changes; every operation returns a new network.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kanbench.problems import Array

BASE_FUNCTIONS = ("silu", "identity", "zero")
PARTS = ("coef", "scale_base", "scale_sp")  # the trainable parts of a layer, in the order of θ


def _read_only(array: ArrayLike) -> Array:
    """Return the array if it is read-only, else a read-only copy."""
    array = np.asarray(array)
    if array.flags.writeable or (isinstance(array.base, np.ndarray) and array.base.flags.writeable):
        array = array.copy(order="C")
        array.flags.writeable = False
    return array


def _reduced(value: Any) -> tuple[type, tuple[Any, ...]]:
    """`__reduce__` for `copy` and `pickle`: copies are made by the constructor, so their arrays are read-only too."""
    return type(value), tuple(getattr(value, field.name) for field in dataclasses.fields(value))


@dataclass(frozen=True, eq=False)
class SplineLayer:
    """The edges from one level of nodes to the next.

    Attributes:
        knots (tuple of arrays of shape (G + 1 + 2k,)): The knots of each input node; the number of grid intervals G
            may differ between nodes.
        coef (tuple of arrays of shape (outputs, G + k)): For each input node, the coefficients of its outgoing edges.
        scale_base, scale_sp, mask (arrays of shape (inputs, outputs)): By edge; an edge with mask 0 is absent.
        order (int): k.
        fixed_base (boolean array of shape (inputs,)): The nodes whose base functions are not trained; by default none.
    """

    knots: tuple[Array, ...]
    coef: tuple[Array, ...]
    scale_base: Array
    scale_sp: Array
    mask: Array
    order: int
    fixed_base: NDArray[np.bool_] = None  # type: ignore[assignment]  # replaced in __post_init__

    def __post_init__(self) -> None:
        for name in ("knots", "coef"):
            object.__setattr__(self, name, tuple(map(_read_only, getattr(self, name))))
        if self.fixed_base is None:
            object.__setattr__(self, "fixed_base", np.zeros(len(self.knots), bool))
        for name in ("scale_base", "scale_sp", "mask", "fixed_base"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))
        scales = {self.scale_base.shape, self.scale_sp.shape, self.mask.shape}
        if len(scales) > 1 or len(self.knots) != self.inputs:
            raise ValueError(f"scales of shapes {scales} for {len(self.knots)} rows of knots")
        for t, c in zip(self.knots, self.coef, strict=True):
            if c.shape != (self.outputs, len(t) - self.order - 1):
                raise ValueError(f"{len(t)} knots with coefficients of shape {c.shape}, order {self.order}")

    __reduce__ = _reduced

    @property
    def inputs(self) -> int:
        return self.mask.shape[0]

    @property
    def outputs(self) -> int:
        return self.mask.shape[1]

    @functools.cached_property
    def live(self) -> NDArray[np.bool_]:
        """Which edges are present, shape (inputs, outputs)."""
        live = self.mask != 0
        live.flags.writeable = False
        return live

    @functools.cached_property
    def intervals(self) -> tuple[int, ...]:
        """The grid intervals of each input node."""
        return tuple(len(t) - 1 - 2 * self.order for t in self.knots)

    def trained(self, name: str) -> NDArray[np.bool_]:
        """The live edges of which this one of PARTS is trained, shape (inputs, outputs)."""
        return self._trained_base if name == "scale_base" else self.live

    @functools.cached_property
    def _trained_base(self) -> NDArray[np.bool_]:
        return self.live & ~self.fixed_base[:, None] if self.fixed_base.any() else self.live

    def count(self, name: str) -> int:
        """The length of `part(name)`."""
        if name == "coef":
            return sum(int(np.count_nonzero(live)) * c.shape[1] for c, live in zip(self.coef, self.live, strict=True))
        return int(np.count_nonzero(self.trained(name)))

    def part(self, name: str) -> Array:
        """The trained parameters of one of PARTS as a vector, ordered by input, output and coefficient."""
        if name == "coef":
            return np.concatenate([c[live].ravel() for c, live in zip(self.coef, self.live, strict=True)])
        return getattr(self, name)[self.trained(name)]

    def with_parts(self, vectors: Mapping[str, Array]) -> SplineLayer:
        """This layer with the vectors `part(name)` replaced, by name."""
        changed: dict[str, Any] = {}
        for name, values in vectors.items():
            if name != "coef":
                changed[name] = getattr(self, name).copy()
                changed[name][self.trained(name)] = values
                continue
            rows, at = [], 0
            for c, live in zip(self.coef, self.live, strict=True):
                row, size = c.copy(), np.count_nonzero(live) * c.shape[1]
                row[live] = values[at : at + size].reshape(-1, c.shape[1])
                rows.append(row)
                at += size
            changed[name] = tuple(rows)
        return dataclasses.replace(self, **changed)

    def padded(self, grid: int) -> tuple[Array, Array]:
        """Knots and coefficients padded to `grid` intervals for every node.

        Shorter rows get additional knots on the right, at their mean distance, and coefficients of 0.

        Returns:
            knots, coef (arrays of shapes (inputs, grid + 1 + 2k) and (inputs, outputs, grid + k))
        """
        knots = np.empty((self.inputs, grid + 1 + 2 * self.order), self.mask.dtype)
        coef = np.zeros((self.inputs, self.outputs, grid + self.order), self.mask.dtype)
        for i, (t, c) in enumerate(zip(self.knots, self.coef, strict=True)):
            step = (float(t[-1]) - float(t[0])) / (len(t) - 1)
            knots[i, : len(t)] = t
            knots[i, len(t) :] = float(t[-1]) + step * np.arange(1, knots.shape[1] - len(t) + 1)
            coef[i, :, : c.shape[1]] = c
        return knots, coef

    def padded_live(self, grid: int) -> dict[str, NDArray[np.bool_]]:
        """Masks of the trained entries of the padded coefficients and of the scales, by part."""
        in_row = np.arange(grid + self.order) < np.array(self.intervals)[:, None] + self.order
        return {"coef": self.live[:, :, None] & in_row[:, None, :], **{name: self.trained(name) for name in PARTS[1:]}}

    def astype(self, dtype: Any) -> SplineLayer:
        knots, coef = (tuple(row.astype(dtype) for row in rows) for rows in (self.knots, self.coef))
        scale_base, scale_sp, mask = (part.astype(dtype) for part in (self.scale_base, self.scale_sp, self.mask))
        return SplineLayer(knots, coef, scale_base, scale_sp, mask, self.order, self.fixed_base)


@dataclass(frozen=True, eq=False)
class SplineNetwork:
    """A sequence of spline layers and an output bias; the module's docstring defines its function.

    Attributes:
        layers (tuple of SplineLayer): In order, from the inputs.
        output_bias (array of shape (outputs,)): Not trained.
        base (str): The base function of all edges, one of BASE_FUNCTIONS.
        fixed (frozenset of str): The PARTS that are not trained.
    """

    layers: tuple[SplineLayer, ...]
    output_bias: Array
    base: str = "silu"
    fixed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "output_bias", _read_only(self.output_bias))
        if self.base not in BASE_FUNCTIONS:
            raise ValueError(f"base function {self.base!r}")
        if self.width != [*(layer.inputs for layer in self.layers), len(self.output_bias)]:
            raise ValueError(f"layers that do not fit together: {[layer.mask.shape for layer in self.layers]}")

    __reduce__ = _reduced

    @property
    def width(self) -> list[int]:
        return [self.layers[0].inputs, *(layer.outputs for layer in self.layers)]

    @property
    def dtype(self) -> np.dtype:
        return self.layers[0].mask.dtype

    @property
    def order(self) -> int:
        """The highest spline order of all layers."""
        return max(layer.order for layer in self.layers)

    @property
    def grid(self) -> int:
        """The largest number of intervals of all nodes."""
        return max(max(layer.intervals) for layer in self.layers)

    @property
    def intervals(self) -> list[list[int]]:
        return [list(layer.intervals) for layer in self.layers]

    @functools.cached_property
    def n_parameters(self) -> int:
        """The number of trained parameters, the length of θ."""
        return sum(layer.count(name) for layer, name in self._trained())

    def parameters(self) -> Array:
        """θ as a new vector: layer by layer the trained PARTS, each ordered by input, output and coefficient."""
        parts = [layer.part(name) for layer, name in self._trained()]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)

    def with_parameters(self, theta: ArrayLike) -> SplineNetwork:
        """This network with parameters θ, shape (n_parameters,)."""
        theta = np.asarray(theta, self.dtype)
        if theta.shape != (self.n_parameters,):
            raise ValueError(f"parameters of shape {theta.shape} for a network of {self.n_parameters}")
        layers = []
        for layer in self.layers:
            vectors = {}
            for name in PARTS:
                if name not in self.fixed:
                    vectors[name], theta = np.split(theta, [layer.count(name)])
            layers.append(layer.with_parts(vectors))
        return dataclasses.replace(self, layers=tuple(layers))

    def _trained(self) -> Iterator[tuple[SplineLayer, str]]:
        """The parts of θ in order, as (layer, name)."""
        return ((layer, name) for layer in self.layers for name in PARTS if name not in self.fixed)

    def with_rows(self, rows: Sequence[Sequence[tuple[Array, Array]]]) -> SplineNetwork:
        """This network with other knots and coefficients, given as (knots, coef) of each node, by layer."""
        layers = []
        for layer, nodes in zip(self.layers, rows, strict=True):
            knots, coef = (tuple(np.asarray(part, self.dtype) for part in parts) for parts in zip(*nodes, strict=True))
            layers.append(dataclasses.replace(layer, knots=knots, coef=coef))
        return dataclasses.replace(self, layers=tuple(layers))

    def scaled(self, scale: float, offset: float | Array) -> SplineNetwork:
        """The network with output scale · f + offset; only the scales of the last layer and the bias change.

        Args:
            offset (float or array of shape (outputs,)): Added to the outputs.
        """
        *others, last = self.layers
        scales = {name: (getattr(last, name) * scale).astype(self.dtype) for name in ("scale_base", "scale_sp")}
        bias = (self.output_bias.astype(float) * scale + offset).astype(self.dtype)
        return dataclasses.replace(self, layers=(*others, dataclasses.replace(last, **scales)), output_bias=bias)

    def astype(self, dtype: Any) -> SplineNetwork:
        layers = tuple(layer.astype(dtype) for layer in self.layers)
        return dataclasses.replace(self, layers=layers, output_bias=self.output_bias.astype(dtype))

    def digest(self) -> str:
        """A SHA-256 of the whole network."""
        digest = hashlib.sha256(repr((self.width, self.base, sorted(self.fixed), str(self.dtype))).encode())
        for layer in self.layers:
            digest.update(repr((layer.order, layer.intervals)).encode())
            scales = layer.scale_base, layer.scale_sp, layer.mask
            for array in (*layer.knots, *layer.coef, *scales, layer.fixed_base):
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(self.output_bias.tobytes())
        return digest.hexdigest()
