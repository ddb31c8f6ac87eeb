"""The problems of a run, as recorded: their sources, and the scales of their targets.

Provenance has them by name: `{"inputs": d, "source": {…}, "target": {…}}`, with the fields of `Source` and of
`TargetScale` (on the dense sample). If nothing is recorded, as in runs of earlier versions, the name refers to a
problem of the package.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from kanbench.errors import InputError
from kanbench.problems import PROBLEMS, Problem
from kanbench.problems.files import find_problem, problems_in
from kanbench.problems.source import Source
from kanbench.problems.target_scale import TargetScale, target_scale
from kanbench.storage.attrs import provenance_of
from kanbench.storage.training_record import TrainingRecord

KEY = "problems"
ALLOWED = "with this file in --problems, or with --trusted"


class StatedProblem(msgspec.Struct, frozen=True):
    """A problem as recorded in provenance."""

    inputs: int
    source: Source
    target: TargetScale


def with_problems(provenance: dict[str, Any], records: Iterable[TrainingRecord]) -> dict[str, Any]:
    """Add the problems recorded in training records to a provenance."""
    stated = {}
    for record in sorted(records, key=lambda record: record.dataset_idx):
        if record.target is not None:
            source = record.settings.get("source", {})
            stated[record.dataset_name] = {"inputs": record.inputs, "source": source, "target": record.target}
    return {**provenance, KEY: stated} if stated else provenance


def stated_in(name: str, frames: Iterable[pd.DataFrame]) -> StatedProblem | None:
    """The record of a problem in the first frame that has one; None if there is none or it is invalid."""
    for frame in frames:
        stated = provenance_of(frame).get(KEY)
        if isinstance(stated, dict) and name in stated:
            try:
                return msgspec.convert(stated[name], StatedProblem)
            except msgspec.ValidationError:  # not written by kanbench
                return None
    return None


def scale_of_problem(name: str, frames: Iterable[pd.DataFrame]) -> TargetScale | None:
    """The scale of a problem's target; None if unknown."""
    if (stated := stated_in(name, frames)) is not None:
        return stated.target
    return target_scale(name) if name in PROBLEMS else None


def inputs_of_problem(name: str, frames: Iterable[pd.DataFrame]) -> int | None:
    """The number of inputs of a problem; None if unknown."""
    if (stated := stated_in(name, frames)) is not None:
        return stated.inputs
    return PROBLEMS[name].dim if name in PROBLEMS else None


def problem_of_run(
    name: str, frames: Iterable[pd.DataFrame], files: Iterable[str | Path] = (), trusted: bool = False
) -> Problem:
    """The problem with which frames were made.

    User-defined functions are looked up in `files` only: a run may name any file, and reading a Python file executes
    it.

    Args:
        files (iterable of path): Python files that the user names.
        trusted (bool): Whether to execute the file that the run names, if none of `files` has the function.

    Raises:
        InputError: The problem is unknown or has changed, or its file is missing or not trusted.
    """
    if (stated := stated_in(name, frames)) is None:
        if name not in PROBLEMS:
            raise InputError("", problem=f"the target of {name} is not known: not in kanbench.problems")
        return PROBLEMS[name]
    source = stated.source
    if source.path is None or source.columns is not None:
        return find_problem(name, source)
    given = next((str(path) for path in files if name in problems_in(path)), None)
    if given is None and not trusted:
        raise InputError(source.path, problem=f"not run for the target of {name}", allowed=ALLOWED)
    return find_problem(name, msgspec.structs.replace(source, path=given or source.path))
