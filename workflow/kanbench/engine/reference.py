"""pykan's own forward with torch's autograd: slow, the reference for every other engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from kanbench.engine.torch_engine.linearization import DenseLinearization, to_numpy
from kanbench.engine.torch_engine.parameters import TrainedParameters
from kanbench.network.evaluation import Activations
from kanbench.network.pykan import predict, to_pykan
from kanbench.network.spline_network import PARTS, SplineNetwork
from kanbench.problems import Array

JACOBIAN_CHUNK = 250  # samples at once: at G = 100, the intermediates of 1000 samples take gigabytes


class ReferenceEngine:
    """An `Engine` on any torch device, in the network's precision."""

    def __init__(self, network: SplineNetwork, x: Array, y: Array, device: str | torch.device = "cpu") -> None:
        self.network, self.device, self.samples = network, torch.device(device), x
        self.dtype = getattr(torch, str(network.dtype))
        self.model = to_pykan(network).to(self.device)
        self.x, self.targets = self._tensor(x), self._tensor(y)
        self.y = (np.asarray(y, network.dtype) - network.output_bias).reshape(-1)
        named = dict(self.model.named_parameters())
        names = [{part: f"act_fun.{number}.{part}" for part in PARTS} for number in range(len(network.layers))]
        self.trained = TrainedParameters(network, [{part: named[n] for part, n in of.items()} for of in names])
        self.names = [names[number][part] for number, part in self.trained.names]

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def run(self, loop: Any, *arguments: Any) -> tuple[int, Any]:
        return loop.py_func(self, *arguments)

    def residuals(self, theta: Array) -> Array:
        return to_numpy(self._residuals(self._tensor(theta)))

    def _residuals(self, theta: Tensor) -> Tensor:
        self.trained.set(theta)
        return (predict(self.model, self.x) - self.targets).flatten()

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        self.trained.set(self._tensor(theta))
        loss = (self.model(self.x) - self.targets).square().mean()
        return loss.item(), to_numpy(self.trained.flatten(torch.autograd.grad(loss, self.trained.tensors)))

    def linearize(self, theta: Array) -> DenseLinearization:
        at = self._tensor(theta)
        residuals = self._residuals(at)

        jacobian = torch.stack([self._rows(j) for j in range(self.targets.shape[1])], dim=1)
        return DenseLinearization(at, residuals, self._residuals, jacobian.flatten(end_dim=1))

    def _rows(self, j: int) -> Tensor:
        """Derivatives of output j on every sample with respect to θ, shape (n, P)."""

        def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
            return functional_call(self.model, parameters, (sample[None],))[0, j]

        parameters = dict(zip(self.names, (tensor.detach() for tensor in self.trained.tensors), strict=True))
        rows = vmap(grad(output), in_dims=(None, 0), chunk_size=JACOBIAN_CHUNK)(parameters, self.x)
        return self.trained.flatten((rows[name] for name in self.names), start_dim=1)

    def activations(self, theta: Array) -> Activations:
        return Activations.of(self.network.with_parameters(theta), self.samples)

    def predict(self, theta: Array, x: Array) -> Array:
        self.trained.set(self._tensor(theta))
        return to_numpy(predict(self.model, self._tensor(x)))
