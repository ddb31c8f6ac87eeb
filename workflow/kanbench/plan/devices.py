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

    Raises
    ------
    InputError
        CUDA is asked for and torch cannot use it.
    """
    if device == "cpu" or (device == "auto" and not has_gpu_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    why = "torch sees no CUDA device" if torch.version.cuda else "this build of torch has no CUDA"
    raise InputError("device", f"'cuda', but {why}; allowed here: auto, cpu")


def resolve_engine(engine: str, device: str) -> str:
    """The name of the engine for a configured one: by default the fastest that the device has.

    Raises
    ------
    InputError
        The engine does not run on the device.
    """
    if engine == "compiled" and device == "cuda":
        raise InputError("engine", "'compiled', which runs on a CPU; allowed on cuda: auto, torch, reference")
    return {"cpu": "compiled", "cuda": "torch"}[device] if engine == "auto" else engine
