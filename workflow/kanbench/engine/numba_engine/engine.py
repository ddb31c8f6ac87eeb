"""A network and its derivatives in compiled loops over samples, live edges and the splines' coefficients.

On a sample, only k + 1 of the G + k basis functions of a spline are nonzero, so the cost hardly depends on G.
See `kanbench.engine.numba_engine.kernels` for the mathematics and `kanbench.engine.numba_engine.layout` for the arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kanbench.engine.numba_engine import inputs, kernels
from kanbench.engine.numba_engine.activations import fill_activations
from kanbench.engine.numba_engine.layout import all_parameters, lay_out
from kanbench.engine.numba_engine.objective import loss_and_gradient, new_objective, residuals
from kanbench.engine.numba_engine.structures import BLOCK, Inputs, Layout, Tables, Workspace, zeros
from kanbench.engine.numba_engine.threads import map_in_order
from kanbench.io.kernel_cache import cache
from kanbench.network.evaluation import Activations, Deviations
from kanbench.network.initialization import initialize
from kanbench.network.refinement import refine
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Array

if TYPE_CHECKING:  # with scipy's BLAS, which only linearizations need
    from kanbench.engine.numba_engine.rows import Places
    from kanbench.engine.numba_engine.sparse import Memory, SparseLinearization

Result = TypeVar("Result")

FINE, COARSE = 20, 3  # grids for which JᵀJ is computed from runs, and from dense rows; see `sparse.find_places`
WINDOWS = (4, 6)  # window lengths that code is compiled for: orders up to 3, and up to 5
CHUNK = 32 * BLOCK  # samples that are summed separately, so that sums do not depend on the number of threads
KEPT_INPUTS = 2**28  # bytes up to which the first layer's inputs are stored, not recomputed in every evaluation


class CompiledEngine:
    """An `Engine` on the CPU, in the network's precision.

    With more than CHUNK samples, several threads are used; results do not depend on their number.
    """

    def __init__(self, network: SplineNetwork, x: Array, y: Array, threads: int = 1) -> None:
        window = next(width for width in WINDOWS if width > network.order)
        cache.once(f"{network.dtype}_{window}", lambda: _compile(str(network.dtype), window))
        self.network, self.threads, self.chunk = network, threads, CHUNK
        self.dtype, self.n_trained, self.zero = network.dtype, network.n_parameters, network.dtype.type(0)
        self.y = np.array(y - network.output_bias, self.dtype).reshape(-1)
        self.parameters, positions = all_parameters(network)
        layout, (e, b, a) = lay_out(network, positions, window)
        samples = np.array(x, self.dtype, order="C")
        self.work = Workspace(
            layout=layout,
            x=samples,
            y=self.y,
            first=self._first_inputs(samples, layout),
            tables=Tables(*(zeros(size, self.zero) for size in (e, b, a, a))),
            derivatives=Tables(*(zeros(size, 0.0) for size in (e, b, 2 * a, 0))),
            buffers=kernels.new_buffers(layout, self.zero),
        )
        self.objective = new_objective(self.parameters, self.work)
        self.places: Places | None = None  # set by the first linearization
        self.memories: list[Memory] = []  # of deleted linearizations, for reuse

    def _place(self, theta: Array) -> None:
        """Copy θ to the vector of all parameters."""
        self.parameters[: self.n_trained] = theta

    def residuals(self, theta: Array) -> Array:
        self._place(theta)
        if len(self.work.x) > self.chunk:
            return self._values(self.work) - self.y
        values = np.empty_like(self.y)
        residuals(self.objective, values)
        return values

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        self._place(theta)
        gradient = np.empty(self.n_trained, self.dtype)
        if len(self.work.x) <= self.chunk:
            return loss_and_gradient(self.objective, gradient), gradient
        return self._sum_of_chunks(gradient) / len(self.y), gradient

    def run(self, loop: Any, *arguments: Any) -> tuple[int, Any]:
        if len(self.work.x) > self.chunk:
            return loop.py_func(self, *arguments)
        arguments = self.objective, *arguments
        what = f"{loop.__name__}_{self.dtype}_{len(self.work.layout.w)}"
        cache.once(what, lambda: loop.compile(tuple(map(loop.typeof_pyval, arguments))))
        return loop(*arguments)

    def linearize(self, theta: Array) -> SparseLinearization:
        from kanbench.engine.numba_engine.sparse import SparseLinearization, find_places

        if self.places is None:
            self.places = find_places(self.work.layout, len(self.parameters))
            load_linearizations(str(self.dtype), len(self.work.layout.w))
        self._place(theta)
        of_engine = self.work, self.places, self._values, self.residuals, self.threads, self.memories
        return SparseLinearization(theta, self.parameters, *of_engine)

    def activations(self, theta: Array) -> Activations:
        theta = np.array(theta)

        def layer_inputs() -> list[Array]:
            return self._activations(theta, np.zeros((2, 0)))[:-1]

        def deviations() -> Deviations:
            moments = np.zeros((2, len(self.work.layout.edges)))
            _, *targets = self._activations(theta, moments)
            return self._edge_deviations(moments), [layer.std(axis=0, ddof=1) for layer in targets]

        return Activations(self.work.x.astype(float), layer_inputs, deviations)

    def _activations(self, theta: Array, moments: Array) -> list[Array]:
        """Evaluate the nodes of every layer, and the output without its bias; see `fill_activations`."""
        self._place(theta)
        work, widths = self.work, self.network.width
        values = np.empty((len(work.x), sum(widths[1:])))
        nan_if_nonfinite = kernels.fill_tables(self.parameters, work.layout, work.tables)
        fill_activations(work, nan_if_nonfinite, values, moments)
        return [work.x.astype(float), *np.split(values, np.cumsum(widths[1:-1]), axis=1)]

    def _edge_deviations(self, moments: Array) -> list[Array]:
        """Standard deviations of edges by layer, shape (inputs, outputs); 0 for masked edges."""
        n = len(self.work.x)
        edges: list[Array] = []
        with np.errstate(invalid="ignore"):  # undefined for one sample
            deviation = np.sqrt(np.maximum(moments[1] - moments[0] ** 2 / n, 0) / (n - 1))
        for layer in self.network.layers:
            of_layer, count = np.zeros(layer.mask.shape), np.count_nonzero(layer.live)
            of_layer[layer.live], deviation = deviation[:count], deviation[count:]  # in the order of the layout's edges
            edges.append(of_layer)
        return edges

    def predict(self, theta: Array, x: Array) -> Array:
        work = self.work._replace(x=np.array(x, self.dtype, order="C"), first=inputs.new_inputs(0, 0, self.zero))
        self._place(theta)
        return self._values(work).reshape(-1, len(self.network.output_bias)) + self.network.output_bias

    def _values(self, work: Workspace) -> Array:
        """Evaluate f(x; θ) without the bias, shape (n · outputs,), at the θ that was placed last."""
        nan_if_nonfinite = kernels.fill_tables(self.parameters, work.layout, work.tables)
        values = np.empty(len(work.x) * len(self.network.output_bias), self.dtype)

        def fill(start: int, stop: int, work: Workspace) -> None:
            kernels.evaluate(kernels.VALUES, start, stop, work, nan_if_nonfinite, values)

        self._chunks(fill, work)
        return values

    def _sum_of_chunks(self, gradient: Array) -> float:
        """Fill the gradient and return the sum of squared residuals, for any number of samples."""
        layout, derivatives = self.work.layout, self.work.derivatives
        nan_if_nonfinite = kernels.fill_tables(self.parameters, layout, self.work.tables)
        for array in derivatives:
            array[:] = 0

        def evaluate(start: int, stop: int, work: Workspace) -> tuple[float, Tables]:
            part = Tables(*(zeros(len(array), 0.0) for array in derivatives))
            work = work._replace(derivatives=part)
            return kernels.evaluate(kernels.GRADIENT, start, stop, work, nan_if_nonfinite, self.y), part

        total = 0.0
        for value, part in self._chunks(evaluate, self.work):
            total += value
            for of_all, summand in zip(derivatives, part, strict=True):
                np.add(of_all, summand, out=of_all)
        kernels.tabulate_splines_vjp(layout, derivatives)
        kernels.chain_rule(self.parameters, layout, derivatives, gradient)
        return total

    def _chunks(self, function: Callable[[int, int, Workspace], Result], work: Workspace) -> list[Result]:
        """Call `function(start, stop, work)` for every chunk of samples; return the results in order."""
        n = len(work.x)
        starts = range(0, n, self.chunk)
        threads = min(self.threads, len(starts))

        def evaluate(start: int) -> Result:
            own = work if threads == 1 else work._replace(buffers=kernels.new_buffers(work.layout, self.zero))
            return function(start, min(start + self.chunk, n), own)

        return map_in_order(evaluate, starts, threads)

    def _first_inputs(self, x: Array, layout: Layout) -> Inputs:
        """Compute the first layer's inputs on the training sample; empty if they would take too much memory."""
        fits = x.size * (np.dtype(np.int32).itemsize + 2 * self.dtype.itemsize) <= KEPT_INPUTS
        first = inputs.new_inputs(x.size if fits else 0, 0, self.zero)
        if fits:
            inputs.first_inputs(x, layout, first)
        return first


