"""Everything that the data of a run say: its tables, statements and notes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pandas as pd

from kanbench.analysis.measures import measure
from kanbench.analysis.merging import measure_merging, merge_notes, merge_statements
from kanbench.analysis.notes import differences, notes
from kanbench.analysis.published import Against, against_published, published_statements
from kanbench.analysis.statements import WHEN, Statement, statements
from kanbench.errors import InputError
from kanbench.plan.naming import STATEMENTS
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.plan.tables import PUBLISHED, tables_of
from kanbench.presentation.tables.comparison import comparison_table
from kanbench.presentation.tables.merging import merge_table
from kanbench.presentation.tables.published import published_table
from kanbench.presentation.tables.table import Table
from kanbench.storage.comparable import Comparable, Replicates, comparable
from kanbench.storage.metadata import Metadata
from kanbench.storage.stored_run import StoredRun

WIDTH = 100
COLUMNS = (  # on a terminal
    *("dataset", "optimizer", "approach", "model_type", "threshold_time"),
    *("iso_flops_relative_error", "iso_time_relative_error"),
    *("threshold_relative_error", "final_relative_error", "final_num_params"),
    *("best_expert", "ensemble", "merged_initial", "merged_threshold", "control_threshold", "merged_params"),
    "gain_over_best_expert",
)
ANSWERED_BY = ("adaptive_only", "merged_threshold", "merged_final")  # what the questions of 2.2 and 2.3 are about


@dataclass(frozen=True)
class Findings:
    """What the data of a run say.

    Attributes:
        answer (Statement): The one statement that answers it best, of all datasets: at equal compute by flops, or by
            time where flops are not known; for section 2.3 at the threshold, or at the end where that is not known.
        tables (tuple of Table): That of the section; `summary`: the question with the answers; and `published`, where
            others have published figures of the problems.
        statements (tuple of Statement)
        notes (tuple of str): What is missing, failed or cannot be compared.
        published (tuple of str): What follows from the table `published`.
    """

    question: str
    answer: Statement
    seeds: tuple[int | None, ...]
    tables: tuple[Table, ...]
    statements: tuple[Statement, ...]
    notes: tuple[str, ...]
    published: tuple[str, ...] = ()

    @property
    def other_answers(self) -> list[str]:
        """The statements over all datasets but the answer itself, none twice; not of pairs without any errors."""
        over_all = [statement for statement in self.statements if statement.dataset is None]
        said = [statement.text for statement in over_all if statement.factor or "one" not in statement.more]
        return [text for text in dict.fromkeys(said) if text != self.answer.text]


def findings_of(stored: StoredRun) -> Findings:
    """The findings of a run on disk, with the seeds that are there; see `findings`."""
    return _findings(stored.run.section, stored.comparable, stored.compared_metadata)


def findings(replicates: Replicates, metadata: Metadata | None = None) -> Findings:
    """Compute the tables and the statements of a run.

    Args:
        replicates (dict): `{seed: {frame name: frame}}`, as `load_run` returns frames; the first is the run itself.
            They are compared as `kanbench.storage.comparable` makes them.
        metadata (dict, optional): Of the checkpoints of the first.

    Raises:
        InputError: The frames lack what every comparison needs.
    """
    section, made = next(iter(next(iter(replicates.values())).values())).attrs["section"], comparable(replicates)
    return _findings(section, made, metadata if made.has_thresholds else None)


def _findings(section: str, made: Comparable, metadata: Metadata | None) -> Findings:
    replicates = made.replicates
    if not any(replicates.values()):
        raise InputError(section, problem="no frame has rows")
    compared: list[Against] = []
    if section_of(section) is SECTIONS["section2_3"]:
        merging = measure_merging(replicates)
        about, said = [*merge_notes(merging, replicates), *made.notes], merge_statements(merging)
        table = merge_table(merging, about)
    else:
        measures = measure(replicates, metadata)
        said = statements(measures)
        about = [*notes(measures, replicates, metadata), *differences(measures, said), *made.notes]
        table = comparison_table(measures, about)
        if PUBLISHED in tables_of(section, measures.datasets.values()):
            compared = against_published(measures, replicates)
    question = section_of(section).question
    answers = [s for s in said if s.numbers.get("one") in ANSWERED_BY and s.dataset is None]
    answer = next((s for s in answers if s.factor), next(iter(answers), said[0]))
    sentences = tuple(published_statements(compared))
    published = [published_table(section, compared, sentences)] if compared else []
    tables = table, _summary(question, said, about), *published
    return Findings(question, answer, tuple(replicates), tables, tuple(said), tuple(about), sentences)


def _summary(question: str, said: list[Statement], about: list[str]) -> Table:
    rows = [
        {
            "comparison": WHEN[statement.comparison].lower(),
            "dataset": statement.dataset or "all",
            "answer": "; ".join(filter(None, (statement.answer, statement.detail))),
            "factor": statement.numbers["factor"],
            "factor_low": statement.numbers["low"],
            "factor_high": statement.numbers["high"],
            "seeds": statement.numbers["seeds"],
            "decided": {True: "yes", False: "no", None: "too few seeds"}[statement.numbers["decided"]],
        }
        for statement in said
    ]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(["factor", "factor_low", "factor_high", "seeds"], float))
    return Table(STATEMENTS, question, frame, tuple(about))


def summary_text(name: str, found: Findings) -> str:
    """A run's table, notes, and the answers to its question over all datasets, at most 100 columns wide."""
    texts = [found.answer.text, *found.other_answers, *found.published, *(f"Note: {note}" for note in found.notes)]
    table = found.tables[0]
    columns = COLUMNS if "merged_threshold" in table.frame else (*COLUMNS, "merged_final")
    parts = [f"{name}: {found.question}", "", table.terminal(columns), "", *texts]
    return "\n".join(part if "\n" in part else textwrap.fill(part, WIDTH, subsequent_indent="    ") for part in parts)
