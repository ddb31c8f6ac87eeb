"""A table, and how it is written: CSV in full precision, LaTeX, Markdown and HTML for readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from kanbench.io.atomic import atomic_folder
from kanbench.io.numbers import factor_text, short
from kanbench.presentation.templates import render

GROUPS = {"threshold": "threshold", "iso_flops": "equal flops", "iso_time": "equal time", "final": "end"}
HEADERS = {  # after the group's name
    "dataset": "problem",
    "time": "seconds",
    "dense_mse": "dense MSE",
    "rmse": "RMSE",
    "relative_l2": "relative L2",
    "num_params": "parameters",
    "total_neurons": "neurons",
    "set_up": "set-up",
}
COUNTS = ("epoch", "n_evals", "params", "neurons", "seeds", "problems", "experts")
MISSING = "–"
LONG = 60  # characters: longer texts are sentences
SPECIAL = str.maketrans(  # for LaTeX; pandas' own escape leaves <, > and | as they are
    {letter: rf"\{letter}" for letter in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


@dataclass(frozen=True)
class Table:
    """A table of a paper or a report.

    Attributes:
        frame (DataFrame): Numbers in full precision. A column `x` may have companions `x_low` and `x_high`: its
            interval.
        notes (tuple of str): What has to be said with it.
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
        cells = self._cells(plain).map(lambda cell: cell.replace("|", r"\|"))
        cells.columns = [": ".join(filter(None, header(name))) for name in cells.columns]
        table = cells.to_markdown(index=False, disable_numparse=True, colalign=self._alignments())
        return "\n".join([f"**{self.caption}**", "", table, *(line for note in self.notes for line in ("", note)), ""])

    def latex(self) -> str:
        """A `table` environment with the rules of the package booktabs."""
        cells = self._cells(_mathematical, latex_escape).replace(MISSING, "--")
        heads = [tuple(map(latex_escape, header(name))) for name in cells.columns]
        rows = [[head for _, head in heads], *cells.to_numpy().tolist()]
        lines = [" & ".join(row) + r" \\" for row in rows]
        if any(group for group, _ in heads):
            widths = [(group, len(list(columns))) for group, columns in groupby(group for group, _ in heads)]
            groups = [group if n == 1 else rf"\multicolumn{{{n}}}{{c}}{{{group}}}" for group, n in widths]
            lines.insert(0, " & ".join(groups) + r" \\")
        first_row = len(lines) - len(cells)
        formats = {"right": "r", "left": "l", "words": r"p{0.5\linewidth}"}
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex_escape(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{''.join(formats[self._place(name)] for name in self._columns())}}}",
                r"\toprule",
                *lines[:first_row],
                r"\midrule",
                *lines[first_row:],
                r"\bottomrule",
                r"\end{tabular}",
                *(rf"\par\smallskip\footnotesize {latex_escape(note)}" for note in self.notes),
                r"\end{table}",
                "",
            ]
        )

    def html(self) -> str:
        """A page of its own, which needs no other file."""
        return render("table.html.jinja", shown=self)

    def layout(self) -> dict[str, list[Any]]:
        """The cells for templates: the `groups` of columns with their widths, `heads` and `rows`.

        Heads and cells are pairs of a text and its place: `left`, `right`, or `words` for sentences. A table that is
        far wider than high is turned.
        """
        cells = self._cells(plain)
        heads = [header(name) for name in cells.columns]
        rows, places, groups = cells.to_numpy().tolist(), [self._place(name) for name in cells.columns], []
        if len(heads) > 2 * len(rows):
            names = [": ".join(filter(None, head)) for head in heads]
            first, *rows = [[name, *line] for name, line in zip(names, zip(*rows, strict=True), strict=True)]
            places = ["left", *["right"] * len(cells)]
        else:
            first = [head for _, head in heads]
            if any(group for group, _ in heads):
                groups = [(group, len(list(columns))) for group, columns in groupby(group for group, _ in heads)]
        placed = [list(zip(row, places, strict=True)) for row in (first, *rows)]
        return {"groups": groups, "heads": placed[0], "rows": placed[1:]}

    def terminal(self, columns: Sequence[str]) -> str:
        """Some of the columns, without intervals, as text of a fixed width; repeated cells of the first are blank."""
        part = Table(self.name, self.caption, self.frame[[name for name in columns if name in self.frame]])
        cells = part._cells(plain)
        if cells.empty:
            return "no rows"
        first = cells.iloc[:, 0]
        cells.iloc[:, 0] = first.where(first != first.shift(), "")
        heads = [" ".join(header(name)).split() for name in cells.columns]
        height = max(map(len, heads))
        heads = [[""] * (height - len(words)) + words for words in heads]  # one above the other, down to the cells
        rows = [*zip(*heads, strict=True), *cells.to_numpy().tolist()]
        return tabulate(rows, tablefmt="plain", colalign=part._alignments(), disable_numparse=True)

    def write(self, folder: str | Path) -> None:
        """Write the four files into a folder, all or none."""
        contents = {"csv": self.csv(), "tex": self.latex(), "md": self.markdown(), "html": self.html()}
        with atomic_folder(folder, about=Path(folder) / self.name) as partial:
            for suffix, text in contents.items():
                (partial / f"{self.name}.{suffix}").write_text(text, encoding="utf-8", newline="\n")

    def _columns(self) -> list[str]:
        """Those that are shown: an interval is shown with its value."""
        names = list(self.frame.columns)
        return [n for n in names if not (n.endswith(("_low", "_high")) and n.rsplit("_", 1)[0] in names)]

    def _place(self, name: str) -> str:
        """Numbers to the right, words to the left; `words` where there are sentences."""
        if pd.api.types.is_numeric_dtype(self.frame[name]):
            return "right"
        return "words" if self.frame[name].str.len().max() > LONG else "left"

    def _alignments(self) -> list[str]:
        return ["right" if self._place(name) == "right" else "left" for name in self._columns()]

    def _cells(self, number: Callable[[str, float], str], escape: Callable[[str], str] = str) -> pd.DataFrame:
        """The cells as text."""

        def cell(row: dict[Any, Any], name: str) -> str:
            value, low, high = (row.get(key, nan) for key in (name, f"{name}_low", f"{name}_high"))
            if pd.isna(value):
                return MISSING
            if isinstance(value, str):
                return escape(value)
            return number(name, value) + ("" if pd.isna(low) else f" ({number(name, low)} to {number(name, high)})")

        rows = self.frame.astype(object).to_dict("records")
        return pd.DataFrame([[cell(row, name) for name in self._columns()] for row in rows], columns=self._columns())


def header(name: str) -> tuple[str, str]:
    """The heads of a column: of its group, which may be empty, and its own."""
    group = next((group for group in GROUPS if name.startswith(f"{group}_")), "")
    rest = name.removeprefix(f"{group}_") if group else name
    return GROUPS.get(group, ""), HEADERS.get(rest, rest.replace("n_evals", "evaluations").replace("_", " "))


def plain(name: str, value: float) -> str:
    """A number for a reader: counts whole, the others with two digits."""
    if name.endswith(COUNTS):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return factor_text(value) if "factor" in name or "gain" in name else short(value)


def _mathematical(name: str, value: float) -> str:
    mantissa, _, exponent = plain(name, value).partition("e")
    return rf"${mantissa}\times10^{{{exponent}}}$" if exponent else mantissa.replace(",", "{,}")


def latex_escape(text: str) -> str:
    return text.translate(SPECIAL)