def compile_for(dtype: str) -> list[CompiledEngine]:
    """Compile the kernels for all networks of a precision, unless this machine has them cached.

    Returns:
        list: A small engine for every compiled window length.
    """
    return [_small_engine(dtype, window) for window in WINDOWS]


def _compile(dtype: str, window: int) -> None:
    """Call all kernels once for a precision and for splines of orders less than `window`, which compiles them."""
    engine = _small_engine(dtype, window)
    theta = engine.network.parameters()
    engine.loss_and_gradient(theta)
    engine.residuals(theta)
    engine.predict(theta, engine.work.x)
    engine.chunk = 2
    engine.loss_and_gradient(theta)
    load_linearizations(dtype, window)
    refine(engine.network, [[21, 21], [21, 21]], engine.activations(theta))


@functools.cache
def load_linearizations(dtype: str, window: int) -> None:
    """Call all kernels of linearizations once, so that no later step, on another grid, has to load or compile one."""
    from kanbench.engine.numba_engine.sparse import find_places

    for grid in FINE, COARSE:
        engine = _small_engine(dtype, window, grid)
        engine.places = find_places(engine.work.layout, len(engine.parameters))  # without which it would call this
        step = engine.network.parameters().astype(float)
        linearization = engine.linearize(step)
        linearization.vjp(linearization.jvp(step))
        if solve := linearization.cholesky(linearization.normal_matrix(), 1.0):
            solve(step)
        linearization.dual_gram()


def _small_engine(dtype: str, window: int, grid: int = FINE) -> CompiledEngine:
    x = np.linspace(-1, 1, 8).reshape(4, 2)
    return CompiledEngine(initialize([2, 2, 1], grid, k=window - 1, dtype=dtype), x, x[:, :1])
