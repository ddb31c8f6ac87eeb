"""`python -m kanbench SUBCOMMAND`: the steps of the pipeline by hand. A rule of the workflow runs the same command."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from kanbench import __version__
from kanbench.cli import benchmark as benchmark_command
from kanbench.cli import figures as figures_command
from kanbench.cli import report as report_command
from kanbench.cli import results, train
from kanbench.cli import tables as tables_command
from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.plan import naming
from kanbench.plan.config import DEFAULT_CONFIG, load_config
from kanbench.plan.sections import SECTIONS
from kanbench.storage.training_record import read_record

PARTS = ("experts", "merged", "controls")  # what the frames of section 2.3 are made from

log = logging.getLogger("kanbench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; wrong input ends in one line on stderr and the status 1."""
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

    train.add_commands(commands)

    frame = commands.add_parser("frame", help="consolidate the trainings of a model type into its frame")
    frame.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="PATH.pkl, PATH.parquet or both")
    frame.add_argument("--trainings", nargs="+", required=True, type=Path, metavar="JSON")
    frame.add_argument("--reference", nargs="+", required=True, type=Path, metavar="JSON")
    frame.set_defaults(run=_frame)

    merge_frame = commands.add_parser("merge-frame", help="consolidate trainings of section 2.3 into one of its frames")
    merge_frame.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="PATH.pkl, PATH.parquet or both")
    merge_frame.add_argument("--n-selected", required=True, type=int, help="how many experts of a dataset are merged")
    for part in PARTS:
        merge_frame.add_argument(f"--{part}", nargs="*", default=[], type=Path, metavar="JSON")
    merge_frame.set_defaults(run=_merge_frame)

    metadata = commands.add_parser("metadata", help="consolidate the metrics of all checkpoints of a run")
    metadata.add_argument("output", type=Path)
    metadata.add_argument("--trainings", nargs="+", required=True, type=Path, metavar="JSON")
    metadata.set_defaults(run=_metadata)

    sweep = commands.add_parser("sweep", help="compare values of a setting by their test loss")
    sweep.add_argument("model_type", choices=train.TRAINED)
    sweep.add_argument("key", help="for example optimizers.adam.lr")
    sweep.add_argument("values", nargs="+", type=_yaml, metavar="VALUE")
    sweep.add_argument("--seeds", nargs="+", type=int, default=[101, 102, 103], metavar="SEED")
    sweep.add_argument("--output", type=Path, metavar="CSV", help="where to write a row for every training")
    sweep.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="a YAML file over config/config.yaml")
    sweep.set_defaults(run=_sweep)

    compile_ = commands.add_parser("compile", help="compile the kernels of the compiled engine ahead of time")
    compile_.set_defaults(run=_compile)

    results.add_commands(commands)
    figures_command.add_command(commands)
    tables_command.add_commands(commands)
    report_command.add_command(commands)

    benchmark = commands.add_parser("benchmark", help="compare the speed with pykan's, and with the hardware's limit")
    benchmark_command.add_arguments(benchmark)
    benchmark.set_defaults(run=benchmark_command.run)
    return parser


def _yaml(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} is not YAML") from None


def _frame(arguments: argparse.Namespace) -> None:
    from kanbench.storage.frames import build_frame, write_frame

    trainings, reference = (
        [read_record(path) for path in paths] for paths in (arguments.trainings, arguments.reference)
    )
    frame = build_frame(trainings, reference)
    for output in arguments.outputs:
        write_frame(frame, output)
        log.info("%s: %d rows", output, len(frame))


def _merge_frame(arguments: argparse.Namespace) -> None:
    from kanbench.storage.frames import write_frame
    from kanbench.storage.merge_frames import build_merge_frame

    names = {naming.parse(output).frame for output in arguments.outputs}
    if len(names) != 1 or not names <= set(SECTIONS["section2_3"].frames):
        allowed = ", ".join(SECTIONS["section2_3"].frames)
        raise InputError(arguments.outputs[0], "no frame of section2_3", f"one of {allowed}")
    parts = {part: [read_record(path) for path in getattr(arguments, part)] for part in PARTS}
    frame = build_merge_frame(names.pop(), arguments.n_selected, **parts)
    for output in arguments.outputs:
        write_frame(frame, output)
        log.info("%s: %d rows", output, len(frame))


def _metadata(arguments: argparse.Namespace) -> None:
    from kanbench.storage.metadata import build_metadata, write_metadata

    write_metadata(build_metadata([read_record(path) for path in arguments.trainings]), arguments.output)
    log.info("%s: %d trainings", arguments.output, len(arguments.trainings))


def _sweep(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.sweep import sweep, table

    rows = sweep(load_config(arguments.config), arguments.model_type, arguments.key, arguments.values, arguments.seeds)
    if arguments.output:
        with atomic_write(arguments.output) as partial:
            rows.to_csv(partial, index=False)
    print(f"{arguments.model_type}: test loss at the threshold / variance of the target,")
    print(f"geometric mean over the seeds {arguments.seeds}, by {arguments.key}")
    print(table(rows, arguments.key).to_string(float_format="{:.3g}".format))


def _compile(arguments: argparse.Namespace) -> None:
    from kanbench.engine.numba_engine.engine import DTYPES, compile_all
    from kanbench.training.optimizers.lbfgs import compile_for

    start = time.perf_counter()
    compile_all()
    for dtype in DTYPES:
        compile_for(dtype)
    log.info("kernels are compiled (%.0f s)", time.perf_counter() - start)
