"""The layout of a figure, computed once for all formats.

Matplotlib recomputes ticks and labels, five artists each, whenever it measures or draws an axis: several times per
layout and again for every format. This took half the time of a figure. Here they become plain lines and texts, whose
sizes give the margins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT, TICKRIGHT, TICKUP
from matplotlib.text import Text
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation, Transform

PAD = 0.04  # inches around every panel with its labels, and around titles and legends of the figure
OFFSET_PAD = 3  # points
SIDES = {"x": ("bottom", "top"), "y": ("left", "right")}
# By side: the direction away from the panel, the marker of a tick, and the alignment of its label.
OUTWARD = {"bottom": (0, -1), "top": (0, 1), "left": (-1, 0), "right": (1, 0)}
MARKS = {"bottom": TICKDOWN, "top": TICKUP, "left": TICKLEFT, "right": TICKRIGHT}
ALIGNED = {
    "bottom": {"ha": "center", "va": "top"},
    "top": {"ha": "center", "va": "bottom"},
    "left": {"ha": "right", "va": "center_baseline"},
    "right": {"ha": "left", "va": "center_baseline"},
}
Margins = dict[str, float]  # by side, in pixels
# Margins in inches for a first guess: the number of ticks of an axis depends a little on its length.
TYPICAL = {"left": 0.3, "right": 0.05, "bottom": 0.12, "top": 0.1}


class GridLayout(LayoutEngine):
    """Makes panels as large as labels, legends and titles allow, with sizes in the ratios of their grid.

    Args:
        wspace (float): Least gap between two panels, relative to a panel's share of the width.
    """

    _adjust_compatible = True
    _colorbar_gridspec = False

    def __init__(self, wspace: float) -> None:
        super().__init__()
        self.wspace = wspace

    def execute(self, fig: Figure) -> None:
        """Place everything; this works once, because ticks become plain lines."""
        canvas = fig.canvas if isinstance(fig.canvas, FigureCanvasAgg) else FigureCanvasAgg(fig)
        renderer = canvas.get_renderer()
        outside = _outside(fig, renderer)
        typical = {side: fig.dpi * inches for side, inches in TYPICAL.items()}
        self._place(fig, dict.fromkeys(fig.axes, typical), outside)
        self._place(fig, {axes: _settle(fig, axes, renderer) for axes in fig.axes}, outside)
        fig.set_layout_engine("none")

    def _place(self, figure: Figure, around: Mapping[Axes, Margins], outside: Margins) -> None:
        pad, (width, height) = PAD * figure.dpi, figure.bbox.size
        specs = {axes: spec for axes in around if (spec := axes.get_subplotspec()) is not None}
        grid = next(iter(specs.values())).get_gridspec()
        columns = [(specs[axes].colspan, margins["left"], margins["right"]) for axes, margins in around.items()]
        rows = [(specs[axes].rowspan, margins["top"], margins["bottom"]) for axes, margins in around.items()]
        between = max(pad, self.wspace * width / grid.ncols / 2)
        ends = {side: room + pad for side, room in outside.items()}
        left, right = _spans(width, (ends["left"], ends["right"]), columns, between, grid.get_width_ratios())
        top, bottom = _spans(height, (ends["top"], ends["bottom"]), rows, pad, grid.get_height_ratios())
        for axes, spec in specs.items():
            x, y = left[spec.colspan.start], height - bottom[spec.rowspan.stop - 1]
            size = right[spec.colspan.stop - 1] - x, height - top[spec.rowspan.start] - y
            axes.set_position((x / width, y / height, size[0] / width, size[1] / height))


def _spans(
    total: float, ends: tuple[float, float], cells: Iterable[tuple[range, float, float]], between: float, ratios: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Compute where the panels of every column, or of every row, begin and end.

    Args:
        ends: Space before the first and after the last, besides margins.
        cells: Columns of each panel, and its margins before and after.
        between: Space on either side of a gap between two panels.
        ratios (sequence of float): Relative sizes.
    """
    before, after = np.zeros((2, len(ratios)))
    for span, ahead, behind in cells:
        before[span.start] = max(before[span.start], ahead)
        after[span.stop - 1] = max(after[span.stop - 1], behind)
    before[0] += ends[0]
    after[-1] += ends[1]
    before[1:] += between
    after[:-1] += between
    sizes = (total - before.sum() - after.sum()) * np.asarray(ratios) / sum(ratios)
    stops = np.cumsum(before + sizes + after) - after
    return stops - sizes, stops


def _outside(figure: Figure, renderer: Any) -> Margins:
    """Place the titles of the figure; return the margins that they and its legends take."""
    margins, pad, (width, height) = dict.fromkeys(OUTWARD, 0.0), PAD * figure.dpi, figure.bbox.size
    for artist in (*figure.texts, *figure.legends):
        box = artist.get_window_extent(renderer)
        side = "left" if box.height > box.width else "top" if box.y0 + box.y1 > height else "bottom"
        margins[side] = (box.width if side == "left" else box.height) + 2 * pad
        if isinstance(artist, Text):
            artist.set(
                **{"left": {"x": pad / width}, "top": {"y": 1 - pad / height}, "bottom": {"y": pad / height}}[side]
            )
    return margins


