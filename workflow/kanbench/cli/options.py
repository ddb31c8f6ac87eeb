"""Options that several subcommands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kanbench.plan import naming
from kanbench.plan.config import DEFAULT_CONFIG

Commands = argparse._SubParsersAction  # what `add_subparsers` returns
Run = Callable[[argparse.Namespace], None]
JSON: dict[str, Any] = {"type": Path, "metavar": "JSON"}  # a file


def command(commands: Commands[Any], name: str, run: Run, summary: str) -> argparse.ArgumentParser:
    """Add a subcommand that calls `run` with its parsed arguments."""
    parser = commands.add_parser(name, help=summary)
    parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse._ActionsContainer, text: str = "a YAML file over config/config.yaml") -> None:
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=text)


def add_results_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", default=naming.RESULTS)


def add_trusted(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trusted", action="store_true", help="read any pickle (may execute code in it)")


def add_problems(parser: argparse.ArgumentParser) -> None:
    """Add the options that allow running Python files for a run's targets, because runs only record their names."""
    text = "Python files that define the problems of the run, if they are your own"
    parser.add_argument("--problems", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    text = "run the Python files that the run names and read any pickle (may execute code in them)"
    parser.add_argument("--trusted", action="store_true", help=text)


def run_files(arguments: argparse.Namespace) -> dict[str, Any]:
    """Turn the options of `add_problems` into arguments of `open_run` and `page`."""
    return {"trusted": arguments.trusted, "problems": arguments.problems}


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options that select a run of a section."""
    parser.add_argument("--timestamp", help="default: the latest run")
    parser.add_argument("--epochs", type=_epochs, help="epochs of the run: a number, most or fewest")
    add_results_dir(parser)


def _epochs(text: str) -> int | str:
    if text in ("most", "fewest"):
        return text
    if not re.fullmatch(naming.EPOCHS, text):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: an integer, at least 1, most or fewest")
    return int(text)
