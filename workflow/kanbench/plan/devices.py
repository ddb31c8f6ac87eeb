"""Choose the device and the engine of a training."""

from __future__ import annotations

import ctypes
from pathlib import Path

from kanbench.errors import InputError


def has_gpu_driver() -> bool:
    """Whether the machine has an NVIDIA or AMD driver that torch could use; does not import torch."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return Path("/dev/kfd").exists()


def resolve_device(device: str) -> str:
    """Resolve a configured device to `cpu` or `cuda`; imports torch only if there may be a GPU.

    Raises:
        InputError: `cuda` is configured, but torch cannot use it.
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
    """Resolve a configured engine; `auto` is the fastest engine for the device.

    Raises:
        InputError: The engine does not run on the device.
    """
    check_engine(engine, device)
    return {"cpu": "compiled", "cuda": "torch"}[device] if engine == "auto" else engine


def check_engine(engine: str, device: str, where: str = "engine") -> None:
    """Raise `InputError` if the configured engine does not run on the device."""
    if engine == "compiled" and device == "cuda":
        raise InputError(where, "'compiled'", "auto, torch, reference", problem="runs on a CPU, not on cuda")
