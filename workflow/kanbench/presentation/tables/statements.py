"""The table `summary`: every comparison of errors in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kanbench.analysis.statements import Statement
from kanbench.plan.labels import MOMENTS
from kanbench.plan.naming import STATEMENTS
from kanbench.presentation.tables.table import EQUAL_NAMES, Table

CAPTION = "Factor: the dense MSE of the second divided by that of the first, geometric mean over seeds and problems."
DECIDED = {True: "yes", False: "no", None: "too few seeds"}


def statements_table(question: str, said: Sequence[Statement], notes: Sequence[str]) -> Table:
    """Make the table, one row per comparison: the compared model types, problem, factor, interval and certainty."""
    frame = pd.DataFrame([_row(statement) for statement in said])
    numbers = ["factor", "factor_low", "factor_high", "better_on", "equal_on", "problems", "seeds"]
    frame = frame.astype(dict.fromkeys(numbers, float))
    return Table(STATEMENTS, f"{question} {CAPTION}", frame, tuple(notes))


def _row(statement: Statement) -> dict[str, object]:
    numbers = statement.numbers
    return {
        "comparison": MOMENTS[statement.comparison].name,
        "dataset": statement.dataset or "all",
        "first": EQUAL_NAMES.join(statement.one),
        "against": statement.other or "",
        "factor": numbers["factor"],
        "factor_low": numbers["low"],
        "factor_high": numbers["high"],
        "better_on": statement.better,
        "equal_on": statement.equal,
        "problems": len(statement.datasets),
        "seeds": numbers["seeds"],
        "decided": DECIDED[statement.decided],
        "doubt": "" if statement.decided is None and not statement.obstacle else statement.doubt,
    }
