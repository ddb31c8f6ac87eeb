"""Engines: evaluate a network as a function of one flat parameter vector, as optimizers need it."""

from __future__ import annotations

import numpy as np

from kanbench.engine.counting import CountingEngine
from kanbench.engine.protocol import Engine
from kanbench.errors import InputError
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Array

__all__ = ["CountingEngine", "Engine", "make_engine"]

MAX_ORDER = 5
DTYPES = ("float64", "float32")


def make_engine(
    name: str, network: SplineNetwork, x: Array, y: Array, threads: int = 1, device: str = "cpu"
) -> CountingEngine:
    """Make the engine called `name` for a network and a training sample; it counts evaluations and operations.

    Args:
        name (str): `compiled` (numba, on the CPU), `torch` (on the CPU or CUDA), or `reference` (pykan).
        x, y (arrays of shapes (n, d) and (n, outputs)): The training sample.
        threads (int): For the compiled engine; torch has its own setting.
        device (str): torch's name of the device, for the other engines; `plan.devices.resolve_engine` says which go
            together.

    Raises:
        InputError: The engine does not support the network, or the samples do not match it.
    """
    shapes, expected = (np.shape(x), np.shape(y)), ((len(x), network.width[0]), (len(x), network.width[-1]))
    if shapes != expected:
        inputs, targets = expected
        raise InputError(f"engine {name}", "samples of shapes {} and {}".format(*shapes), f"{inputs} and {targets}")
    return CountingEngine(_engine(name, network, x, y, threads, device))


def _engine(name: str, network: SplineNetwork, x: Array, y: Array, threads: int, device: str) -> Engine:
    # Imported only when needed: torch and pykan take seconds, numba a third of a second.
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
    """Raise `InputError` for a network that only the reference engine supports."""
    where = f"engine {engine}"
    if str(network.dtype) not in DTYPES:
        raise InputError(where, network.dtype, ", ".join(DTYPES))
    if orders := sorted({layer.order for layer in network.layers} - set(range(1, MAX_ORDER + 1))):
        raise InputError(where, f"splines of order {orders[0]}", f"1 to {MAX_ORDER}")
