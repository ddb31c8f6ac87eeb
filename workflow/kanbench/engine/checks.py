"""Which networks the compiled and the torch engine take."""

from __future__ import annotations

from kanbench.errors import InputError
from kanbench.network.spline_network import SplineNetwork

MAX_ORDER = 5
DTYPES = ("float64", "float32")


def check_network(engine: str, network: SplineNetwork) -> None:
    """Raise `InputError`, with the engine's name, for a network that it does not take."""
    orders = sorted({layer.order for layer in network.layers} - set(range(1, MAX_ORDER + 1)))
    where, outputs = f"engine {engine}", network.width[-1]
    if str(network.dtype) not in DTYPES:
        raise InputError(where, network.dtype, ", ".join(DTYPES))
    if outputs != 1:
        raise InputError(where, f"{outputs} outputs", 1)
    if orders:
        raise InputError(where, f"splines of order {orders[0]}", f"1 to {MAX_ORDER}")
