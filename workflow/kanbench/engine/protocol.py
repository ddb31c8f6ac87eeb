"""The protocol of engines, which evaluate a network as a function of one flat parameter vector."""

from __future__ import annotations

from typing import Any, Protocol

from kanbench.engine.linearization import Linearization
from kanbench.network.evaluation import Activations
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Array


class Engine(Protocol):
    """Evaluates loss, gradient, residuals and Jacobian of a network on a training sample.

    With n samples, m outputs and P parameters, θ is a vector of shape (P,) in the network's precision, in the order of
    `network.parameters()`. The residuals r(θ) = f(x; θ) - y are a vector of shape (n m,), where output j on sample s
    has index s m + j. The loss is their mean square, |r|²/(n m).

    An engine stores no parameters: it combines the network's structure (knots, masks, output bias, fixed parameters)
    with the θ of each call. Arguments and results are numpy arrays on every device; only a linearization stays on the
    device.

    Attributes:
        y (array of shape (n m,)): The targets minus the network's output bias, in the order of the residuals.
    """

    network: SplineNetwork
    y: Array

    def loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """Evaluate the loss and its gradient, shape (P,)."""

    def run(self, loop: Any, *arguments: Any) -> tuple[int, Any]:
        """Call loop(engine, *arguments); the loop can use only the engine's `loss_and_gradient`.

        Args:
            loop (callable): A `compiled` function, which runs compiled with a compiled engine and in Python otherwise.
                It returns its number of evaluations and its result, and so does `run`.
        """

    def residuals(self, theta: Array) -> Array:
        """Evaluate r(θ), shape (n m,)."""

    def linearize(self, theta: Array) -> Linearization:
        """Linearize the residuals at θ: r(θ) + J δ."""

    def predict(self, theta: Array, x: Array) -> Array:
        """Evaluate the network's outputs with bias, shape (rows, m), at inputs of shape (rows, d)."""

    def activations(self, theta: Array) -> Activations:
        """Return the activations of nodes and edges on the training sample."""
