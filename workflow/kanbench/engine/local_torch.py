"""The same evaluation as the compiled engine's, in torch operations on whole batches, for CUDA and CPU.

A sample meets only k + 1 of the G + k basis functions of a spline. `kanbench.engine.torch_layers` has the mathematics;
here samples are divided into chunks, and the parameters of all layers are lined up as θ.

On a GPU, [2, 5, 1] with 1000 samples is a matter of how many operations are launched (ten microseconds each and more),
not of what they compute. So every layer is a fixed number of operations whatever its width and grid, derivatives are
written out, and an evaluation waits for the device once, when the loss becomes a number. Loss and gradient of [2, 5, 1]
are some 80 operations; with autograd through the same forward they are 117, and take a third longer on a CPU; pykan's
forward with autograd is 189. For small samples they are recorded and launched as one.

Sums over samples run in a fixed order on both devices, so that a machine repeats its results. On CUDA this excludes
additions by index, which are atomic there (see `torch_layers.sum_by_matmul`), and relies on cuBLAS, which promises to
repeat itself on one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from kan import KAN
from torch import Tensor

from kanbench.engine.checks import base_function, check_model
from kanbench.engine.linearization import DenseLinearization, StreamedLinearization
from kanbench.engine.recorded import Recorded
from kanbench.engine.torch_layers import BASE_FUNCTIONS, Features, Grid, Layer
from kanbench.models import live_entries, trainable_parameters

CHUNK = {"cpu": 2**20, "cuda": 2**27}  # numbers that a chunk's intermediates take: some in cache, or a gigabyte
RECORDED = 2**25  # numbers of intermediates up to which they may stay allocated, and launches are what takes the time
KEPT_JACOBIAN = {"cpu": 2**28, "cuda": 2**32}  # bytes of a Jacobian that is kept, and not computed anew


class TorchEngine:
    """See `Engine`. For models of sums of splines; float64 or float32.

    Changes of the model's knots from outside, and of where it keeps its parameters, are seen after `grids_changed`.
    """

    def __init__(self, model: KAN, x: Tensor, y: Tensor) -> None:
        check_model("torch", tuple(CHUNK), model, y)
        self.base = BASE_FUNCTIONS[base_function("torch", model)]
        self.model, self.x, self.y = model, x, y.detach()[:, 0]
        self.n_evals = 0
        self.grids_changed()

    def grids_changed(self) -> None:
        self.grids = [Grid(layer, self.base) for layer in self.model.act_fun]
        self._link_parameters()
        self._set_chunks()
        first = [self._first_features(self.x[samples]) for samples in _split(len(self.x), self.chunk)]
        self.first = Features(*map(torch.cat, zip(*first, strict=True)))
        self.recorded: dict[str, Recorded] = {}

    def _set_chunks(self) -> None:
        """How many samples are evaluated at once, and the most for which that is recorded, without and with J."""
        plain, jacobian = 0, 0
        for layer, grid in zip(self.model.act_fun, self.grids, strict=True):
            features, choices = layer.in_dim * (grid.order + 2), layer.in_dim * grid.n_pieces
            plain += features * (2 * layer.out_dim + 3) + (choices if self.y.is_cuda else 0)
            jacobian += 2 * layer.in_dim * layer.out_dim * (layer.coef.shape[2] + 2)
        size = CHUNK[self.y.device.type]
        self.chunk, self.jacobian_chunk = max(1, size // plain), max(1, size // jacobian)
        most = RECORDED if self.y.is_cuda else 0
        self.most_recorded, self.most_recorded_with_jacobian = most // plain, most // jacobian

    def _link_parameters(self) -> None:
        """Note where the model keeps θ."""
        live, trained = live_entries(self.model), trainable_parameters(self.model)
        self.links, at = {}, 0
        for name, entries in live.items():
            parameter = trained[name]
            if not parameter.is_contiguous():  # pykan makes others
                parameter.data = parameter.data.contiguous()
            index = entries.flatten().nonzero().squeeze(1)
            part = slice(at, at := at + len(index))
            self.links[name] = parameter.detach().view(-1), part, None if len(index) == entries.numel() else index

    def parameters(self) -> Tensor:
        return self._line_up({name: values for name, (values, _, _) in self.links.items()})

    def _line_up(self, parts: dict[str, Tensor]) -> Tensor:
        """A new vector of what belongs to θ, in its order, along the last dimension, which is that of `parts` too."""
        live = ((parts[name], index) for name, (_, _, index) in self.links.items())
        return torch.cat([part if index is None else part.index_select(-1, index) for part, index in live], -1)

    def set_parameters(self, theta: Tensor) -> None:
        theta = theta.detach()
        for values, part, index in self.links.values():
            if index is None:
                values.copy_(theta[part])
            else:
                values.index_copy_(0, index, theta[part])

    def residuals(self, theta: Tensor) -> Tensor:
        (residuals,) = self._evaluate(self._residuals, theta, self.most_recorded)
        return residuals

    def loss_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        loss, gradient = self._evaluate(self._loss_and_gradient, theta, self.most_recorded)
        return loss.item() / len(self.y), gradient

    def residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self._evaluate(self._residuals_and_jacobian, theta, self.most_recorded_with_jacobian)

    def _evaluate(
        self, function: Callable[[Tensor], tuple[Tensor, ...]], theta: Tensor, most_recorded: int
    ) -> tuple[Tensor, ...]:
        self.n_evals += 1
        if len(self.y) > most_recorded:
            return function(theta)
        if (name := function.__name__) not in self.recorded:
            self.recorded[name] = Recorded(function, theta)
        return self.recorded[name](theta)

    def _residuals(self, theta: Tensor) -> tuple[Tensor]:
        self.set_parameters(theta)
        layers = self._layers()
        outputs = [Pass(layers, self.first.of(samples)).outputs for samples in _split(len(self.y), self.chunk)]
        return (torch.cat(outputs) - self.y,)

    def _loss_and_gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient with the sum of squares, not their mean."""
        self.set_parameters(theta)
        layers = self._layers()
        loss, sums = 0.0, [0.0] * len(layers)  # over chunks in float64
        for samples in _split(len(self.y), self.chunk):
            forward = Pass(layers, self.first.of(samples))
            residuals = forward.outputs - self.y[samples]
            loss += residuals.double().square().sum()
            for number, features, delta in forward.backward(residuals * (2 / len(self.y))):
                sums[number] += layers[number].derivatives(features, delta).double()
        parts = [layer.gradient(total.to(theta.dtype)) for layer, total in zip(layers, sums, strict=True)]
        return loss, self._line_up(_by_name(parts, 0))

    def linearize(self, theta: Tensor) -> StreamedLinearization:
        n, n_parameters = len(self.y), len(theta)
        if n <= n_parameters or n * n_parameters * torch.float64.itemsize <= KEPT_JACOBIAN[self.y.device.type]:
            return DenseLinearization(*self.residuals_and_jacobian(theta))
        residuals, layers = self.residuals(theta), [layer.kept() for layer in self._layers()]
        return StreamedLinearization(
            residuals, n_parameters, lambda: ((samples, rows) for samples, _, rows in self._rows(layers))
        )

    def _residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        self.set_parameters(theta)
        outputs, jacobian = [], theta.new_empty(len(self.y), len(theta))
        for samples, part_of_outputs, rows in self._rows(self._layers()):
            outputs.append(part_of_outputs)
            jacobian[samples] = rows
        return torch.cat(outputs) - self.y, jacobian

    def _rows(self, layers: list[Layer]) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Samples, their outputs, and their rows of the Jacobian."""
        for samples in _split(len(self.y), self.jacobian_chunk):
            forward = Pass(layers, self.first.of(samples))
            parts = [{} for _ in layers]
            for number, features, delta in forward.backward(torch.ones_like(forward.outputs)):
                parts[number] = layers[number].jacobian(features, delta)
            yield samples, forward.outputs, self._line_up(_by_name(parts, 1))

    def predict(self, x: Tensor) -> Tensor:
        layers = self._layers()
        outputs = [Pass(layers, self._first_features(x[samples])).outputs for samples in _split(len(x), self.chunk)]
        return torch.cat(outputs)[:, None]

    def _layers(self) -> list[Layer]:
        return [Layer(layer, grid) for layer, grid in zip(self.model.act_fun, self.grids, strict=True)]

    def _first_features(self, x: Tensor) -> Features:
        """Of inputs of the model, shape (m, d)."""
        features, _ = self.grids[0].features(x.detach()[:, self.model.input_id.long()])
        return features


class Pass:
    """A chunk of samples on its way through the layers.

    Attributes
    ----------
    outputs : Tensor of shape (n,)
    """

    def __init__(self, layers: list[Layer], first: Features) -> None:
        self.steps, values, features, slope = [], None, first, None
        for layer in layers:
            if values is not None:
                features, slope = layer.grid.features(values)
            weights = layer.fetch(features)
            values = layer.outputs(features, weights)
            self.steps.append((layer, features, slope, weights))
        self.outputs = values[:, 0]

    def backward(self, delta: Tensor) -> Iterator[tuple[int, Features, Tensor]]:
        """From the last layer to the first: its number, features, and δ at its outputs, shape (n, out).

        Parameters
        ----------
        delta : Tensor of shape (n,)
            δ at the network's output.
        """
        delta = delta[:, None]
        for number in range(len(self.steps) - 1, -1, -1):
            layer, features, slope, weights = self.steps[number]
            yield number, features, delta
            if number > 0:
                delta = layer.delta_of_inputs(weights, slope, delta)


def _split(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _by_name(layers: list[dict[str, Tensor]], start_dim: int) -> dict[str, Tensor]:
    """Derivatives by the layers' parameters, flattened from a dimension on, by the parameters' names in the model."""
    return {
        f"act_fun.{number}.{part}": value.flatten(start_dim=start_dim)
        for number, parts in enumerate(layers)
        for part, value in parts.items()
    }
