"""Where a problem is defined, and a digest of its definition alone, by which a change is recognized."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kanbench.errors import InputError


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The columns of a table.

    Attributes:
        inputs (tuple of str): Columns of the inputs.
        target (str): Column of the target.
        split (str, optional): Column that assigns each row to one of `tables.PARTS`.
        shares (tuple of float, optional): Shares of `tables.PARTS`, if no column assigns the rows.
    """

    inputs: tuple[str, ...]
    target: str
    split: str | None = None
    shares: tuple[float, ...] | None = None


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a problem is defined.

    Attributes:
        path (str, optional): A user's file; None for the package's own problems.
        digest (str, optional): A digest of the problem's definition; None if unknown.
        columns (Columns, optional): The columns, if the file is a table.
    """

    path: str | None = None
    digest: str | None = None
    columns: Columns | None = None


def read_file(path: str | Path) -> bytes:
    """The content of a user's file.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        stat = Path(path).stat()
        return _content(Path(path), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InputError(path, problem=f"cannot be read ({error.strerror})") from None


@functools.lru_cache(maxsize=16)
def _content(path: Path, mtime: int, size: int) -> bytes:
    """The content, cached because many settings need it."""
    return path.read_bytes()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@functools.lru_cache(maxsize=1024)
def digest_of_function(content: bytes, name: str) -> str:
    """A digest of a function and the parts of its file that it uses, ignoring comments, layout and docstrings.

    These parts are the top-level imports, assignments, functions and classes whose names occur in the function or,
    recursively, in such a part, and all other top-level statements. Without such a function, the whole file counts.

    Args:
        content (bytes): The source code of the file.
        name (str): The name of the function.
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
    """The names that a statement defines; none if it may do more than define names."""
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
