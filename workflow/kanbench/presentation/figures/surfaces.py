"""Surfaces of problems with two inputs (fit, truth and error), and slices of problems with any number."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D

from kanbench.io.numbers import power_of_ten, printed, subscript
from kanbench.plan.labels import problem_label
from kanbench.presentation.figures import style
from kanbench.presentation.figures.data import GRID_POINTS, Fit, Note, centres, fits, line, plane, problem_of
from kanbench.problems.tables import TableProblem
from kanbench.storage.stored_run import StoredRun

MOST_AXES = 3  # most axes with slices
MARKER = 6  # size of the rows of a table, in square points
COLOURS = "cividis"  # lightness increases evenly: the same order in greyscale and for the colour-blind
BAR = 0.06  # width of a colour bar relative to a panel
DECADES = 8  # most decades of errors that are shown


def surface_figure(stored: StoredRun, note: Note, dataset: str) -> Figure:
    """Draw the truth, and the fit and absolute error of every model type, on one colour scale each."""
    problem, found = problem_of(stored, dataset), fits(stored, dataset, note)
    if isinstance(problem, TableProblem):
        note("the problem is a table: its rows are shown, because its target is known only there")
        points, wanted = problem.inputs, problem.outputs[:, 0]
        names = problem.columns.inputs
    else:
        names = "x₁", "x₂"
        points = plane(problem)
        wanted = problem.values(points)[:, 0]
    values = [fit.values(points) for fit in found]
    errors = [np.abs(value - wanted) for value in values]
    colours = Normalize(wanted.min(), wanted.max()), error_scale(errors)

    n, styles = len(found), style.looks(stored.model_types)
    figure = style.new_figure(0.6 + 2 * 6.2 / (n + 1.5), style.WIDE if n > 1 else 5.0)
    cells = figure.add_gridspec(2, n + 2, width_ratios=[*[1] * (n + 1), BAR])

    def show(cell: SubplotSpec, value: np.ndarray, norm: Normalize) -> Axes:
        axes = figure.add_subplot(cell)
        if isinstance(problem, TableProblem):
            axes.scatter(points[:, 0], points[:, 1], c=value, s=MARKER, norm=norm, cmap=COLOURS, linewidths=0)
        else:
            image, (x, y) = value.reshape(GRID_POINTS, GRID_POINTS), problem.domain
            axes.imshow(image, norm=norm, cmap=COLOURS, extent=(*x, *y), origin="lower", aspect="auto")
        axes.set_box_aspect(1)
        axes.locator_params(nbins=4 if value is wanted else 2)
        axes.tick_params(labelleft=False)
        return axes

    target = show(cells[:, 0], wanted, colours[0])
    target.set(title="truth", xlabel=names[0], ylabel=names[1])
    target.tick_params(labelleft=True)
    rows: tuple[list[Axes], list[Axes]] = [], []
    for column, (fit, value, error) in enumerate(zip(found, values, errors, strict=True), start=1):
        upper, lower = show(cells[0, column], value, colours[0]), show(cells[1, column], error, colours[1])
        upper.tick_params(labelbottom=False)
        upper.set_title(f"{styles[fit.model_type].label}\n{fit.moment}")
        lower.set_xlabel(f"{names[0]}\nRMSE {printed(np.sqrt(np.mean(error**2)))}")
        rows[0].append(upper)
        rows[1].append(lower)
    for row, label, extend in zip(rows, ("value", "absolute error"), ("both", "min"), strict=True):
        cax = figure.add_subplot(cells[rows.index(row), -1], box_aspect=18, anchor="W")
        bar = figure.colorbar((row[-1].images or row[-1].collections)[0], cax=cax, label=label, extend=extend)
        bar.outline.set_linewidth(0.4)
        if row is rows[1]:
            bar.ax.yaxis.set_major_formatter(lambda value, _: power_of_ten(round(np.log10(value))))
    figure.suptitle(problem_label(dataset))
    return figure


def error_scale(errors: list[np.ndarray]) -> LogNorm:
    """Make a logarithmic colour scale for all errors, except those more than `DECADES` below the largest."""
    positive = style.positive_values(errors)
    if not len(positive):
        return LogNorm(1e-16, 1.0)
    high = positive.max()
    low = max(np.quantile(positive, 0.01), high * 10.0**-DECADES)
    return LogNorm(min(low, high / 10), high)


def slices_figure(stored: StoredRun, note: Note, dataset: str) -> Figure:
    """Draw values and absolute errors along the first axes, through the centre and through the target's peak."""
    problem, found = problem_of(stored, dataset), fits(stored, dataset, note)
    if isinstance(problem, TableProblem):
        note("the problem is a table, without values along lines: the models are shown against its rows")
        return _against_rows(stored, problem, found)
    styles, along_axes = style.looks(stored.model_types), range(min(problem.dim, MOST_AXES))
    figure = style.new_figure(6.6, style.WIDE if len(along_axes) > 1 else 4.5)
    panels = figure.subplots(4, len(along_axes), sharex="col", squeeze=False)
    for (where, centre), pair in zip(centres(problem).items(), (panels[:2], panels[2:]), strict=True):
        drawn = []
        for axis in along_axes:
            upper, lower = pair[:, axis]
            x, points = line(problem, centre, axis)
            wanted = problem.values(points)[:, 0]
            upper.plot(x, wanted, color=style.LIGHT, linewidth=4, label="truth")
            for fit in found:
                value, look = fit.values(points), styles[fit.model_type]
                upper.plot(x, value, **look.line(label=fit.model_type))
                lower.plot(x, np.abs(value - wanted), **look.line(label=fit.model_type, linewidth=0.8))
                drawn.append(np.abs(value - wanted))
            for axes in (upper, lower):
                style.panel_grid(axes)
                axes.set_xlim(x[0], x[-1])
            upper.set_title(slice_title(where, centre, axis))
        for lower in pair[1]:
            # Errors change sign; values far below the rest are the zeros in between.
            positive = style.positive_values(drawn)
            style.log_scale(lower.yaxis, [positive[positive >= np.quantile(positive, 0.01)]] if len(positive) else [])
        pair[0, 0].set_ylabel("value")
        pair[1, 0].set_ylabel("absolute error")
    for axis, axes in zip(along_axes, panels[-1], strict=True):
        axes.set_xlabel(f"x{subscript(axis + 1)}")
    handles = [Line2D([], [], color=style.LIGHT, linewidth=4, label="truth")]
    for fit in found:
        look = styles[fit.model_type]
        handles.append(Line2D([], [], **look.line(label=f"{look.label} {fit.moment}")))
    style.legend(figure, handles, 4 if len(along_axes) > 1 else 2, "lower")
    figure.suptitle(problem_label(dataset))
    return figure


