"""Figures of merging: the gain over experts, ensemble and control; and the experts, with the selected ones marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.analysis.measures import Measures
from kanbench.analysis.merging import COMPARED_WITH, measure_merging
from kanbench.errors import InputError
from kanbench.plan.labels import MOMENTS
from kanbench.presentation.figures import style
from kanbench.presentation.figures.data import FigureUnavailableError, Note, scales
from kanbench.storage.stored_run import StoredRun

# The references of the merged model; in greyscale, the markers distinguish them.
COMPARED = {
    "best expert": style.Look(style.BLUE, "s", "-", "best expert (by its dense MSE)"),
    "chosen expert": style.Look(style.SKY, "D", "-", "chosen expert (by its validation loss)"),
    "ensemble": style.Look(style.ORANGE, "o", "-", "ensemble"),
    "control": style.Look(style.BLACK, "^", "-", "control"),
}
SHOWN = ("threshold", "final")
EXPERTS: dict[bool, dict[str, Any]] = {
    True: {"color": style.BLUE, "marker": "s", "linestyle": "none", "label": "selected and merged"},
    False: {
        "color": style.GREY,
        "marker": "o",
        "linestyle": "none",
        "markerfacecolor": "white",
        "label": "not selected",
    },
}


def gain_figure(stored: StoredRun, note: Note) -> Figure:
    """Draw two panels with a row per dataset: the references' dense MSE divided by the merged model's."""
    try:
        measures = measure_merging(stored.comparable.replicates)
    except InputError as error:
        raise FigureUnavailableError(str(error)) from error
    found = {moment: gains for moment in SHOWN if (gains := _gains(measures, note, moment))}
    every = [values for gains in found.values() for values in gains.values()]
    if not every:
        raise FigureUnavailableError("the summary has no dense MSE of the merged models and of others")
    styles = {other: look for other, look in COMPARED.items() if any(other in gains for gains in found.values())}
    figure = style.new_figure(0.9 + 0.42 * len(stored.datasets))
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    style.log_scale(panels[0].xaxis, [*every, [1.0]])
    for axes, (moment, gains) in zip(panels, found.items(), strict=True):
        axes.axvline(1, color=style.GREY, linewidth=1, zorder=0.5)
        style.points_by_dataset(axes, stored.datasets, gains, styles)
        axes.set(title=f"merged model {MOMENTS[moment].at}", xlabel="dense MSE of the other / of the merged model")
    style.rows_of_datasets(panels, stored.datasets)
    style.legend(figure, [Line2D([], [], **look.points(label=look.label)) for look in styles.values()])
    return figure


def _gains(measures: Measures, note: Note, moment: str) -> dict[str, pd.Series]:
    """The references' errors divided by the merged model's: one value per seed, indexed by `dataset_idx`.

    The control is taken at the same moment as the merged model.
    """
    gains, logs = {}, measures.logs_on(moment, measures.datasets)
    for column in COMPARED_WITH[moment]:
        other = column.removesuffix(f"_{moment}").replace("_", " ")
        gain = (logs[column] - logs[f"merged_{moment}"]).droplevel("seed").dropna().apply(np.exp)
        if len(gain):
            gains[other] = gain
        else:
            note(f"no gain over {other} {MOMENTS[moment].at}: the summary lacks one of the errors")
    return gains


def experts_figure(stored: StoredRun, note: Note) -> Figure:
    """Draw a panel per dataset: the dense MSE of every expert by configuration, with filled markers if merged."""
    frame = stored.compared.get("experts", pd.DataFrame())
    error = next((column for column in ("dense_mse", "test_loss") if column in frame), None)
    if error is None or not {"dataset_idx", "depth", "k"} <= set(frame):
        raise FigureUnavailableError("no frame experts with depth, k and dense_mse")
    if "selected" not in frame:
        note("the frame experts lacks the column selected: all are drawn as not selected")
        frame = frame.assign(selected=False)
    scale, label = scales(stored)
    if error == "test_loss":
        note("the frame experts has no dense_mse: the test loss is drawn")
        label = label.replace("dense MSE", "test loss")
    configurations = sorted(set(zip(frame["depth"], frame["k"], strict=True)))
    figure, panels = style.dataset_panels(stored.datasets, 4, (1.75, 1.8), extra=0.75, sharex=True)
    for i, axes in panels.items():
        rows = frame[frame["dataset_idx"] == i]
        _experts_panel(axes, rows.assign(error=rows[error] / scale[i]), configurations)
    figure.supylabel(label, fontsize=7)
    figure.supxlabel("hidden layers, order of the splines", fontsize=7)
    style.legend(figure, [Line2D([], [], **EXPERTS[selected]) for selected in (True, False)])
    return figure


def _experts_panel(axes: Axes, rows: pd.DataFrame, configurations: list[tuple[int, int]]) -> None:
    """Draw a panel; experts of one configuration, which differ in their seeds, stand side by side."""
    style.panel_grid(axes, "y")
    style.log_scale(axes.yaxis, [rows["error"]])
    alike = rows.groupby(["depth", "k"])["error"]
    others = alike.transform("size") - 1
    aside = 0.6 * (alike.cumcount() / others.clip(lower=1) - 0.5).where(others > 0, 0.0)
    x = aside + [configurations.index(pair) for pair in zip(rows["depth"], rows["k"], strict=True)]
    for selected in (False, True):
        part = rows["selected"].astype(bool) == selected
        axes.plot(x[part], rows.loc[part, "error"], **EXPERTS[selected])
    axes.set_xlim(-0.6, len(configurations) - 0.4)
    axes.set_xticks(range(len(configurations)), [f"{depth}, {k}" for depth, k in configurations])
