"""`python -m kanbench SUBCOMMAND`: the steps of the pipeline by hand. A rule of the workflow runs the same command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from kanbench import __version__
from kanbench.cli import benchmark, consolidate, docs, presentation, problems, results, train
from kanbench.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; wrong input gives one line on stderr and status 1."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        arguments.run(arguments)
    except InputError as error:
        print(f"kanbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kanbench: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kanbench", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    for module in (train, consolidate, results, presentation, docs, problems, benchmark):
        module.add_commands(commands)
    return parser
