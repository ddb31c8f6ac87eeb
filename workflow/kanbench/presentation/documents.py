"""Generates blocks of Markdown documents from results and replaces them.

A block stands between two comments, `<!-- kanbench: VIEW of SOURCE with N seeds -->` and `<!-- kanbench: end -->`. The
source is a section or a variant of one; `section2_1_highd_*` are all variants that begin like that. If the number of
seeds is given, the block needs runs with that many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from kanbench.analysis.statements import Statement, join_names
from kanbench.errors import InputError
from kanbench.plan.labels import MOMENTS, model_label, problem_labels
from kanbench.presentation.matrix import ALL, factor_texts
from kanbench.presentation.tables.comparison import AVERAGE
from kanbench.presentation.tables.findings import Findings
from kanbench.presentation.tables.table import EQUAL_NAMES, Table
from kanbench.storage.schema import COLUMNS

BEGIN, END = "<!-- kanbench: ", "<!-- kanbench: end -->"
BLOCK = re.compile(rf"{BEGIN}(\w+) of (\S+?)(?: with (\d+) seeds?)? -->\n(.*?){END}", re.DOTALL)
TYPES = {"int64": "integer", "float64": "number", "object": "text", "bool": "boolean"}

Make = Callable[[str, str, int | None], str]  # of view, source and number of seeds


def renew(text: str, make: Make) -> tuple[str, list[tuple[str, str]]]:
    """Replace the blocks of a document.

    Args:
        make (callable): Returns the new text of a block, or raises `InputError` to keep the old one.

    Returns:
        str: The document.
        list of (str, str): For every block, what it shows and its state: '' (up to date), 'stale', or why it was kept.

    Raises:
        InputError: A marker does not belong to a block.
    """
    outcomes = []

    def replaced(block: re.Match[str]) -> str:
        view, source, seeds, old = block.groups()
        marker = block[0].splitlines()[0]
        about = marker.removeprefix(BEGIN).removesuffix(" -->")
        try:
            new = make(view, source, int(seeds) if seeds else None)
        except InputError as error:
            outcomes.append((about, str(error)))
            return block[0]
        new = f"\n{new.strip()}\n\n"
        outcomes.append((about, "" if new == old else "stale"))
        return f"{marker}\n{new}{END}"

    made = BLOCK.sub(replaced, text)
    if text.count(BEGIN) != 2 * len(outcomes):
        number, line = next(
            (n, line) for n, line in enumerate(BLOCK.sub(_blank, text).splitlines(), 1) if BEGIN in line
        )
        raise InputError(f"line {number}", line.strip(), f"{BEGIN}VIEW of SOURCE -->, text and {END}")
    return made, outcomes


def _blank(block: re.Match[str]) -> str:
    return "\n" * block[0].count("\n")


def view_of(found: Findings, view: str, of: str) -> str:
    """Write the text of a block.

    Args:
        view (str): `answer`, `errors` (relative, at every moment), `factors` (of all comparisons), or the name of one
            of the run's tables.
        of (str): The run, as the caption calls it.

    Raises:
        InputError: The run has no such view.
    """
    tables = {table.name: table for table in found.tables}
    if view == "answer":
        return f"**{found.sentence}**"
    if view == "errors" and (frame := _errors(tables)) is not None:
        return Table(view, f"Dense MSE / variance of the target ({of}).", frame).markdown()
    if view == "factors":
        return Table(view, f"Factors between dense MSEs ({of}).", _factors(found.statements)).markdown()
    if view in tables:
        return Table(view, f"{tables[view].caption.rstrip('.')} ({of}).", tables[view].frame).markdown()
    known = ["answer", *(["errors"] if _errors(tables) is not None else []), "factors", *tables]
    raise InputError("view", view, join_names(known, "or"))


def errors_by_variant(variants: Mapping[str, Findings], of: str) -> str:
    """Tabulate the relative errors of several variants, problem by problem.

    Args:
        variants (mapping): `{name: findings}`.
        of (str): The runs, as the caption calls them.

    Raises:
        InputError: A variant does not compare model types.
    """
    frames = {}
    for name, found in variants.items():
        frame = _errors({table.name: table for table in found.tables})
        if frame is None:
            raise InputError(name, problem="does not compare model types")
        frames[name] = frame[frame["dataset"] != AVERAGE]
    made = pd.concat(frames, names=["variant"]).reset_index("variant").reset_index(drop=True)
    return Table("errors", f"Dense MSE / variance of the target ({of}).", made).markdown()


def _errors(tables: dict[str, Table]) -> pd.DataFrame | None:
    """Relative errors at every moment by problem and model type; None if the section does not compare model types."""
    frame = next(iter(tables.values())).frame
    columns = {f"{moment}_relative_error": named.name for moment, named in MOMENTS.items()}
    chosen = [*frame.columns[:2], *(column for column in columns if column in frame)]
    return frame[chosen].rename(columns=columns) if len(chosen) > 2 else None


def _factors(statements: Sequence[Statement]) -> pd.DataFrame:
    """Tabulate factors: one row per comparison, one column per problem.

    If there are comparisons with a reference, only these; otherwise those of the best with the next best.
    """
    said = [s for s in statements if not s.is_ranking] or statements
    labels = problem_labels([s.dataset for s in said if s.dataset])
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in said:
        who = "" if one.is_ranking else f"{_names(one.one)} against {model_label(str(one.other))}"
        row = rows.setdefault((one.comparison, who), {"when": MOMENTS[one.comparison].name, "who": who})
        factor, interval = factor_texts(one)
        best = f"{_names(one.one)} " if one.is_ranking else ""
        row[labels[one.dataset] if one.dataset else ALL] = f"{best}{factor}{interval and f' ({interval})'}"
    return pd.DataFrame(rows.values())


def _names(names: Sequence[str]) -> str:
    return EQUAL_NAMES.join(map(model_label, names))


def columns_of_frames() -> str:
    """Format the schema of frames as a table."""
    rows = ["| column | frames | type | unit | meaning |", "|---|---|---|---|---|"]
    every = {frame for column in COLUMNS for frame in column.frames}
    for column in COLUMNS:
        frames = "all" if set(column.frames) == every else ", ".join(column.frames)
        rows.append(f"| `{column.name}` | {frames} | {TYPES[column.dtype]} | {column.unit} | {column.meaning} |")
    return "\n".join(rows)
