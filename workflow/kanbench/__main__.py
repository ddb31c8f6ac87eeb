"""`python -m kanbench`."""

import gc
import io
import os
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
DEFAULTS = ("strict", "surrogateescape")  # of `sys.stdout.errors`, in locales with an encoding and in C


def run() -> int:
    """Run the command line on one thread: results must not depend on cores, and more do not help at this size."""
    os.environ |= dict.fromkeys(THREADS, "1")  # before numpy and torch are imported
    gc.set_threshold(1_000_000)  # of what is imported nothing is garbage, and to look for it takes a tenth of a start
    from kanbench.cli.main import main

    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in DEFAULTS:  # None where it is closed
        # Names of files that are no text are written as they are; what another encoding has no sign for, as an escape.
        sys.stdout.reconfigure(errors="surrogateescape" if sys.stdout.encoding == "utf-8" else "backslashreplace")
    status = main()
    gc.freeze()  # or the interpreter looks for garbage among all that was imported before it ends, for half a second
    return status


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working folder: its kan/ or random.py is what nothing here means to import
    sys.exit(run())
