"""Everything that the data of a run say: its tables, statements and notes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kanbench.analysis.measures import Replicates, measure
from kanbench.analysis.notes import notes
from kanbench.analysis.statements import statements
from kanbench.analysis.words import MOMENTS, Statement, question_of
from kanbench.plan.naming import RESULTS, Run
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.presentation.tables.comparison import comparison_table
from kanbench.presentation.tables.merging import measure_merging, merge_notes, merge_statements, merge_table
from kanbench.presentation.tables.table import Table
from kanbench.storage.metadata import Metadata
from kanbench.storage.runs import open_run

ANSWERED_BY = ("adaptive_only", "merged_threshold")  # what the questions of sections 2.2 and 2.3 are about


@dataclass(frozen=True)
class Findings:
    """What the data of a run say.

    Attributes
    ----------
    question : str
    answer : Statement
        The one statement that answers it best: at equal compute, of all datasets; for section 2.3 at the threshold.
    seeds : tuple
    tables : tuple of Table
        That of the section, and `summary`: the question with the answers.
    statements : tuple of Statement
    notes : tuple of str
        What is missing, failed or cannot be compared.
    """

    question: str
    answer: Statement
    seeds: tuple[int | None, ...]
    tables: tuple[Table, ...]
    statements: tuple[Statement, ...]
    notes: tuple[str, ...]


def findings(replicates: Replicates, metadata: Metadata | None = None) -> Findings:
    """Compute the tables and the statements of a run.

    Parameters
    ----------
    replicates : dict
        `{seed: {frame name: frame}}`, as `load_run` returns frames; the first is the run itself.
    metadata : dict, optional
        Of the checkpoints of the first.

    Raises
    ------
    InputError
        The frames lack what every comparison needs.
    """
    first = next(iter(replicates.values()))
    section = next(iter(first.values())).attrs["section"]
    if section_of(section) is SECTIONS["section2_3"]:
        merging = measure_merging(replicates)
        about, said = merge_notes(merging), merge_statements(merging)
        table = merge_table(merging, about)
    else:
        measures = measure(replicates, metadata)
        about, said = notes(measures, replicates, metadata), statements(measures)
        table = comparison_table(measures, about)
    question = question_of(section)
    answer = next((s for s in said if s.numbers.get("one") in ANSWERED_BY), said[0])
    return Findings(
        question, answer, tuple(replicates), (table, _summary(question, said, about)), tuple(said), tuple(about)
    )


def _summary(question: str, said: list[Statement], about: list[str]) -> Table:
    rows = [
        {
            "comparison": MOMENTS[statement.comparison].lower(),
            "dataset": statement.dataset or "all",
            "answer": statement.text,
            "factor": statement.numbers["factor"],
            "factor_low": statement.numbers["low"],
            "factor_high": statement.numbers["high"],
            "seeds": statement.numbers["seeds"],
            "decided": {True: "yes", False: "no", None: "too few seeds"}[statement.numbers["decided"]],
        }
        for statement in said
    ]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(["factor", "factor_low", "factor_high", "seeds"], float))
    return Table("summary", question, frame, tuple(about))


def load_findings(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> tuple[Run, Findings]:
    """The findings of a run, of any format that `load_run` reads; see there for the parameters and errors."""
    stored = open_run(section, timestamp, epochs, results_dir)
    return stored.run, findings(stored.replicates, stored.metadata)
