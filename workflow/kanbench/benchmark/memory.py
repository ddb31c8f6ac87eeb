"""Peak memory of a case, measured in its own process, because a process keeps its highest peak."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from kanbench.benchmark.cases import Case
from kanbench.benchmark.contenders import Kanbench, LMSteps, Pykan
from kanbench.benchmark.hardware import one_thread
from kanbench.benchmark.timing import seconds_of

MIB = 2**20
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes

# A server that has imported torch forks a process for every case, so torch is imported only once. A child of this
# process would instead inherit its peak.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])


class TooLarge(Exception):  # noqa: N818
    """A case needs more memory than the limit."""


def run_apart(
    side: str, operation: str, case: Case, limit_mib: int, ours: dict[str, Any], device: str = "cpu"
) -> dict[str, float]:
    """Run an operation of a side once or twice in a new process.

    Args:
        side ({"ours", "pykan"}): Whose operation.
        operation ({"loss_and_gradient", "lm_step"}): A method of the side.
        limit_mib (int): Limit of the process's data, on CUDA of its GPU memory.
        ours (dict): Arguments of `Kanbench` other than the case.

    Returns:
        dict: `peak` memory and the part of it due to `imports`, in MiB; `seconds` of one call. On CUDA, the peak counts
            torch's tensors, not CUDA's own memory.

    Raises:
        TooLarge: The limit is exceeded.
    """
    _ = case.network  # made here and sent with the case, so that making it is not measured
    with ProcessPoolExecutor(1, mp_context=SERVER) as pool:
        try:
            return pool.submit(_run, side, operation, case, limit_mib, ours, device).result()
        except (MemoryError, torch.OutOfMemoryError, BrokenProcessPool) as error:
            raise TooLarge from error
        except RuntimeError as error:
            if "allocate memory" in str(error):  # torch's message
                raise TooLarge from error
            raise


def _run(side: str, operation: str, case: Case, limit_mib: int, ours: dict[str, Any], device: str) -> dict[str, float]:
    if device == "cuda":  # CUDA maps more address space than any limit of the process
        total = torch.cuda.get_device_properties().total_memory
        torch.cuda.set_per_process_memory_fraction(min(1, limit_mib * MIB / total))
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * MIB, hard))
    with one_thread():
        imports = _peak(device)
        contender = Kanbench(case, **ours, device=device) if side == "ours" else Pykan(case, device)
        call = LMSteps(contender) if operation == "lm_step" else contender.loss_and_gradient
        seconds = seconds_of(call, 1, device)
        if seconds < 1:  # again, without one-time work
            seconds = seconds_of(call, 1, device)
    return {"peak": _peak(device), "imports": imports, "seconds": seconds}


def _peak(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / MIB
