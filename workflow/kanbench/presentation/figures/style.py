"""The common style of all figures: sizes, colours, line styles and scales."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from kanbench.analysis.uncertainty import geometric_mean
from kanbench.io.numbers import power_of_ten, printed
from kanbench.plan.labels import problem_labels
from kanbench.presentation import FOLDER
from kanbench.presentation.figures.layout import GridLayout
from kanbench.presentation.looks import (  # noqa: F401 - figures find all of them here
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    LOOKS,
    LOSSES,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Look,
    Looks,
    looks,
)

WIDE = 7.0  # inches: both columns of a paper, so that figures need no scaling


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw and save in the project's style, whatever the user has configured."""
    _add_font()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.style.use(FOLDER / "figures.mplstyle")
        yield


@functools.cache
def _add_font() -> None:
    fontManager.addfont(FOLDER / "figures.ttf")


def new_figure(height: float, width: float = WIDE, wspace: float = 0.03) -> Figure:
    """Make an empty figure of this size in inches, with a layout that avoids overlapping labels."""
    figure = Figure(figsize=(width, height), layout=GridLayout(wspace))
    FigureCanvasAgg(figure)
    return figure


def dataset_panels(
    datasets: Mapping[int, str],
    most: int,
    size: tuple[float, float],
    extra: float,
    sharex: bool = False,
    pad: float = 6,
) -> tuple[Figure, dict[int, Axes]]:
    """Make a figure with a panel for every dataset, titled with its name.

    Args:
        most (int): Most panels side by side.
        size (tuple): Width and height of a panel in inches.
        extra (float): Height above and below the panels in inches.
        pad (float): Points between a title and its panel.
    """
    columns = min(len(datasets), most)
    rows = -(-len(datasets) // columns)
    figure = new_figure(extra + size[1] * rows, max(3.4, size[0] * columns))
    panels = figure.subplots(rows, columns, sharex=sharex, squeeze=False).ravel()
    for axes in panels[len(datasets) :]:
        axes.remove()
    by_dataset, labels = dict(zip(datasets, panels, strict=False)), problem_labels(datasets.values())
    for i, axes in by_dataset.items():
        axes.set_title(labels[datasets[i]], pad=pad)
    return figure, by_dataset


def rows_of_datasets(panels: Sequence[Axes], datasets: Mapping[int, str]) -> None:
    """Give every panel a row per dataset, from top to bottom, with names on the left."""
    for axes in panels:
        panel_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
        for edge in range(1, len(datasets)):
            axes.axhline(edge - 0.5, color=LIGHT, linewidth=0.4)
    labels = problem_labels(datasets.values())
    panels[0].set_yticks(range(len(datasets)), [labels[name] for name in datasets.values()])
    panels[0].set_ylim(len(datasets) - 0.5, -0.5)


def points_by_dataset(axes: Axes, datasets: Iterable[int], values: Mapping[str, pd.Series], styles: Looks) -> None:
    """Draw geometric means by dataset, each with a line from minimum to maximum.

    Args:
        values (mapping): By model type, one value per seed, indexed by dataset. Without values, no point is drawn.
        styles (mapping): Looks by model type, in the order in which points stand side by side in a row.
    """
    offsets = np.linspace(-0.26, 0.26, len(styles)) if len(styles) > 1 else [0.0]
    nothing = pd.Series(index=pd.Index([], dtype=int), dtype=float)
    for (name, look), offset in zip(styles.items(), offsets, strict=True):
        spread = values.get(name, nothing).groupby(level=0).agg([geometric_mean, "min", "max"]).reindex(list(datasets))
        y = np.arange(len(spread)) + offset
        axes.hlines(y, spread["min"], spread["max"], color=look.color, linewidth=1.0)
        axes.plot(spread["geometric_mean"], y, **look.points(label=name))


def log_scale(axis: Any, values: Iterable[Any], most_ticks: int = 6) -> bool:
    """Make an axis (`axes.xaxis` or `axes.yaxis`) logarithmic, if any value is positive and finite.

    Other values are not drawn. Limits are those of the values, with a margin. An axis over many decades has at most
    about `most_ticks` ticks.

    Returns:
        bool: Whether any value can be shown.
    """
    positive = positive_values(values)
    axes, which = axis.axes, axis.axis_name
    if not len(positive):
        axis.set_ticks([])
        axes.text(0.5, 0.5, "no positive values", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return False
    low, high = np.log10(positive.min()), np.log10(positive.max())
    margin = 0.06 * max(high - low, 0.8)
    getattr(axes, f"set_{which}scale")("log", nonpositive="mask")
    limits = 10.0 ** max(low - margin, -307), 10.0 ** min(high + margin, 307)
    getattr(axes, f"set_{which}lim")(*limits)
    few = high - low < 1.5  # powers of ten alone would give one label or none
    axis.set_major_locator(FixedLocator(_few_ticks(*limits)) if few else LogLocator(numticks=most_ticks))
    axis.set_major_formatter(_tick_text if few else lambda value, _: power_of_ten(round(np.log10(value))))
    axis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=20) if 0.5 < high - low < 4 else NullLocator())
    axis.set_minor_formatter(NullFormatter())
    return True


def _few_ticks(low: float, high: float) -> list[float]:
    """Place ticks at 1, 2 and 5 of every decade or, if that gives at most one, at a few round numbers."""
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5) if low <= step * 10.0**decade <= high]
    return ticks if len(ticks) > 1 else [tick for tick in MaxNLocator(3).tick_values(low, high) if low <= tick <= high]


def _tick_text(value: float, position: int | None = None) -> str:
    """Format a tick, such as 0.05 or 2000, in Unicode: mathtext would take most of the time of a figure."""
    return f"{value:.4g}" if 1e-3 < value < 1e4 else printed(value)


def positive_values(values: Iterable[Any]) -> np.ndarray:
    """Join the numbers of arrays that a logarithmic axis can show, the positive finite ones."""
    parts = [np.asarray(part, dtype=float).ravel() for part in values]
    every = np.concatenate(parts) if parts else np.empty(0)
    return every[np.isfinite(every) & (every > 0)]


def panel_grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    axes.grid(True, axis=axis, color=LIGHT, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend(figure: Figure, handles: Sequence[Any], columns: int = 6, where: str = "upper") -> None:
    """Add a legend above all panels, or below (`lower`)."""
    figure.legend(handles=list(handles), loc=f"{where} center", ncols=min(columns, len(handles)))


def handle(look: Look, **more: Any) -> Line2D:
    """Make the legend's line for a model type."""
    return Line2D([], [], **look.line(marker=look.marker, label=look.label, **more))
