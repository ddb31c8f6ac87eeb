"""Tables and their formats: CSV in full precision; LaTeX, Markdown and HTML rounded for readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, nan
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from kanbench.io.atomic import atomic_folder
from kanbench.io.numbers import factor_text, short
from kanbench.plan.labels import MOMENTS, model_label, problem_labels
from kanbench.presentation.templates import render

HEADERS = {  # column, without the prefix of its group → heading
    "dataset": "problem",
    "time": "seconds",
    "dense_mse": "dense MSE",
    "rmse": "RMSE",
    "relative_l2": "relative L2",
    "num_params": "parameters",
    "total_neurons": "nodes",
    "set_up": "set-up",
    "better_on": "lower on",
    **{f"{who}_{key}": f"{who}, {moment.name}" for who in ("merged", "control") for key, moment in MOMENTS.items()},
}
EQUAL_NAMES = " = "  # joins the names of model types with the same error
MODEL_COLUMNS = ("optimizer", "approach", "model_type", "first", "against")  # contain names of model types
COUNTS = ("epoch", "n_evals", "params", "neurons", "seeds", "problems", "experts", "better_on", "equal_on")
MISSING = "–"
LONG = 60  # characters: longer texts are sentences
WIDE = 110  # characters: wider tables would be too small on an upright page
PAGE = 30  # rows on a page of LaTeX, with room for caption and notes
SPECIAL = str.maketrans(  # for LaTeX; pandas' own escape leaves <, > and | as they are
    {letter: rf"\{letter}" for letter in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


def plain(name: str, value: float) -> str:
    """Format a number for readers: counts as integers, others with two digits."""
    if name.endswith(COUNTS):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return factor_text(value) if "factor" in name or "gain" in name else short(value)


@dataclass(frozen=True)
class Cell:
    """A cell: `place` is `left`, `right`, or `words` for sentences; `value` is the sort key of a number."""

    text: str
    place: str
    value: float | None = None


@dataclass(frozen=True)
class Part:
    """A part of a table; `heads` are headings and their places."""

    group: str
    heads: list[tuple[str, str]]
    rows: list[list[Cell]]
    is_turned: bool = False

    @property
    def width(self) -> int:
        """Approximate characters of a row."""
        lines = [[head for head, _ in self.heads], *([cell.text for cell in row] for row in self.rows)]
        return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True))

    def pages(self) -> list[list[list[Cell]]]:
        """Split the rows evenly into as few pages of LaTeX as possible."""
        size = ceil(len(self.rows) / max(ceil(len(self.rows) / PAGE), 1))
        return [self.rows[start : start + size] for start in range(0, len(self.rows), max(size, 1))] or [[]]


@dataclass(frozen=True)
class Table:
    """A table of a paper or a report.

    Attributes:
        frame (DataFrame): Numbers in full precision. A column `x` may have companions `x_low` and `x_high`: its
            interval.
        notes (tuple of str): Printed below the table.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    def csv(self) -> str:
        counts = (*COUNTS, "flops")
        whole = [n for n in map(str, self.frame) if n.endswith(counts) and (self.frame[n].dropna() % 1 == 0).all()]
        return self.frame.astype(dict.fromkeys(whole, "Int64")).to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        lines = [f"**{self.caption}**"]
        for part in self.parts():
            rows = [[cell.text.replace("|", r"\|") for cell in row] for row in part.rows]
            align = ["right" if place == "right" else "left" for _, place in part.heads]
            heads = [head.replace("|", r"\|") for head, _ in part.heads]
            table = tabulate(rows, heads, tablefmt="pipe", colalign=align, disable_numparse=True)
            lines += ["", *([f"*{part.group}*", ""] if part.group else []), table]
        return "\n".join([*lines, *(line for note in self.notes for line in ("", note)), ""])

    def latex(self) -> str:
        """Write LaTeX environments that each fit on a page; they need booktabs, graphicx and rotating."""
        floats = [
            self._float(part, rows, "sidewaystable" if as_text.width > WIDE else "table", rows is not pages[0])
            for part, as_text in zip(self.parts(_mathematical, latex_escape), self.parts(), strict=True)
            for pages in [part.pages()]
            for rows in pages
        ]
        notes = [rf"\par\smallskip\noindent\footnotesize {latex_escape(note)}" for note in self.notes]
        head, end, rest = floats[-1].rpartition(r"\end{")
        floats[-1] = head + "".join(f"{note}\n" for note in notes) + end + rest
        return "\n".join([r"% \usepackage{booktabs,graphicx,rotating}", *floats])

    def _float(self, part: Part, rows: list[list[Cell]], environment: str, is_continued: bool) -> str:
        """Write some rows of a part as one environment, with its caption."""
        caption = ": ".join(filter(None, (latex_escape(self.caption).rstrip("."), part.group)))
        label = "-".join(filter(None, (self.name, part.group.replace(" ", "-"))))
        lines = [rf"\begin{{{environment}}}", r"\centering"]
        lines.append(rf"\caption{{{caption}{' (continued)' if is_continued else ''}.}}")
        lines += [] if is_continued else [rf"\label{{tab:{label}}}"]
        lines += [_tabular(part, rows), rf"\end{{{environment}}}"]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """Write a self-contained HTML page."""
        return render("table.html.jinja", shown=self)

    def parts(self, number: Callable[[str, float], str] = plain, escape: Callable[[str], str] = str) -> list[Part]:
        """Split the table for display: one part per group of columns, each with the key columns.

        Without groups there is one part, transposed if it is much wider than high.
        """
        names = list(self._places)
        cells = self._cells(number, escape)
        groups = list(dict.fromkeys(group for group, _ in map(header, names) if group))
        if not groups and len(names) > 2 * len(cells):
            return [_turned(names, cells, escape)]
        made = []
        for group in groups or [""]:
            chosen = [position for position, name in enumerate(names) if header(name)[0] in ("", group)]
            heads = [(escape(header(names[i])[1]), self._places[names[i]]) for i in chosen]
            made.append(Part(group, heads, [[row[i] for i in chosen] for row in cells]))
        return made

    def write(self, folder: str | Path) -> None:
        """Write the four files into a folder, all or none of them."""
        contents = {"csv": self.csv(), "tex": self.latex(), "md": self.markdown(), "html": self.html()}
        with atomic_folder(folder, about=Path(folder) / self.name) as partial:
            for suffix, text in contents.items():
                (partial / f"{self.name}.{suffix}").write_text(text, encoding="utf-8", newline="\n")

    @cached_property
    def _places(self) -> dict[str, str]:
        """Where displayed columns have their cells: numbers `right`, names `left`, sentences `words`.

        Not displayed are bounds of intervals, which are shown with their value, and empty columns.
        """
        names = [name for name in self.frame.columns if self.frame.empty or not self.frame[name].eq("").all()]
        shown = [n for n in names if not (n.endswith(("_low", "_high")) and n.rsplit("_", 1)[0] in names)]
        return {name: _place(self.frame[name]) for name in shown}

    def _cells(self, number: Callable[[str, float], str], escape: Callable[[str], str]) -> list[list[Cell]]:
        """Format the cells of the displayed columns, row by row."""
        problems = problem_labels(self.frame["dataset"].dropna().unique()) if "dataset" in self.frame else {}

        def cell(row: dict[Any, Any], name: str) -> Cell:
            value, low, high = (row.get(key, nan) for key in (name, f"{name}_low", f"{name}_high"))
            place = self._places[name]
            if value is None or pd.isna(value):
                return Cell(MISSING, place)
            if not isinstance(value, str):
                interval = "" if pd.isna(low) else f" ({number(name, low)} to {number(name, high)})"
                return Cell(number(name, value) + interval, place, float(value))
            if name == "dataset":
                value = problems[value]
            elif name in MODEL_COLUMNS:
                value = EQUAL_NAMES.join(map(model_label, value.split(EQUAL_NAMES)))
            return Cell(escape(value), place)

        rows = self.frame.astype(object).to_dict("records")
        return [[cell(row, name) for name in self._places] for row in rows]


