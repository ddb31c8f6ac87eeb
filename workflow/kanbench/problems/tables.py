"""Problems given by a table of samples: one column per input, and one for the target."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kanbench.errors import InputError, one_line
from kanbench.problems.registry import Array, Problem
from kanbench.problems.source import Columns, Source, digest_of, read_file

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "test", "valid", "dense")
FORMATS = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True, eq=False)
class TableProblem(Problem):
    """A target known only at the rows of a table; its domain is the bounding box of the inputs.

    Attributes:
        inputs, outputs (arrays of shapes (rows, d) and (rows, 1)): In float64.
        part (array of shape (rows,), optional): The part of each row, one of PARTS; drawn at random if None.
        columns (Columns): The columns used.
    """

    inputs: Array
    outputs: Array
    part: Any
    columns: Columns

    @property
    def source(self) -> Source:
        return Source(str(self.file), self.digest, self.columns)

    def parts(self, seed: int) -> dict[str, Any]:
        """The row indices of each part: as the split column says, or drawn at random in the configured shares."""
        if self.part is not None:
            return {name: np.flatnonzero(self.part == name) for name in PARTS}
        order = np.random.RandomState(seed).permutation(len(self.inputs))
        ends = np.rint(np.cumsum(self.columns.shares or ())[:-1] * len(order)).astype(int)
        return dict(zip(PARTS, map(np.sort, np.split(order, ends)), strict=True))


def table_problem(name: str, path: str | Path, columns: Columns) -> TableProblem:
    """Read a table as a problem.

    Raises:
        InputError: The file cannot be read, a column is missing or contains other values than finite numbers, an input
            is constant, or a part has no rows.
    """
    return _table(name, Path(path), columns, read_file(path))


@functools.lru_cache(maxsize=16)
def _table(name: str, path: Path, columns: Columns, content: bytes) -> TableProblem:
    frame = _read(path, content)
    used = [*columns.inputs, columns.target, *filter(None, [columns.split])]
    if len(set(used)) < len(used):
        raise InputError(path, f"the columns {', '.join(used)}", "no duplicates")
    for column in used:
        if column not in frame:
            raise InputError(f"{path}: column {column!r}", problem="missing", allowed=", ".join(map(str, frame)))
    numbers = np.stack([_numbers(path, frame, column) for column in (*columns.inputs, columns.target)], axis=1)
    is_bad = ~np.isfinite(numbers)
    if len(rows := np.flatnonzero(is_bad.any(axis=1))):
        where = _cell(path, rows[0], used[is_bad[rows[0]].argmax()])
        raise InputError(where, problem=f"missing or not finite{_more(rows)}", allowed="finite numbers")
    inputs, outputs = numbers[:, :-1].copy(), numbers[:, -1:].copy()
    if not len(inputs):
        raise InputError(path, "no rows", "at least one for each part")
    domain = tuple(zip(inputs.min(axis=0).tolist(), inputs.max(axis=0).tolist(), strict=True))
    for column, (low, high) in zip(columns.inputs, domain, strict=True):
        if low == high:
            raise InputError(f"{path}: column {column!r}", f"{low:g} in all rows", "an input that varies")
    part = _part(path, frame, columns.split) if columns.split else None
    made = TableProblem(
        name,
        None,
        domain,
        file=path,
        inputs=inputs,
        outputs=outputs,
        part=part,
        columns=columns,
        digest=digest_of(content),
    )
    parts = made.parts(0)
    if len(parts["train"]) == 1:
        raise InputError(path, "one row for train", "at least two, for the standard deviation")
    for each, rows in parts.items():
        if not len(rows) and not (columns.split and each == "valid"):  # only section 2.3 needs it, and checks
            raise InputError(path, f"{len(inputs)} rows, none for {each}", "at least one for each part")
    return made


def _read(path: Path, content: bytes) -> pd.DataFrame:
    import pandas as pd  # takes 0.5 s, and only tables need it

    if path.suffix not in FORMATS:
        raise InputError(path, f"the ending {path.suffix!r}", ", ".join(FORMATS))
    try:
        return (pd.read_csv if path.suffix == ".csv" else pd.read_parquet)(io.BytesIO(content))
    except Exception as error:  # parsers raise nearly any exception
        raise InputError(path, problem=f"cannot be read ({one_line(error)[:200]})") from error


def _numbers(path: Path, frame: pd.DataFrame, column: str) -> Array:
    values = frame[column]
    if values.dtype.kind not in "iuf":
        import pandas as pd

        numbers = pd.to_numeric(values, errors="coerce")
        wrong = np.flatnonzero(numbers.isna() & values.notna())
        if len(wrong):
            found = one_line(repr(values.iloc[wrong[0]]))[:60]
            raise InputError(_cell(path, wrong[0], column), f"{found}{_more(wrong)}", "numbers")
        values = numbers
    return values.to_numpy(dtype=float, na_value=np.nan)


def _part(path: Path, frame: pd.DataFrame, column: str) -> Any:
    part = frame[column].astype(str).str.strip().to_numpy(dtype=object)
    unknown = np.flatnonzero(~np.isin(part, PARTS))
    if len(unknown):
        found = one_line(part[unknown[0]])[:60]
        raise InputError(_cell(path, unknown[0], column), f"{found}{_more(unknown)}", ", ".join(PARTS))
    return part


def _cell(path: Path, row: int, column: str) -> str:
    """The place of a value in a table; rows are counted from 1, without the header."""
    return f"{path}: row {row + 1}, column {column!r}"


def _more(rows: NDArray[np.integer]) -> str:
    """The number of further rows with the same mistake."""
    count = len(rows) - 1
    return f" (and {count} more row{'s' if count > 1 else ''})" if count else ""
