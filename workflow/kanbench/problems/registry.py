"""Problems: target functions on boxes, by name, and the decorator that makes one of a function."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kanbench.errors import InputError, one_line
from kanbench.problems.source import Source, digest_of_function, read_file

Array = NDArray[np.floating]
Interval = tuple[float, float]
Target = Callable[..., Array]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of a problem: names of files are made of it


@dataclass(frozen=True)
class Problem:
    """A target on a box.

    Attributes:
        name (str)
        target (callable or None): Maps inputs of shape (n, d) to values of shape (n,) or (n, 1); or d inputs, each of
            shape (n,), where it has d > 1 parameters. None if it is known at the samples of a table only.
        domain (tuple of (low, high)): Of every input.
        width (tuple of int, optional): Of the networks that it is made for.
        file (path, optional): Where it is defined.
        digest (str, optional): Of what defines it, in a user's file.
    """

    name: str
    target: Target | None
    domain: tuple[Interval, ...]
    width: tuple[int, ...] | None = None
    file: Path | None = None
    digest: str | None = None

    @property
    def dim(self) -> int:
        return len(self.domain)

    @property
    def where(self) -> str:
        """For errors."""
        return f"problem {self.name}" if self.file is None else f"{self.file}: problem {self.name}"

    @cached_property
    def source(self) -> Source:
        """What tells that the problem has changed."""
        if self.digest is not None:
            return Source(str(self.file), self.digest)
        if self.file is None or not self.file.is_relative_to(Path(__file__).parent):
            return Source()
        return Source(digest=digest_of_function(read_file(self.file), self.function))

    @property
    def function(self) -> str:
        """The name of the target; empty if it is no function of its own."""
        return getattr(self.target, "__name__", "")

    def values(self, x: Array) -> Array:
        """The target at inputs of shape (n, d): shape (n, 1), in the precision of x.

        Raises:
            InputError: The function failed, or returned something else than n finite floating-point numbers.
        """
        if self.target is None:
            raise InputError(self.where, problem="is a table: its target is known at its rows only")
        if not len(x):
            return np.empty((0, 1), x.dtype)
        inputs = x.copy()  # a function may change what it is given
        try:
            with np.errstate(all="ignore"):
                returned = self.target(*inputs.T) if self._is_by_input else self.target(inputs)
                if np.ma.is_masked(returned):  # below a mask stands anything
                    returned = np.ma.filled(returned.astype(float), np.nan)
                values = np.asarray(returned)
        except Exception as error:  # whatever somebody's function raises
            raise InputError(self.where, problem=f"{type(error).__name__}: {one_line(error)[:200]}") from error
        n = len(x)
        if values.shape not in ((n,), (n, 1)):
            raise InputError(self.where, f"values of shape {values.shape}", f"({n},) or ({n}, 1)")
        if values.dtype.kind != "f":
            raise InputError(self.where, f"values of type {values.dtype}", "floating-point numbers")
        if not (finite := np.isfinite(values).reshape(n)).all():
            first = np.array2string(x[~finite][0], precision=6, separator=", ", threshold=10)
            raise InputError(self.where, problem=f"not finite at {n - finite.sum()} of {n} samples, such as {first}")
        return values.reshape(n, 1).astype(x.dtype)

    @property
    def _is_by_input(self) -> bool:
        """Whether the function takes the inputs one by one."""
        count = _parameters(self.target)
        if count not in (1, self.dim, None):
            allowed = "one, the inputs of shape (n, d)" + (f", or {self.dim}" if self.dim > 1 else "")
            raise InputError(self.where, f"{count} parameters", allowed)
        return count != 1 and self.dim > 1


def _parameters(function: Any) -> int | None:
    """How many parameters a function has that must be given; None for any number, as `*x`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of numpy's own functions, nothing is known
        return 1
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional)


PROBLEMS: dict[str, Problem] = {}  # those of the package
_registry: ContextVar[tuple[dict[str, Problem], Path | None]] = ContextVar("registry", default=(PROBLEMS, None))


@contextmanager
def registering(file: Path) -> Iterator[dict[str, Problem]]:
    """Inside, problems of a user's file are registered in the mapping that this yields."""
    problems: dict[str, Problem] = {}
    token = _registry.set((problems, file))
    try:
        yield problems
    finally:
        _registry.reset(token)


def problem(
    domain: Sequence[Interval], *, name: str | None = None, width: Sequence[int] | None = None
) -> Callable[[Target], Target]:
    """Register the decorated function as a problem.

    Args:
        domain (sequence of (low, high)): Of every input. Samples are drawn there.
        name (str, optional): By default the function's.
        width (sequence of int, optional): Of the networks that it is made for, by default the configuration's.

    The function is given all inputs in one array of shape (n, d) if it has one parameter, or else one by one, each of
    shape (n,). It returns n floating-point numbers, of shape (n,) or (n, 1).

    Raises:
        InputError: A name that cannot be one of a file, or that another problem has; no domain; a width that does not
            begin with the number of inputs or end with 1.
    """

    def register(target: Target) -> Target:
        problems, file = _registry.get()
        key = str(name or getattr(target, "__name__", ""))
        if file is None and (code := getattr(inspect.unwrap(target), "__code__", None)):
            file = Path(code.co_filename)
        made = Problem(key, target, _checked_domain(key, domain), None if width is None else tuple(width), file)
        if not NAME.fullmatch(key):
            raise InputError(made.where, f"the name {key!r}", "a letter, then letters, digits and underscores")
        if (other := {**PROBLEMS, **problems}.get(key)) is not None:
            raise InputError(made.where, problem=f"duplicate name, also defined in {other.file}")
        if made.width is not None and not is_width(made.width, made.dim):
            raise InputError(made.where, f"width {list(made.width)}", f"integers from {made.dim}, its inputs, to 1")
        problems[key] = made
        return target

    return register


def is_width(width: Sequence[int], dim: int) -> bool:
    """Whether networks of this width have so many inputs, and one output."""
    return len(width) > 1 and all(type(n) is int and n > 0 for n in width) and (width[0], width[-1]) == (dim, 1)


def _checked_domain(name: str, domain: Any) -> tuple[Interval, ...]:
    try:
        intervals = tuple((float(low), float(high)) for low, high in domain)
        if intervals and all(-math.inf < low < high < math.inf for low, high in intervals):
            return intervals
    except (TypeError, ValueError):
        pass
    allowed = "(low, high) of every input, low below high, such as [(0, 1), (-1, 1)]"
    raise InputError(f"problem {name}: domain", one_line(repr(domain))[:100], allowed)
