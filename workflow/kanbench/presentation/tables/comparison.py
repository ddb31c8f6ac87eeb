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
KEYS = ["dataset_idx", "model_type"]


def comparison_table(measures: Measures, notes: list[str]) -> Table:
    """One row per dataset and model type, and per model type the geometric mean of the relative errors.

    With several seeds a figure is the median over them, and a relative error has its interval (`…_low`, `…_high`).
    """
    section = section_of(measures.section)
    figures = _figures(measures).reset_index(names=KEYS)
    averages = _averages(measures).reset_index(names="model_type").assign(dataset_idx=AVERAGE)
    frame = pd.concat([figures.replace({"dataset_idx": measures.datasets}), averages], ignore_index=True)
    frame = frame.rename(columns={"dataset_idx": "dataset", "model_type": section.label})
    frame = frame.dropna(axis="columns", how="all")
    if len(measures.seeds) > 1:
        frame["seeds"] = len(measures.seeds)
    iso = f"; equal compute: the last epoch within the time of the threshold of {section.reference}"
    caption = (
        f"{measures.section}: at the threshold, at equal compute and at the end{iso if section.reference else ''}; "
        "relative error: dense MSE / variance of the target."
    )
    return Table(section.table, caption, frame, tuple(notes))


def _figures(measures: Measures) -> pd.DataFrame:
    """By dataset and model type, one column for every moment and quantity."""
    rows, density = measures.rows, section_of(measures.section) is SECTIONS["section2_2"]
    if "dense_mse" in rows:
        variances = {i: variance or np.nan for i, variance in measures.variances.items()}
        rows = rows.assign(relative_error=rows["dense_mse"] / rows.index.get_level_values("dataset_idx").map(variances))
    index = pd.MultiIndex.from_product([measures.datasets, measures.model_types], names=KEYS)
    figures: dict[str, pd.Series] = {}
    for moment, columns in COLUMNS.items():
        here = rows[rows.index.isin([moment], level="moment")]
        for column in (*columns, *(DENSITY_COLUMNS if density and moment == "final" else ())):
            if column in here:
                groups = here[column].groupby(level=KEYS)
                figures[f"{moment}_{column}"] = groups.median()
                if column == "relative_error" and len(measures.seeds) > 1:
                    ends = pd.DataFrame({key: interval(values.dropna()) for key, values in groups}, ["low", "high"])
                    figures |= {f"{moment}_{column}_{end}": ends.loc[end] for end in ends.index}
    return pd.DataFrame({name: values.reindex(index) for name, values in figures.items()}, index=index)


def _averages(measures: Measures) -> pd.DataFrame:
    """By model type, the geometric means over the datasets on which all of them have an error with every seed."""
    figures: dict[str, dict[str, float]] = {model_type: {} for model_type in measures.model_types}
    known = [i for i in measures.comparable if measures.variances[i]]
    for moment in MOMENTS:
        logs = common(measures.logs_on(moment, known))
        if logs.empty:
            continue
        name = f"{moment}_relative_error"
        for model_type, means in measures.mean_relative_errors(logs).items():
            figures[str(model_type)][name] = means.median()
            if len(measures.seeds) > 1:
                low, high = interval(means.dropna())
                figures[str(model_type)] |= {f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame.from_dict(figures, orient="index")
