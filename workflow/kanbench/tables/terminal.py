"""The summary of runs on a terminal: a short table and the statements' short forms."""

from __future__ import annotations

import textwrap

from kanbench.naming import Run
from kanbench.tables.findings import Findings
from kanbench.tables.words import MOMENTS

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
    answers = {  # the same may be said twice: the best of all may be the one against the reference
        _wrapped(f"{MOMENTS[statement.comparison]}: {statement.short}"): None
        for statement in findings.statements
        if statement.dataset is None
    }
    return "\n".join(
        [
            _wrapped(f"{run.name}: {findings.question}"),
            "",
            findings.tables[0].terminal(COLUMNS),
            "",
            *answers,
            *(_wrapped(f"Note: {note}") for note in findings.notes),
        ]
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")
