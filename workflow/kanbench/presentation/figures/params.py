"""Error over the number of parameters, with the slope that approximation theory predicts."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.analysis.uncertainty import geometric_mean
from kanbench.io.numbers import superscript
from kanbench.presentation.figures.data import FigureUnavailableError, Note, scales
from kanbench.presentation.figures.style import GREY, Look, dataset_panels, handle, legend, log_scale, looks, panel_grid
from kanbench.storage.stored_run import StoredRun

DEFAULT_ORDER = 3
NEEDED = ["dataset_idx", "grid_size", "epoch", "num_params", "dense_mse"]


def params_figure(stored: StoredRun, note: Note) -> Figure:
    """Draw a panel per dataset: the dense MSE at the end of every grid over the parameters, and the slope."""
    scale, label = scales(stored)
    ends = {m: _stage_ends(stored, m, scale) for m in stored.model_types}
    for model_type in [m for m, rows in ends.items() if rows.empty]:
        note(f"no line of {model_type}: its frame lacks num_params, grid_size or dense_mse")
        del ends[model_type]
    if not ends:
        raise FigureUnavailableError("no frame has num_params, grid_size and dense_mse")
    order = order_of(stored)
    if order is None:
        note(f"no checkpoint with the order of the splines: the slope is that of order {DEFAULT_ORDER}")
        order = DEFAULT_ORDER
    figure, panels = dataset_panels(stored.datasets, 4, (1.75, 1.7), extra=0.7, sharex=True)
    styles = looks(list(ends))
    for i, axes in panels.items():
        _panel(axes, {m: rows[rows["dataset_idx"] == i] for m, rows in ends.items()}, styles, order)
    figure.supylabel(label, fontsize=7)
    figure.supxlabel("trainable parameters P", fontsize=7)
    slope = Line2D([], [], color=GREY, linewidth=0.9, label=f"slope of theory, P{superscript(-2 * (order + 1))}")
    legend(figure, [*(handle(look) for look in styles.values()), slope], columns=6 if len(panels) > 2 else 2)
    return figure


def order_of(stored: StoredRun) -> int | None:
    """The order of the models' splines, if the first checkpoint has the same in all layers."""
    return next((config["k"] for config in islice(stored.configs(), 1) if isinstance(config["k"], int)), None)


def _stage_ends(stored: StoredRun, model_type: str, scale: dict[int, float]) -> pd.DataFrame:
    """At the end of every grid, over the seeds: median parameters, and geometric mean, minimum and maximum error."""
    frames = [frame for frame in stored.histories(model_type) if set(NEEDED) <= set(frame)]
    if not frames:
        return pd.DataFrame()
    keys = ["dataset_idx", "grid_size"]
    last = pd.concat([frame.sort_values("epoch").groupby(keys, as_index=False).last()[NEEDED] for frame in frames])
    last["error"] = last["dense_mse"] / last["dataset_idx"].map(scale)
    table = last.groupby(keys).agg(
        num_params=("num_params", "median"), y=("error", geometric_mean), low=("error", "min"), high=("error", "max")
    )
    return table.reset_index().sort_values("num_params")


def _panel(axes: Axes, ends: dict[str, pd.DataFrame], styles: dict[str, Look], order: int) -> None:
    panel_grid(axes)
    every = pd.concat(ends.values())
    log_scale(axes.xaxis, [every["num_params"]])
    if not log_scale(axes.yaxis, [every[["low", "y", "high"]]]):
        return
    for model_type, rows in ends.items():
        look = styles[model_type]
        axes.plot(rows["num_params"], rows["y"], **look.line(marker=look.marker, markersize=3, label=model_type))
        if (rows["low"] < rows["high"]).any():
            axes.vlines(rows["num_params"], rows["low"], rows["high"], color=look.color, linewidth=0.8)
    x = np.array([every["num_params"].min(), every["num_params"].max()])
    axes.plot(x, slope_line(every, x, order), color=GREY, linewidth=0.9, zorder=0.5, label="slope", scaley=False)


def slope_line(points: pd.DataFrame, x: np.ndarray, order: int) -> np.ndarray:
    """Evaluate MSE ∝ P^(-2(k+1)), scaled to the geometric mean of the points with the fewest parameters.

    The RMSE of splines of order k on G intervals decreases as G^-(k+1) (Theorem 2.1 of the KAN paper,
    arXiv:2404.19756), so the MSE decreases as G^-2(k+1). With fixed width, the number of parameters P grows as G.
    """
    usable = points[points["y"] > 0]
    first = usable[usable["num_params"] == usable["num_params"].min()]
    start = np.exp(np.log(first["y"]).mean())
    return start * (x / first["num_params"].iloc[0]) ** (-2.0 * (order + 1))
