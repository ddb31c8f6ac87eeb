"""The grids of a model's nodes, from training records or checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from kanbench.io.numbers import subscript
from kanbench.network.checkpoint_config import INTERVALS, read_model_config
from kanbench.plan.labels import OF_CHECKPOINTS, problem_label
from kanbench.presentation.figures.data import FigureUnavailableError, Note
from kanbench.presentation.figures.style import GREY, LIGHT, looks, new_figure
from kanbench.storage.stored_run import StoredRun
from kanbench.storage.training_record import read_record

COLOURS = "Blues"  # lightness falls evenly
DARK = 0.71  # position on the colour map above which white text is easier to read than black
MOST_NODES = 40  # with more, the numbers cannot be read


def grids_figure(stored: StoredRun, note: Note) -> Figure:
    """Draw the intervals of every node by stage: a row of panels per dataset, a column per model type.

    Without a training's record, they are drawn by checkpoint: at the threshold and at the end. Below a panel is the
    number of important nodes in the stages.
    """
    tables = {(m, i): node_intervals(stored, m, i) for m in stored.model_types for i in stored.datasets}
    tables = {key: table for key, table in tables.items() if len(table)}
    if not tables:
        raise FigureUnavailableError("the grids of nodes are in no record or checkpoint")
    for model_type, i in {(m, i) for m in stored.model_types for i in stored.datasets} - set(tables):
        note(f"no panel of {model_type} on {stored.datasets[i]}: it has no record and no checkpoint")
    styles, n = looks(stored.model_types), len(stored.datasets)
    figure = new_figure(0.4 + n * max(0.95, 0.5 + 0.13 * max(map(len, tables.values()))), wspace=0.05)
    panels = figure.subplots(n, len(styles), squeeze=False)
    every = np.concatenate([table.to_numpy().ravel() for table in tables.values()])
    colours = LogNorm(max(1, every.min() / 2), 1.5 * every.max())  # keeps the darkest colour light enough for numbers
    for row, (i, dataset) in zip(panels, stored.datasets.items(), strict=True):
        for axes, model_type in zip(row, styles, strict=True):
            table = tables.get((model_type, i))
            if table is None:
                axes.text(0.5, 0.5, "no checkpoint", transform=axes.transAxes, ha="center", va="center", color=GREY)
                axes.set(xticks=[], yticks=[])
            else:
                _panel(axes, table, colours)
            axes.set_xlabel(_importance(stored, model_type, i), color=GREY)
        row[0].set_ylabel(problem_label(dataset))
    for axes, look in zip(panels[0], styles.values(), strict=True):
        axes.set_title(look.label)
    return figure


def node_intervals(stored: StoredRun, model_type: str, dataset_idx: int) -> pd.DataFrame:
    """Read the grid intervals of the input and hidden nodes of a training: a row per stage, or per checkpoint."""
    record = Path(stored.run.record(stored.run.training(model_type, dataset_idx)))
    if record.exists() and (stages := read_record(record).stages):
        return pd.DataFrame({f"grid {stage['grid_size']}": _named(stage["intervals"]) for stage in stages}).T
    bases = stored.checkpoints(model_type, dataset_idx)
    rows = {}
    for name, base in bases.items():
        if name in OF_CHECKPOINTS:
            config = read_model_config(Path(f"{base}_config.yml"))
            uniform = [[config["grid"]] * nodes for nodes, _ in config["width"][:-1]]
            rows[OF_CHECKPOINTS[name].name] = _named(config.get(INTERVALS) or uniform)
    if len({tuple(row) for row in rows.values()}) != 1:  # all rows must have the same nodes
        return pd.DataFrame()
    return pd.DataFrame(rows).T


def _named(rows: list[list[int]]) -> dict[str, int]:
    """Name the nodes: inputs x₁ …, hidden nodes h₁ …, with two numbers if there are several hidden layers."""
    named = {}
    for layer, counts in enumerate(rows):
        for node, count in enumerate(counts, start=1):
            number = f"{layer}.{node}" if layer and len(rows) > 2 else str(node)
            named[f"{'h' if layer else 'x'}{subscript(number)}"] = count
    return named


def _panel(axes: Axes, table: pd.DataFrame, colours: LogNorm) -> None:
    values = table.to_numpy()
    axes.imshow(values, norm=colours, cmap=COLOURS, aspect="auto")
    axes.set_yticks(range(len(table)), table.index)
    nodes = len(table.columns)
    shown = np.arange(0, nodes, -(-nodes // MOST_NODES) if nodes > MOST_NODES else 1)
    axes.set_xticks(shown, table.columns[shown])
    axes.tick_params(length=0)
    axes.xaxis.set_ticks_position("top")
    for side in axes.spines.values():
        side.set_color(LIGHT)
    if nodes <= 12:
        dark = np.asarray(colours(values)) > DARK
        for (row, column), value in np.ndenumerate(values):
            axes.text(
                column, row, str(value), ha="center", va="center", color="white" if dark[row, column] else "black"
            )


def _importance(stored: StoredRun, model_type: str, dataset_idx: int) -> str:
    """Say how many nodes were important in the stages, if the frame records it."""
    frame = stored.compared[model_type]
    if not {"important_neurons", "total_neurons", "grid_size"} <= set(frame):
        return "important nodes: not recorded"
    rows = frame[frame["dataset_idx"] == dataset_idx].groupby("grid_size", sort=False).last()
    counts = [f"{count:.0f}" for count in rows["important_neurons"].dropna()]
    counts = counts[:1] if len(set(counts)) == 1 else counts
    return f"important: {', '.join(counts)} of {rows['total_neurons'].iloc[-1]:.0f}" if counts else ""
