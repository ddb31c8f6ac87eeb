"""Peak memory of a case, in a process of its own, so that cases do not hide each other."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from time import perf_counter
from typing import Any

from kanbench.benchmark.cases import Case
from kanbench.benchmark.contenders import Kanbench, Pykan
from kanbench.benchmark.hardware import one_thread

MIB = 2**20
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes

# A server that has imported torch forks a process for every case. Memory that the benchmark itself has used is not
# among it (a child of this process would begin with its peak), and imports take their seconds once.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])


class TooLarge(Exception):  # noqa: N818
    """A case needs more memory than it may have."""


def run_apart(side: str, operation: str, case: Case, limit_mib: int, ours: dict[str, Any]) -> dict[str, float]:
    """Run an operation of a side once or twice in a new process.

    Parameters
    ----------
    side : {"ours", "pykan"}
    operation : {"loss_and_gradient", "lm_step"}
    limit_mib : int
        The data that the process may allocate.
    ours : dict
        The arguments of `Kanbench`, the case aside.

    Returns
    -------
    dict
        `peak` and what of it is there after the imports, `imports`, in MiB; `seconds` of one call.

    Raises
    ------
    TooLarge
    """
    with ProcessPoolExecutor(1, mp_context=SERVER) as pool:
        try:
            return pool.submit(_run, side, operation, case, limit_mib, ours).result()
        except (MemoryError, BrokenProcessPool) as error:
            raise TooLarge from error
        except RuntimeError as error:
            if "allocate memory" in str(error):  # torch's way of saying it
                raise TooLarge from error
            raise


def _run(side: str, operation: str, case: Case, limit_mib: int, ours: dict[str, Any]) -> dict[str, float]:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * MIB, hard))
    with one_thread():
        imports = _peak()
        contender = Kanbench(case, **ours) if side == "ours" else Pykan(case)
        call = contender.lm_steps() if operation == "lm_step" else contender.loss_and_gradient
        seconds = _seconds(call)
        if seconds < 1:  # without what is done only once
            seconds = _seconds(call)
    return {"peak": _peak(), "imports": imports, "seconds": seconds}


def _seconds(call: Any) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT / MIB
