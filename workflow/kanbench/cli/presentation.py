"""The subcommands that present runs: `figures`, `tables`, `summary` and `report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kanbench.cli.options import Commands, add_problems, add_run, command, run_files
from kanbench.errors import InputError
from kanbench.plan import naming
from kanbench.plan.sections import SECTIONS

if TYPE_CHECKING:
    from kanbench.storage.stored_run import StoredRun


def add_commands(commands: Commands[Any]) -> None:
    figures = command(commands, "figures", _figures, "draw the figures of a run as PNG and PDF")
    figures.add_argument("section", help=f"{', '.join(SECTIONS)}, or an earlier one such as section1_1")
    figures.add_argument("--output", type=Path, metavar="FOLDER", help="default: results/figures/RUN")
    figures.add_argument(
        "--only", nargs="+", metavar="NAME", help="only these figures, for example comparison loss_time"
    )
    figures.add_argument(
        "--placeholders", action="store_true", help="for figures that cannot be drawn, write a page that says why"
    )

    tables = command(commands, "tables", _tables, "write the tables of a run as CSV, LaTeX, Markdown and HTML")
    tables.add_argument("section")
    tables.add_argument("--output", type=Path, metavar="FOLDER", help="default: results/tables/RUN")

    summary = command(commands, "summary", _summary, "print the answer to a section's question and the errors")
    summary.add_argument("section", nargs="?", help="print its notes too; default: the latest run of every section")

    report = command(commands, "report", _report, "write one HTML page with the answers, figures and tables of runs")
    report.add_argument("sections", nargs="*", metavar="SECTION", help=f"default: {', '.join(SECTIONS)}")
    report.add_argument("--output", type=Path, metavar="HTML", help=f"default: RESULTS_DIR/{naming.PAGE}")
    for parser in (figures, tables, summary, report):
        add_run(parser)
    for parser in (figures, report):
        add_problems(parser)


def _open(arguments: argparse.Namespace, **more: Any) -> StoredRun:
    from kanbench.storage.runs import open_run

    return open_run(arguments.section, arguments.timestamp, arguments.epochs, arguments.results_dir, **more)


def _figures(arguments: argparse.Namespace) -> None:
    from kanbench.presentation.figures.make import make_figures

    stored = _open(arguments, **run_files(arguments))
    folder = arguments.output or stored.run.figure_folder
    drawn = make_figures(stored, folder, arguments.only, arguments.placeholders)
    print(f"{stored.name}: {len(drawn)} figures in {folder}")


def _tables(arguments: argparse.Namespace) -> None:
    from kanbench.presentation.tables.findings import findings_of

    stored = _open(arguments)
    folder = arguments.output or Path(stored.run.table_folder)
    for table in findings_of(stored).tables:
        table.write(folder)
        print(f"{folder}/{table.name}.{{{','.join(naming.TABLE_FORMATS)}}}")


def _summary(arguments: argparse.Namespace) -> None:
    from kanbench.presentation.summary import THIRD, details, first_screen, legend, legend_of_all
    from kanbench.presentation.tables.findings import findings_of
    from kanbench.storage.runs import choose_run, runs_in

    folder = arguments.results_dir
    runs = runs_in(folder)
    sections = [arguments.section] if arguments.section else list(dict.fromkeys(stored.run.section for stored in runs))
    shown = []
    for section in sections:
        try:
            stored = choose_run(runs, section, arguments.timestamp, arguments.epochs, folder)
            found = findings_of(stored)
            print(first_screen(stored.run, found, None if arguments.section else THIRD))
            shown.append(stored.run)
            if arguments.section:
                print(legend(stored.run), details(found), sep="\n")
        except InputError as error:  # an incomplete run does not hide the others
            if arguments.section:
                raise
            print(f"{section}: {error}")
    if shown and not arguments.section:
        print(legend_of_all(shown))


def _report(arguments: argparse.Namespace) -> None:
    from kanbench.io.atomic import write_text
    from kanbench.presentation.page.page import page

    sections, allowed = arguments.sections or tuple(SECTIONS), run_files(arguments)
    text = page(sections, arguments.timestamp, arguments.epochs, arguments.results_dir, **allowed)
    output = arguments.output or Path(arguments.results_dir) / naming.PAGE
    write_text(output, text)
    print(f"{output}: {len(text.encode()) / 1e6:.1f} MB")
