"""The linearization of the compiled engine: products with the Jacobian J = R L, from the rows of R; see `rows`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kanbench.engine.numba_engine import lapack
from kanbench.engine.numba_engine import rows as kernels
from kanbench.engine.numba_engine.kernels import fill_tables
from kanbench.engine.numba_engine.rows import Places
from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import BLOCK, Layout, Workspace
from kanbench.engine.numba_engine.threads import map_in_order
from kanbench.problems import Array

Windows = NDArray[np.int64]

KEPT_ROWS = 2**28  # bytes of rows that are kept, rather than computed for every product
ROWS_AT_ONCE = 8 * BLOCK  # of those that are not
# Measured: of a pair of overlapping runs, for each number and ten more; of an element's product in BLAS's dsyrk.
SECONDS_OF_PAIR, SECONDS_OF_PRODUCT = 2.2e-10, 2.1e-11
DENSE_BELOW = 2.0  # columns of R per number in a row


class SparseLinearization:
    """See `kanbench.engine.linearization.Linearization`; vectors are numpy's.

    Args:
        theta, parameters (arrays): θ, and all parameters, θ among them.
        work (Workspace): With tables that nothing else writes to.
        values (callable): f(x; θ), shape (n · outputs,), from a workspace.
        residuals (callable): r(θ), shape (n · outputs,), from θ.

    Attributes:
        kept ((rows, windows) or None): The rows of R, where they are kept rather than computed for every product.
        whole (array of shape (n · outputs, columns of R) or None): R, where its rows are not used.
        coef, factor (arrays): What L is made of, laid out: every coefficient, and the scale_sp of its edge.
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
    ) -> None:
        self.work, self.places, self.evaluate, self.threads = work, places, residuals, threads
        self.n_outputs = int(work.layout.layers["width"][-1])
        self.shape = n_rows, _ = len(work.y), len(theta)
        self.theta = np.array(theta, work.x.dtype)
        self.n_coef = len(places.scale_of)
        self.size = self.n_coef + places.n_scale  # columns of R
        laid_out = self._lay_out(parameters)
        self.coef, self.factor = laid_out[: self.n_coef], np.ones(len(laid_out))
        self.factor[: self.n_coef] = laid_out[self.size + places.scale_of]
        self.values = np.empty(n_rows, work.x.dtype)  # f(x; θ), filled along with rows
        self.nan_if_nonfinite = fill_tables(parameters, work.layout, work.tables)
        keep = n_rows * places.run[-1] * 8 <= KEPT_ROWS or self.shape[1] > n_rows
        self.kept = self._fill(0, len(work.x)) if keep else None
        self.residuals = ((self.values if keep else values(work)) - work.y).astype(float)
        # All of R, where it is little more than its rows, so that BLAS does better with it.
        self.whole = self.fill_whole() if keep and self.size < DENSE_BELOW * self._numbers_in_row() else None

    def _numbers_in_row(self) -> float:
        """Without those of edges to other outputs, which are zero: their share of what the last layer has in a row."""
        if self.n_outputs == 1:
            return self.places.run[-1]
        layer = self.work.layout.layers[-2]
        of_last = self.places.n_targets[layer["first_node"] :].sum() * (len(self.work.layout.w) + 1)
        return self.places.run[-1] - of_last * (1 - 1 / self.n_outputs)

    def residuals_at(self, offset: Array) -> Array:
        return self.evaluate(self.moved(offset)).astype(float)

    def moved(self, offset: Array) -> Array:
        return self.theta + offset.astype(self.theta.dtype)

    cholesky = staticmethod(lapack.cholesky)

    def _lay_out(self, parameters: Array) -> Array:
        """A vector of parameters, the first or all, as `Places` says, with zeros in gaps; padded for the kernels."""
        laid_out = np.zeros(self.size + self.places.n_scale + LANES)
        laid_out[self.places.of_parameter[: len(parameters)]] = parameters
        return laid_out

    def jvp(self, step: Array) -> Array:
        laid_out, n_coef = self._lay_out(step), self.n_coef
        laid_out[:n_coef] *= self.factor[:n_coef]
        laid_out[:n_coef] += self.coef * laid_out[self.size + self.places.scale_of]
        if self.whole is not None:
            return self.whole @ laid_out[: self.size]
        products = np.empty(self.shape[0])
        for start, rows, windows in self._parts():
            kernels.jvp(rows, windows, self.places, laid_out, products[start : start + len(rows)])
        return products

    def vjp(self, weights: Array) -> Array:
        laid_out, n_scale = np.zeros(self.size + self.places.n_scale + LANES), self.places.n_scale
        if self.whole is not None:
            np.matmul(weights, self.whole, out=laid_out[: self.size])
        else:
            for start, rows, windows in self._parts():
                kernels.vjp(rows, windows, self.places, weights[start : start + len(rows)], laid_out)
        by_coef, by_sp = laid_out[: self.n_coef], laid_out[self.size : self.size + n_scale]
        by_sp[:] = np.bincount(self.places.scale_of, self.coef * by_coef, n_scale)
        by_coef *= self.factor[: self.n_coef]
        return laid_out[self.places.of_parameter[: self.shape[1]]]

    def normal_matrix(self) -> Array:
        """JᵀJ, by C such that K C are the derivatives by scale_sp, where K are those by unscaled coefficients."""
        n_scale, size = self.places.n_scale, self.size
        laid_out = self._products()
        c = np.zeros((n_scale, len(laid_out))).T  # by columns, as BLAS has it
        c[np.arange(self.n_coef), self.places.scale_of] = self.coef
        by_sp = lapack.dsymm(1.0, laid_out.T, c)  # the lower triangle by rows is the upper one by columns
        laid_out[size : size + n_scale, :size] = by_sp[:size].T
        laid_out[size : size + n_scale, size : size + n_scale] = by_sp.T @ c
        matrix = np.empty(self.shape[1:] * 2)
        kernels.pick(laid_out, self.factor, self.places.of_parameter[: self.shape[1]], matrix)
        return matrix

    def _products(self) -> Array:
        """RᵀR in a larger matrix of zeros; only the lower triangle counts."""
        laid_out = np.zeros([self.size + self.places.n_scale + LANES] * 2)
        if self.whole is not None:
            laid_out[: self.size, : self.size] = lapack.dsyrk(1.0, self.whole.T).T
            return laid_out
        n_runs = len(self.work.layout.nodes) + 1
        runs = [(0, n_runs)] if self.threads == 1 else [(run, run + 1) for run in range(n_runs)]
        for _, rows, windows in self._parts():
            add = functools.partial(kernels.add_products, rows, windows, self.places, laid_out)
            map_in_order(add, runs, self.threads)
        return laid_out

    def fill_whole(self) -> Array:
        """R as a dense matrix, shape (n · outputs, coefficients and scale_base)."""
        whole = np.zeros((self.shape[0], self.size))
        for start, rows, windows in self._parts():
            kernels.fill_whole_rows(rows, windows, self.places, whole[start : start + len(rows)])
        return whole

    def dual_gram(self, scale: Array | None = None) -> Array:
        rows, windows = self.jacobian_rows(scale)
        matrix, n_nodes = np.zeros((len(rows), len(rows))), len(self.work.layout.nodes)
        shared = [rows[:, self.places.run[n_nodes] :]]  # what no window bounds
        for node in range(n_nodes):
            if (columns := self._columns(node, rows, windows)) is None:
                self.add_overlaps(node, rows, windows, matrix)
            else:
                shared.append(columns)
        matrix = lapack.dsyrk(1.0, np.hstack(shared).T, trans=True, beta=1.0, c=matrix.T, overwrite_c=True).T
        kernels.add_transposed(matrix)
        return matrix

    def column_squares(self) -> Array:
        (rows, windows), laid_out = self.jacobian_rows(), np.zeros(self.size + self.places.n_scale + LANES)
        squares = np.square(rows)
        kernels.vjp(squares, windows, self.places, np.ones(len(rows)), laid_out)
        laid_out[self.size : self.size + self.places.n_scale] = squares[:, self.places.run[-1] :].sum(axis=0)
        return laid_out[self.places.of_parameter[: self.shape[1]]]

    def jacobian_rows(self, scale: Array | None = None) -> tuple[Array, Windows]:
        """What is not zero of J, without columns for what is held fixed, and the windows.

        The columns are multiplied by `scale`, where that is given.
        """
        _, rows, windows = next(self._parts())  # all of them, which are fewer than the parameters
        places, base_run = self.places, self.places.run[-2]
        trained = self._lay_out(np.ones(self.shape[1]) if scale is None else scale)
        coef = self.coef * trained[self.size + places.scale_of]
        jacobian_rows = np.zeros((len(rows), rows.shape[1] + places.n_scale))
        kernels.fill_jacobian_rows(rows, windows, places, coef, self.factor * trained, jacobian_rows)
        jacobian_rows[:, base_run : base_run + places.n_scale] *= trained[self.n_coef : self.size]
        return jacobian_rows, windows

    def add_overlaps(self, node: int, rows: Array, windows: Windows, matrix: Array) -> None:
        """Add to JJᵀ what the coefficients of a node contribute, where windows overlap; in either triangle."""
        order = np.argsort(windows[:, node], kind="stable")
        kernels.add_overlaps(node, self.places, rows, windows, order, matrix)

    def _columns(self, node: int, rows: Array, windows: Windows) -> Array | None:
        """The columns of J for the coefficients of a node; None where it pays to multiply what overlaps only."""
        n, window, n_targets = len(rows), len(self.work.layout.w), self.places.n_targets[node]
        there = np.flatnonzero(windows[:, node] >= 0)
        if n_targets == 0 or not len(there):
            return np.empty((n, 0))
        first = windows[there, node] - windows[there, node].min()
        count = np.bincount(first)
        pairs = sum((count[: len(count) - shift] * count[shift:]).sum() for shift in range(min(window, len(count))))
        n_columns = (len(count) - 1 + window) * n_targets
        if pairs * (10 + n_targets) * SECONDS_OF_PAIR < n * n * n_columns * SECONDS_OF_PRODUCT:
            return None
        columns, run = np.zeros((n, n_columns)), np.arange(window * n_targets)
        columns[there[:, None], first[:, None] * n_targets + run] = rows[there[:, None], self.places.run[node] + run]
        return columns

    def _fill(self, start: int, stop: int) -> tuple[Array, Windows]:
        """The rows of samples start to stop, and their windows."""
        n_rows = (stop - start) * self.n_outputs
        rows = np.empty((n_rows, self.places.run[-1]))
        windows = np.zeros((n_rows, len(self.work.layout.nodes) + 1), np.int64)
        kernels.fill_rows(start, self.work, self.nan_if_nonfinite, self.places, self.values, rows, windows)
        return rows, windows

    def _parts(self) -> Iterator[tuple[int, Array, Windows]]:
        """Rows and windows of all samples, in parts, and the number of the first row of each."""
        if self.kept is not None:
            yield 0, *self.kept
            return
        n, at_once = len(self.work.x), max(1, ROWS_AT_ONCE // self.n_outputs)
        for start in range(0, n, at_once):
            yield start * self.n_outputs, *self._fill(start, min(start + at_once, n))


def find_places(network: Layout, n_parameters: int) -> Places:
    """Where the parts of a row are, and where they belong."""
    window, nodes, edges = len(network.w), network.nodes, network.edges
    node, lane, n_coef = edges["node"], edges["lane"], edges["n_coef"]
    n_targets, n_rows = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
    np.maximum.at(n_targets, node, lane + 1)
    np.maximum.at(n_rows, node, np.maximum(n_coef, window))
    # `rows.fill_runs` stores zeros beyond spans. All scales are in the order in which it stores them, last layer first.
    room = -(-np.maximum(window * n_targets, (window - 1) * n_targets + nodes["lanes"]) // LANES) * LANES
    order = np.concatenate([layer["first_node"] + np.arange(layer["width"]) for layer in network.layers[-2::-1]])
    scale, n_scale = np.zeros(len(nodes), np.int64), n_targets.sum()
    scale[order] = np.cumsum(n_targets[order]) - n_targets[order]
    first = np.cumsum([0, *(n_rows * n_targets)])
    edge = np.repeat(np.arange(len(edges)), n_coef)  # of every coefficient
    number = np.arange(len(edge)) - (np.cumsum(n_coef) - n_coef)[edge]
    coefs = (first[node] + lane)[edge] + number * n_targets[node[edge]]
    of_parameter, scale_of = np.zeros(n_parameters, np.int64), np.zeros(first[-1], np.int64)
    of_parameter[edges["coef_at"][edge] + number], scale_of[coefs] = coefs, (scale[node] + lane)[edge]
    of_parameter[edges["base_at"]] = first[-1] + scale[node] + lane
    of_parameter[edges["sp_at"]] = first[-1] + n_scale + scale[node] + lane
    masks = np.zeros(nodes["lanes"].sum())
    masks[nodes["first_base"][node] + lane] = edges["mask"]
    run = np.cumsum([0, *room, -(-(n_scale + LANES) // LANES) * LANES])
    return Places(run, first, n_targets, scale, n_scale, of_parameter, scale_of, masks, network)
