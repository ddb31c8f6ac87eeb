"""Which networks the engines take, and on which devices they run."""

from __future__ import annotations

from kanbench.errors import InputError
from kanbench.network.spline_network import SplineNetwork

MAX_ORDER = 5
DTYPES = ("float32", "float64")
DEVICES = {"compiled": ("cpu",), "torch": ("cpu", "cuda")}  # pykan's own forward runs on any


def check_network(engine: str, network: SplineNetwork) -> None:
    """Raise `InputError`, with the engine's name, for a network that it does not take."""
    orders = sorted({layer.order for layer in network.layers} - set(range(1, MAX_ORDER + 1)))
    for condition, found in (
        (str(network.dtype) not in DTYPES, f"{network.dtype}; allowed: {', '.join(DTYPES)}"),
        (network.width[-1] != 1, f"{network.width[-1]} outputs; allowed: 1"),
        (orders, f"splines of order {orders}; allowed: 1 to {MAX_ORDER}"),
    ):
        if condition:
            raise InputError(f"engine {engine}", found)


def check_device(engine: str, device: str) -> None:
    """Raise `InputError` for a device, by torch's name, that an engine does not run on."""
    allowed = DEVICES.get(engine)
    if allowed and device.partition(":")[0] not in allowed:
        raise InputError(f"engine {engine}", f"device {device}", ", ".join(allowed))
