"""Standard output: written in any encoding, and what becomes of a command whose output cannot be written."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import TypeVar

BROKEN_PIPE = 141  # as a shell has it of a program that writes to `head` when that has ended
DEFAULTS = ("strict", "surrogateescape")  # of `sys.stdout.errors`, in locales with an encoding and in C

T = TypeVar("T")


class Output(io.TextIOWrapper):
    """Standard output that keeps the error with which it could not be written; argparse ignores it.

    Names of files that are no text are written as they are; what another encoding has no sign for, as an escape, unless
    the user says how.
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
    """The status of a command; where its output cannot be written another one, and a line instead of a traceback."""
    if not isinstance(sys.stdout, io.TextIOWrapper):  # it is closed
        return command()
    output = sys.stdout = Output(sys.stdout)
    try:
        status = command()
        output.flush()
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else 1
        with contextlib.suppress(OSError):
            output.flush()
    except OSError as error:
        if error is not output.error:
            raise
    if output.error is None:
        return status
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())  # or the interpreter tries once more at its end
    if isinstance(output.error, BrokenPipeError):
        return BROKEN_PIPE
    print(f"kanbench: the output cannot be written ({output.error.strerror})", file=sys.stderr)
    return 1
