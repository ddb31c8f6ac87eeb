"""The subcommands `tables` and `summary`."""

from __future__ import annotations

import argparse
from pathlib import Path

from kanbench.cli.results import add_run
from kanbench.errors import InputError
from kanbench.plan import naming


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands to those of a parser."""
    tables = commands.add_parser("tables", help="write the tables of a run as CSV, LaTeX, Markdown and HTML")
    tables.add_argument("section")
    add_run(tables)
    tables.add_argument("--output", type=Path, metavar="FOLDER", help="default: results/tables/RUN")
    tables.set_defaults(run=_tables)

    summary = commands.add_parser("summary", help="print the results of a run, and what follows from them")
    summary.add_argument("section", nargs="?", help="default: the latest run of every section")
    add_run(summary)
    summary.set_defaults(run=_summary)


def _tables(arguments: argparse.Namespace) -> None:
    from kanbench.presentation.tables.findings import findings_of
    from kanbench.storage.runs import open_run

    stored = open_run(arguments.section, arguments.timestamp, arguments.epochs, arguments.results_dir)
    folder = arguments.output or Path(stored.run.table_folder)
    for table in findings_of(stored).tables:
        table.write(folder)
        print(f"{folder}/{table.name}.{{{','.join(naming.TABLE_FORMATS)}}}")


def _summary(arguments: argparse.Namespace) -> None:
    from kanbench.presentation.tables.findings import findings_of, summary_text
    from kanbench.storage.runs import choose_run
    from kanbench.storage.stored_run import stored_runs

    folder = arguments.results_dir
    runs = stored_runs(folder)

    def show(section: str) -> None:
        stored = choose_run(runs, section, arguments.timestamp, arguments.epochs, True, folder)
        print(summary_text(stored.name, findings_of(stored)))

    if arguments.section is not None:
        show(arguments.section)
        return
    sections = list(dict.fromkeys(stored.run.section for stored in runs))
    if not sections:
        print(f"{folder}: no runs")
    for position, section in enumerate(sections):
        print("\n" * (position > 0), end="")
        try:
            show(section)
        except InputError as error:  # a run of which only a part is there does not hide the others
            print(f"{section}: {error}")
