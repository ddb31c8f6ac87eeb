"""The summary of runs on a terminal: a short table and the statements' short forms."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from kanbench.analysis.words import MOMENTS, Statement
from kanbench.plan.naming import Run
from kanbench.presentation.tables.conclusions import Findings

WIDTH = 100
COLUMNS = (
    "dataset",
    "optimizer",
    "approach",
    "model_type",
    "threshold_epoch",
    "threshold_time",
    "iso_compute_relative_error",
    "threshold_relative_error",
    "final_relative_error",
    "final_num_params",
    # section 2.3
    "best_expert",
    "ensemble",
    "merged_initial",
    "merged_threshold",
    "control_threshold",
    "merged_params",
    "gain_over_best_expert",
)


def summary_text(run: Run, findings: Findings) -> str:
    """A run's table, notes, and the answers to its question over all datasets, at most 100 columns wide."""
    return "\n".join(
        [
            _wrapped(f"{run.name}: {findings.question}"),
            "",
            findings.tables[0].terminal(COLUMNS),
            "",
            _wrapped(findings.answer.text),
            *_answers([statement for statement in findings.statements if statement.dataset is None]),
            *(_wrapped(f"Note: {note}") for note in findings.notes),
        ]
    )


def _answers(statements: Sequence[Statement]) -> list[str]:
    """A paragraph for every moment: its first statement, and others of it below, but none twice."""
    lines, said = [], set()
    for statement in statements:
        about = (statement.comparison, statement.short.split(";")[0])
        if about not in said:
            first = all(comparison != statement.comparison for comparison, _ in said)
            lines.append(
                _wrapped(f"{MOMENTS[statement.comparison]}: {statement.short}" if first else f"  {statement.short}")
            )
        said.add(about)
    return lines


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="    ")
