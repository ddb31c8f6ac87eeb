"""`python -m kanbench`."""

import gc
import os
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
BACKEND = {"MPLBACKEND": "agg"}  # a notebook's, which its jobs inherit, may not even be there


def run() -> int:
    """Run the command line on one thread: results must not depend on cores, and more do not help at this size."""
    os.environ |= dict.fromkeys(THREADS, "1") | BACKEND  # before numpy, torch and matplotlib are imported
    os.environ.pop("NUMBA_DISABLE_JIT", None)  # of somebody who debugs other code: kernels cannot run uncompiled
    gc.set_threshold(1_000_000)  # of what is imported nothing is garbage, and to look for it takes a tenth of a start
    from kanbench.cli.main import main
    from kanbench.cli.output import told

    status = told(main)
    gc.freeze()  # or the interpreter looks for garbage among all that was imported before it ends, for half a second
    return status


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working folder: its kan/ or random.py is what nothing here means to import
    sys.exit(run())
