"""Draws the figures of a run and writes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure as Canvas

from kanbench.errors import InputError
from kanbench.plan.figures import KINDS, Figure, figures_of
from kanbench.presentation.figures.data import FigureUnavailableError, Note
from kanbench.presentation.figures.files import save
from kanbench.presentation.figures.style import GREY, new_figure, style
from kanbench.storage.stored_run import StoredRun

log = logging.getLogger("kanbench")


def draw(stored: StoredRun, figure: Figure, note: Note = lambda text: None) -> Canvas:
    """Draw one figure.

    Args:
        note (callable): Called with a line for every part of the figure that is left out.

    Raises:
        FigureUnavailableError: The run lacks the data for the figure.
    """
    kind = KINDS[figure.kind]
    module, function = kind.draw.split(":")
    drawing = getattr(import_module(f"kanbench.presentation.figures.{module}"), function)
    return drawing(stored, note, *filter(None, (kind.argument, figure.dataset)))


def make_figures(
    stored: StoredRun, folder: str | Path | None = None, only: Iterable[str] | None = None, placeholders: bool = False
) -> list[str]:
    """Draw a run's figures and write them; figures without data are left out and logged.

    Args:
        folder (path, optional): Default: `results/figures/{name of the run}`.
        only (iterable of str, optional): Names of figures; default: all.
        placeholders (bool): Whether to write a page with the reason in place of a figure that is left out, because the
            workflow expects a file.

    Returns:
        list of str: Names of the drawn figures.

    Raises:
        InputError: The run has no figure of a given name, or a file cannot be written.
    """
    figures = {figure.name: figure for figure in figures_of(stored.run.section, stored.inputs)}
    wanted = list(figures) if only is None else list(only)
    for name in wanted:
        if name not in figures:
            raise InputError("only", name, ", ".join(figures))
    for text in stored.comparable.notes:
        log.info("%s: %s", stored.name, text)
    folder, drawn = str(folder or stored.run.figure_folder), []
    for name in wanted:
        with style():
            try:
                canvas = draw(stored, figures[name], partial(log.info, "%s: %s", name))
                drawn.append(name)
            except FigureUnavailableError as reason:
                log.info("%s: left out: %s", name, reason)
                if not placeholders:
                    continue
                canvas = new_figure(1.0)
                axes = canvas.subplots()
                axes.set_axis_off()
                why = fill(f"{name}: left out: {reason}", 100)
                axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
            save(canvas, folder, name)
    return drawn
