"""The network as the optimizers see it: a function of one flat vector of live parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kan import KAN
    from torch import Tensor

from kanbench.engine.linearization import Linearization


class Engine(Protocol):
    """Loss, gradient, residuals and Jacobian of a model on its training sample.

    With n samples and P live parameters (those of `kanbench.models.live_entries`, in that order), θ is a vector of
    shape (P,), the residuals r(θ) = f(x; θ) - y have shape (n,), and the loss is the mean squared error |r|²/n.

    Attributes
    ----------
    y : Tensor of n elements
        The targets.
    n_evals : int
        Evaluations of the residuals or the loss so far, alone or with the Jacobian or the gradient.
    """

    y: Tensor
    n_evals: int

    def parameters(self) -> Tensor:
        """A copy of θ."""

    def set_parameters(self, theta: Tensor) -> None:
        """Give the model the parameters θ."""

    def residuals(self, theta: Tensor) -> Tensor:
        """r(θ), shape (n,)."""

    def loss_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """The loss and its gradient, shape (P,)."""

    def residuals_and_jacobian(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """r(θ), shape (n,), and ∂r/∂θ, shape (n, P)."""

    def linearize(self, theta: Tensor) -> Linearization:
        """The residuals around θ, r(θ) + J δ; counted as one evaluation."""

    def grids_changed(self) -> None:
        """Take note that the model's knots and coefficients were changed from outside."""

    def predict(self, x: Tensor) -> Tensor:
        """The model's output, shape (m, 1), for inputs of shape (m, d); not counted as an evaluation."""


def make_engine(name: str, model: KAN, x: Tensor, y: Tensor, threads: int = 1) -> Engine:
    """The engine called `name` for a model and its training sample, x of shape (n, d) and y of shape (n, 1)."""
    if name == "compiled":
        from kanbench.engine.compiled import CompiledEngine  # imports numba

        return CompiledEngine(model, x, y, threads)
    from kanbench.engine.local_torch import TorchEngine
    from kanbench.engine.reference import ReferenceEngine

    return {"reference": ReferenceEngine, "torch": TorchEngine}[name](model, x, y)
