"""The summary of runs on the terminal: the first screen of the page, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from kanbench.plan.naming import Run
from kanbench.plan.sections import number_of, without_variant
from kanbench.presentation.matrix import ShownMatrix, shown
from kanbench.presentation.tables.findings import Findings

WIDTH = 80
INDENT = "  "
THIRD = 8  # lines of a section, of three on a terminal of 25 lines
SIGNS = "* lowest, ? not decided"


def first_screen(run: Run, found: Findings, most: int | None = None) -> str:
    """Format question, answer and matrix of a run, up to 80 columns wide.

    Args:
        most (int, optional): Most lines; a long answer begins beside the question and, if need be, is cut.
    """
    variant = f" [{run.name}]" if run.section != without_variant(run.section) else ""
    question, matrix = f"{number_of(run.section)} {found.question}{variant}", _matrix(shown(found.matrix))
    text = [line for part in (question, INDENT + found.sentence) for line in _wrapped(part)]
    if most is not None and len(text) + len(matrix) > most:
        text = _wrapped(f"{question} {found.sentence}", max_lines=max(1, most - len(matrix)), placeholder=" …")
    return "\n".join([*text, *matrix])


def _wrapped(text: str, **limits: Any) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=INDENT, **limits)


def legend(run: Run) -> str:
    """Explain the symbols of a first screen, and name its run."""
    return f"{SIGNS}; run {run.name}"


def legend_of_all(runs: Sequence[Run]) -> str:
    """Explain in one line the symbols of several first screens, and which runs they show."""
    stamps = {run.timestamp for run in runs}
    if len(stamps) > 1:
        return f"{SIGNS}; runs of {len(stamps)} timestamps; names and notes: summary SECTION"
    return f"{SIGNS}; run{'s' if len(runs) > 1 else ''} {runs[0].timestamp}; notes: summary SECTION"


def details(found: Findings) -> str:
    """Format the comparison with published figures, and the notes."""
    texts = [*found.published, *(f"Note: {note}" for note in found.notes)]
    return "\n".join(textwrap.fill(text, WIDTH, subsequent_indent="    ") for text in texts)


def _matrix(matrix: ShownMatrix) -> list[str]:
    """Format a matrix: a line per model type and one for the factors, a column per problem.

    If it is too wide, intervals are left out first, then problems; the column of all then says how many they are.
    """
    number = len(matrix.lines) - 1
    for problems, has_intervals in ((number, True), *((n, False) for n in range(number, -1, -1))):
        lines = _lines(matrix, problems, has_intervals)
        if max(map(len, lines)) <= WIDTH:
            break
    return lines


def _lines(matrix: ShownMatrix, problems: int, has_intervals: bool) -> list[str]:
    *single, of_all = matrix.lines
    columns, labels = [*single, of_all], [line.label for line in matrix.lines]
    if problems < len(single):
        columns, labels = [of_all, *single[:problems]], [f"{of_all.label} {len(single)}", *labels[:problems]]
    rows = [[matrix.short_measure, *labels]]
    for i, name in enumerate(matrix.compared):
        rows.append([name, *("*" * line.best[i] + line.errors[i] for line in columns)])
    shown = [line.factor + f" ({line.interval})" * (has_intervals and line.interval != "") for line in columns]
    rows.append([matrix.ratio, *shown])
    align = ["left", *["right"] * len(columns)]
    text = tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True)
    return [f"{INDENT}{line}".rstrip() for line in text.splitlines()]
