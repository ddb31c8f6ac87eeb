"""Standard output in any encoding, and the exit status of a command whose output cannot be written."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import TypeVar

BROKEN_PIPE = 141  # 128 + SIGPIPE: a shell's status of a program that writes to a closed pipe
DEFAULTS = ("strict", "surrogateescape")  # of `sys.stdout.errors`, in locales with an encoding and in C

T = TypeVar("T")


class Output(io.TextIOWrapper):
    """Standard output that remembers a write error, which argparse would ignore.

    Undecodable file names are written byte for byte. Characters that the encoding lacks are written as escapes, unless
    the user has set another error handler.
    """

    error: OSError | None = None

    def __init__(self, plain: io.TextIOWrapper) -> None:
        encoding, errors = plain.encoding, plain.errors or ""
        if errors in DEFAULTS:
            errors = "surrogateescape" if encoding == "utf-8" else "backslashreplace"
        line_buffering, write_through = plain.line_buffering, plain.write_through
        super().__init__(plain.detach(), encoding, errors, line_buffering=line_buffering, write_through=write_through)

    def write(self, text: str) -> int:
        return self._kept(lambda: super(Output, self).write(text))

    def flush(self) -> None:
        self._kept(super().flush)

    def _kept(self, write: Callable[[], T]) -> T:
        try:
            return write()
        except OSError as error:
            self.error = self.error or error
            raise


def told(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; if its output cannot be written, print one line, not a traceback."""
    if not isinstance(sys.stdout, io.TextIOWrapper):  # closed
        return command()
    output = sys.stdout = Output(sys.stdout)
    try:
        status = command()
        output.flush()
    except SystemExit as end:  # from argparse
        status = end.code if isinstance(end.code, int) else 1
        with contextlib.suppress(OSError):
            output.flush()
    except OSError as error:
        if error is not output.error:
            raise
    if output.error is None:
        return status
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())  # else the interpreter flushes again at exit
    if isinstance(output.error, BrokenPipeError):
        return BROKEN_PIPE
    print(f"kanbench: the output cannot be written ({output.error.strerror})", file=sys.stderr)
    return 1
