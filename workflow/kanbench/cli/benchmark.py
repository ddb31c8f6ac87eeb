"""The subcommand `benchmark`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kanbench.benchmark import PARTS
from kanbench.cli.options import JSON, Commands, add_config, command
from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.io.readers import read_json
from kanbench.plan.config import Config, check, load_config, merge

CUDA_PARTS = ("pairs", "growth")  # the original trainings run on the CPU only
ALWAYS = {"kanbench", "machine", "settings", "peaks", "notes"}  # keys of any result


def add_commands(commands: Commands[Any]) -> None:
    parser = command(commands, "benchmark", run, "compare the speed with pykan's, and with the hardware's limit")
    parser.add_argument("--quick", action="store_true", help="fewer models, sizes and epochs; about a minute")
    parts = f"what to measure: {', '.join(PARTS)} (cuda: {', '.join(CUDA_PARTS)}); default: all"
    parser.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help=parts)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device of both sides; default: cpu")
    parser.add_argument("--seconds", type=_positive, help="time per comparison; default: 2, with --quick 0.2")
    parser.add_argument(
        "--memory",
        type=_positive,
        default=4096,
        metavar="MIB",
        help="memory limit of cases of growing size; default: 4096",
    )
    parser.add_argument(
        "--epochs", type=int, help="epochs per grid of the trainings; default: as configured, with --quick 1"
    )
    parser.add_argument(
        "--datasets", nargs="+", metavar="NAME", help="datasets of the trainings; default: as configured"
    )
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    add_config(parser)
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--output", **JSON, help="file to write the result to")
    files.add_argument("--input", **JSON, help="print the result in this file instead of measuring")


def _positive(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or not float(text):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a number greater than 0")
    return float(text)


def run(arguments: argparse.Namespace) -> None:
    from kanbench.benchmark.report import as_text  # imports tabulate, which takes a tenth of a second

    if arguments.input:
        result = read_result(arguments.input)
    elif arguments.output:
        with atomic_write(arguments.output) as partial:
            partial.touch()  # fails before anything is measured, if it cannot be written
            result = _measure(arguments)
            partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8", newline="\n")
    else:
        result = _measure(arguments)
    print(as_text(result, arguments.markdown))


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    config, allowed = _config(arguments), CUDA_PARTS if arguments.device == "cuda" else PARTS
    if other := set(arguments.parts or ()).difference(allowed):
        raise InputError(f"--parts on {arguments.device}", ", ".join(sorted(other)), ", ".join(allowed))
    # Imported here: torch and pykan take seconds.
    from kanbench.benchmark.run import run

    seconds = arguments.seconds or (0.2 if arguments.quick else 2)
    return run(config, seconds, int(arguments.memory), arguments.quick, arguments.parts or allowed)


def _config(arguments: argparse.Namespace) -> Config:
    over: Config = {"device": arguments.device, "data": {"dense_num": 1}}  # the dense MSE is not used
    if arguments.quick or arguments.epochs is not None:
        over["epochs"] = 1 if arguments.epochs is None else arguments.epochs
    if arguments.datasets:
        over["datasets"] = arguments.datasets
    return check(merge(load_config(arguments.config), over))


def read_result(path: Path) -> dict[str, Any]:
    """Read a result that `--output` wrote.

    Raises:
        InputError: The file cannot be read or is not such a result.
    """
    result = read_json(path, pipe=True)
    if missing := ALWAYS - result.keys():
        raise InputError(path, allowed="a file written by --output", problem=f"missing: {', '.join(sorted(missing))}")
    return result
