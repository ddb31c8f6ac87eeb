"""pykan's own forward and torch's autograd: slow, and the measure for every other engine."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap

from kanbench.engine.torch_engine.linearization import DenseLinearization, to_numpy, to_tensor
from kanbench.network.pykan import predict, to_pykan
from kanbench.network.spline_network import SplineNetwork

Array = NDArray[np.floating]

JACOBIAN_CHUNK = 250  # samples at once: at G = 100 the intermediates of 1000 take gigabytes


class ReferenceEngine:
    """See `Engine`. On any of torch's devices, in the network's precision."""

    def __init__(self, network: SplineNetwork, x: Array, y: Array, device: str | torch.device = "cpu") -> None:
        self.network, self.device, self.n_evals = network, torch.device(device), 0
        self.dtype = getattr(torch, str(network.dtype))
        self.model = to_pykan(network).to(self.device)
        self.x, self.targets = self._tensor(x), self._tensor(y)
        self.y = np.asarray(y, network.dtype)[:, 0] - network.output_bias
        parameters = dict(self.model.named_parameters())
        self.trained: dict[str, Tensor] = {}  # in the order of θ
        self.live: dict[str, Tensor] = {}  # which of their entries are in θ
        for number, layer in enumerate(network.layers):
            n_coef = parameters[f"act_fun.{number}.coef"].shape[2]
            for part, live in layer.padded_live(n_coef - layer.order).items():
                if part not in network.fixed:
                    name = f"act_fun.{number}.{part}"
                    self.trained[name] = parameters[name]
                    self.live[name] = to_tensor(live, torch.bool, self.device)
        self.sizes = [int(live.sum()) for live in self.live.values()]

    def _tensor(self, array: Array) -> Tensor:
        return to_tensor(array, self.dtype, self.device)

    @torch.no_grad()
    def _place(self, theta: Tensor) -> None:
        """Give pykan's model the parameters θ."""
        for (name, parameter), values in zip(self.trained.items(), theta.split(self.sizes), strict=True):
            parameter[self.live[name]] = values

    def residuals(self, theta: Array) -> Array:
        return to_numpy(self._residuals(self._tensor(theta)))

    def _residuals(self, theta: Tensor) -> Tensor:
        self.n_evals += 1
        self._place(theta)
        return (predict(self.model, self.x) - self.targets).squeeze(1)

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        self.n_evals += 1
        self._place(self._tensor(theta))
        loss = (self.model(self.x) - self.targets).square().mean()
        gradient = torch.autograd.grad(loss, list(self.trained.values()))
        parts = [part[live] for part, live in zip(gradient, self.live.values(), strict=True)]
        return loss.item(), to_numpy(torch.cat(parts))

    def linearize(self, theta: Array) -> DenseLinearization:
        theta = self._tensor(theta)
        residuals = self._residuals(theta)

        def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
            return functional_call(self.model, parameters, (sample[None],)).squeeze()

        parameters = {name: parameter.detach() for name, parameter in self.trained.items()}
        rows = vmap(grad(output), in_dims=(None, 0), chunk_size=JACOBIAN_CHUNK)(parameters, self.x)
        jacobian = torch.cat([rows[name][:, live] for name, live in self.live.items()], dim=1)
        return DenseLinearization(theta, residuals, self._residuals, jacobian)

    def predict(self, theta: Array, x: Array) -> Array:
        self._place(self._tensor(theta))
        return to_numpy(predict(self.model, self._tensor(x)))
