"""The comparison of a section's model types: at equal compute, at the end of training, and by time to the threshold."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kanbench.analysis.measures import Measures, measure
from kanbench.analysis.moments import EQUAL_COMPUTE
from kanbench.plan.labels import MOMENTS
from kanbench.presentation.figures import style
from kanbench.presentation.figures.data import FigureUnavailableError, Note, scales
from kanbench.storage.stored_run import StoredRun

PANELS = (  # moment, column, title
    *((moment, "dense_mse", MOMENTS[moment].at) for moment in (*EQUAL_COMPUTE, "final")),
    ("threshold", "time", f"time to the {MOMENTS['threshold'].name}"),
)


def comparison_figure(stored: StoredRun, note: Note) -> Figure:
    """Draw panels with one row per dataset: the geometric mean over seeds, with a line from minimum to maximum."""
    measures, (scale, error) = _measures(stored), scales(stored)
    shown: dict[str, tuple[str, dict[str, pd.Series]]] = {}
    for moment, column, title in PANELS:
        values = _errors(measures, moment, scale) if column == "dense_mse" else _of_rows(measures, moment, column)
        if any(series.gt(0).any() for series in values.values()):
            shown[title] = column, values
        else:
            note(f"no panel '{title}': {_missing(stored, moment)}")
    if not shown:
        raise FigureUnavailableError("no frame has dense_mse or time")
    styles = style.looks(stored.model_types)
    figure = style.new_figure(1.2 + 0.42 * len(stored.datasets), wspace=0.08)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (title, (column, values)) in zip(panels, shown.items(), strict=True):
        alike = [series for name, other in shown.values() if name == column for series in other.values()]  # one scale
        style.log_scale(axes.xaxis, alike, most_ticks=4)  # the labels of more ticks would overlap
        style.points_by_dataset(axes, stored.datasets, values, styles)
        axes.set(title=title, xlabel=error.replace(" / ", " /\n") if column == "dense_mse" else "training time / s")
    style.rows_of_datasets(panels, stored.datasets)
    style.legend(figure, [style.handle(look, linewidth=0) for look in styles.values()])
    return figure


def _measures(stored: StoredRun) -> Measures:
    replicates = {
        seed: trained
        for seed, frames in stored.comparable.replicates.items()
        if (trained := {name: frames[name] for name in stored.model_types if len(frames.get(name, ()))})
    }
    if not replicates:
        raise FigureUnavailableError("no frame has any epochs")
    return measure(replicates, stored.compared_metadata)


def _errors(measures: Measures, moment: str, scale: dict[int, float]) -> dict[str, pd.Series]:
    """The compared errors, scaled, by model type: one value per seed, indexed by `dataset_idx`."""
    if moment not in measures.errors:
        return {}
    compared = measures.errors[moment].where(measures.logs_on(moment, measures.datasets).notna())
    relative = compared.div(pd.Series(scale), axis="index", level="dataset_idx").droplevel("seed")
    return {str(name): errors.dropna() for name, errors in relative.items()}


def _of_rows(measures: Measures, moment: str, column: str) -> dict[str, pd.Series]:
    """As `_errors`, for a column of the frames; empty if no frame has it."""
    rows = measures.rows[measures.rows.index.isin([moment], level="moment")]
    if column not in rows:
        return {}
    by_type = rows.reset_index().set_index("dataset_idx").groupby("model_type")[column]
    return {str(name): values for name, values in by_type}


def _missing(stored: StoredRun, moment: str) -> str:
    reference = stored.section.reference
    if moment in EQUAL_COMPUTE and reference not in stored.model_types:
        return f"no {reference or 'reference'} to compare with"
    work = f", or no {EQUAL_COMPUTE[moment]}" if moment in EQUAL_COMPUTE else ""
    return f"the frames do not have {'time' if moment == 'threshold' else f'dense_mse{work}'}"
