"""The linearization of the compiled engine: products with the Jacobian J = R L, from the rows of R; see `rows`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import dsymm, dsyrk
from torch import Tensor

from kanbench.engine import rows as kernels
from kanbench.engine.rows import Places
from kanbench.engine.simd import LANES
from kanbench.engine.structures import BLOCK, Inputs, Network, Tables
from kanbench.engine.threads import map_in_order

Array = NDArray[np.floating]
Windows = NDArray[np.int64]

KEPT_ROWS = 2**28  # bytes of rows that are kept, rather than computed for every product
ROWS_AT_ONCE = 8 * BLOCK  # of those that are not
# Measured: of a pair of overlapping runs, for each number and ten more; of an element's product in BLAS's dsyrk.
SECONDS_OF_PAIR, SECONDS_OF_PRODUCT = 2.2e-10, 2.1e-11
DENSE_BELOW = 2.0  # columns of R per number in a row


class SparseLinearization:
    """See `kanbench.engine.linearization.Linearization`.

    Parameters
    ----------
    parameters : array
        The vector of all parameters.
    x : array of shape (n, d)
    network, tables, poison, first
        See `kanbench.engine.kernels`; the tables are those of the parameters.
    places : Places
        As `find_places` returns them.
    threads : int

    Attributes
    ----------
    values : array of shape (n,) or None
        f(x), where the rows are kept.
    """

    residuals: Tensor  # to be given

    def __init__(
        self,
        parameters: Array,
        x: Array,
        network: Network,
        tables: Tables,
        poison: float,
        first: Inputs,
        places: Places,
        threads: int,
    ) -> None:
        self.shape = len(x), len(places.of_parameter)
        self.network, self.threads, self.places = network, threads, places
        self.n_coef = len(places.scale_of)
        self.size = self.n_coef + places.n_scale  # columns of R
        self.coef, self.factor = np.zeros(self.n_coef), np.ones(self.size + places.n_scale)
        kernels.fill_factors(parameters, network, places, self.coef, self.factor)
        masks, values = np.zeros(len(tables.b)), np.empty(len(x), tables.e.dtype)
        kernels.fill_masks(network, masks)
        self.arguments = x, network, tables, poison, first, masks, places, values
        keep = len(x) * places.run[-1] * 8 <= KEPT_ROWS or self.shape[1] > len(x)
        self.kept = self._fill(0, len(x)) if keep else None
        self.values = values if keep else None

    @property
    def is_dense(self) -> bool:
        """Whether all of R is little more than its rows, so that BLAS does better with it."""
        return self.kept is not None and self.size < DENSE_BELOW * self.places.run[-1]

    def push(self, step: Tensor) -> Tensor:
        laid_out, products, n_coef = (
            np.zeros(self.size + self.places.n_scale + LANES),
            np.empty(self.shape[0]),
            self.n_coef,
        )
        laid_out[self.places.of_parameter] = step.numpy()
        laid_out[:n_coef] *= self.factor[:n_coef]
        laid_out[:n_coef] += self.coef * laid_out[self.size + self.places.scale_of]
        for start, rows, windows in self._parts():
            kernels.push(rows, windows, self.network, self.places, laid_out, products[start : start + len(rows)])
        return torch.from_numpy(products)

    def pull(self, weights: Tensor) -> Tensor:
        v, laid_out, n_coef = weights.numpy(), np.zeros(self.size + self.places.n_scale + LANES), self.n_coef
        for start, rows, windows in self._parts():
            kernels.pull(rows, windows, self.network, self.places, v[start : start + len(rows)], laid_out)
        by_coef, places = laid_out[:n_coef], self.places
        laid_out[self.size : self.size + places.n_scale] = np.bincount(
            places.scale_of, self.coef * by_coef, places.n_scale
        )
        by_coef *= self.factor[:n_coef]
        return torch.from_numpy(laid_out[places.of_parameter])

    def jacobian(self) -> Tensor:
        """J, shape (n, P)."""
        whole, by_sp = np.zeros((self.shape[0], self.size)), np.zeros((self.n_coef, self.places.n_scale))
        for start, rows, windows in self._parts():
            kernels.fill_whole_rows(rows, windows, self.network, self.places, whole[start : start + len(rows)])
        by_sp[np.arange(self.n_coef), self.places.scale_of] = self.coef
        whole = np.hstack([whole * self.factor[: self.size], whole[:, : self.n_coef] @ by_sp])
        return torch.from_numpy(whole[:, self.places.of_parameter])

    def normal_matrix(self) -> Tensor:
        """With C such that K C are the derivatives by scale_sp, where K are those by unscaled coefficients."""
        n_scale, size = self.places.n_scale, self.size
        laid_out = self._dense_products() if self.is_dense else self._sparse_products()
        c = np.zeros((n_scale, len(laid_out))).T  # by columns, as BLAS has it
        c[np.arange(self.n_coef), self.places.scale_of] = self.coef
        by_sp = dsymm(1.0, laid_out.T, c)  # the lower triangle by rows is the upper one by columns
        laid_out[size : size + n_scale, :size] = by_sp[:size].T
        laid_out[size : size + n_scale, size : size + n_scale] = by_sp.T @ c
        matrix = np.empty(self.shape[1:] * 2)
        kernels.pick(laid_out, self.factor, self.places.of_parameter, matrix)
        return torch.from_numpy(matrix)

    def _sparse_products(self) -> Array:
        """RᵀR in a larger matrix of zeros; only the lower triangle counts."""
        n_runs = len(self.network.nodes) + 1
        laid_out = np.zeros([self.size + self.places.n_scale + LANES] * 2)
        runs = [(0, n_runs)] if self.threads == 1 else [(run, run + 1) for run in range(n_runs)]
        for _, rows, windows in self._parts():
            arguments = rows, windows, self.network, self.places, laid_out
            map_in_order(lambda part, a=arguments: kernels.add_products(*part, *a), runs, self.threads)
        return laid_out

    def _dense_products(self) -> Array:
        """The same, by BLAS."""
        rows, windows = self.kept
        whole, laid_out = np.zeros((len(rows), self.size)), np.zeros([self.size + self.places.n_scale + LANES] * 2)
        kernels.fill_whole_rows(rows, windows, self.network, self.places, whole)
        laid_out[: self.size, : self.size] = dsyrk(1.0, whole.T).T
        return laid_out

    def kernel_matrix(self) -> Tensor:
        rows, windows = self._jacobian_rows()
        matrix, n_nodes = np.zeros((len(rows), len(rows))), len(self.network.nodes)
        shared = [rows[:, self.places.run[n_nodes] :]]  # what no window bounds
        for node in range(n_nodes):
            if (columns := self._columns(node, rows, windows)) is None:
                self.add_overlaps(node, rows, windows, matrix)
            else:
                shared.append(columns)
        matrix = dsyrk(1.0, np.hstack(shared).T, trans=True, beta=1.0, c=matrix.T, overwrite_c=True).T
        kernels.add_transposed(matrix)
        return torch.from_numpy(matrix)

    def _jacobian_rows(self) -> tuple[Array, Windows]:
        """What is not zero of J, without columns for what is held fixed, and the windows."""
        (rows, windows), places, base_run = self.kept, self.places, self.places.run[-2]
        trained = np.zeros_like(self.factor)
        trained[places.of_parameter] = 1
        coef = self.coef * trained[self.size + places.scale_of]
        jacobian_rows = np.zeros((len(rows), rows.shape[1] + places.n_scale))
        arguments = rows, windows, self.network, places, coef, self.factor * trained, jacobian_rows
        kernels.fill_jacobian_rows(*arguments)
        jacobian_rows[:, base_run : base_run + places.n_scale] *= trained[self.n_coef : self.size]
        return jacobian_rows, windows

    def add_overlaps(self, node: int, rows: Array, windows: Windows, matrix: Array) -> None:
        """Add to JJᵀ what the coefficients of a node contribute, where windows overlap; in either triangle."""
        order = np.argsort(windows[:, node], kind="stable")
        kernels.add_overlaps(node, self.network, self.places, rows, windows, order, matrix)

    def _columns(self, node: int, rows: Array, windows: Windows) -> Array | None:
        """The columns of J for the coefficients of a node; None where it pays to multiply what overlaps only."""
        n, window, span = len(rows), len(self.network.w), self.places.span[node]
        there = windows[:, node][windows[:, node] >= 0]
        if span == 0 or not len(there):
            return np.empty((n, 0))
        lowest = there.min()
        count = np.bincount(there - lowest)
        pairs = sum((count[: len(count) - shift] * count[shift:]).sum() for shift in range(min(window, len(count))))
        n_columns = (len(count) - 1 + window) * span
        if pairs * (10 + span) * SECONDS_OF_PAIR < n * n * n_columns * SECONDS_OF_PRODUCT:
            return None
        columns = np.zeros((n, n_columns))
        kernels.spread_runs(node, lowest, self.network, self.places, rows, windows, columns)
        return columns

    def _fill(self, start: int, stop: int) -> tuple[Array, Windows]:
        rows = np.empty((stop - start, self.places.run[-1]))
        windows = np.zeros((stop - start, len(self.network.nodes) + 1), np.int64)
        kernels.fill_rows(start, stop, *self.arguments, rows, windows)
        return rows, windows

    def _parts(self) -> Iterator[tuple[int, Array, Windows]]:
        """Rows and windows of all samples, in parts, and where the parts begin."""
        if self.kept is not None:
            yield 0, *self.kept
            return
        for start in range(0, self.shape[0], ROWS_AT_ONCE):
            yield start, *self._fill(start, min(start + ROWS_AT_ONCE, self.shape[0]))


def find_places(network: Network, n_trained: int) -> Places:
    """Where the parts of a row are, and where they belong."""
    window, nodes, edges = len(network.w), network.nodes, network.edges
    span, n_rows = np.zeros(len(nodes), np.int64), np.zeros(len(nodes), np.int64)
    np.maximum.at(span, edges["node"], edges["lane"] + 1)
    np.maximum.at(n_rows, edges["node"], np.maximum(edges["n_coef"], window))
    # `rows.fill_runs` stores zeros beyond spans. All scales are in the order in which it stores them, last layer first.
    room = -(-np.maximum(window * span, (window - 1) * span + nodes["lanes"]) // LANES) * LANES
    order = np.concatenate([layer["first_node"] + np.arange(layer["width"]) for layer in network.layers[-2::-1]])
    scale, n_scale = np.zeros(len(nodes), np.int64), span.sum()
    scale[order] = np.cumsum(span[order]) - span[order]
    first = np.cumsum([0, *(n_rows * span)])
    places = Places(
        run=np.cumsum([0, *room, -(-(n_scale + LANES) // LANES) * LANES]),
        first=first,
        span=span,
        scale=scale,
        n_scale=n_scale,
        of_parameter=np.zeros(n_trained, np.int64),
        scale_of=np.zeros(first[-1], np.int64),
    )
    kernels.fill_places(network, places)
    return places
