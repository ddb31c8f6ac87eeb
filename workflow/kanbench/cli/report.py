"""The subcommand `report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from kanbench.cli.results import add_run
from kanbench.plan import naming
from kanbench.plan.sections import SECTIONS


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to those of a parser."""
    report = commands.add_parser("report", help="write one page with questions, answers, figures and tables of runs")
    report.add_argument("sections", nargs="*", metavar="SECTION", help=f"default: {', '.join(SECTIONS)}")
    add_run(report)
    report.add_argument("--output", type=Path, metavar="HTML", help=f"default: RESULTS_DIR/{naming.PAGE}")
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    from kanbench.io.atomic import atomic_write
    from kanbench.presentation.page.page import page

    sections = arguments.sections or tuple(SECTIONS)
    text = page(sections, arguments.timestamp, arguments.epochs, arguments.results_dir)
    output = arguments.output or Path(arguments.results_dir) / naming.PAGE
    with atomic_write(output) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{output}: {len(text.encode()) / 1e6:.1f} MB")
