"""The subcommand `figures`."""

from __future__ import annotations

import argparse
from pathlib import Path

from kanbench.cli.results import add_run
from kanbench.plan.sections import SECTIONS


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to those of a parser."""
    figures = commands.add_parser("figures", help="draw the figures of a run, of any format, as PNG and PDF")
    figures.add_argument("section", help=f"{', '.join(SECTIONS)}, or an earlier one such as section1_1")
    add_run(figures)
    figures.add_argument("--output", type=Path, metavar="FOLDER", help="default: results/figures/RUN")
    figures.add_argument("--only", nargs="+", metavar="NAME", help="some of them, for example comparison loss_time")
    figures.add_argument("--placeholders", action="store_true", help="a page that says why, for what is left out")
    figures.set_defaults(run=_figures)


def _figures(arguments: argparse.Namespace) -> None:
    from kanbench.presentation.figures.make import make_figures
    from kanbench.storage.runs import open_run

    stored = open_run(arguments.section, arguments.timestamp, arguments.epochs, arguments.results_dir)
    folder = arguments.output or stored.run.figure_folder
    drawn = make_figures(stored, folder, arguments.only, arguments.placeholders)
    print(f"{stored.name}: {len(drawn)} figures in {folder}")
