"""The table of a section that compares model types: `optimizers` (2.1), `density` (2.2)."""

from __future__ import annotations

from math import nan

import numpy as np
import pandas as pd

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import EQUAL_COMPUTE
from kanbench.analysis.ranking import common
from kanbench.analysis.uncertainty import Factor, geometric_mean
from kanbench.plan.labels import model_label
from kanbench.plan.sections import SECTIONS, number_of, section_of
from kanbench.presentation.tables.table import Table

SHOWN = {  # `errors` stands for dense MSE, RMSE, relative L2 and relative error
    "threshold": ("epoch", "flops", "time", "n_evals", "test_loss", "errors"),
    **dict.fromkeys(EQUAL_COMPUTE, ("errors",)),
    "final": ("flops", "time", "n_evals", "errors"),
}
DENSITY_COLUMNS = ("num_params", "important_neurons", "total_neurons")  # shown for section 2.2, at the end of training
AVERAGE = "geometric mean"
KEYS = ["dataset_idx", "model_type"]


def comparison_table(measures: Measures, notes: list[str]) -> Table:
    """Make the table: one row per dataset and model type, and one per model type with mean relative errors.

    Means over datasets are geometric. With several seeds, errors are geometric means over them, relative errors have
    intervals (`…_low`, `…_high`), and epochs, work and sizes are medians.
    """
    section = section_of(measures.section)
    figures = _figures(measures).reset_index(names=KEYS)
    averages = _averages(measures).reset_index(names="model_type").assign(dataset_idx=AVERAGE)
    frame = pd.concat([figures.replace({"dataset_idx": measures.datasets}), averages], ignore_index=True)
    frame = frame.rename(columns={"dataset_idx": "dataset", "model_type": section.label})
    frame = frame.dropna(axis="columns", how="all")
    if len(measures.seeds) > 1:
        frame["seeds"] = len(measures.seeds)
    iso = ""
    if section.reference:
        iso = f"(the last epoch within the flops, or the time, of {model_label(section.reference)} to its threshold) "
    caption = (
        f"Section {number_of(measures.section)}: at the threshold, at equal compute {iso}and at the end. Relative "
        "error: dense MSE / variance of the target; relative L2: RMSE / root of the target's mean square."
    )
    return Table(section.table, caption, frame, tuple(notes))


def _figures(measures: Measures) -> pd.DataFrame:
    """Collect all quantities: one row per dataset and model type, one column per moment and quantity."""
    density = section_of(measures.section) is SECTIONS["section2_2"]
    index = pd.MultiIndex.from_product([measures.datasets, measures.model_types], names=KEYS)
    figures: dict[str, pd.Series] = {}
    for moment in [moment for moment in SHOWN if moment in measures.logs]:
        here = measures.rows[measures.rows.index.isin([moment], level="moment")]
        for column in (*SHOWN[moment], *(DENSITY_COLUMNS if density and moment == "final" else ())):
            if column in here:
                mean = geometric_mean if column == "test_loss" else "median"
                figures[f"{moment}_{column}"] = here[column].groupby(level=KEYS).agg(mean).reindex(index)
            elif column == "errors":
                figures |= {str(name): values for name, values in _errors(measures, moment, index).items()}
    return pd.DataFrame(figures, index=index)


def _errors(measures: Measures, moment: str, index: pd.MultiIndex) -> pd.DataFrame:
    """Mean errors over the seeds, and relative errors with intervals."""
    means, logs = measures.mean_errors(moment), measures.logs_on(moment, measures.datasets)
    rows = []
    for i, model_type in index:
        error, variance, scale = means.loc[i, model_type], measures.variances[i] or nan, measures.scales[i]
        relative = _spread(f"{moment}_relative_error", logs.xs(i, level="dataset_idx")[model_type] - np.log(variance))
        square = (scale and scale.mean_square) or nan
        roots = {f"{moment}_rmse": np.sqrt(error), f"{moment}_relative_l2": np.sqrt(error / square)}
        rows.append({f"{moment}_dense_mse": error, **roots, **relative, f"{moment}_relative_error": error / variance})
    return pd.DataFrame(rows, index)


def _spread(name: str, logs: pd.Series) -> dict[str, float]:
    """Geometric mean over the seeds, given logarithms, and its interval if there are several seeds."""
    mean = Factor.of_logs(logs.dropna()) if logs.notna().any() else Factor(nan, nan, nan, 0)
    return {name: mean.value} | ({f"{name}_low": mean.low, f"{name}_high": mean.high} if len(logs) > 1 else {})


def _averages(measures: Measures) -> pd.DataFrame:
    """Geometric means by model type, over the datasets on which all model types have an error for every seed."""
    figures: dict[str, dict[str, float]] = {model_type: {} for model_type in measures.model_types}
    known = [i for i in measures.comparable if measures.variances[i]]
    for moment in measures.logs:
        logs = common(measures.logs_on(moment, known))
        if not logs.empty:
            for model_type, means in measures.relative_logs(logs).items():
                figures[str(model_type)] |= _spread(f"{moment}_relative_error", means)
    return pd.DataFrame.from_dict(figures, orient="index")
