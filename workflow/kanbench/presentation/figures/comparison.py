"""The comparison of a section's model types: at equal compute, at the end, and by the time to the threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kanbench.presentation.figures.data import comparison, scales
from kanbench.presentation.figures.source import FigureUnavailableError, Note, Source
from kanbench.presentation.figures.style import LIGHT, Look, handle, legend, log_scale, looks, new_figure, panel_grid

SPREAD = 0.52  # of the distance between two datasets, over which model types are spread


def comparison_figure(source: Source, note: Note) -> Figure:
    """Three panels of points, one row per dataset: the median of the seeds, with a line from the least to the most."""
    table, (_, error) = comparison(source), scales(source)
    panels = {"iso_compute": ("at equal compute", error), "final": ("at the end", error)}
    panels["time"] = ("time to the threshold", "training time / s")
    shown = {}
    for column, words in panels.items():
        if len(table) and table[column].gt(0).any():
            shown[column] = words
        else:
            note(f"no panel '{words[0]}': {_missing(source, column)}")
    if not shown:
        raise FigureUnavailableError("no frame has dense_mse or time")
    styles = looks(source.model_types)
    figure = new_figure(0.75 + 0.42 * len(source.datasets) + 0.45)
    figure.get_layout_engine().set(wspace=0.08)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    errors = table[[column for column in shown if column != "time"]]
    for axes, (column, (title, label)) in zip(panels, shown.items(), strict=True):
        log_scale(axes.xaxis, [table["time"] if column == "time" else errors])  # errors on one scale
        _panel(axes, table, column, styles, list(source.datasets))
        axes.set(title=title, xlabel=label)
    panels[0].set_yticks(range(len(source.datasets)), source.datasets.values())
    panels[0].set_ylim(len(source.datasets) - 0.5, -0.5)
    legend(figure, [handle(look, linewidth=0) for look in styles.values()])
    return figure


def _missing(source: Source, column: str) -> str:
    if column == "iso_compute" and source.section.reference not in source.model_types:
        return f"no {source.section.reference or 'reference'} to compare with"
    return f"the frames do not have {'time' if column == 'time' else 'dense_mse, or no time'}"


def _panel(axes: Axes, table: pd.DataFrame, column: str, styles: dict[str, Look], datasets: list[int]) -> None:
    panel_grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    for edge in np.arange(len(datasets) - 1) + 0.5:
        axes.axhline(edge, color=LIGHT, linewidth=0.4)
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(styles)) if len(styles) > 1 else [0.0]
    for (model_type, look), offset in zip(styles.items(), offsets, strict=True):
        values = table[table["model_type"] == model_type].groupby("dataset_idx")[column]
        middle, low, high = (values.agg(kind).reindex(datasets) for kind in ("median", "min", "max"))
        y = np.arange(len(datasets)) + offset
        axes.hlines(y, low, high, color=look.color, linewidth=1.0)
        axes.plot(middle, y, **look.points(label=model_type))
