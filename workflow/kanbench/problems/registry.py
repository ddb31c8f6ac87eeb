"""The registry of problems (target functions on boxes), and the decorator that registers a function."""

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

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # names of problems, which become part of file names


@dataclass(frozen=True)
class Problem:
    """A target function on a box.

    Attributes:
        name (str): The name in the configuration.
        target (callable or None): Maps inputs of shape (n, d) to values of shape (n,) or (n, 1). With d > 1 parameters
            it takes d inputs, each of shape (n,). None if the target is known only at the samples of a table.
        domain (tuple of (low, high)): The interval of each input.
        width (tuple of int, optional): The width of networks made for this problem.
        file (path, optional): The file that defines it.
        digest (str, optional): A digest of the code or table that defines it, in a user's file.
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
        """The place that error messages name."""
        return f"problem {self.name}" if self.file is None else f"{self.file}: problem {self.name}"

    @cached_property
    def source(self) -> Source:
        """The file and digest by which a changed problem is recognized."""
        if self.digest is not None:
            return Source(str(self.file), self.digest)
        if self.file is None or not self.file.is_relative_to(Path(__file__).parent):
            return Source()
        return Source(digest=digest_of_function(read_file(self.file), self.function))

    @property
    def function(self) -> str:
        """The target's `__name__`; empty if it has none."""
        return getattr(self.target, "__name__", "")

    def values(self, x: Array) -> Array:
        """Evaluate the target at inputs of shape (n, d).

        Returns:
            array of shape (n, 1): In the dtype of x.

        Raises:
            InputError: The function failed, or did not return n finite floating-point numbers.
        """
        if self.target is None:
            raise InputError(self.where, problem="is a table: its target is known at its rows only")
        if not len(x):
            return np.empty((0, 1), x.dtype)
        by_input, inputs = self.takes_each_input(), x.copy()  # the function may modify its arguments
        try:
            with np.errstate(all="ignore"):
                returned = self.target(*inputs.T) if by_input else self.target(inputs)
                if np.ma.is_masked(returned):  # masked values are arbitrary
                    returned = np.ma.filled(returned.astype(float), np.nan)
                values = np.asarray(returned)
        except Exception as error:  # a user's function may raise anything
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

    def takes_each_input(self) -> bool:
        """Whether the function takes each input as a separate argument.

        Raises:
            InputError: Its number of parameters is neither one nor the number of inputs.
        """
        count = _parameters(self.target)
        if count not in (1, self.dim, None):
            allowed = "one, the inputs of shape (n, d)" + (f", or {self.dim}" if self.dim > 1 else "")
            raise InputError(self.where, f"{count} parameters", allowed)
        return count != 1 and self.dim > 1


def _parameters(function: Any) -> int | None:
    """The number of required parameters of a function; None if it takes any number (`*x`)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # numpy functions have no signature
        return 1
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional)


PROBLEMS: dict[str, Problem] = {}  # the package's own, by name
_registry: ContextVar[tuple[dict[str, Problem], Path | None]] = ContextVar("registry", default=(PROBLEMS, None))


@contextmanager
def registering(file: Path) -> Iterator[dict[str, Problem]]:
    """Yield a mapping in which problems of a user's file are registered inside the block."""
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

    A function with one parameter gets all inputs in an array of shape (n, d). One with d parameters gets each input
    separately, of shape (n,). It returns n floating-point numbers, of shape (n,) or (n, 1).

    Args:
        domain (sequence of (low, high)): The interval of each input, from which samples are drawn.
        name (str, optional): By default the function's.
        width (sequence of int, optional): The width of the networks for this problem, by default the configuration's.

    Raises:
        InputError: The name is invalid or already taken, the domain is invalid, or the width does not begin with the
            number of inputs and end with 1.
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
    """Whether this is the width of a network with `dim` inputs and one output."""
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
