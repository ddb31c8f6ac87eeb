"""User-defined problems: functions in a user's Python file."""

from __future__ import annotations

import functools
import os
import sys
import traceback
import types
from dataclasses import replace
from pathlib import Path

from kanbench.errors import InputError, one_line
from kanbench.problems.registry import PROBLEMS, Problem, registering
from kanbench.problems.source import Source, digest_of, digest_of_function, read_file
from kanbench.problems.tables import table_problem


def problems_in(path: str | Path) -> dict[str, Problem]:
    """The problems that a Python file defines, by name.

    The file is executed, and again only when its content has changed. Its folder is not added to the import path.

    Raises:
        InputError: The file cannot be read, fails, or defines no problem, or a function has wrong parameters.
    """
    return dict(_run(Path(path), read_file(path)))


@functools.lru_cache(maxsize=64)
def _run(path: Path, content: bytes) -> dict[str, Problem]:
    module = types.ModuleType(f"kanbench_problems_{digest_of(os.fsencode(path) + content)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # needed by dataclasses, which look up their module
    with registering(path) as problems:
        try:
            exec(compile(content, str(path), "exec"), module.__dict__)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(path, problem=_reason(error, path)) from error
    if not problems:
        raise InputError(path, "no problems", "functions with the decorator @problem(domain=…) of kanbench")
    for made in problems.values():
        made.takes_each_input()  # raises here, before any training, if the parameters are wrong
    return {name: replace(p, digest=digest_of_function(content, p.function)) for name, p in problems.items()}


def _reason(error: BaseException, path: Path) -> str:
    """An error raised in a user's file, as one line with the line number."""
    if isinstance(error, SyntaxError):
        line = error.lineno
    else:
        line = next(
            (f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == str(path)), None
        )
    where = "" if line is None else f"line {line}: "
    return f"{where}{type(error).__name__}: {one_line(error)[:200]}"


def find_problem(name: str, source: Source | None = None) -> Problem:
    """Find a problem by name, in the package or in the file that the source names.

    Raises:
        InputError: The problem does not exist, or has changed: its digest is not the source's.
    """
    if source is None or source.path is None:
        problems = PROBLEMS
    elif source.columns is not None:
        problems = {name: table_problem(name, source.path, source.columns)}
    else:
        problems = problems_in(source.path)
    if name not in problems:
        where = "problem" if source is None or source.path is None else source.path
        raise InputError(where, repr(name), ", ".join(problems))
    found = problems[name]
    if source is not None and source.digest not in (None, found.source.digest):
        raise InputError(found.where, problem="has changed since these settings were made; start again")
    return found
