"""Draw the figures of a run, and write them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure as Canvas

from kanbench.errors import InputError
from kanbench.plan.figures import Figure, figures_of
from kanbench.presentation.figures.comparison import comparison_figure
from kanbench.presentation.figures.diagram import merge_diagram_figure
from kanbench.presentation.figures.losses import losses_figure, merge_history_figure
from kanbench.presentation.figures.merging import experts_figure, gain_figure
from kanbench.presentation.figures.node_grids import grids_figure
from kanbench.presentation.figures.params import params_figure
from kanbench.presentation.figures.source import FigureUnavailableError, Note, Source
from kanbench.presentation.figures.style import GREY, new_figure, save, style

log = logging.getLogger("kanbench")


def draw(source: Source, figure: Figure, note: Note = lambda text: None) -> Canvas:
    """Draw one figure.

    Parameters
    ----------
    note : callable
        Given a line for every part of the figure that is left out.

    Raises
    ------
    FigureUnavailableError
        The run does not have what the figure needs.
    """
    kind = figure.kind
    if kind.startswith("loss_"):
        return losses_figure(source, note, {"epochs": "epoch", "time": "time", "evals": "n_evals"}[kind[5:]])
    if kind == "merge_diagram":
        return merge_diagram_figure(source, note, figure.dataset)
    if kind in ("surface", "slices"):
        from kanbench.presentation.figures.surfaces import slices_figure, surface_figure

        return (surface_figure if kind == "surface" else slices_figure)(source, note, figure.dataset)
    return PLAIN[kind](source, note)


PLAIN = {
    "comparison": comparison_figure,
    "params": params_figure,
    "grids": grids_figure,
    "gain": gain_figure,
    "experts": experts_figure,
    "merge_history": merge_history_figure,
}


def make_figures(
    source: Source, folder: str | Path | None = None, only: Iterable[str] | None = None, placeholders: bool = False
) -> list[str]:
    """Draw a run's figures and write them; what the run does not have data for is left out, and the log says so.

    Parameters
    ----------
    folder : path, optional
        Default: `results/figures/{name of the run}`.
    only : iterable of str, optional
        Names of figures; all that are not given.
    placeholders : bool
        Whether to write a page that says why in place of a figure that is left out: the workflow has promised a file.

    Returns
    -------
    list of str
        The names of the figures that were drawn.

    Raises
    ------
    InputError
        A name is not that of a figure of the run, or a file cannot be written.
    """
    figures = {figure.name: figure for figure in figures_of(source.run.section, source.datasets.values())}
    wanted = list(figures) if only is None else list(only)
    for name in wanted:
        if name not in figures:
            raise InputError("only", f"{name!r}; allowed for {source.run.name}: {', '.join(figures)}")
    folder, drawn = str(folder or source.run.figure_folder), []
    for name in wanted:
        with style():
            try:
                canvas = draw(source, figures[name], lambda text, name=name: log.info("%s: %s", name, text))
                drawn.append(name)
            except FigureUnavailableError as reason:
                log.info("%s: left out: %s", name, reason)
                if not placeholders:
                    continue
                canvas = _page(f"{name}: left out: {reason}")
            save(canvas, folder, name)
    return drawn


def _page(text: str) -> Canvas:
    canvas = new_figure(1.0)
    axes = canvas.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, fill(text, 100), transform=axes.transAxes, ha="center", va="center", color=GREY)
    return canvas
