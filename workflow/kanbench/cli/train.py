"""The subcommands that train: one model, one expert, the merged model, its control."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kanbench.cli.options import JSON, Commands, Run, add_config, add_results_dir, command
from kanbench.errors import InputError
from kanbench.io.atomic import check_writable
from kanbench.plan import naming
from kanbench.plan.sections import CONTROL, EXPERT, SECTIONS

if TYPE_CHECKING:
    from kanbench.jobs.training import Job, Source

TRAINED = (*SECTIONS["section2_1"].model_types, *SECTIONS["section2_2"].model_types)


def add_commands(commands: Commands[Any]) -> None:
    train = _add(commands, "train", _train, "one model on one dataset: checkpoints and a history", settings="+")
    train.add_argument(
        "names",
        nargs="+",
        metavar="name",
        help="trainings, run one after another: section2_1_20260101_000000_e10_lm_2 is model type lm on dataset 2, "
        "the same with _s7 at the end trains with seed 7 and writes no checkpoints, "
        "section2_3_20260101_000000_expert_2_d3_k2_s1 is an expert with 3 hidden layers, order 2 and seed 1",
    )
    train.add_argument(
        "--seeds",
        nargs="+",
        type=_seed,
        default=[],
        metavar="SEED",
        help="train with each of these seeds, as with _sSEED at the end of the name",
    )
    merge = _add(commands, "merge", _merge, "merge experts into one model and train it")
    merge.add_argument("name", help="for example section2_3_20260101_000000_merge_kan_2")
    control = _add(commands, "control", _control, "train a model of a merged model's size from scratch")
    control.add_argument("name", help="for example section2_3_20260101_000000_control_2")
    control.add_argument("--merged", required=True, **JSON)
    for parser in (merge, control):
        parser.add_argument("--experts", nargs="+", required=True, **JSON)


def _add(
    commands: Commands[Any], name: str, run: Run, summary: str, settings: str | None = None
) -> argparse.ArgumentParser:
    parser = command(commands, name, run, summary)
    group = parser.add_mutually_exclusive_group()
    add_config(group)
    text = "settings as JSON, one for each training, instead of --config"
    group.add_argument("--settings", nargs=settings, metavar="JSON", help=text)
    parser.add_argument("--threads", type=_count, default=1, help="threads of the compiled engine; default: 1")
    add_results_dir(parser)
    return parser


def _train(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.training import expert_job, training_job

    given = arguments.settings or [None] * len(arguments.names)
    if len(given) != len(arguments.names):
        raise InputError("--settings", len(given), f"{len(arguments.names)}, one for each name")
    jobs: list[Job] = []
    for title, settings in zip(arguments.names, given, strict=True):
        name, source = _parse(title, settings, arguments, *TRAINED, EXPERT)
        for each in _with_seeds(name, arguments.seeds):
            jobs.append(training_job(each, source) if each.expert is None else expert_job(each, each.expert, source))
    _run(jobs, arguments)


def _with_seeds(name: naming.FileName, seeds: Sequence[int]) -> list[naming.FileName]:
    """Repeat a training for each of these seeds; without seeds, return it alone."""
    if seeds and (name.expert is not None or name.run.seed is not None):
        raise InputError(name.training, "a seed in the name and --seeds", "one of them")
    return [dataclasses.replace(name, run=name.run.replicate(seed)) for seed in seeds] or [name]


def _seed(text: str) -> int:
    if not re.fullmatch(naming.NUMBER, text) or int(text) > naming.MAX_SEED:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: an integer from 0 to {naming.MAX_SEED}")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: an integer from 1 to 9999")
    return int(text)


def _merge(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.training import merge_job

    parsed = _parse(arguments.name, arguments.settings, arguments, "merge_kan")
    _run([merge_job(*parsed, arguments.experts)], arguments)


def _control(arguments: argparse.Namespace) -> None:
    from kanbench.jobs.training import control_job

    parsed = _parse(arguments.name, arguments.settings, arguments, CONTROL)
    _run([control_job(*parsed, arguments.merged, arguments.experts)], arguments)


def _run(jobs: Sequence[Job], arguments: argparse.Namespace) -> None:
    from kanbench.io.extensions import extension
    from kanbench.jobs.training import run_jobs

    extension("cython_blas", "scipy.linalg.cython_blas")  # numba would import all of scipy.linalg for it
    run_jobs(jobs, arguments.threads)


def _parse(
    title: str, settings: str | None, arguments: argparse.Namespace, *model_types: str
) -> tuple[naming.FileName, Source]:
    """Parse the name of a training, and find where its settings come from."""
    from kanbench.jobs.training import Source

    name = naming.parse(title)
    run = dataclasses.replace(name.run, results=arguments.results_dir)
    if name.dataset_idx is None or Path(title).suffix or name.model_type not in model_types:
        allowed = (
            "SECTION_TIMESTAMP_eEPOCHS_MODELTYPE_DATASET (section2_3 without epochs; _sSEED at the end for another "
            f"seed), with MODELTYPE one of {', '.join(model_types)}"
        )
        raise InputError(title, allowed=allowed, problem="not a training for this command")
    check_writable(Path(run.record(name.training)).parent)  # rather than fail after hours
    return dataclasses.replace(name, run=run), Source(settings, arguments.config)
