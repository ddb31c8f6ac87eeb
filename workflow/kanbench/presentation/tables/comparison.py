"""The table of a section that compares model types: `optimizers` (2.1), `density` (2.2)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import MOMENTS
from kanbench.analysis.ranking import common
from kanbench.analysis.uncertainty import interval
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.presentation.tables.table import Table

COLUMNS = {
    "threshold": ("epoch", "time", "n_evals", "test_loss", "dense_mse", "relative_error"),
    "iso_compute": ("dense_mse", "relative_error"),
    "final": ("time", "n_evals", "dense_mse", "relative_error"),
}
DENSITY_COLUMNS = ("num_params", "important_neurons", "total_neurons")  # at the end, of section 2.2
AVERAGE = "geometric mean"


def comparison_table(measures: Measures, notes: list[str]) -> Table:
    """One row per dataset and model type, and per model type the geometric mean of the relative errors.

    With several seeds a figure is the median over them, and a relative error has its interval (`…_low`, `…_high`).
    """
    section = section_of(measures.section)
    label = section.label
    rows = [
        {"dataset": name, label: model_type, **_figures(measures, i, model_type)}
        for i, name in measures.datasets.items()
        for model_type in measures.model_types
    ]
    frame = pd.concat([pd.DataFrame(rows), _averages(measures, label)], ignore_index=True)
    frame = frame.dropna(axis="columns", how="all")
    if len(measures.seeds) > 1:
        frame["seeds"] = len(measures.seeds)
    return Table(section.table, _caption(measures), frame, tuple(notes))


def _caption(measures: Measures) -> str:
    reference = section_of(measures.section).reference
    iso = f"; equal compute: the last epoch within the time of the threshold of {reference}" if reference else ""
    return (
        f"{measures.section}: at the threshold, at equal compute and at the end{iso}; relative error: dense MSE / "
        "variance of the target."
    )


def _figures(measures: Measures, dataset_idx: int, model_type: str) -> dict[str, float]:
    figures = {}
    density = DENSITY_COLUMNS if section_of(measures.section) is SECTIONS["section2_2"] else ()
    for moment, columns in COLUMNS.items():
        rows = _rows(measures, moment, dataset_idx, model_type)
        for column in (*columns, *(density if moment == "final" else ())):
            name = f"{moment}_{column}"
            if column != "relative_error":
                figures[name] = rows[column].median() if column in rows else np.nan
                continue
            variance = measures.variances[dataset_idx]
            if "dense_mse" in rows and variance:
                figures |= _with_interval(name, rows["dense_mse"] / variance, len(measures.seeds))
    return figures


def _rows(measures: Measures, moment: str, dataset_idx: int, model_type: str) -> pd.DataFrame:
    index = measures.rows.index
    chosen = (
        (index.get_level_values("moment") == moment)
        & (index.get_level_values("dataset_idx") == dataset_idx)
        & (index.get_level_values("model_type") == model_type)
    )
    return measures.rows[chosen]


def _with_interval(name: str, errors: pd.Series, seeds: int) -> dict[str, float]:
    figures = {name: errors.median()}
    if seeds > 1:
        figures[f"{name}_low"], figures[f"{name}_high"] = interval(errors.dropna())
    return figures


def _averages(measures: Measures, label: str) -> pd.DataFrame:
    """The geometric means over the datasets on which every model type has an error with every seed."""
    rows = {model_type: {"dataset": AVERAGE, label: model_type} for model_type in measures.model_types}
    for moment in MOMENTS:
        logs = measures.logs[moment]
        known = [i for i in measures.comparable if measures.variances[i]]
        logs = common(logs[logs.index.get_level_values("dataset_idx").isin(known)])
        if logs.empty:
            continue
        scale = np.log([measures.variances[i] for i in logs.index.get_level_values("dataset_idx")])
        means = np.exp(logs.sub(scale, axis="index").groupby(level="seed").mean())
        for model_type in means:
            rows[model_type] |= _with_interval(f"{moment}_relative_error", means[model_type], len(measures.seeds))
    return pd.DataFrame(rows.values())
