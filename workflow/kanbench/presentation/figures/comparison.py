"""The comparison of a section's model types: at equal compute, at the end, and by the time to the threshold."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kanbench.analysis.measures import measure
from kanbench.presentation.figures import style
from kanbench.presentation.figures.data import FigureUnavailableError, Note, scales
from kanbench.storage.stored_run import StoredRun

PANELS = (  # moment, column, title
    ("iso_compute", "dense_mse", "at equal compute"),
    ("final", "dense_mse", "at the end"),
    ("threshold", "time", "time to the threshold"),
)


def comparison_figure(stored: StoredRun, note: Note) -> Figure:
    """Three panels of points, one row per dataset: the median of the seeds, with a line from the least to the most."""
    rows, (scale, error) = _rows(stored), scales(stored)
    rows["dense_mse"] /= rows["dataset_idx"].map(scale)
    shown: dict[str, tuple[str, pd.DataFrame]] = {}
    for moment, column, title in PANELS:
        values = rows[rows["moment"] == moment]
        if values[column].gt(0).any():
            shown[title] = column, values
        else:
            note(f"no panel '{title}': {_missing(stored, moment)}")
    if not shown:
        raise FigureUnavailableError("no frame has dense_mse or time")
    styles = style.looks(stored.model_types)
    figure = style.new_figure(1.2 + 0.42 * len(stored.datasets), wspace=0.08)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (title, (column, values)) in zip(panels, shown.items(), strict=True):
        alike = [other[name] for name, other in shown.values() if name == column]  # errors are on one scale
        style.log_scale(axes.xaxis, alike)
        by_type = values.set_index("dataset_idx").groupby("model_type")[column]
        style.points_by_dataset(axes, stored.datasets, dict(iter(by_type)), styles)
        axes.set(title=title, xlabel=error if column == "dense_mse" else "training time / s")
    style.rows_of_datasets(panels, stored.datasets)
    style.legend(figure, [style.handle(look, linewidth=0) for look in styles.values()])
    return figure


def _rows(stored: StoredRun) -> pd.DataFrame:
    """Every training at the moments, one row per seed, with `dense_mse` and `time`; nan where a frame lacks them."""
    replicates = {
        seed: trained
        for seed, frames in stored.comparable.replicates.items()
        if (trained := {name: frames[name] for name in stored.model_types if len(frames.get(name, ()))})
    }
    if not replicates:
        raise FigureUnavailableError("no frame has any epochs")
    return measure(replicates, stored.compared_metadata).rows.reindex(columns=["dense_mse", "time"]).reset_index()


def _missing(stored: StoredRun, moment: str) -> str:
    reference = stored.section.reference
    if moment == "iso_compute" and reference not in stored.model_types:
        return f"no {reference or 'reference'} to compare with"
    return f"the frames do not have {'time' if moment == 'threshold' else 'dense_mse, or no time'}"
