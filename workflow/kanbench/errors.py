"""The exception for invalid input (one line: where, what was found, what is allowed), and warnings."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

MOST_CHOICES = 12  # that an error lists
# Stack frames that warnings skip: those of the package, and of the decorators between them.
INSIDE = (f"{Path(__file__).parent}{os.sep}", functools.__file__, contextlib.__file__)


class InputError(ValueError):
    """A configuration, name, file or device that cannot be used.

    Args:
        where (object): The key, file, option or argument.
        found (object, optional): The value found; text is shown unchanged.
        allowed (object, optional): What is valid there.
        problem (object, optional): What went wrong, if not an invalid value: `cannot be read (…)`.

    Attributes:
        where, found, allowed, problem (str): Empty if not given.
    """

    def __init__(self, where: object, found: object = "", allowed: object = "", *, problem: object = "") -> None:
        self.where, self.found, self.allowed, self.problem = map(str, (where, found, allowed, problem))
        labelled = (self.problem, ""), (self.found, "found "), (self.allowed, "allowed: ")
        parts = [f"{label}{part}" for part, label in labelled if part]
        super().__init__(": ".join(filter(None, (self.where, "; ".join(parts)))))

    def at(self, where: object) -> InputError:
        """The same error with another `where`."""
        return type(self)(where, self.found, self.allowed, problem=self.problem)


def choices(found: object, allowed: Iterable[object]) -> str:
    """What is allowed, as one line: everything or, of many, the one most similar to `found` and how many others."""
    names = list(map(str, allowed))
    if len(names) <= MOST_CHOICES:
        return ", ".join(names)
    [nearest] = difflib.get_close_matches(str(found), names, n=1, cutoff=0)
    return f"{nearest}, or one of {len(names) - 1} others"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points to the caller's line outside the package, at any call depth."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def one_line(text: object) -> str:
    """Text from a file as one line that is safe to print: no line breaks, no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
