"""Formats the matrix of an answer as text, for the page and the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from kanbench.analysis.answers import Matrix, Row
from kanbench.analysis.statements import Statement
from kanbench.io.numbers import factor_text, short
from kanbench.plan.labels import MOMENTS, model_label, problem_labels
from kanbench.presentation.tables.table import MISSING

ALL = "all"


@dataclass(frozen=True)
class Line:
    """One problem: the errors, whether each is the lowest, and the factor with its interval."""

    label: str
    errors: tuple[str, ...]
    best: tuple[bool, ...]
    factor: str
    interval: str  # empty for one seed


@dataclass(frozen=True)
class ShownMatrix:
    """The text of a matrix.

    Attributes:
        measure, short_measure (str): Names of the error measure.
        definition (str): Definition of the measure; empty for the plain dense MSE.
        ratio (str): Name of the factor, such as `next best/best`.
        has_doubts (bool): Whether a factor is marked `?`: not decided in spite of enough seeds.
    """

    measure: str
    short_measure: str
    definition: str
    compared: tuple[str, ...]
    ratio: str
    lines: tuple[Line, ...]
    has_doubts: bool


def shown(matrix: Matrix) -> ShownMatrix:
    """Format a matrix as text."""
    labels, moment = problem_labels([row.dataset for row in matrix.rows if row.dataset]), MOMENTS[matrix.comparison]
    ratio = "next best/best" if matrix.ratio is None else "/".join(map(model_label, matrix.ratio))
    long, brief = ("relative error", "MSE/variance") if matrix.is_relative else ("dense MSE", "dense MSE")
    lines = tuple(_line(row, labels[row.dataset] if row.dataset else ALL) for row in matrix.rows)
    return ShownMatrix(
        f"{long} {moment.at}",
        f"{brief}, {moment.name}",
        "dense MSE / variance of the target" if matrix.is_relative else "",
        tuple(map(model_label, matrix.compared)),
        ratio,
        lines,
        any(line.factor.endswith("?") for line in lines),
    )


def _line(row: Row, label: str) -> Line:
    errors = tuple(MISSING if isnan(error) else short(error) for error in row.errors)
    return Line(label, errors, row.best, *factor_texts(row.statement))


def factor_texts(statement: Statement | None) -> tuple[str, str]:
    """Format a factor, such as `2.3`, or `2.3?` if not decided, and its interval."""
    if statement is None or statement.factor is None:
        return MISSING, ""
    factor, numbers = statement.factor, statement.numbers
    sign = "?" if statement.decided is False else ""
    interval = "" if numbers["low"] is None else f"{factor_text(factor.low)}–{factor_text(factor.high)}"
    return f"{factor_text(factor.value)}{sign}", interval