def _against_rows(stored: StoredRun, problem: TableProblem, found: list[Fit]) -> Figure:
    """Draw every model's values and absolute errors over the target, at the rows of a table."""
    styles, wanted = style.looks(stored.model_types), problem.outputs[:, 0]
    figure = style.new_figure(4.2, style.WIDE if len(found) > 1 else 4.5)
    panels = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    values = [fit.values(problem.inputs) for fit in found]
    errors = [np.abs(value - wanted) for value in values]
    for fit, value, error, (upper, lower) in zip(found, values, errors, panels.T, strict=True):
        look = styles[fit.model_type]
        upper.axline((wanted[0], wanted[0]), slope=1, color=style.LIGHT, linewidth=4)
        upper.scatter(wanted, value, s=MARKER, color=look.color, linewidths=0, zorder=3)
        lower.scatter(wanted, error, s=MARKER, color=look.color, linewidths=0, zorder=3)
        upper.set_title(f"{look.label}\n{fit.moment}")
        lower.set_xlabel(problem.columns.target)
        for axes in (upper, lower):
            style.panel_grid(axes)
    style.log_scale(panels[1, 0].yaxis, [np.maximum(error, np.quantile(error, 0.01)) for error in errors])
    panels[0, 0].set_ylabel("value of the model")
    panels[1, 0].set_ylabel("absolute error")
    figure.suptitle(problem.name)
    return figure


def slice_title(where: str, centre: np.ndarray, axis: int) -> str:
    """Describe the line of a slice by the values of the fixed inputs."""
    others = [(i, value) for i, value in enumerate(centre) if i != axis]
    held = ", ".join(f"x{subscript(i + 1)} = {value:.2g}".replace("-", "−") for i, value in others[:2])
    more = ", …" if len(others) > 2 else ""
    return f"through {where}{': ' if held else ''}{held}{more}"
