"""The subcommands that train: one model, one expert, the merged model, its control."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kanbench.errors import InputError
from kanbench.io.atomic import check_writable
from kanbench.plan import naming
from kanbench.plan.config import DEFAULT_CONFIG
from kanbench.plan.sections import CONTROL, EXPERT, SECTIONS, WITHOUT_EPOCHS, without_variant

if TYPE_CHECKING:
    from kanbench.jobs.training import Job

TRAINED = (*SECTIONS["section2_1"].model_types, *SECTIONS["section2_2"].model_types)


def add_commands(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="one model on one dataset: checkpoints and a history")
    train.add_argument(
        "name",
        help="for example section2_1_20260101_000000_e10_lm_2, model type lm on dataset 2, or "
        "section2_3_20260101_000000_expert_2_d3_k2_s1, an expert with 3 hidden layers, order 2 and seed 1; "
        "with _sSEED at the end of the first, with another seed than the first, and without checkpoints",
    )
    _add_settings(train)
    train.set_defaults(run=_train)

    merge = commands.add_parser("merge", help="merge experts into one model, and train it")
    merge.add_argument("name", help="for example section2_3_20260101_000000_merge_kan_2")
    merge.add_argument("--experts", nargs="+", required=True, type=Path, metavar="JSON")
    _add_settings(merge)
    merge.set_defaults(run=_merge)

    control = commands.add_parser("control", help="train a model of a merged model's size from scratch")
    control.add_argument("name", help="for example section2_3_20260101_000000_control_2")
    control.add_argument("--merged", required=True, type=Path, metavar="JSON")
    control.add_argument("--experts", nargs="+", required=True, type=Path, metavar="JSON")
    _add_settings(control)
    control.set_defaults(run=_control)


def _add_settings(command: argparse.ArgumentParser) -> None:
    settings = command.add_mutually_exclusive_group()
    settings.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="a YAML file over config/config.yaml")
    settings.add_argument("--settings", type=json.loads, help="the training's settings as JSON, instead of --config")
    command.add_argument("--threads", type=int, default=1, help="of the compiled engine, for many samples (default: 1)")
    command.add_argument("--results-dir", default=naming.RESULTS)


def _train(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.training import expert_job, training_job

    name = _parse(arguments, *TRAINED, EXPERT)
    _run(training_job if name.expert is None else expert_job, name, arguments)


def _merge(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.training import merge_job

    _run(merge_job, _parse(arguments, "merge_kan"), arguments, arguments.experts)


def _control(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.training import control_job

    _run(control_job, _parse(arguments, CONTROL), arguments, arguments.merged, arguments.experts)


def _run(job: Callable[..., Job], name: naming.FileName, arguments: argparse.Namespace, *inputs: object) -> None:
    from kanbench.engine.numba_engine.lapack import extension
    from kanbench.jobs.training import Source, run_job

    extension("cython_blas", "scipy.linalg.cython_blas")  # which numba imports, and with it all of scipy.linalg
    source = Source(arguments.settings, arguments.config)
    run_job(job(arguments.name, name, source, *inputs), arguments.threads)


def _parse(arguments: argparse.Namespace, *model_types: str) -> naming.FileName:
    """Read the name of the training that was asked for."""
    name = naming.parse(arguments.name)
    run = dataclasses.replace(name.run, results=arguments.results_dir)
    complete = name.run.epochs is not None or without_variant(name.run.section) in WITHOUT_EPOCHS
    if not complete or name.dataset_idx is None or Path(arguments.name).suffix or name.model_type not in model_types:
        raise InputError(
            arguments.name,
            allowed=(
                f"SECTION_TIMESTAMP_eEPOCHS_MODELTYPE_DATASET (section2_3 without epochs; _sSEED at the "
                f"end for another seed), with MODELTYPE one of {', '.join(model_types)}"
            ),
            problem="not a training for this command",
        )
    check_writable(Path(run.record(arguments.name)).parent)  # rather than find out after hours
    return dataclasses.replace(name, run=run)
