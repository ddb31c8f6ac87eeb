"""Which device a training runs on."""

from __future__ import annotations

import ctypes
from pathlib import Path

from kanbench.errors import InputError


def has_gpu_driver() -> bool:
    """Whether the machine has a driver that torch could use (NVIDIA's, or AMD's); found without importing torch."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return Path("/dev/kfd").exists()


def resolve_device(device: str) -> str:
    """`cpu` or `cuda` for a configured device. torch is imported only where there may be a GPU.

    Raises:
        InputError: CUDA is asked for and torch cannot use it.
    """
    if device == "cpu" or (device == "auto" and not has_gpu_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    why = "torch sees no CUDA device" if torch.version.cuda else "this build of torch has no CUDA"
    raise InputError("device", "'cuda'", "auto, cpu", problem=why)


def resolve_engine(engine: str, device: str) -> str:
    """The name of the engine for a configured one: by default the fastest that the device has.

    Raises:
        InputError: The engine does not run on the device.
    """
    check_engine(engine, device)
    return {"cpu": "compiled", "cuda": "torch"}[device] if engine == "auto" else engine


def check_engine(engine: str, device: str, where: str = "engine") -> None:
    """Raise `InputError` for a configured engine that does not run on a device."""
    if engine == "compiled" and device == "cuda":
        raise InputError(where, "'compiled'", "auto, torch, reference", problem="runs on a CPU, not on cuda")
