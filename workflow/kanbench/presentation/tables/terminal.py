"""The summary of a run on a terminal."""

from __future__ import annotations

import textwrap

from kanbench.presentation.tables.findings import Findings

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


def summary_text(name: str, findings: Findings) -> str:
    """A run's table, notes, and the answers to its question over all datasets, at most 100 columns wide."""
    texts = [findings.answer.text, *findings.other_answers, *(f"Note: {note}" for note in findings.notes)]
    parts = [f"{name}: {findings.question}", "", findings.tables[0].terminal(COLUMNS), "", *texts]
    return "\n".join(part if "\n" in part else textwrap.fill(part, WIDTH, subsequent_indent="    ") for part in parts)
