"""The subcommands `frame`, `merge-frame` and `metadata`, which consolidate trainings, and `compile` and `sweep`."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import yaml

from kanbench.cli.options import JSON, Commands, add_config, command
from kanbench.cli.train import TRAINED
from kanbench.io.atomic import check_writable
from kanbench.plan.config import load_config

PARTS = ("experts", "merged", "controls")  # what the frames of section 2.3 are made from

log = logging.getLogger("kanbench")


def add_commands(commands: Commands[Any]) -> None:
    frame = command(commands, "frame", _frame, "consolidate the trainings of a model type into its frame")
    merge_frame = command(
        commands, "merge-frame", _merge_frame, "consolidate trainings of section 2.3 into one of its frames"
    )
    metadata = command(commands, "metadata", _metadata, "consolidate the metrics of all checkpoints of a run")
    for parser in (frame, merge_frame):
        parser.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="PATH.pkl, PATH.parquet or both")
    metadata.add_argument("output", type=Path)
    for parser in (frame, metadata):
        parser.add_argument("--trainings", nargs="+", required=True, **JSON)
    frame.add_argument("--reference", nargs="+", required=True, **JSON)
    merge_frame.add_argument(
        "--n-selected", required=True, type=int, help="number of experts that are merged per dataset"
    )
    for part in PARTS:
        merge_frame.add_argument(f"--{part}", nargs="*", default=[], **JSON)

    sweep = command(commands, "sweep", _sweep, "compare values of a setting by their test loss")
    sweep.add_argument("model_type", choices=TRAINED)
    sweep.add_argument("key", help="configuration key, for example optimizers.adam.lr")
    sweep.add_argument("values", nargs="+", type=_yaml, metavar="VALUE")
    sweep.add_argument("--seeds", nargs="+", type=int, default=[101, 102, 103], metavar="SEED")
    sweep.add_argument("--output", type=Path, metavar="CSV", help="file to write one row per training to")
    add_config(sweep)

    command(commands, "compile", _compile, "compile the kernels of the compiled engine ahead of time")


def _yaml(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid YAML") from None


def _frame(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.consolidation import consolidate_frame

    consolidate_frame(arguments.outputs, arguments.trainings, arguments.reference)


def _merge_frame(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.consolidation import consolidate_merge_frame

    consolidate_merge_frame(
        arguments.outputs, arguments.n_selected, **{part: getattr(arguments, part) for part in PARTS}
    )


def _metadata(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.consolidation import consolidate_metadata

    consolidate_metadata(arguments.output, arguments.trainings)


def _sweep(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from kanbench.jobs.sweep import as_text, sweep, write_rows

    config, key, rows = load_config(arguments.config), arguments.key, pd.DataFrame()
    if arguments.output:
        check_writable(arguments.output.parent)
    try:
        for row in sweep(config, arguments.model_type, key, arguments.values, arguments.seeds):
            rows = pd.DataFrame([*rows.to_dict("records"), row])
            if arguments.output:
                write_rows(rows, arguments.output)
            which = f"{key} {row[key]}, seed {row['seed']}, {row['dataset']}"
            log.info("%s: relative test loss %.3g", which, row["relative_test_loss"])
    finally:  # also after an error, print what was trained
        if len(rows):
            print(as_text(rows, arguments.model_type, key))


def _compile(_: argparse.Namespace) -> None:
    from kanbench.engine import DTYPES
    from kanbench.training.optimizers import compile_for

    start = time.perf_counter()
    for dtype in DTYPES:
        compile_for(dtype)
    log.info("kernels are compiled (%.0f s)", time.perf_counter() - start)
