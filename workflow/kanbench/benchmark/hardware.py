"""The machine: its description and the peak performance of one core."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numba
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from kanbench.benchmark.cases import DTYPES
from kanbench.benchmark.timing import seconds_of

PACKAGES = ("numpy", "torch", "pykan", "numba", "torch-levenberg-marquardt")
MATRIX = 1500  # rows: 18 MB in float64, and a product takes a tenth of a second
TRIAD = 16_000_000  # elements: three arrays of 128 MB, larger than any cache
REPETITIONS = 7


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch, numba, and the BLAS of numpy and scipy to one thread."""
    before = torch.get_num_threads(), numba.get_num_threads()
    try:
        with threadpool_limits(1):
            torch.set_num_threads(1)
            numba.set_num_threads(1)
            yield
    finally:  # last, because threadpoolctl knows torch's pools too
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def machine(device: str = "cpu") -> dict[str, object]:
    """Describe what the figures depend on; None for packages that are not installed, and for the GPU on `cpu`."""
    return {
        "cpu": _cpu_model(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "threads": 1,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def measure_peaks() -> dict[str, float]:
    """Measure FLOP/s by precision and bytes/s (`bandwidth`) of one core; call this inside `one_thread`."""
    return {dtype: peak_flops(dtype) for dtype in DTYPES} | {"bandwidth": bandwidth()}


def peak_flops(dtype: str) -> float:
    """FLOP/s of a large matrix product (2 n³ operations), with numpy's or torch's BLAS, whichever is faster."""
    a = np.random.default_rng(0).random((MATRIX, MATRIX)).astype(dtype)
    in_torch = torch.from_numpy(a)
    return 2 * MATRIX**3 / min(_best(lambda: a @ a), _best(lambda: in_torch @ in_torch))


def bandwidth() -> float:
    """Bytes/s of STREAM's triad, a = b + s c (McCalpin 1995), which counts two arrays read and one written."""
    a, b, c = (torch.ones(TRIAD, dtype=torch.float64) for _ in range(3))
    return 3 * a.nbytes / _best(lambda: torch.add(b, c, alpha=3.0, out=a))


def _best(call: Callable[[], object]) -> float:
    """Seconds of the fastest call, because other processes can only slow a call down."""
    return min(seconds_of(call) for _ in range(REPETITIONS))
