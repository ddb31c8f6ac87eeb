"""The linearization of the compiled engine: products with the Jacobian, from its rows, without the Jacobian."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk
from torch import Tensor

from kanbench.engine import rows as kernels
from kanbench.engine.rows import Places, Scales
from kanbench.engine.simd import LANES
from kanbench.engine.structures import BLOCK, Inputs, Network, Tables
from kanbench.engine.threads import map_in_order

Array = NDArray[np.floating]

KEPT_ROWS = 2**28  # bytes of rows that are kept, rather than computed for every product
ROWS_AT_ONCE = 8 * BLOCK  # of those that are not
# Measured: of a pair of overlapping runs, for each lane and ten more; of an element's product in BLAS's dsyrk.
SECONDS_OF_PAIR, SECONDS_OF_PRODUCT = 2.2e-10, 2.1e-11
DENSE_BELOW = 1.25  # parameters per number in a row


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
        scales = Scales(np.zeros(len(tables.e)), *(np.zeros(len(tables.b)) for _ in range(3)))
        kernels.fill_scales(parameters, network, self.shape[1], scales)
        values = np.empty(len(x), tables.e.dtype)
        self.arguments = x, network, tables, poison, first, scales, places, values
        keep = len(x) * places.run[-1] * 8 <= KEPT_ROWS or self.is_wide
        self.kept = self._fill(0, len(x)) if keep else None
        self.values = values if keep else None

    @property
    def is_wide(self) -> bool:
        """Whether there are more parameters than samples."""
        return self.shape[1] > self.shape[0]

    @property
    def is_dense(self) -> bool:
        """Whether the whole Jacobian is hardly more than its rows, so that BLAS does better with it."""
        return self.kept is not None and self.shape[1] < DENSE_BELOW * self.places.run[-1]

    def push(self, step: Tensor) -> Tensor:
        direction, products = self._laid_out(), np.empty(self.shape[0])
        direction[self.places.of_parameter] = step.numpy()
        for start, rows, windows in self._parts():
            kernels.push(rows, windows, self.network, self.places, direction, products[start : start + len(rows)])
        return torch.from_numpy(products)

    def pull(self, weights: Tensor) -> Tensor:
        v, products = weights.numpy(), self._laid_out()
        for start, rows, windows in self._parts():
            kernels.pull(rows, windows, self.network, self.places, v[start : start + len(rows)], products)
        return torch.from_numpy(products[self.places.of_parameter])

    def jacobian(self) -> Tensor:
        """J, shape (n, P)."""
        whole = np.zeros(self.shape)
        for start, rows, windows in self._parts():
            kernels.fill_jacobian(rows, windows, self.network, self.places, whole[start : start + len(rows)])
        return torch.from_numpy(whole)

    def normal_matrix(self) -> Tensor:
        size, n_runs = len(self._laid_out()), len(self.network.nodes) + 2
        laid_out, matrix = np.zeros((size, size + LANES)), np.empty(self.shape[1:] * 2)
        runs = [(0, n_runs)] if self.threads == 1 else [(run, run + 1) for run in range(n_runs)]
        for _, rows, windows in self._parts():
            arguments = rows, windows, self.network, self.places, laid_out
            map_in_order(lambda part, a=arguments: kernels.add_products(*part, *a), runs, self.threads)
        kernels.pick(laid_out, self.places.of_parameter, matrix)
        return torch.from_numpy(matrix)

    def kernel_matrix(self) -> Tensor:
        rows, _ = self.kept
        matrix, n_nodes = np.zeros((len(rows), len(rows))), len(self.network.nodes)
        shared = [rows[:, self.places.run[n_nodes] :]]  # what no window bounds
        for node in range(n_nodes):
            if (columns := self._columns(node)) is None:
                self.add_overlaps(node, matrix)
            else:
                shared.append(columns)
        matrix = dsyrk(1.0, np.hstack(shared).T, trans=True, beta=1.0, c=matrix.T, overwrite_c=True).T
        kernels.add_transposed(matrix)
        return torch.from_numpy(matrix)

    def add_overlaps(self, node: int, matrix: Array) -> None:
        """Add to JJᵀ what the coefficients of a node contribute, where windows overlap; in either triangle."""
        rows, windows = self.kept
        order = np.argsort(windows[:, node], kind="stable")
        kernels.add_overlaps(node, self.network, self.places, rows, windows, order, matrix)

    def _columns(self, node: int) -> Array | None:
        """The columns of J for the coefficients of a node; None where it pays to multiply what overlaps only."""
        rows, windows = self.kept
        n, window, lanes = len(rows), len(self.network.w), self.network.nodes["lanes"][node]
        there = windows[:, node][windows[:, node] >= 0]
        if lanes == 0 or not len(there):
            return np.empty((n, 0))
        lowest = there.min()
        count = np.bincount(there - lowest)
        pairs = sum((count[: len(count) - shift] * count[shift:]).sum() for shift in range(min(window, len(count))))
        n_columns = (len(count) - 1 + window) * lanes
        if pairs * (10 + lanes) * SECONDS_OF_PAIR < n * n * n_columns * SECONDS_OF_PRODUCT:
            return None
        columns = np.zeros((n, n_columns))
        kernels.spread_runs(node, lowest, self.network, self.places, rows, windows, columns)
        return columns

    def _laid_out(self) -> Array:
        """Zeros for θ, as it is laid out."""
        return np.zeros(self.places.n_coef + 2 * self.places.n_scale + LANES)

    def _fill(self, start: int, stop: int) -> tuple[Array, NDArray[np.int64]]:
        rows = np.empty((stop - start, self.places.run[-1]))
        windows = np.zeros((stop - start, len(self.network.nodes) + 2), np.int64)
        kernels.fill_rows(start, stop, *self.arguments, rows, windows)
        return rows, windows

    def _parts(self) -> Iterator[tuple[int, Array, NDArray[np.int64]]]:
        """Rows and windows of all samples, in parts, and where the parts begin."""
        if self.kept is not None:
            yield 0, *self.kept
            return
        for start in range(0, self.shape[0], ROWS_AT_ONCE):
            yield start, *self._fill(start, min(start + ROWS_AT_ONCE, self.shape[0]))


def find_places(network: Network, tables: Tables, n_trained: int) -> Places:
    """Where the parts of a row are, and where they belong."""
    window, nodes, n_scale = len(network.w), network.nodes, len(tables.b)
    lengths = np.array([*(window * nodes["lanes"]), n_scale, n_scale])
    places = Places(
        run=np.cumsum([0, *(-(-lengths // LANES) * LANES)]),
        n_coef=len(tables.e),
        n_scale=n_scale,
        of_parameter=np.zeros(n_trained, np.int64),
        parameter=np.zeros(len(tables.e) + 2 * n_scale + LANES, np.int64),
    )
    kernels.find_places(network, places)
    return places