def _settle(figure: Figure, axes: Axes, renderer: Any) -> Margins:
    """Turn the axes of a panel into plain artists; return how far its texts extend beyond it."""
    locator = axes.get_axes_locator()  # only colour bars have one, in spite of its type
    axes.apply_aspect(locator(axes, renderer) if locator is not None else None)
    frame = axes.get_window_extent(renderer)
    boxes = [_settle_axis(figure, axes, name, renderer) for name in SIDES] if axes.axison else []
    if boxes and axes.xaxis.get_ticks_position() == "top":  # where the title would be
        moved = _moved(figure, "top", _beyond(frame, boxes[0], "top") * 72 / figure.dpi)
        axes.title.set_transform(axes.title.get_transform() + moved)
    texts = [text for text in (axes.title, *axes.texts) if text.get_text() and text.get_transform() != axes.transData]
    every = Bbox.union([frame, *boxes, *(text.get_window_extent(renderer) for text in texts)])
    return {side: _beyond(frame, every, side) for side in OUTWARD}


def _settle_axis(figure: Figure, axes: Axes, name: str, renderer: Any) -> Bbox:
    """Replace an axis by plain ticks, grid lines and labels; return the box of its texts and of the panel."""
    axis = axes.xaxis if name == "x" else axes.yaxis
    place = axes.get_xaxis_transform() if name == "x" else axes.get_yaxis_transform()
    frame, zorder = axes.get_window_extent(renderer), axis.get_zorder()
    boxes, reach = [frame], dict.fromkeys(SIDES[name], 0.0)

    def draw(along: Any, across: Any, inside: bool, **look: Any) -> None:
        line = Line2D(*((along, across) if name == "x" else (across, along)), transform=place, zorder=zorder, **look)
        axes.add_artist(line)
        line.set_clip_on(inside)

    def write(text: Text, along: float, across: float, transform: Transform) -> Bbox:
        x, y = (along, across) if name == "x" else (across, along)
        text.set(x=x, y=y, transform=transform, zorder=zorder)
        axes.add_artist(text)
        text.set_clip_on(False)
        return text.get_window_extent(renderer)

    for which in ("major", "minor"):
        ticks, labels, look = _ticks(axis, f"{name}tick", which)
        if look.get("gridOn"):
            lines = np.tile([0, 1, np.nan], len(ticks))
            draw(np.repeat(ticks, 3), lines, True, color=look["grid_color"], linewidth=look["grid_linewidth"])
        for at, side in enumerate(SIDES[name]):
            if look.get(side) and look["length"]:
                mark = {"marker": MARKS[side], "markersize": look["length"], "markeredgewidth": look["width"]}
                draw(ticks, np.full(len(ticks), at), False, linestyle="none", color="black", **mark)
            if look.get(f"label{side}"):
                moved = place + _moved(figure, side, look["length"] + look["pad"])
                for tick, label in zip(ticks, labels, strict=True):
                    text = Text(text=label, fontsize=look["labelsize"])
                    text.set(**ALIGNED[side])
                    boxes.append(write(text, tick, at, moved))
                    reach[side] = max(reach[side], _beyond(frame, boxes[-1], side))
    if (offset := axis.get_major_formatter().get_offset()) and any(reach.values()):
        # The common factor or offset of the labels: above a vertical axis, at the right end of a horizontal one.
        end, side = ("right", "bottom") if name == "x" else ("left", "top")
        text = Text(text=offset, fontsize=matplotlib.rcParams[f"{name}tick.labelsize"])
        text.set(ha=end, va=ALIGNED[side]["va"])
        moved = axes.transAxes + _moved(figure, side, reach.get(side, 0) * 72 / figure.dpi + OFFSET_PAD)
        boxes.append(write(text, 1, 0, moved))
    if axis.label.get_text():
        side = axis.get_label_position()
        text = Text(text=axis.label.get_text())
        text.update_from(axis.label)
        text.set_rotation_mode(axis.label.get_rotation_mode())
        moved = axes.transAxes + _moved(figure, side, reach[side] * 72 / figure.dpi + axis.labelpad)
        box = write(text, 0.5, SIDES[name].index(side), moved)
        # However long the text is, it does not shrink the panel.
        x, y = (frame, box) if name == "x" else (box, frame)
        boxes.append(Bbox.from_extents(x.x0, y.y0, x.x1, y.y1))
    axis.set_visible(False)
    return Bbox.union(boxes)


def _ticks(axis: Axis, rc: str, which: str) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    """The visible ticks of an axis, their labels, and their look as arguments of `tick_params`."""
    ticker = getattr(axis, which)
    if isinstance(ticker.locator, NullLocator):
        return np.empty(0), [], {}
    found = np.asarray(axis.get_ticklocs(minor=which == "minor"), dtype=float)
    (start, end), places = map(axis.get_transform().transform, (np.asarray(axis.get_view_interval()), found))
    shown = np.abs(places - (start + end) / 2) <= abs(end - start) * (0.5 + 1e-10)
    labels = [label for label, is_shown in zip(ticker.formatter.format_ticks(found), shown, strict=True) if is_shown]
    defaults = {"length": f"{which}.size", "width": f"{which}.width", "pad": f"{which}.pad", "labelsize": "labelsize"}
    look = {key: matplotlib.rcParams[f"{rc}.{name}"] for key, name in defaults.items()}
    return found[shown], labels, look | axis.get_tick_params("major" if which == "major" else "minor")


def _moved(figure: Figure, side: str, points: float) -> Transform:
    x, y = OUTWARD[side]
    return ScaledTranslation(x * points / 72, y * points / 72, figure.dpi_scale_trans)


def _beyond(frame: Bbox, box: Bbox, side: str) -> float:
    """How far a box extends beyond a side of a frame, in pixels."""
    return {
        "left": frame.x0 - box.x0,
        "right": box.x1 - frame.x1,
        "bottom": frame.y0 - box.y0,
        "top": box.y1 - frame.y1,
    }[side]
