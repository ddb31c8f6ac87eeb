"""Shared objects of the checks: the report of faults, and the checked run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from kanbench.errors import InputError, one_line
from kanbench.plan.naming import Run
from kanbench.storage.derive import Frames
from kanbench.storage.values import same


@dataclass
class VerificationReport:
    """The findings of all checks."""

    faults: list[str] = field(default_factory=list)  # errors, one line each, which begins with the file
    notes: list[str] = field(default_factory=list)  # what could not be checked, and why
    remarks: list[str] = field(default_factory=list)  # not errors, but worth knowing

    def fault(self, where: object, problem: object = "", found: object = "", allowed: object = "") -> None:
        """Add a fault in the wording of `InputError`, unless already present."""
        line = one_line(InputError(where, found, allowed, problem=problem))
        if line not in self.faults:
            self.faults.append(line)

    def note(self, what: str) -> None:
        """Add a note, unless already present."""
        if what not in self.notes:
            self.notes.append(what)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Add an `InputError` of the block as a fault, and continue."""
        try:
            yield
        except InputError as error:
            self.fault(error.where, error.problem, error.found, error.allowed)

    def compare_frames(self, path: str, frame: pd.DataFrame, other: pd.DataFrame, the_other: str) -> None:
        """Add a fault for each difference between two frames that should be equal; `the_other` names the second."""
        if not same(frame.attrs, other.attrs):
            self.fault(path, f"its attrs differ from those of {the_other}")
        if list(frame.columns) != list(other.columns) or len(frame) != len(other):
            self.fault(path, f"{the_other} has {other.shape} rows and columns", frame.shape)
            return
        columns = ((str(name), frame[name], other[name]) for name in frame)  # integers may equal floats
        if differing := [name for name, a, b in columns if not (a.equals(b) or same(a.tolist(), b.tolist()))]:
            self.fault(path, f"{', '.join(differing)} differ from those of {the_other}")


@dataclass(frozen=True)
class CheckedRun:
    """A run, or one of its replicates, for the checks that compare its parts."""

    run: Run
    frames: Frames  # only valid ones: with the columns and dtypes of the schema
    datasets: list[int]  # the expected indices
    report: VerificationReport
    is_converted: bool = False  # from a format that did not record everything

    def history(self, model_type: str, dataset_idx: int) -> pd.DataFrame | None:
        """The rows of a training, with the attrs of their frame; None if the frame is missing."""
        frame = self.frames.get(self.run.kind.history_of(model_type))
        return None if frame is None else frame[frame["dataset_idx"] == dataset_idx]

    @property
    def dataset_names(self) -> dict[int, str]:
        """The names of datasets, by index; if frames disagree, from the first."""
        return dict(pair for frame in reversed(self.frames.values()) for pair in reversed(datasets_of(frame)))


def datasets_of(frame: pd.DataFrame) -> list[tuple[int, str]]:
    """The pairs of index and name of the datasets in a frame."""
    return list(frame[["dataset_idx", "dataset_name"]].drop_duplicates().itertuples(index=False, name=None))
