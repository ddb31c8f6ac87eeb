"""`python -m kanbench`."""

import gc
import sys

from kanbench.cli import main

if sys.stdout is not None and sys.stdout.errors == "strict":  # None: it is closed
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files that are no text are written as they are
status = main()
gc.freeze()  # or the interpreter looks for garbage among all that was imported before it ends, for half a second
sys.exit(status)
