"""The subcommand `problems`, which lists what can be trained on."""

from __future__ import annotations

import argparse
from typing import Any

from kanbench.cli.options import Commands, add_config, command
from kanbench.problems import PROBLEMS, Problem

SAMPLES = 1000


def add_commands(commands: Commands[Any]) -> None:
    parser = command(commands, "problems", run, "list the problems of a configuration or of files, and evaluate each")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="Python files with problems; default: those of the configuration"
    )
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    from tabulate import tabulate

    from kanbench.plan.config import load_config, problems_of
    from kanbench.problems.files import problems_in

    if arguments.files:
        found = {name: problem for path in arguments.files for name, problem in problems_in(path).items()}
    else:
        found = problems_of(load_config(arguments.config))
    print(tabulate([_row(problem) for problem in found.values()], headers="keys", floatfmt=".3g"))


def _row(problem: Problem) -> dict[str, Any]:
    """Describe a problem in one row, with its target evaluated on `SAMPLES` samples."""
    from kanbench.problems.samples import make_dataset
    from kanbench.problems.target_scale import scale_of

    scale = scale_of(make_dataset(problem, SAMPLES, 1, 1, seed=0).train_label)
    intervals = [f"[{low:g}, {high:g}]" for low, high in problem.domain]
    alike = len(set(intervals)) == 1 and len(intervals) > 1
    return {
        "problem": problem.name,
        "inputs": problem.dim,
        "domain": f"{intervals[0]}^{len(intervals)}" if alike else " × ".join(intervals),
        "mean": scale.mean,
        "deviation": scale.variance**0.5,
        "defined in": "kanbench" if problem.name in PROBLEMS else str(problem.file),
    }
