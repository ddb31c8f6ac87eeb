"""The exception for wrong input, a line that says where, what was found and what is allowed; and warnings."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from pathlib import Path

# Frames that warnings pass over: the package's, and those of decorators between them.
INSIDE = (f"{Path(__file__).parent}{os.sep}", functools.__file__, contextlib.__file__)


class InputError(ValueError):
    """A configuration, name, file or device that cannot be used.

    Args:
        where (object): The key, file, option or argument.
        found (object, optional): What is there; text is shown as it is.
        allowed (object, optional): What could be there instead.
        problem (object, optional): What is wrong, where that is not what was found: `cannot be read (…)`.

    Attributes:
        where, found, allowed, problem (str): Empty where they are not given.
    """

    def __init__(self, where: object, found: object = "", allowed: object = "", *, problem: object = "") -> None:
        self.where, self.found, self.allowed, self.problem = map(str, (where, found, allowed, problem))
        labelled = (self.problem, ""), (self.found, "found "), (self.allowed, "allowed: ")
        parts = [f"{label}{part}" for part, label in labelled if part]
        super().__init__(": ".join(filter(None, (self.where, "; ".join(parts)))))

    def at(self, where: object) -> InputError:
        """This error with another place."""
        return type(self)(where, self.found, self.allowed, problem=self.problem)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called the package, however deep inside the reason was found."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def one_line(text: object) -> str:
    """Text from a file as one line that a terminal shows as it is: no line breaks, no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
