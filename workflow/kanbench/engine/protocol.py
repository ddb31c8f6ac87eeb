"""What an engine does: the network as a function of one flat vector of parameters."""

from __future__ import annotations

from typing import Any, Protocol

from kanbench.engine.linearization import Linearization
from kanbench.network.evaluation import Activations
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Array


class Engine(Protocol):
    """Loss, gradient, residuals and Jacobian of a network on its training sample.

    With n samples, m outputs and P parameters, θ is a vector of shape (P,), laid out as `network.parameters()` is and
    in the network's precision; the residuals r(θ) = f(x; θ) - y are a vector of shape (n m,), sample after sample (that
    of output j on sample s is number s m + j), and the loss is their mean square |r|²/(n m).

    An engine holds no parameters: it evaluates the network's structure (knots, masks, output bias, fixed parameters)
    with the θ of every call. Arrays are numpy's on every device; only a linearization stays where it was computed.

    Attributes:
        y (array of shape (n m,)): The targets less the network's output bias, in the order of the residuals.
    """

    network: SplineNetwork
    y: Array

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """The loss and its gradient, shape (P,)."""

    def run(self, loop: Any, *arguments: Any) -> tuple[int, Any]:
        """loop(engine, *arguments), where of the engine only `loss_and_gradient` is there.

        Args:
            loop: A `compiled` function, which is run as such if the engine is compiled. It returns how often it
                evaluated, and its result.
        """

    def residuals(self, theta: Array) -> Array:
        """r(θ), shape (n m,)."""

    def linearize(self, theta: Array) -> Linearization:
        """The residuals around θ, r(θ) + J δ."""

    def predict(self, theta: Array, x: Array) -> Array:
        """The network's outputs, bias included, shape (rows, m), for inputs of shape (rows, d)."""

    def activations(self, theta: Array) -> Activations:
        """What the nodes and edges of the network carry on the training sample."""
