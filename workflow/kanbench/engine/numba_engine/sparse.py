"""The linearization of the compiled engine: products with the Jacobian J = R L from rows of R; see `rows`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from kanbench.engine.numba_engine import cholesky, gram, lapack
from kanbench.engine.numba_engine import linearized as kernels
from kanbench.engine.numba_engine.linearized import new_linearized, zeros_laid_out
from kanbench.engine.numba_engine.rows import Places, vjp
from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import BLOCK, LINE, Layout, Tables, Workspace
from kanbench.engine.numba_engine.threads import map_in_order
from kanbench.problems import Array

KEPT_ROWS = 2**28  # bytes up to which rows are stored, not recomputed for every product
BYTES_OF_BLOCK = 2**20  # rows whose products are computed together: the fastest of 2^16 to 2^20, half of a cache
# Measured: for a pair of overlapping runs, per number and for two more; for an element's product in BLAS's dsyrk.
SECONDS_OF_PAIR, SECONDS_OF_PRODUCT = 4e-10, 1.5e-11
DENSE = 1.8  # JᵀJ is computed from dense rows up to so many times the products of runs; see `dense`
ROWS_AT_ONCE = 8 * BLOCK  # of rows that are not stored


class Memory:
    """Arrays reused by successive linearizations: the first use of memory takes longer than most products.

    Args:
        work, places: Those of the engine; the tables of `work` are not used.
        n_parameters (int): Length of θ.

    Attributes:
        linearized (Linearized): Refers to the arrays: `values`, f(x; θ), filled along with the rows of R; and the
            entries of L, laid out: `coef`, every coefficient, and `factor`, the scale_sp of its edge.
    """

    def __init__(self, work: Workspace, places: Places, n_parameters: int) -> None:
        self.arrays: dict[str, Any] = {}
        tables = Tables(*(self.array(f"table {i}", t.shape, t.dtype) for i, t in enumerate(work.tables)))
        n, n_rows, n_coef, of_row = len(work.x), len(work.y), len(places.scale_of), int(places.run[-1])
        self.kept = n_rows * of_row * 8 <= KEPT_ROWS or n_parameters > n_rows
        self.at_once = n if self.kept else max(1, ROWS_AT_ONCE // (n_rows // n))
        room = self.at_once * (n_rows // n)
        self.values, self.rows = np.empty(n_rows, work.x.dtype), self.array("rows", (room * of_row,))
        self.windows = self.array("windows", (len(places.room), room), np.int32)
        self.coef, self.factor = np.zeros(n_coef + LANES), np.ones(len(zeros_laid_out(places)))
        arrays = self.values, self.rows, self.windows, self.coef, self.factor
        self.linearized = new_linearized(work._replace(tables=tables), places, *arrays)

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = float) -> Any:
        """Return the array of this name, uncleared, if it has this shape; otherwise new zeros."""
        if name not in self.arrays or self.arrays[name].shape != shape:
            self.arrays[name] = _zeros(shape, dtype)
        return self.arrays[name]


def _zeros(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """Allocate zeros aligned to a cache line, so that vectors span as few lines as possible."""
    size, item = math.prod(shape), np.dtype(dtype).itemsize
    array: Any = np.zeros(size + LINE // item, dtype)
    start = -array.ctypes.data % LINE // item
    return array[start : start + size].reshape(shape)


class SparseLinearization:
    """A `kanbench.engine.linearization.Linearization` of numpy vectors.

    Args:
        theta, parameters (arrays): θ, and all parameters including θ.
        work (Workspace): Its tables are not used.
        values (callable): Evaluates f(x; θ), shape (n · outputs,), with a workspace.
        residuals (callable): Evaluates r(θ), shape (n · outputs,).
        memories (list of Memory): A pool; the linearization takes one, or a new one, and returns it when deleted.

    Attributes:
        kept (bool): Whether the rows of R are stored, not recomputed for every product.
    """

    def __init__(
        self,
        theta: Array,
        parameters: Array,
        work: Workspace,
        places: Places,
        values: Callable[[Workspace], Array],
        residuals: Callable[[Array], Array],
        threads: int,
        memories: list[Memory],
    ) -> None:
        self.memories = memories
        self.memory = memory = memories.pop() if memories else Memory(work, places, len(theta))
        self.work, self.places, self.evaluate, self.threads = work, places, residuals, threads
        self.theta, self.shape = np.array(theta, work.x.dtype), (len(work.y), len(theta))
        self.kept, self.linearized = memory.kept, memory.linearized
        self.rows, self.windows, self.coef, self.factor = memory.rows, memory.windows, memory.coef, memory.factor
        self.n_coef = len(places.scale_of)
        self.size = self.n_coef + places.n_scale  # columns of R
        kernels.move_to(self.linearized, parameters)
        if self.kept:
            kernels.fill(self.linearized, 0, len(work.x))
        self.residuals = ((memory.values if self.kept else values(work)) - work.y).astype(float, copy=False)

    def __del__(self) -> None:
        self.memories.append(self.memory)

    def residuals_at(self, offset: Array) -> Array:
        return self.evaluate(self.moved(offset)).astype(float, copy=False)

    def moved(self, offset: Array) -> Array:
        return self.theta + offset.astype(self.theta.dtype)

    def cholesky(self, matrix: Array, shift: float) -> Callable[[Array], Array] | None:
        strips = self.memory.array("factor", (cholesky.begin_of(in_vectors(len(matrix))),))
        # Matrices of this class are column-major: their lower triangle is the upper triangle by rows.
        definite = cholesky.factorise(np.ascontiguousarray(matrix.T), shift, strips)
        return functools.partial(cholesky.solve, strips) if definite else None

    def jvp(self, step: Array) -> Array:
        products = np.empty(self.shape[0])
        for start, stop in self._parts():
            kernels.jvp(self.linearized, step, products[start:stop])
        return products

    def vjp(self, weights: Array) -> Array:
        parts = (kernels.vjp(self.linearized, weights[start:stop], self.shape[1]) for start, stop in self._parts())
        return functools.reduce(np.add, parts)

    def normal_matrix(self) -> Array:
        n_columns = in_vectors(self.size + self.places.n_scale + LANES)
        laid_out = self.memory.array("products", (n_columns**2,))
        laid_out[:] = 0
        add_products = self._add_dense_products if self.places.dense else self._add_sparse_products
        for start, stop in self._parts():
            add_products(stop - start, laid_out, n_columns)
        upper = self.memory.array("matrix", self.shape[1:] * 2)
        kernels.normal_matrix(self.linearized, laid_out, n_columns, upper)
        return upper.T

    def _add_dense_products(self, n: int, laid_out: Array, n_columns: int) -> None:
        add = functools.partial(kernels.add_dense_products, self.linearized, n, laid_out, n_columns)
        map_in_order(add, [(part, self.threads) for part in range(self.threads)], self.threads)

    def _add_sparse_products(self, n: int, laid_out: Array, n_columns: int) -> None:
        n_runs = len(self.places.room)
        runs = [(0, n_runs)] if self.threads == 1 else [(run, run + 1) for run in range(n_runs)]
        orders = self.memory.array("orders", self.windows.shape, np.int32)
        block = max(1, BYTES_OF_BLOCK // 8 // int(self.places.run[-1]))
        counts = np.empty((-(-n // block), n_runs), np.int64)
        gram.sort_rows(self.windows, n, block, orders, counts)
        of_rows = self.rows, self.windows, block, orders, counts, self.places, laid_out, n_columns
        map_in_order(functools.partial(gram.add_products, *of_rows), runs, self.threads)

    def dual_gram(self, scale: Array | None = None) -> Array:
        n, of_nodes = self.shape[0], (self.rows, self.windows, self.places)
        of_coef, columns = self._columns(scale)
        shared, overlapping = [columns], []  # dense columns, and nodes without them
        for node in np.flatnonzero(self.places.n_targets).tolist():
            if n_columns := self._dense_columns(node):
                shared.append(np.zeros((n, n_columns)))
                gram.fill_columns(node, *of_nodes, of_coef, shared[-1])
            else:
                overlapping.append(node)
        stride = int(in_vectors(n + LANES * (self.windows.max() + 1)))
        room = int(self.places.room[overlapping].sum()) * stride + LANES
        upper, so_far = self.memory.array("matrix", (n, n)), self.memory.array("so far", (room,))
        gram.fill_overlaps(np.array(overlapping, np.int64), *of_nodes, of_coef, so_far, stride, upper)
        transposed = np.hstack(shared).T
        lapack.dsyrk(1.0, transposed, trans=True, lower=True, beta=1.0, c=upper.T, overwrite_c=True)
        return upper.T

    def _dense_columns(self, node: int) -> int:
        """Return the number of dense columns for a node's coefficients; 0 if multiplying overlapping runs is faster."""
        windows, n_targets = self.windows[node], int(self.places.n_targets[node])
        there, w = windows[windows >= 0], len(self.work.layout.w)
        if len(there) == 0:
            return 0
        count = np.bincount(there - there.min())
        pairs = sum((count[: len(count) - shift] * count[shift:]).sum() for shift in range(min(w, len(count))))
        n_columns = (len(count) - 1 + w) * n_targets
        dense = self.shape[0] ** 2 * n_columns * SECONDS_OF_PRODUCT < pairs * (2 + n_targets) * SECONDS_OF_PAIR
        return n_columns if dense else 0

    def column_squares(self) -> Array:
        (of_coef, columns), laid_out = self._columns(None), zeros_laid_out(self.places)
        vjp(np.square(self.rows), self.windows, self.places, np.ones(self.shape[0]), laid_out)
        laid_out[: self.n_coef] *= of_coef[: self.n_coef] ** 2
        laid_out[self.n_coef : self.size + self.places.n_scale] = np.square(columns).sum(axis=0)
        return laid_out[self.places.of_parameter[: self.shape[1]]]

    def _columns(self, scale: Array | None) -> tuple[Array, Array]:
        """Columns of the Jacobian, multiplied by `scale` if given; fixed parameters have factor 0.

        Returns:
            of_coef (array): Factors of the columns of R for coefficients, laid out.
            columns (array of shape (rows, 2 n_scale)): The columns for all scale_base and all scale_sp.
        """
        places, columns = self.places, np.empty((self.shape[0], 2 * self.places.n_scale))
        trained = zeros_laid_out(places)
        trained[places.of_parameter[: self.shape[1]]] = 1 if scale is None else scale
        coef = self.coef[: self.n_coef] * trained[self.size + places.scale_of]
        gram.fill_scales(self.rows, self.windows, places, coef, trained[self.n_coef : self.size], columns)
        return self.factor * trained, columns

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Yield start and stop of successive parts of the rows, filling `rows` and `windows` if they are not stored."""
        (n, at_once), n_outputs = (len(self.work.x), self.memory.at_once), len(self.work.y) // len(self.work.x)
        for start in range(0, n, at_once):
            stop = min(start + at_once, n)
            if not self.kept:
                kernels.fill(self.linearized, start, stop)
            yield start * n_outputs, stop * n_outputs


def find_places(network: Layout, n_parameters: int) -> Places:
    """Compute the positions of runs in rows, and of their parameters."""
    window, nodes, edges = len(network.w), network.nodes, network.edges
    node, lane, n_coef = edges["node"], edges["lane"], edges["n_coef"]
    n_targets, n_rows = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
    np.maximum.at(n_targets, node, lane + 1)
    np.maximum.at(n_rows, node, np.maximum(n_coef, window))
    # `rows.fill_runs` writes zeros beyond its targets, so scales are in the order in which it runs, last layer first.
    order = np.concatenate([layer["first_node"] + np.arange(layer["width"]) for layer in network.layers[-2::-1]])
    scale, n_scale = np.zeros(len(nodes), np.int64), n_targets.sum()
    scale[order] = np.cumsum(n_targets[order]) - n_targets[order]
    room = in_vectors(np.maximum(window * n_targets, (window - 1) * n_targets + nodes["lanes"]))
    room = np.append(room, in_vectors(n_scale + LANES))
    n_coefs = n_rows * n_targets
    in_runs = np.append(in_vectors(window * n_targets), in_vectors(n_scale)).sum()
    dense = bool((n_coefs.sum() + n_scale) ** 2 < DENSE * in_runs**2)
    if not dense:  # padded to tiles of products, which are len(gram.SHORT) by LANES
        n_coefs = in_vectors(n_coefs + -window * n_targets % len(gram.SHORT))
    first = np.cumsum([0, *n_coefs])
    edge = np.repeat(np.arange(len(edges)), n_coef)  # of every coefficient
    number = np.arange(len(edge)) - (np.cumsum(n_coef) - n_coef)[edge]
    coefs = (first[node] + lane)[edge] + number * n_targets[node[edge]]
    of_parameter, scale_of = np.zeros(n_parameters, np.int64), np.zeros(first[-1], np.int64)
    of_parameter[edges["coef_at"][edge] + number], scale_of[coefs] = coefs, (scale[node] + lane)[edge]
    of_parameter[edges["base_at"]] = first[-1] + scale[node] + lane
    of_parameter[edges["sp_at"]] = first[-1] + n_scale + scale[node] + lane
    masks = np.zeros(nodes["lanes"].sum())
    masks[nodes["first_base"][node] + lane] = edges["mask"]
    polynomials = network.polynomials.reshape(-1, window, LANES).astype(float)
    basis = np.zeros_like(polynomials)
    basis[:, :, :window] = polynomials[:, :, :window].swapaxes(1, 2)
    return Places(
        run=np.cumsum([0, *room]),
        room=room,
        first=first,
        n_targets=n_targets,
        n_coef=n_rows * n_targets,
        scale=scale,
        n_scale=n_scale,
        of_parameter=of_parameter,
        scale_of=scale_of,
        masks=masks,
        basis=basis.ravel(),
        dense=dense,
        layout=network,
    )


def in_vectors(numbers: Any) -> Any:
    """Round up to multiples of LANES."""
    return -(-numbers // LANES) * LANES
