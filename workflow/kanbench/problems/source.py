"""Where a problem comes from, and what tells that it has changed: a digest of what defines it and of nothing else."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kanbench.errors import InputError


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is what in a table: names of columns; where none says what a row is for, the shares of `tables.PARTS`."""

    inputs: tuple[str, ...]
    target: str
    split: str | None = None
    shares: tuple[float, ...] | None = None


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a problem is defined.

    Attributes:
        path (str, optional): A user's file; None for the package's own problems.
        digest (str, optional): Of what defines the problem; None if that cannot be told.
        columns (Columns, optional): If the file is a table.
    """

    path: str | None = None
    digest: str | None = None
    columns: Columns | None = None


def read_file(path: str | Path) -> bytes:
    """The content of a user's file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        stat = Path(path).stat()
        return _content(Path(path), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InputError(path, problem=f"cannot be read ({error.strerror})") from None


@functools.lru_cache(maxsize=16)
def _content(path: Path, mtime: int, size: int) -> bytes:
    """Read once for many settings."""
    return path.read_bytes()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@functools.lru_cache(maxsize=1024)
def digest_of_function(content: bytes, name: str) -> str:
    """A digest of a function and of what it uses of its file; comments, layout and docstrings do not count.

    Used are imports, assignments, functions and classes at the file's top level whose names occur in the function or in
    what it uses, and every other statement at the top level. Where the file has no such function, all of it counts.
    """
    statements = ast.parse(content).body
    defined = [set(_names_defined(statement)) for statement in statements]
    wanted = {name}
    whole = not any(name in names for names in defined)
    used = [whole or not names for names in defined]
    pending = [index for index, is_used in enumerate(used) if is_used]
    while True:
        for index in pending:
            used[index] = True
            wanted |= {node.id for node in ast.walk(statements[index]) if isinstance(node, ast.Name)}
        pending = [i for i, names in enumerate(defined) if not used[i] and names & wanted]
        if not pending:
            break
    texts = [ast.unparse(_without_docstrings(s)) for s, is_used in zip(statements, used, strict=True) if is_used]
    return digest_of("\n".join(texts).encode())


def _names_defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement does nothing but define; none for one that may do anything else."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in names if alias.name != "*")
        case ast.Assign(targets=targets) if all(isinstance(target, ast.Name) for target in targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Expr(value=ast.Constant()):  # the docstring
            yield "__doc__"


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            match node.body[0]:
                case ast.Expr(value=ast.Constant(value=str())) if len(node.body) > 1:
                    del node.body[0]
    return statement
