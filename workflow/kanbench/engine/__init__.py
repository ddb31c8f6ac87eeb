"""The network as the optimizers see it: a function of one flat vector of parameters."""

from __future__ import annotations

from typing import Protocol

from kanbench.engine.linearization import Linearization
from kanbench.errors import InputError
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Array

MAX_ORDER = 5
DTYPES = ("float64", "float32")


class Engine(Protocol):
    """Loss, gradient, residuals and Jacobian of a network on its training sample.

    With n samples and P parameters, θ is a vector of shape (P,), laid out as `network.parameters()` is and in the
    network's precision; the residuals r(θ) = f(x; θ) - y have shape (n,), and the loss is their mean square |r|²/n.

    An engine holds no parameters: it evaluates the network's structure (knots, masks, output bias, fixed parameters)
    with the θ of every call. Arrays are numpy's on every device; only a linearization stays where it was computed.

    Attributes:
        y (array of shape (n,)): The targets less the network's output bias.
        n_evals (int): Evaluations of the residuals or the loss so far, alone or with the Jacobian or the gradient.
    """

    network: SplineNetwork
    y: Array
    n_evals: int

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """The loss and its gradient, shape (P,)."""

    def residuals(self, theta: Array) -> Array:
        """r(θ), shape (n,)."""

    def linearize(self, theta: Array) -> Linearization:
        """The residuals around θ, r(θ) + J δ; counted as one evaluation."""

    def predict(self, theta: Array, x: Array) -> Array:
        """The network's output, bias included, shape (m, 1), for inputs of shape (m, d); not counted."""


def make_engine(name: str, network: SplineNetwork, x: Array, y: Array, threads: int = 1, device: str = "cpu") -> Engine:
    """The engine called `name` for a network and its training sample.

    Args:
        name (str): `compiled`, on the CPU, with numba; `torch`, on the CPU or CUDA; or `reference`, which is pykan.
        x, y (arrays of shapes (n, d) and (n, 1))
        threads (int): That the compiled engine may use; torch has its own setting.
        device (str): torch's name of the device of the others; `plan.devices.resolve_engine` says which go together.

    Raises:
        InputError: The engine does not take such a network.
    """
    # Imported where they are made: torch and pykan take seconds, numba a third of one.
    if name == "reference":
        from kanbench.engine.reference import ReferenceEngine

        return ReferenceEngine(network, x, y, device)
    _check(name, network)
    if name == "compiled":
        from kanbench.engine.numba_engine.engine import CompiledEngine

        return CompiledEngine(network, x, y, threads)
    from kanbench.engine.torch_engine.engine import TorchEngine

    return TorchEngine(network, x, y, device)


def _check(engine: str, network: SplineNetwork) -> None:
    """Raise `InputError` for a network that pykan takes, and the other engines do not."""
    where, outputs = f"engine {engine}", network.width[-1]
    if str(network.dtype) not in DTYPES:
        raise InputError(where, network.dtype, ", ".join(DTYPES))
    if outputs != 1:
        raise InputError(where, f"{outputs} outputs", 1)
    if orders := sorted({layer.order for layer in network.layers} - set(range(1, MAX_ORDER + 1))):
        raise InputError(where, f"splines of order {orders[0]}", f"1 to {MAX_ORDER}")
