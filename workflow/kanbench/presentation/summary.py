"""The summary of runs on the terminal: the first screen of the page, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from kanbench.plan.naming import Run
from kanbench.plan.sections import number_of, without_variant
from kanbench.presentation.matrix import ShownMatrix, shown
from kanbench.presentation.tables.findings import Findings

WIDTH = 80
INDENT = "  "


def first_screen(run: Run, found: Findings) -> str:
    """Format question, answer and matrix of a run, up to 80 columns wide; about 8 lines for three model types."""
    variant = f" [{run.name}]" if run.section != without_variant(run.section) else ""
    title = textwrap.fill(f"{number_of(run.section)} {found.question}{variant}", WIDTH, subsequent_indent=INDENT)
    answer = textwrap.fill(found.sentence, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join([title, answer, *_matrix(shown(found.matrix))])


def legend(runs: Sequence[Run], more: str = "") -> str:
    """Explain the symbols of first screens, and name their runs; append `more` if given."""
    names = dict.fromkeys(run.timestamp for run in runs) if len(runs) > 1 else [runs[0].name]
    signs = f"* lowest, ? not decided; run{'s' if len(names) > 1 else ''} {', '.join(names)}"
    line = f"{signs}; {more}" if more else signs
    return line if len(line) <= WIDTH or not more else f"{signs}\n{more}"


def details(found: Findings) -> str:
    """Format the comparison with published figures, and the notes."""
    texts = [*found.published, *(f"Note: {note}" for note in found.notes)]
    return "\n".join(textwrap.fill(text, WIDTH, subsequent_indent="    ") for text in texts)


def _matrix(matrix: ShownMatrix) -> list[str]:
    """Format a matrix: a line per model type and one for the factors, a column per problem.

    If it is too wide, intervals are left out first, then problems.
    """
    number = len(matrix.lines) - 1
    for problems, has_intervals in ((number, True), *((n, False) for n in range(number, -1, -1))):
        lines = _lines(matrix, problems, has_intervals)
        if max(map(len, lines)) <= WIDTH:
            break
    hidden = number - problems
    return lines + [f"{INDENT}… and {hidden} more problem{'' if hidden == 1 else 's'}"] * (hidden > 0)


def _lines(matrix: ShownMatrix, problems: int, has_intervals: bool) -> list[str]:
    *single, of_all = matrix.lines
    columns = [*single, of_all] if problems == len(single) else [of_all, *single[:problems]]
    rows = [[matrix.short_measure, *(line.label for line in columns)]]
    for i, name in enumerate(matrix.compared):
        rows.append([name, *("*" * line.best[i] + line.errors[i] for line in columns)])
    shown = [line.factor + f" ({line.interval})" * (has_intervals and line.interval != "") for line in columns]
    rows.append([matrix.ratio, *shown])
    align = ["left", *["right"] * len(columns)]
    text = tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True)
    return [f"{INDENT}{line}".rstrip() for line in text.splitlines()]
