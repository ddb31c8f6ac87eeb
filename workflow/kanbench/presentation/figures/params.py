"""Accuracy against the number of parameters, with the slope that approximation theory promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.presentation.figures.data import scales
from kanbench.presentation.figures.source import FigureUnavailableError, Note, Source
from kanbench.presentation.figures.style import (
    GREY,
    SUPERSCRIPTS,
    Look,
    dataset_panels,
    handle,
    label_rows,
    legend,
    log_scale,
    looks,
    panel_grid,
)

DEFAULT_ORDER = 3


def params_figure(source: Source, note: Note) -> Figure:
    """A panel per dataset: the dense MSE at the end of every grid against the parameters, and the slope."""
    ends = {m: stage_ends(source, m) for m in source.model_types}
    ends = {model_type: rows for model_type, rows in ends.items() if len(rows)}
    if not ends:
        raise FigureUnavailableError("no frame has num_params, grid_size and dense_mse")
    for model_type in set(source.model_types) - set(ends):
        note(f"no line of {model_type}: its frame lacks num_params, grid_size or dense_mse")
    order = source.order
    if order is None:
        note(f"no checkpoint tells the order of the splines: the slope is that of order {DEFAULT_ORDER}")
        order = DEFAULT_ORDER
    scale, label = scales(source)
    figure, panels = dataset_panels(source.datasets, 4, (1.75, 1.7), extra=0.7, sharex=True)
    styles = looks(list(ends))
    for i, axes in panels.items():
        here = {m: rows[rows["dataset_idx"] == i].assign(scale=scale[i]) for m, rows in ends.items()}
        _panel(axes, here, styles, order)
    label_rows(panels.values(), label)
    figure.supxlabel("trainable parameters P", fontsize=7)
    exponent = str(-2 * (order + 1)).translate(SUPERSCRIPTS)
    slope = Line2D([], [], color=GREY, linewidth=0.9, label=f"slope of theory, P{exponent}")
    legend(figure, [*(handle(look) for look in styles.values()), slope], columns=6 if len(panels) > 2 else 2)
    return figure


def stage_ends(source: Source, model_type: str) -> pd.DataFrame:
    """Parameters and dense MSE at the last epoch of every grid: the median over the seeds, least and most."""
    needed = {"dataset_idx", "grid_size", "epoch", "num_params", "dense_mse"}
    frames = [frame for frame in source.frames(model_type) if needed <= set(frame)]
    if not frames:
        return pd.DataFrame()
    keys = ["dataset_idx", "grid_size"]
    last = pd.concat(
        [frame.sort_values("epoch").groupby(keys, as_index=False).last()[list(needed)] for frame in frames]
    )
    groups = last.groupby(keys)
    mse = groups["dense_mse"]
    table = {"num_params": groups["num_params"].median(), "y": mse.median(), "low": mse.min(), "high": mse.max()}
    return pd.DataFrame(table).reset_index()


def _panel(axes: Axes, ends: dict[str, pd.DataFrame], styles: dict[str, Look], order: int) -> None:
    panel_grid(axes)
    relative = {
        m: rows.assign(**{c: rows[c] / rows["scale"] for c in ("y", "low", "high")}).sort_values("num_params")
        for m, rows in ends.items()
    }
    every = pd.concat(relative.values())
    log_scale(axes.xaxis, [every["num_params"]])
    if not log_scale(axes.yaxis, [every[["low", "y", "high"]]]):
        return
    for model_type, rows in relative.items():
        look = styles[model_type]
        axes.plot(rows["num_params"], rows["y"], **look.line(marker=look.marker, markersize=3, label=model_type))
        if (rows["low"] < rows["high"]).any():
            axes.vlines(rows["num_params"], rows["low"], rows["high"], color=look.color, linewidth=0.8)
    x = np.array([every["num_params"].min(), every["num_params"].max()])
    axes.plot(x, slope_line(every, x, order), color=GREY, linewidth=0.9, zorder=0.5, label="slope", scaley=False)


def slope_line(points: pd.DataFrame, x: np.ndarray, order: int) -> np.ndarray:
    """MSE ∝ P^(-2(k+1)) through the geometric middle of the points with the fewest parameters.

    The RMSE of splines of order k on G intervals falls as G^-(k+1) (Theorem 2.1 of the KAN paper, arXiv:2404.19756), so
    the MSE as G^-2(k+1), and the parameters of a network of one width grow as G.
    """
    usable = points[points["y"] > 0]
    first = usable[usable["num_params"] == usable["num_params"].min()]
    start = np.exp(np.log(first["y"]).mean())
    return start * (x / first["num_params"].iloc[0]) ** (-2.0 * (order + 1))
