"""A network and its derivatives in compiled loops over samples, live edges and the splines' coefficients.

A sample meets only k + 1 of the G + k basis functions of a spline, so an evaluation costs about the same for every G.
See `kanbench.engine.numba_engine.kernels` for the mathematics and `kanbench.engine.numba_engine.layout` for the arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from kanbench.engine.checks import check_network
from kanbench.engine.numba_engine import inputs, kernels
from kanbench.engine.numba_engine.layout import all_parameters, lay_out, new_tables
from kanbench.engine.numba_engine.structures import BLOCK, Inputs, Tables, Workspace
from kanbench.engine.numba_engine.threads import map_in_order
from kanbench.io.kernel_cache import cache
from kanbench.network.initialization import initialize
from kanbench.network.refinement import refine
from kanbench.network.spline_network import SplineNetwork

if TYPE_CHECKING:
    from kanbench.engine.numba_engine.sparse import SparseLinearization

Array = NDArray[np.floating]
Result = TypeVar("Result")

DTYPES = (np.dtype("float64"), np.dtype("float32"))
WINDOWS = (4, 6)  # numbers of basis functions that code is compiled for: orders up to 3, and up to 5
CHUNK = 32 * BLOCK  # samples whose sums are formed apart, by one thread or another: sums must not depend on how many
KEPT_INPUTS = 2**28  # bytes of the first layer's inputs that are kept rather than computed in every evaluation


class CompiledEngine:
    """See `Engine`. On the CPU, in the network's precision.

    More than one thread is used for more than CHUNK samples; results do not depend on their number.
    """

    def __init__(self, network: SplineNetwork, x: Array, y: Array, threads: int = 1) -> None:
        check_network("compiled", network)
        window = next(width for width in WINDOWS if width > network.order)
        cache.once(f"{network.dtype}_{window}", lambda: _compile(network.dtype, window))
        self.network, self.threads, self.n_evals, self.chunk = network, threads, 0, CHUNK
        self.dtype = network.dtype
        self.y = np.array(y[:, 0] - network.output_bias, self.dtype)
        self.n_trained = network.n_parameters
        self.parameters, positions = all_parameters(network)
        layout = lay_out(network, positions, window)
        e, b, a = new_tables(layout, np.dtype(float))
        self.work = Workspace(
            layout=layout,
            x=self._inputs(x),
            y=self.y,
            first=self._no_inputs(),
            tables=new_tables(layout, self.dtype),
            derivatives=Tables(e, b, np.tile(a, 2)),  # sums over samples; see `kernels.add_derivatives`
            block=kernels.new_block(layout, self.dtype.type(0)),
        )
        self.work = self.work._replace(first=self._first_inputs())
        self.places = None

    def _place(self, theta: Array) -> Array:
        """The vector of all parameters, with θ in it."""
        self.parameters[: self.n_trained] = theta
        return self.parameters

    def residuals(self, theta: Array) -> Array:
        self.n_evals += 1
        return self._values(self._place(theta), self.work) - self.y

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        self.n_evals += 1
        parameters, gradient = self._place(theta), np.empty(self.n_trained, self.dtype)
        if len(self.y) <= self.chunk:
            return kernels.loss_and_gradient(parameters, self.work, gradient), gradient
        return self._sum_of_chunks(parameters, gradient) / len(self.y), gradient

    def linearize(self, theta: Array) -> SparseLinearization:
        from kanbench.engine.numba_engine.sparse import SparseLinearization, find_places

        self.n_evals += 1
        parameters = self._place(theta)
        nan_if_nonfinite = kernels.fill_tables(parameters, self.work.layout, self.work.tables)
        if self.places is None:
            self.places = find_places(self.work.layout, self.n_trained)
        # The engine's own tables follow every evaluation.
        work = self.work._replace(tables=Tables(*map(np.copy, self.work.tables)))
        return SparseLinearization(self, theta, parameters, work, nan_if_nonfinite, self.places)

    def predict(self, theta: Array, x: Array) -> Array:
        work = self.work._replace(x=self._inputs(x), first=self._no_inputs())
        return self._values(self._place(theta), work)[:, None] + self.network.output_bias

    def _values(self, parameters: Array, work: Workspace) -> Array:
        """f(x; θ) without the output's bias, shape (n,)."""
        nan_if_nonfinite = kernels.fill_tables(parameters, work.layout, work.tables)
        n, values = len(work.x), np.empty(len(work.x), self.dtype)
        if n <= self.chunk:
            kernels.evaluate(kernels.VALUES, 0, n, work, nan_if_nonfinite, values)
            return values
        self._chunks(
            lambda start, stop: kernels.evaluate(
                kernels.VALUES, start, stop, self._with_own_block(work), nan_if_nonfinite, values
            ),
            n,
        )
        return values

    def _sum_of_chunks(self, parameters: Array, gradient: Array) -> float:
        """Fill the gradient and return the sum of the squared residuals, for any number of samples."""
        layout, derivatives = self.work.layout, self.work.derivatives
        nan_if_nonfinite = kernels.fill_tables(parameters, layout, self.work.tables)
        for part in derivatives:
            part[:] = 0

        def evaluate(start: int, stop: int) -> tuple[float, Tables]:
            part = Tables(*map(np.zeros_like, derivatives))
            work = self._with_own_block(self.work)._replace(derivatives=part)
            return kernels.evaluate(kernels.GRADIENT, start, stop, work, nan_if_nonfinite, self.y), part

        total = 0.0
        for value, part in self._chunks(evaluate, len(self.y)):
            total += value
            for of_all, summand in zip(derivatives, part, strict=True):
                np.add(of_all, summand, out=of_all)
        kernels.add_pieces(layout, derivatives)
        kernels.chain_rule(parameters, layout, derivatives, gradient)
        return total

    def _chunks(self, function: Callable[[int, int], Result], n: int) -> list[Result]:
        """The results of `function(start, stop)` for every chunk of n samples, in their order."""
        starts = range(0, n, self.chunk)
        threads = min(self.threads, len(starts))
        return map_in_order(lambda start: function(start, min(start + self.chunk, n)), starts, threads)

    def _with_own_block(self, work: Workspace) -> Workspace:
        return work._replace(block=kernels.new_block(work.layout, self.dtype.type(0)))

    def _inputs(self, x: Array) -> Array:
        return np.array(x, self.dtype, order="C")

    def _no_inputs(self) -> Inputs:
        return inputs.new_inputs(0, 0, self.dtype.type(0))

    def _first_inputs(self) -> Inputs:
        """All that the edges of the first layer need to know of the training inputs; nothing, if that is too much."""
        size = self.work.x.size
        if size * (np.dtype(np.int32).itemsize + 2 * self.dtype.itemsize) > KEPT_INPUTS:
            return self._no_inputs()
        first = inputs.new_inputs(size, 0, self.dtype.type(0))
        inputs.first_inputs(self.work.x, self.work.layout, first)
        return first


