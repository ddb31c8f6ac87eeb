"""A Kolmogorov-Arnold network of splines, by value.

Layer l maps n_l numbers to n_(l+1): its output j is Σ_i φ_ij(x_i) over its inputs i, with the *edge* from i to j

    φ(x) = mask · (scale_base · base(x) + scale_sp · Σ_c coef_c B_c(x))

where B_c are the B-splines of order k on the knots of node i; every edge that leaves a node shares them, and every
node has its own. The last layer's outputs, with a bias added, are the network's (pykan's `MultKAN` without
multiplication nodes, symbolic functions and affine maps).

A network evaluates nothing (that is for engines), and never changes: everything that is done to one returns another.
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
PARTS = ("coef", "scale_base", "scale_sp")  # of a layer's parameters, in the order of θ


def _read_only(array: ArrayLike) -> Array:
    """The array itself if it cannot be written to, or else a copy."""
    array = np.asarray(array)
    if array.flags.writeable or (isinstance(array.base, np.ndarray) and array.base.flags.writeable):
        array = array.copy(order="C")
        array.flags.writeable = False
    return array


def _reduced(value: Any) -> tuple[type, tuple[Any, ...]]:
    """For `copy` and `pickle`: copies are made by the constructor, so that their arrays are read-only too."""
    return type(value), tuple(getattr(value, field.name) for field in dataclasses.fields(value))


@dataclass(frozen=True, eq=False)
class SplineLayer:
    """The edges from one level of nodes to the next.

    Attributes:
        knots (tuple of arrays of shape (G + 1 + 2k,)): Of every input node; G, its number of grid intervals, is the
            node's own.
        coef (tuple of arrays of shape (outputs, G + k)): Of every input node, the coefficients of the splines that
            leave it.
        scale_base, scale_sp, mask (arrays of shape (inputs, outputs)): An edge whose mask is 0 is not there.
        order (int): k.
        fixed_base (boolean array of shape (inputs,)): The nodes whose base functions are not trained; by default none.
    """

    knots: tuple[Array, ...]
    coef: tuple[Array, ...]
    scale_base: Array
    scale_sp: Array
    mask: Array
    order: int
    fixed_base: NDArray[np.bool_] = None  # type: ignore[assignment]  # an array from the constructor on

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
        """Which edges are there, shape (inputs, outputs)."""
        live = self.mask != 0
        live.flags.writeable = False
        return live

    @functools.cached_property
    def intervals(self) -> tuple[int, ...]:
        """The grid intervals of every input node."""
        return tuple(len(t) - 1 - 2 * self.order for t in self.knots)

    def trained(self, name: str) -> NDArray[np.bool_]:
        """The edges that are there, and of which one of PARTS is trained, shape (inputs, outputs)."""
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
        """What is trained of one of PARTS, by input, then output, then coefficient; a vector."""
        if name == "coef":
            return np.concatenate([c[live].ravel() for c, live in zip(self.coef, self.live, strict=True)])
        return getattr(self, name)[self.trained(name)]

    def with_parts(self, vectors: Mapping[str, Array]) -> SplineLayer:
        """This layer with other vectors in the places of `part(name)`, by name."""
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
        """Knots and coefficients with as many columns for every node: those of `grid` intervals.

        A shorter row has spare knots to the right of its own, at the distance of its mean interval, whose splines have
        coefficients of 0.

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
        """Which entries of the padded coefficients and of the scales are trained, by part."""
        in_row = np.arange(grid + self.order) < np.array(self.intervals)[:, None] + self.order
        return {"coef": self.live[:, :, None] & in_row[:, None, :], **{name: self.trained(name) for name in PARTS[1:]}}

    def astype(self, dtype: Any) -> SplineLayer:
        knots, coef = (tuple(row.astype(dtype) for row in rows) for rows in (self.knots, self.coef))
        scale_base, scale_sp, mask = (part.astype(dtype) for part in (self.scale_base, self.scale_sp, self.mask))
        return SplineLayer(knots, coef, scale_base, scale_sp, mask, self.order, self.fixed_base)


@dataclass(frozen=True, eq=False)
class SplineNetwork:
    """Layers of splines one after another, and a bias at the output; see the module for the function that it is.

    Attributes:
        layers (tuple of SplineLayer)
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
        """Of the splines of the layer that has the highest."""
        return max(layer.order for layer in self.layers)

    @property
    def grid(self) -> int:
        """The intervals of the node that has most."""
        return max(max(layer.intervals) for layer in self.layers)

    @property
    def intervals(self) -> list[list[int]]:
        return [list(layer.intervals) for layer in self.layers]

    @functools.cached_property
    def n_parameters(self) -> int:
        """The number of parameters that are trained, the length of θ."""
        return sum(layer.count(name) for layer, name in self._trained())

    def parameters(self) -> Array:
        """θ, a new vector: layer by layer the trained ones of PARTS, each by input, output and coefficient."""
        parts = [layer.part(name) for layer, name in self._trained()]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)

    def with_parameters(self, theta: ArrayLike) -> SplineNetwork:
        """This network with other parameters θ."""
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
        """The layers and names of the parts of θ, in their order."""
        return ((layer, name) for layer in self.layers for name in PARTS if name not in self.fixed)

    def with_rows(self, rows: Sequence[Sequence[tuple[Array, Array]]]) -> SplineNetwork:
        """This network with other knots and coefficients, (knots, coef) of every node, by layer."""
        layers = []
        for layer, nodes in zip(self.layers, rows, strict=True):
            knots, coef = (tuple(np.asarray(part, self.dtype) for part in parts) for parts in zip(*nodes, strict=True))
            layers.append(dataclasses.replace(layer, knots=knots, coef=coef))
        return dataclasses.replace(self, layers=tuple(layers))

    def scaled(self, scale: float, offset: float | Array) -> SplineNetwork:
        """The network whose output is scale · f + offset; the scales of the last layer and the bias change.

        Args:
            offset (float or array of shape (outputs,))
        """
        *others, last = self.layers
        scales = {name: (getattr(last, name) * scale).astype(self.dtype) for name in ("scale_base", "scale_sp")}
        bias = (self.output_bias.astype(float) * scale + offset).astype(self.dtype)
        return dataclasses.replace(self, layers=(*others, dataclasses.replace(last, **scales)), output_bias=bias)

    def astype(self, dtype: Any) -> SplineNetwork:
        layers = tuple(layer.astype(dtype) for layer in self.layers)
        return dataclasses.replace(self, layers=layers, output_bias=self.output_bias.astype(dtype))

    def digest(self) -> str:
        """A SHA-256 of all of it."""
        digest = hashlib.sha256(repr((self.width, self.base, sorted(self.fixed), str(self.dtype))).encode())
        for layer in self.layers:
            digest.update(repr((layer.order, layer.intervals)).encode())
            scales = layer.scale_base, layer.scale_sp, layer.mask
            for array in (*layer.knots, *layer.coef, *scales, layer.fixed_base):
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(self.output_bias.tobytes())
        return digest.hexdigest()
