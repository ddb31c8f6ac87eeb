"""The dot plot of a first screen: the errors of a matrix, as SVG in the colours of the page."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from kanbench.analysis.answers import Matrix
from kanbench.io.numbers import power_of_ten
from kanbench.presentation.looks import BLACK, looks
from kanbench.presentation.matrix import ShownMatrix

WIDTH, RIGHT, TOP, ROW, BOTTOM = 300, 12, 8, 24, 34
APART = 10  # vertical spread of the points of a row, so that equal errors do not hide each other
LETTER = 6.2  # approximate width of a letter at 11 px
MOST_TICKS = 6
SHAPES = {  # matplotlib marker → SVG path around the origin
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "s": "M-3.6-3.6h7.2v7.2h-7.2z",
    "^": "M0-4.6L4.4 3.4H-4.4z",
    "D": "M0-4.8L4.8 0L0 4.8L-4.8 0z",
    "v": "M0 4.6L4.4-3.4H-4.4z",
    "P": "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "X": "M-4-2L-2-4L0-2L2-4L4-2L2 0L4 2L2 4L0 2L-2 4L-4 2L-2 0z",
}


@dataclass(frozen=True)
class Dot:
    """A point of a model type, in px; a colour of None means the text's colour."""

    x: float
    y: float
    shape: str
    color: str | None
    title: str


@dataclass(frozen=True)
class Dots:
    """A dot plot, in px.

    Attributes:
        ticks (tuple): Positions and labels.
        rows (tuple): Vertical centres and labels.
        marks (tuple): Shapes and colours of the compared model types.
    """

    width: int
    height: int
    left: float
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[tuple[float, str], ...]
    dots: tuple[Dot, ...]
    marks: tuple[tuple[str, str | None], ...]


def dots(matrix: Matrix, text: ShownMatrix) -> Dots | None:
    """Lay out a row per problem with errors on a logarithmic axis; None if no error is positive and finite."""
    marks = tuple((SHAPES[look.marker], _color(look.color)) for look in looks(matrix.compared).values())
    positive = [error for row in matrix.rows for error in row.errors if isfinite(error) and error > 0]
    if not positive:
        return None
    low, high = floor(log10(min(positive)) - 0.2), ceil(log10(max(positive)) + 0.2)
    left = 10 + LETTER * max(len(line.label) for line in text.lines)

    def x_of(exponent: float) -> float:
        return round(left + (WIDTH - RIGHT - left) * (exponent - low) / (high - low), 1)

    step = ceil((high - low) / MOST_TICKS)
    ticks = tuple((x_of(exponent), power_of_ten(exponent)) for exponent in range(low, high + 1, step))
    rows, found = [], []
    for number, (row, line) in enumerate(zip(matrix.rows, text.lines, strict=True)):
        y = TOP + ROW * (number + 0.5)
        rows.append((y, line.label))
        for i, (mark, name, error, shown) in enumerate(zip(marks, text.compared, row.errors, line.errors, strict=True)):
            if isfinite(error) and error > 0:
                place = y + APART * (i / max(len(marks) - 1, 1) - 0.5)
                found.append(Dot(x_of(log10(error)), place, *mark, f"{name}, {line.label}: {shown}"))
    height = TOP + ROW * len(matrix.rows) + BOTTOM
    return Dots(WIDTH, height, left, ticks, tuple(rows), tuple(found), marks)


def _color(color: str) -> str | None:
    """Replace black by None, the text's colour, which is white on a dark page."""
    return None if color == BLACK else color
