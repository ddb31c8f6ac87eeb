"""A table, and how it is written: CSV in full precision, LaTeX, Markdown and HTML for readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from kanbench.analysis.uncertainty import factor_text, scientific, two_digits
from kanbench.io.atomic import atomic_folder
from kanbench.presentation.templates import render

GROUPS = {
    "threshold": "threshold",
    "iso_compute": "equal compute",
    "final": "end",
}
HEADERS = {  # after the group's name
    "dataset": "problem",
    "epoch": "epoch",
    "time": "seconds",
    "test_loss": "test loss",
    "dense_mse": "dense MSE",
    "relative_error": "relative error",
    "n_evals": "evaluations",
    "num_params": "parameters",
    "important_neurons": "important neurons",
    "total_neurons": "neurons",
}
COUNTS = ("epoch", "n_evals", "params", "neurons", "seeds", "problems", "experts")
MISSING = "–"


@dataclass(frozen=True)
class Shown:
    """The cells of a table as text, for templates.

    Attributes
    ----------
    groups : list of (str, int)
        The heads above those of the columns, and how many columns each has; empty where there are none.
    heads : list of (str, str)
        Of every column, with its place in the cell: `left`, `right`, or `words` for sentences.
    rows : list of list of (str, str)
        The cells alike.
    """

    caption: str
    groups: list[tuple[str, int]]
    heads: list[tuple[str, str]]
    rows: list[list[tuple[str, str]]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of a paper or a report.

    Attributes
    ----------
    name : str
    caption : str
    frame : DataFrame
        Numbers in full precision. A column `x` may have companions `x_low` and `x_high`: its interval.
    notes : tuple of str
        What has to be said with it.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    def csv(self) -> str:
        whole = [name for name in self.frame if name.endswith(COUNTS) and (self.frame[name].dropna() % 1 == 0).all()]
        return self.frame.astype(dict.fromkeys(whole, "Int64")).to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        shown = self._shown(plain)
        shown.columns = [": ".join(filter(None, header(name))) for name in shown.columns]
        align = [_align(self.frame[name]) for name in self._columns()]
        table = shown.map(lambda cell: cell.replace("|", r"\|")).to_markdown(
            index=False, disable_numparse=True, colalign=align
        )
        return "\n".join([f"**{self.caption}**", "", table, *(line for note in self.notes for line in ("", note)), ""])

    def latex(self) -> str:
        """A `table` environment with the rules of the package booktabs."""
        shown = self._shown(_mathematical, escape=latex_escape).replace(MISSING, "--")
        headers = [tuple(map(latex_escape, header(name))) for name in shown.columns]
        shown.columns = (
            pd.MultiIndex.from_tuples(headers) if any(group for group, _ in headers) else [h for _, h in headers]
        )
        style = shown.style.hide(axis="index")
        text = style.to_latex(
            hrules=True,
            column_format="".join(map(self._latex_column, self._columns())),
            caption=latex_escape(self.caption),
            label=f"tab:{self.name}",
            position_float="centering",
            multicol_align="c",
        )
        notes = [rf"\par\smallskip\footnotesize {latex_escape(note)}" for note in self.notes]
        return text.replace("\\end{table}", "\n".join([*notes, "\\end{table}"])) if notes else text

    def shown(self) -> Shown:
        """The same cells as in Markdown, for templates; a table that is far wider than high is turned."""
        shown = self._shown(plain)
        heads = [header(name) for name in shown.columns]
        cells = shown.to_numpy().tolist()
        if len(heads) > 2 * len(cells):
            names = [": ".join(filter(None, head)) for head in heads]
            lines = [[name, *shown.iloc[:, i]] for i, name in enumerate(names)]
            places = ["left", *["right"] * len(cells)]
            return self._arranged([], lines[0], places, lines[1:])
        places = ["words" if self._is_long(name) else _align(self.frame[name]) for name in self._columns()]
        groups = [(group, len(list(columns))) for group, columns in groupby(group for group, _ in heads)]
        groups = groups if any(group for group, _ in groups) else []
        return self._arranged(groups, [head for _, head in heads], places, cells)

    def _arranged(self, groups: list[tuple[str, int]], heads: list, places: list[str], rows: list[list[str]]) -> Shown:
        placed = [list(zip(row, places, strict=True)) for row in (heads, *rows)]
        return Shown(self.caption, groups, placed[0], placed[1:], self.notes)

    def html(self) -> str:
        """A page of its own, which needs no other file."""
        return render("table.html.jinja", shown=self.shown())

    def write(self, folder: str | Path) -> None:
        """Write the four files into a folder, all or none."""
        contents = {"csv": self.csv(), "tex": self.latex(), "md": self.markdown(), "html": self.html()}
        with atomic_folder(folder, about=Path(folder) / self.name) as partial:
            for suffix, text in contents.items():
                (partial / f"{self.name}.{suffix}").write_text(text, encoding="utf-8")

    def terminal(self, columns: Sequence[str]) -> str:
        """Some of the columns, without intervals, as text of a fixed width; repeated cells of the first are blank."""
        part = Table(self.name, self.caption, self.frame[[name for name in columns if name in self.frame]])
        shown = part._shown(plain)
        first = shown.iloc[:, 0]
        shown.iloc[:, 0] = first.where(first != first.shift(), "")
        heads = [" ".join(header(name)).split() for name in shown.columns]
        height = max(map(len, heads))
        heads = [[""] * (height - len(words)) + words for words in heads]
        return tabulate(
            [*zip(*heads, strict=True), *shown.to_numpy().tolist()],
            colalign=[_align(part.frame[name]) for name in part._columns()],
            tablefmt="plain",
            disable_numparse=True,
        )

    def _latex_column(self, name: str) -> str:
        """Numbers to the right, words to the left, sentences in lines of their own."""
        if _align(self.frame[name]) == "right":
            return "r"
        return r"p{0.5\linewidth}" if self._is_long(name) else "l"

    def _is_long(self, name: str) -> bool:
        """Whether a column has sentences."""
        return _align(self.frame[name]) == "left" and self.frame[name].str.len().max() > 60

    def _columns(self) -> list[str]:
        """Those that are shown: an interval is shown with its value."""
        names = list(self.frame.columns)
        return [n for n in names if not (n.endswith(("_low", "_high")) and n.rsplit("_", 1)[0] in names)]

    def _shown(self, number: Callable[[str, float], str], escape: Callable[[str], str] = str) -> pd.DataFrame:
        """The cells as text."""

        def cell(row: pd.Series, name: str) -> str:
            value = row[name]
            if pd.isna(value):
                return MISSING
            if isinstance(value, str):
                return escape(value)
            low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
            between = "" if pd.isna(low) or low is None else f" ({number(name, low)} to {number(name, high)})"
            return number(name, value) + between

        columns = {
            name: [cell(row, name) for _, row in self.frame.astype(object).iterrows()] for name in self._columns()
        }
        return pd.DataFrame(columns, columns=self._columns())


def header(name: str) -> tuple[str, str]:
    """The heads of a column: of its group, which may be empty, and its own."""
    for group, words in GROUPS.items():
        if name.startswith(f"{group}_"):
            rest = name.removeprefix(f"{group}_")
            return words, HEADERS.get(rest, rest.replace("_", " "))
    return "", HEADERS.get(name, name.replace("n_evals", "evaluations").replace("_", " "))


def plain(name: str, value: float) -> str:
    """A number for a reader: counts whole, the others with two digits."""
    if not isfinite(value):
        return str(value)
    if name.endswith(COUNTS):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    if "factor" in name or "gain" in name:
        return factor_text(value)
    return two_digits(value) if value == 0 or 0.01 <= abs(value) < 1000 else scientific(value)


def _mathematical(name: str, value: float) -> str:
    text = plain(name, value)
    if "e" not in text:
        return text.replace(",", "{,}") if "," in text else text
    mantissa, exponent = text.split("e")
    return rf"${mantissa}\times10^{{{exponent}}}$"


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def latex_escape(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _align(column: pd.Series) -> str:
    return "right" if pd.api.types.is_numeric_dtype(column) else "left"
