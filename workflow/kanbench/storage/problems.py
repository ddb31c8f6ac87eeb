"""What a run says of its problems: where they come from, and how large their targets are.

Provenance holds it, by the problem's name: `{"inputs": d, "source": {…}, "target": {…}}`, the fields of `Source` and of
`TargetScale`, the latter on the sample of the dense MSE. Where a run says nothing, as those of earlier versions, the
problem of this name of the package is meant.
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
    """What provenance says of a problem."""

    inputs: int
    source: Source
    target: TargetScale


def with_problems(provenance: dict[str, Any], records: Iterable[TrainingRecord]) -> dict[str, Any]:
    """Provenance with what the records of trainings say of their problems, if they say anything."""
    stated = {}
    for record in sorted(records, key=lambda record: record.dataset_idx):
        if record.target is not None:
            source = record.settings.get("source", {})
            stated[record.dataset_name] = {"inputs": record.inputs, "source": source, "target": record.target}
    return {**provenance, KEY: stated} if stated else provenance


def stated_in(name: str, frames: Iterable[pd.DataFrame]) -> StatedProblem | None:
    """What is recorded about a problem in the first frame that has anything about it."""
    for frame in frames:
        stated = provenance_of(frame).get(KEY)
        if isinstance(stated, dict) and name in stated:
            try:
                return msgspec.convert(stated[name], StatedProblem)
            except msgspec.ValidationError:  # somebody's
                return None
    return None


def scale_of_problem(name: str, frames: Iterable[pd.DataFrame]) -> TargetScale | None:
    """How large the target is; None if that is not known."""
    if (stated := stated_in(name, frames)) is not None:
        return stated.target
    return target_scale(name) if name in PROBLEMS else None


def inputs_of_problem(name: str, frames: Iterable[pd.DataFrame]) -> int | None:
    """The number of inputs; None if that is not known."""
    if (stated := stated_in(name, frames)) is not None:
        return stated.inputs
    return PROBLEMS[name].dim if name in PROBLEMS else None


def problem_of_run(
    name: str, frames: Iterable[pd.DataFrame], files: Iterable[str | Path] = (), trusted: bool = False
) -> Problem:
    """The problem that frames were made with.

    A function of a user is looked for in `files` only: a run may name any file, and a Python file that is read is run.

    Args:
        files (iterable of path): Python files that the user names.
        trusted (bool): Whether to run the file that the run names, where none of `files` has the function.

    Raises:
        InputError: Its file is gone or is not to be run, or it has changed since; or nothing is known of it.
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
