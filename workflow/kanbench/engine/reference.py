"""pykan's own forward and torch's autograd: slow, and the measure for every other engine."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from kan import KAN
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.utils import vector_to_parameters

from kanbench.engine.linearization import DenseLinearization
from kanbench.models import live_entries, predict, trainable_parameters

JACOBIAN_CHUNK = 250  # samples at once: at G = 100 the intermediates of 1000 take gigabytes


class ReferenceEngine:
    """See `Engine`. The model is evaluated, and changed, in place."""

    def __init__(self, model: KAN, x: Tensor, y: Tensor) -> None:
        self.model, self.x, self.y = model, x, y
        self.live = _flat(live_entries(model).values())
        self.n_evals = 0

    def parameters(self) -> Tensor:
        return _flat(trainable_parameters(self.model).values()).detach()[self.live]

    def set_parameters(self, theta: Tensor) -> None:
        parameters = trainable_parameters(self.model).values()
        with torch.no_grad():
            every = _flat(parameters)
            every[self.live] = theta.detach()
            vector_to_parameters(every, parameters)

    def residuals(self, theta: Tensor) -> Tensor:
        self.n_evals += 1
        self.set_parameters(theta)
        return (self.predict(self.x) - self.y).squeeze(1)

    def loss_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        self.n_evals += 1
        self.set_parameters(theta)
        loss = (self.model(self.x) - self.y).square().mean()
        gradient = torch.autograd.grad(loss, list(trainable_parameters(self.model).values()))
        return loss.item(), _flat(gradient)[self.live]

    def residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        self.n_evals += 1
        self.set_parameters(theta)
        parameters = {name: p.detach() for name, p in trainable_parameters(self.model).items()}

        def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
            return functional_call(self.model, parameters, (sample[None],)).squeeze()

        rows = vmap(grad(output), in_dims=(None, 0), chunk_size=JACOBIAN_CHUNK)(parameters, self.x)
        jacobian = torch.cat([rows[name].flatten(start_dim=1) for name in parameters], dim=1)
        return (self.predict(self.x) - self.y).squeeze(1), jacobian[:, self.live]

    def linearize(self, theta: Tensor) -> DenseLinearization:
        return DenseLinearization(*self.residuals_and_jacobian(theta))

    def grids_changed(self) -> None:
        pass

    def predict(self, x: Tensor) -> Tensor:
        return predict(self.model, x)


def _flat(parts: Iterable[Tensor]) -> Tensor:
    """A new vector of all elements (torch's `parameters_to_vector` wants contiguous tensors; pykan makes others)."""
    return torch.cat([part.flatten() for part in parts])