def _place(column: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(column):
        return "right"
    return "words" if column.str.len().max() > LONG else "left"


def _turned(names: list[str], cells: list[list[Cell]], escape: Callable[[str], str]) -> Part:
    """Transpose a table; the first cell of each row becomes a heading."""
    heads = [escape(": ".join(filter(None, header(name)))) for name in names]
    first, *rows = [[Cell(head, "left"), *column] for head, column in zip(heads, zip(*cells, strict=True), strict=True)]
    return Part("", [(cell.text, "right" if i else "left") for i, cell in enumerate(first)], rows, is_turned=True)


def _tabular(part: Part, rows: list[list[Cell]]) -> str:
    """Write a tabular with booktabs rules, scaled down to the text width if wider."""
    widths = {"right": "r", "left": "l", "words": r"p{0.5\linewidth}"}
    columns = "".join(widths[place] for _, place in part.heads)
    lines = [" & ".join(head for head, _ in part.heads)]
    lines += [" & ".join("--" if cell.text == MISSING else cell.text for cell in row) for row in rows]
    head, *body = [rf"{line} \\" for line in lines]
    fit = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    table = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    return "\n".join([fit, *table])


def header(name: str) -> tuple[str, str]:
    """Return the headings of a column: its group's (may be empty) and its own."""
    group = next((group for group in MOMENTS if name.startswith(f"{group}_")), "")
    rest = name.removeprefix(f"{group}_") if group else name
    plain_words = model_label(rest).replace("n_evals", "evaluations").replace("params", "parameters").replace("_", " ")
    words = HEADERS.get(rest, plain_words)
    return MOMENTS[group].name if group else "", words


def _mathematical(name: str, value: float) -> str:
    mantissa, _, exponent = plain(name, value).partition("e")
    return rf"${mantissa}\times10^{{{exponent}}}$" if exponent else mantissa.replace(",", "{,}")


def latex_escape(text: str) -> str:
    return text.translate(SPECIAL)
