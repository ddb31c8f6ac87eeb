"""A network and its derivatives in torch operations on whole batches, for CUDA and CPU.

On a sample, only k + 1 of the G + k basis functions of a spline are nonzero. `layers` has the mathematics; this module
splits samples into chunks and distributes θ over the layers' parameters.

On a GPU, the time for [2, 5, 1] with 1000 samples depends on the number of launched operations (ten microseconds or
more each), not on their arithmetic. Every layer therefore takes a fixed number of operations for any width and grid,
derivatives are written out, and an evaluation waits for the device only once, for its result. Loss and gradient of
[2, 5, 1] take some 80 operations, compared with 117 (and a third more time on a CPU) with autograd through the same
forward, and 189 for pykan's forward with autograd. For small samples, they are recorded and launched as one.

Sums over samples run in a fixed order on both devices, so results are reproducible on a machine. On CUDA this rules out
index-add, which is atomic there (see `layers.sum_by_matmul`), and relies on cuBLAS, which guarantees reproducibility on
one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kanbench.engine.torch_engine.layers import BASE_FUNCTIONS, Features, Grid, Layer
from kanbench.engine.torch_engine.linearization import DenseLinearization, StreamedLinearization, to_numpy
from kanbench.engine.torch_engine.parameters import TrainedParameters
from kanbench.network.evaluation import Activations
from kanbench.network.spline_network import PARTS, SplineLayer, SplineNetwork
from kanbench.problems import Array

CHUNK = {"cpu": 2**20, "cuda": 2**27}  # numbers in a chunk's intermediates: partly in cache; one gigabyte
RECORDED = 2**25  # most numbers of intermediates for recording: they stay allocated, and launches dominate the time
KEPT_JACOBIAN = {"cpu": 2**28, "cuda": 2**32}  # bytes up to which a Jacobian is stored, not recomputed


class TorchEngine:
    """An `Engine` on the CPU or CUDA, in the network's precision."""

    def __init__(self, network: SplineNetwork, x: Array, y: Array, device: str | torch.device = "cpu") -> None:
        self.network, self.device, self.samples = network, torch.device(device), x
        self.dtype = getattr(torch, str(network.dtype))
        targets = np.asarray(y, network.dtype) - network.output_bias
        self.y, self.targets = targets.reshape(-1), self._tensor(targets)
        self.units = torch.eye(targets.shape[1], dtype=self.dtype, device=self.device)  # δ of each output
        self.grids = [Grid(layer, BASE_FUNCTIONS[network.base], self.device) for layer in network.layers]
        self.parameters = [self._padded(layer) for layer in network.layers]
        self.trained = TrainedParameters(network, self.parameters)
        self._set_chunks()
        x = self._tensor(x)
        first = [self.grids[0].features(x[samples])[0] for samples in _split(len(x), self.chunk)]
        self.first = Features(*map(torch.cat, zip(*first, strict=True)))
        self.recorded: dict[str, Recorded] = {}

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def _set_chunks(self) -> None:
        """Choose the number of samples per chunk, and up to how many are recorded, without and with J."""
        plain, jacobian = 0, 0
        for layer, grid in zip(self.network.layers, self.grids, strict=True):
            features, choices = layer.inputs * (grid.order + 2), layer.inputs * grid.n_spans
            plain += features * (2 * layer.outputs + 3) + (choices if self.targets.is_cuda else 0)
            jacobian += 2 * layer.inputs * layer.outputs * (grid.n_coef + 2) * self.targets.shape[1]
        size = CHUNK[self.device.type]
        self.chunk, self.jacobian_chunk = max(1, size // plain), max(1, size // jacobian)
        most = RECORDED if self.targets.is_cuda else 0
        self.most_recorded, self.most_recorded_with_jacobian = most // plain, most // jacobian

    def _padded(self, layer: SplineLayer) -> dict[str, Tensor]:
        values = layer.padded(max(layer.intervals))[1], layer.scale_base, layer.scale_sp
        return dict(zip(PARTS, map(self._tensor, values), strict=True))

    def _place(self, theta: Tensor) -> list[Layer]:
        """Set the layers' parameters to θ; return the layers, valid until the next call."""
        self.trained.set(theta)
        return [Layer(grid, **parts) for grid, parts in zip(self.grids, self.parameters, strict=True)]

    def _in_order(self, layers: Sequence[dict[str, Tensor]], start_dim: int = 0) -> Tensor:
        """Flatten derivatives by the layers' parameters; see `TrainedParameters.flatten`."""
        return self.trained.flatten((layers[number][name] for number, name in self.trained.names), start_dim)

    def run(self, loop: Any, *arguments: Any) -> tuple[int, Any]:
        return loop.py_func(self, *arguments)

    def residuals(self, theta: Array) -> Array:
        return to_numpy(self._residuals_at(self._tensor(theta)))

    def _residuals_at(self, theta: Tensor) -> Tensor:
        (residuals,) = self._evaluate(self._residuals, theta, self.most_recorded)
        return residuals

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        (both,) = self._evaluate(self._loss_and_gradient, self._tensor(theta), self.most_recorded)
        both = to_numpy(both)  # waits for the device, once
        return float(both[0]) / len(self.y), both[1:].astype(self.network.dtype)

    def _evaluate(
        self, function: Callable[[Tensor], tuple[Tensor, ...]], theta: Tensor, most_recorded: int
    ) -> tuple[Tensor, ...]:
        if len(self.targets) > most_recorded:
            return function(theta)
        if (name := function.__name__) not in self.recorded:
            self.recorded[name] = Recorded(function, theta)
        return self.recorded[name](theta)

    def _residuals(self, theta: Tensor) -> tuple[Tensor]:
        layers = self._place(theta)
        outputs = [Pass(layers, self.first.of(samples)).outputs for samples in _split(len(self.targets), self.chunk)]
        return ((torch.cat(outputs) - self.targets).flatten(),)

    def _loss_and_gradient(self, theta: Tensor) -> tuple[Tensor]:
        """Compute the sum of squared residuals (not their mean) and the gradient of their mean, in float64."""
        layers = self._place(theta)
        loss: Any = 0.0
        sums: list[Any] = [0.0] * len(layers)  # become tensors; summed over chunks in float64
        for samples in _split(len(self.targets), self.chunk):
            forward = Pass(layers, self.first.of(samples))
            residuals = forward.outputs - self.targets[samples]
            loss += residuals.double().square().sum()
            for number, features, delta in forward.backward(residuals * (2 / len(self.y))):
                sums[number] += layers[number].derivatives(features, delta).double()
        parts = [layer.gradient(total.to(theta.dtype)) for layer, total in zip(layers, sums, strict=True)]
        return (torch.cat([loss[None], self._in_order(parts).double()]),)

    def linearize(self, theta: Array) -> StreamedLinearization:
        theta = self._tensor(theta)
        n_rows, n_parameters = len(self.y), len(theta)
        if n_rows <= n_parameters or n_rows * n_parameters * torch.float64.itemsize <= KEPT_JACOBIAN[self.device.type]:
            function = self._residuals_and_jacobian
            residuals, jacobian = self._evaluate(function, theta, self.most_recorded_with_jacobian)
            return DenseLinearization(theta, residuals, self._residuals_at, jacobian)
        residuals, layers = self._residuals_at(theta), [layer.kept() for layer in self._place(theta)]
        return StreamedLinearization(
            theta, residuals, self._residuals_at, lambda: ((places, rows) for places, _, rows in self._rows(layers))
        )

    def _residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        outputs, jacobian = [], theta.new_empty(len(self.y), len(theta))
        for places, part_of_outputs, rows in self._rows(self._place(theta)):
            outputs.append(part_of_outputs)
            jacobian[places] = rows
        return (torch.cat(outputs) - self.targets).flatten(), jacobian

    def _rows(self, layers: list[Layer]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield for every chunk of samples the slice of its rows in the Jacobian, its outputs, and these rows."""
        n, n_outputs = self.targets.shape
        for samples in _split(n, self.jacobian_chunk):
            forward = Pass(layers, self.first.of(samples))
            rows = [self._rows_of(forward, layers, j) for j in range(n_outputs)]
            # With one output, there are no rows to interleave and nothing to copy.
            of_all = rows[0] if n_outputs == 1 else torch.stack(rows, 1).flatten(end_dim=1)
            yield slice(samples.start * n_outputs, samples.stop * n_outputs), forward.outputs, of_all

    def _rows_of(self, forward: Pass, layers: list[Layer], j: int) -> Tensor:
        """Derivatives of output j with respect to θ, shape (n, P)."""
        parts: list[dict[str, Tensor]] = [{} for _ in layers]
        for number, features, delta in forward.backward(self.units[j].expand_as(forward.outputs)):
            parts[number] = layers[number].jacobian(features, delta)
        return self._in_order(parts, start_dim=1)

    def activations(self, theta: Array) -> Activations:
        return Activations.of(self.network.with_parameters(theta), self.samples)

    def predict(self, theta: Array, x: Array) -> Array:
        layers, x = self._place(self._tensor(theta)), self._tensor(x)
        first = (self.grids[0].features(x[samples])[0] for samples in _split(len(x), self.chunk))
        return to_numpy(torch.cat([Pass(layers, part).outputs for part in first])) + self.network.output_bias


class Pass:
    """A forward pass of one chunk of samples, with result `outputs`, shape (n, outputs)."""

    def __init__(self, layers: list[Layer], first: Features) -> None:
        self.steps: list[tuple[Layer, Features, Any, Tensor]] = []  # slopes of features, except in the first layer
        values: Any = None
        for layer in layers:
            features, slope = layer.grid.features(values) if self.steps else (first, None)
            weights = layer.fetch(features)
            self.steps.append((layer, features, slope, weights))
            values = layer.outputs(features, weights)
        self.outputs = values

    def backward(self, delta: Tensor) -> Iterator[tuple[int, Features, Tensor]]:
        """Yield from the last layer to the first its number, its features, and δ at its outputs, shape (n, out).

        Args:
            delta (Tensor of shape (n, outputs)): δ at the network's outputs.
        """
        for number in range(len(self.steps) - 1, -1, -1):
            layer, features, slope, weights = self.steps[number]
            yield number, features, delta
            if number > 0:
                delta = layer.delta_of_inputs(weights, slope, delta)


def _split(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


class Recorded:
    """A function from a vector to tensors, recorded as a CUDA graph that runs in its place.

    Launching an operation takes torch some ten microseconds, longer than running a small one; a graph is a single
    launch. It uses the memory that it was recorded with, so everything else that the function reads must stay in place.

    Args:
        function (callable): Runs operations on the GPU only, never waits for a result, and takes the same operations
            for all values of the vector.
        vector (Tensor): An example with the shape, precision and device of all later ones.
    """

    def __init__(self, function: Callable[[Tensor], tuple[Tensor, ...]], vector: Tensor) -> None:
        self.vector = vector.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function(self.vector)  # warm-up: one-time work cannot be recorded
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.results = function(self.vector)

    def __call__(self, vector: Tensor) -> tuple[Tensor, ...]:
        self.vector.copy_(vector)
        self.graph.replay()
        return tuple(result.clone() for result in self.results)  # the next call overwrites them
