"""Loss curves over epochs, flops, time and evaluations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.plan.labels import problem_label
from kanbench.presentation.figures import style
from kanbench.presentation.figures.data import FigureUnavailableError, Note, curves, stages, threshold_epochs
from kanbench.storage.stored_run import StoredRun

BELOW = 1e-3
AXES = {
    "epoch": "epoch",
    "flops": "floating-point operations",
    "time": "training time / s",
    "n_evals": "evaluations of the loss",
    "grid_size": "grid intervals",
}
THRESHOLD = Line2D([], [], color=style.GREY, marker="o", markersize=6, fillstyle="none", ls="none", label="threshold")
STAGE_END = Line2D([], [], color=style.GREY, marker="|", markersize=5, linestyle="none", label="end of a grid")
STAGE = Line2D([], [], color=style.GREY, linewidth=0.5, linestyle=":", label="new grid (intervals above)")


def losses_figure(stored: StoredRun, note: Note, x: str) -> Figure:
    """Draw losses over `x`: a row of panels per dataset, a column per kind of loss, a line per model type."""
    by_type = {m: curves(stored, m, x, style.LOSSES) for m in stored.model_types}
    every = {
        (i, loss): {m: found[i, loss] for m, found in by_type.items() if (i, loss) in found}
        for i in stored.datasets
        for loss in style.LOSSES
    }
    kinds = [loss for loss in style.LOSSES if any(every[i, loss] for i in stored.datasets)]
    if not kinds:
        raise FigureUnavailableError(f"no frame has {x} and a loss")
    for loss in style.LOSSES.keys() - set(kinds):
        note(f"no column '{style.LOSSES[loss].label}': no frame has {loss}")
    for model_type in stored.model_types:
        if not by_type[model_type]:
            note(f"no line of {model_type}: its frame does not have {x}")
    thresholds = {model_type: threshold_epochs(stored, model_type) for model_type in stored.model_types}
    styles, n = style.looks(stored.model_types), len(stored.datasets)
    figure = style.new_figure(0.55 + 1.5 * n, style.WIDE if len(kinds) > 1 else 4.5)
    panels = figure.subplots(n, len(kinds), sharex=True, squeeze=False)
    if x != "epoch":
        style.log_scale(panels[0, 0].xaxis, [values["x"] for found in by_type.values() for values in found.values()])
    for row, (i, dataset) in zip(panels, stored.datasets.items(), strict=True):
        by_kind = {loss: every[i, loss] for loss in kinds}
        ends = {model_type: stages(stored, model_type, i) for model_type in stored.model_types}
        _scale_losses(dict(zip(kinds, row, strict=True)), by_kind)
        for axes, shown in zip(row, by_kind.values(), strict=True):
            style.panel_grid(axes, "y" if x == "epoch" else "both")
            for model_type, values in shown.items():
                draw_curve(axes, values, styles[model_type], thresholds[model_type].get(i))
                if x != "epoch":
                    mark_stage_ends(axes, values, styles[model_type], ends[model_type])
            if x == "epoch":
                mark_stages(axes, ends[stored.model_types[0]], numbers=axes in panels[0])
        row[0].set_ylabel(f"{problem_label(dataset)}\nmean squared error")
    for axes, loss in zip(panels[0], kinds, strict=True):
        axes.set_title(style.LOSSES[loss].label, pad=12 if x == "epoch" else None)
    for axes in panels[-1]:
        axes.set_xlabel(AXES[x])
    handles = [*(style.handle(look) for look in styles.values()), THRESHOLD, STAGE if x == "epoch" else STAGE_END]
    style.legend(figure, handles, columns=7 if len(kinds) > 1 else 3)
    return figure


def merge_history_figure(stored: StoredRun, note: Note) -> Figure:
    """Draw the training of the merged models: a panel per dataset, a line per kind of loss."""
    model_type = stored.section.model_types[0]
    if not stored.histories(model_type):
        raise FigureUnavailableError("no frame grid_history")
    x = "epoch" if any("epoch" in history for history in stored.histories(model_type)) else "grid_size"
    figure, panels = style.dataset_panels(stored.datasets, 2, (3.5, 1.9), extra=0.5, pad=12)
    thresholds, every = threshold_epochs(stored, model_type), curves(stored, model_type, x, style.LOSSES)
    for i, axes in panels.items():
        shown = {loss: every[i, loss] for loss in style.LOSSES if (i, loss) in every}
        style.panel_grid(axes, "y")
        style.log_scale(axes.yaxis, _without_overfitting(shown))
        for loss, values in shown.items():
            draw_curve(axes, values, style.LOSSES[loss], thresholds.get(i))
        mark_stages(axes, stages(stored, model_type, i), numbers=True)
        axes.set(xlabel=AXES[x], ylabel="mean squared error")
    if x == "grid_size":
        note("its frame has no epochs: losses are drawn at the end of every grid")
    handles = [*map(style.handle, style.LOSSES.values()), *([THRESHOLD, STAGE] if x == "epoch" else [])]
    style.legend(figure, handles, columns=2 if len(panels) == 1 else 6)
    return figure


def _without_overfitting(curves: dict[str, pd.DataFrame]) -> list[np.ndarray]:
    """Values that an axis of all losses covers: training losses only down to `BELOW` the others, for legibility."""
    numbers = {loss: values[["low", "y", "high"]].to_numpy() for loss, values in curves.items()}
    others = style.positive_values(values for loss, values in numbers.items() if loss != "train_loss")
    if "train_loss" in numbers and len(others):
        numbers["train_loss"] = np.maximum(numbers["train_loss"], BELOW * others.min())
    return list(numbers.values())


def _scale_losses(panels: dict[str, Axes], curves: dict[str, dict[str, pd.DataFrame]]) -> None:
    """Scale the axes of a dataset: test loss and dense MSE share one; the training loss may fall far below."""
    for is_training in (False, True):
        group = [loss for loss in panels if (loss == "train_loss") == is_training]
        for loss in group[1:]:
            panels[loss].sharey(panels[group[0]])
            panels[loss].tick_params(labelleft=False)
        if group:
            values = [values[["low", "y", "high"]] for loss in group for values in curves[loss].values()]
            style.log_scale(panels[group[0]].yaxis, values)


def draw_curve(axes: Axes, values: pd.DataFrame, look: style.Look, threshold: int | None) -> None:
    """Draw a line, the band of the seeds, and the threshold."""
    if (values["low"] < values["high"]).any():
        axes.fill_between(values["x"], values["low"], values["high"], color=look.color, alpha=0.2, linewidth=0)
    axes.plot(values["x"], values["y"], **look.line(label=look.label))
    if threshold in values.index:
        at = values.loc[threshold]
        marker = look.points(markersize=6, markerfacecolor="white", markeredgewidth=1.1, zorder=5)
        axes.plot(at["x"], at["y"], **marker, label="threshold")


def mark_stages(axes: Axes, ends: pd.Series, numbers: bool) -> None:
    """Draw a vertical line where a grid begins, and its number of intervals above the panel."""
    begin = 0.5
    for grid, end in ends.items():
        if begin > 0.5:
            axes.axvline(begin, color=style.GREY, linewidth=0.5, linestyle=":", zorder=0)
        if numbers:
            middle, above = (begin + end + 0.5) / 2, axes.get_xaxis_transform()
            axes.text(middle, 1.02, f"{grid}", transform=above, ha="center", va="bottom", color=style.GREY)
        begin = end + 0.5


def mark_stage_ends(axes: Axes, values: pd.DataFrame, look: style.Look, ends: pd.Series) -> None:
    """Mark the last epoch of every grid on a line."""
    there = values.loc[[end for end in ends if end in values.index]]
    axes.plot(there["x"], there["y"], linestyle="none", marker="|", markersize=5, color=look.color, label="stages")
