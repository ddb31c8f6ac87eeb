"""What merging is worth: the gain over experts, ensemble and control; and the experts, with those that were merged."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.presentation.figures.data import scales
from kanbench.presentation.figures.source import FigureUnavailableError, Note, Source
from kanbench.presentation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    SKY,
    WIDE,
    Look,
    dataset_panels,
    label_rows,
    legend,
    log_scale,
    new_figure,
    panel_grid,
)

# What the merged model is compared with, and the columns of its dense MSE where the merged one is the threshold's or
# the final one. In greyscale the markers tell them apart.
COMPARED = {
    "best expert": (Look(BLUE, "s", "-", "best expert (by its dense MSE)"), "best_expert_dense_mse"),
    "chosen expert": (Look(SKY, "D", "-", "chosen expert (by its validation loss)"), "chosen_expert_dense_mse"),
    "ensemble": (Look(ORANGE, "o", "-", "ensemble"), "ensemble_dense_mse"),
    "control": (Look(BLACK, "^", "-", "control"), "control{}_dense_mse"),
}
MERGED = {"at the threshold": "_threshold", "at the end": ""}


def gain_figure(source: Source, note: Note) -> Figure:
    """Two panels, a row per dataset: the dense MSE of others over that of the merged model."""
    table = gains(source, note)
    if table.empty or not table["gain"].gt(0).any():
        raise FigureUnavailableError("no frame summary with dense MSE of the merged models and of others")
    merged = [name for name in MERGED if name in set(table["merged"])]
    others = [name for name in COMPARED if name in set(table["other"])]
    figure = new_figure(0.9 + 0.42 * len(source.datasets), WIDE)
    panels = figure.subplots(1, len(merged), sharex=True, sharey=True, squeeze=False)[0]
    log_scale(panels[0].xaxis, [table["gain"], [1.0]])
    positions, offsets = list(source.datasets), np.linspace(-0.27, 0.27, len(others))
    for axes, name in zip(panels, merged, strict=True):
        panel_grid(axes, "x")
        axes.axvline(1, color=GREY, linewidth=1, zorder=0.5)
        for other, offset in zip(others, offsets, strict=True):
            rows = table[(table["merged"] == name) & (table["other"] == other)].groupby("dataset_idx")["gain"]
            middle, low, high = (rows.agg(kind).reindex(positions) for kind in ("median", "min", "max"))
            y, look = np.arange(len(positions)) + offset, COMPARED[other][0]
            axes.hlines(y, low, high, color=look.color, linewidth=1)
            axes.plot(middle, y, **look.points(label=other))
        for edge in np.arange(len(positions) - 1) + 0.5:
            axes.axhline(edge, color=LIGHT, linewidth=0.4)
        axes.set(title=f"merged model {name}", xlabel="dense MSE of the other / of the merged model")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(positions)), source.datasets.values())
    panels[0].set_ylim(len(positions) - 0.5, -0.5)
    legend(figure, [Line2D([], [], **COMPARED[other][0].points(label=COMPARED[other][0].label)) for other in others])
    return figure


def gains(source: Source, note: Note = lambda text: None) -> pd.DataFrame:
    """How many times as large the error of others is, a row per dataset, state of the merged model, other and seed.

    The control is compared in the same state as the merged model.
    """
    rows = []
    for seed, frames in enumerate(source.replicates.values()):
        for record in frames["summary"].to_dict("records") if "summary" in frames else []:
            for merged, state in MERGED.items():
                own = record.get(f"merged{state}_dense_mse")
                for other, (_, column) in COMPARED.items():
                    error = record.get(column.format(state))
                    if not own or error is None:
                        note(f"no gain over {other} {merged}: the summary lacks {column.format(state)}")
                        continue
                    gain = {"dataset_idx": record["dataset_idx"], "merged": merged, "other": other, "seed": seed}
                    rows.append(gain | {"gain": error / own})
    return pd.DataFrame(rows, columns=["dataset_idx", "merged", "other", "seed", "gain"])


def experts_figure(source: Source, note: Note) -> Figure:
    """A panel per dataset: the dense MSE of every expert by its configuration; those that were merged are filled."""
    frame = source.results.get("experts")
    error = next((c for c in ("dense_mse", "test_loss") if frame is not None and c in frame), None)
    if error is None or not {"dataset_idx", "depth", "k"} <= set(frame):
        raise FigureUnavailableError("no frame experts with depth, k and dense_mse")
    if "selected" not in frame:
        note("the frame experts does not tell which were selected: all are drawn as not selected")
        frame = frame.assign(selected=False)
    scale, label = scales(source)
    if error == "test_loss":
        note("the frame experts has no dense_mse: the test loss is drawn")
        label = label.replace("dense MSE", "test loss")
    configurations = sorted(set(zip(frame["depth"], frame["k"], strict=True)))
    figure, panels = dataset_panels(source.datasets, 4, (1.75, 1.8), extra=0.75, sharex=True)
    for i, axes in panels.items():
        rows = frame[frame["dataset_idx"] == i]
        _experts_panel(axes, rows.assign(error=rows[error] / scale[i]), configurations)
    label_rows(panels.values(), label)
    figure.supxlabel("hidden layers, order of the splines", fontsize=7)
    legend(figure, [Line2D([], [], **LOOK_OF[selected]) for selected in (True, False)])
    return figure


LOOK_OF = {
    True: {"color": BLUE, "marker": "s", "linestyle": "none", "label": "selected and merged"},
    False: {"color": GREY, "marker": "o", "linestyle": "none", "markerfacecolor": "white", "label": "not selected"},
}


def _experts_panel(axes: Axes, rows: pd.DataFrame, configurations: list) -> None:
    panel_grid(axes, "y")
    log_scale(axes.yaxis, [rows["error"]])
    for selected in (False, True):
        part = rows[rows["selected"].astype(bool) == selected]
        x = [configurations.index(pair) + _aside(rows, index) for index, pair in _pairs(part)]
        axes.plot(x, part["error"], **LOOK_OF[selected])
    axes.set_xlim(-0.6, len(configurations) - 0.4)
    axes.set_xticks(range(len(configurations)), [f"{depth}, {k}" for depth, k in configurations])


def _pairs(rows: pd.DataFrame) -> list[tuple]:
    return [(index, (depth, k)) for index, depth, k in zip(rows.index, rows["depth"], rows["k"], strict=True)]


def _aside(rows: pd.DataFrame, index) -> float:
    """Experts of one configuration, which differ in their seeds, stand side by side."""
    one = rows.loc[index]
    alike = rows[(rows["depth"] == one["depth"]) & (rows["k"] == one["k"])].index
    return 0.0 if len(alike) == 1 else 0.6 * (list(alike).index(index) / (len(alike) - 1) - 0.5)
