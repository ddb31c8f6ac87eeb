"""The findings of a run: its tables, statements and notes."""

from __future__ import annotations

from dataclasses import dataclass

from kanbench.analysis.answers import Matrix, answer_of, matrix, sentence
from kanbench.analysis.measures import measure
from kanbench.analysis.merging import measure_merging, merge_notes, merge_statements
from kanbench.analysis.notes import differences, notes
from kanbench.analysis.published import Against, against_published, published_statements
from kanbench.analysis.statements import Statement, statements
from kanbench.errors import InputError
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.plan.tables import PUBLISHED, tables_of
from kanbench.presentation.tables.comparison import comparison_table
from kanbench.presentation.tables.merging import merge_table
from kanbench.presentation.tables.published import published_table
from kanbench.presentation.tables.statements import statements_table
from kanbench.presentation.tables.table import Table
from kanbench.storage.comparable import Comparable, Replicates, comparable
from kanbench.storage.metadata import Metadata
from kanbench.storage.stored_run import StoredRun


@dataclass(frozen=True)
class Findings:
    """The findings of a run.

    Attributes:
        question (str): The section's question.
        answer (Statement): The statement over all datasets that answers it; see `answer_of`.
        sentence (str): The answer in words.
        matrix (Matrix): The errors behind the answer.
        tables (tuple of Table): The section's table, `summary` (all statements) and, if there are published figures for
            its problems, `published`.
        statements (tuple of Statement): All comparisons.
        notes (tuple of str): What is missing, failed or cannot be compared.
        published (tuple of str): Conclusions from the table `published`.
    """

    question: str
    answer: Statement
    sentence: str
    matrix: Matrix
    seeds: tuple[int | None, ...]
    tables: tuple[Table, ...]
    statements: tuple[Statement, ...]
    notes: tuple[str, ...]
    published: tuple[str, ...] = ()


def findings_of(stored: StoredRun) -> Findings:
    """Compute the findings of a stored run, with all its seeds; see `findings`."""
    return _findings(stored.run.section, stored.comparable, stored.compared_metadata)


def findings(replicates: Replicates, metadata: Metadata | None = None) -> Findings:
    """Compute the tables and the statements of a run.

    Args:
        replicates (dict): `{seed: {frame name: frame}}`, with frames as returned by `load_run`; the first is the run
            itself. `kanbench.storage.comparable` makes them comparable.
        metadata (dict, optional): Metadata of the first replicate's checkpoints.

    Raises:
        InputError: The frames lack columns that every comparison needs.
    """
    section, made = next(iter(next(iter(replicates.values())).values())).attrs["section"], comparable(replicates)
    return _findings(section, made, metadata if made.has_thresholds else None)


def _findings(section: str, made: Comparable, metadata: Metadata | None) -> Findings:
    replicates = made.replicates
    if not any(replicates.values()):
        raise InputError(section, problem="no frame has rows")
    compared: list[Against] = []
    if section_of(section) is SECTIONS["section2_3"]:
        measures = measure_merging(replicates)
        about, said = [*merge_notes(measures, replicates), *made.notes], merge_statements(measures)
        table = merge_table(measures, about)
    else:
        measures = measure(replicates, metadata)
        said = statements(measures)
        about = [*notes(measures, replicates, metadata), *differences(measures, said), *made.notes]
        table = comparison_table(measures, about)
        if PUBLISHED in tables_of(section, measures.datasets.values()):
            compared = against_published(measures, replicates)
    question, answer = section_of(section).question, answer_of(said)
    sentences = tuple(published_statements(compared))
    published = [published_table(section, compared, sentences)] if compared else []
    return Findings(
        question,
        answer,
        sentence(answer, len(measures.datasets)),
        matrix(measures, said, answer),
        tuple(replicates),
        (table, statements_table(question, said, about), *published),
        tuple(said),
        tuple(about),
        sentences,
    )