def compile_all() -> None:
    """Compile the kernels for all networks, unless that has been done on this machine."""
    for dtype, window in itertools.product(DTYPES, WINDOWS):
        _small_engine(dtype, window)


def _compile(dtype: np.dtype, window: int) -> None:
    """Use the kernels for a precision, and for splines of orders less than `window`, in every way that there is."""
    engine = _small_engine(dtype, window)
    theta = engine.network.parameters()
    engine.loss_and_gradient(theta)
    engine.predict(theta, engine.work.x)
    engine.chunk = 2
    engine.loss_and_gradient(theta)
    sparse = engine.linearize(theta)
    sparse.jacobian()
    sparse.vjp(sparse.jvp(theta.astype(float)))
    sparse.normal_matrix()
    sparse.add_overlaps(0, *sparse._jacobian_rows(), sparse.dual_gram())
    refine(engine.network, [[21, 21], [21, 21]], engine.work.x)


def _small_engine(dtype: np.dtype, window: int) -> CompiledEngine:
    """For a small network, whose grid is fine enough for sparse products (see `sparse.DENSE_BELOW`)."""
    x = np.linspace(-1, 1, 8).reshape(4, 2)
    return CompiledEngine(initialize([2, 2, 1], grid=20, k=window - 1, dtype=dtype), x, x[:, :1])
