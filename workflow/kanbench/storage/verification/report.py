"""What the checks of a run share: where faults go, and what they check."""

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
    """What checks find."""

    faults: list[str] = field(default_factory=list)  # what is wrong: a line each, which begins with the file
    notes: list[str] = field(default_factory=list)  # what could not be checked, and why
    remarks: list[str] = field(default_factory=list)  # what is no fault, but has to be known

    def fault(self, where: object, problem: object = "", found: object = "", allowed: object = "") -> None:
        """Add a fault, worded as `InputError` does, once."""
        line = one_line(InputError(where, found, allowed, problem=problem))
        if line not in self.faults:
            self.faults.append(line)

    def note(self, what: str) -> None:
        """Add a note, once."""
        if what not in self.notes:
            self.notes.append(what)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Record a file that cannot be read as a fault, and continue."""
        try:
            yield
        except InputError as error:
            self.fault(error.where, error.problem, error.found, error.allowed)

    def compare_frames(self, path: str, frame: pd.DataFrame, other: pd.DataFrame, the_other: str) -> None:
        """Add what differs between a frame and one that should be equal."""
        if not same(frame.attrs, other.attrs):
            self.fault(path, f"its attrs differ from those of {the_other}")
        if list(frame.columns) != list(other.columns) or len(frame) != len(other):
            self.fault(path, f"{the_other} has {other.shape} rows and columns", frame.shape)
            return
        columns = ((str(name), frame[name], other[name]) for name in frame)  # integers may stand for floats
        if differing := [name for name, a, b in columns if not (a.equals(b) or same(a.tolist(), b.tolist()))]:
            self.fault(path, f"{', '.join(differing)} differ from those of {the_other}")


@dataclass(frozen=True)
class CheckedRun:
    """A run, or one with another seed, as the checks that compare its parts see it."""

    run: Run
    frames: Frames  # those that are sound: their columns and dtypes are those of the schema
    datasets: list[int]  # the indices that the run should have
    report: VerificationReport
    is_converted: bool = False  # from another format, in which not everything was recorded

    def history(self, model_type: str, dataset_idx: int) -> pd.DataFrame | None:
        """The epochs of a training, with the attrs of their frame; None where that is missing."""
        frame = self.frames.get(self.run.kind.history_of(model_type))
        return None if frame is None else frame[frame["dataset_idx"] == dataset_idx]

    @property
    def dataset_names(self) -> dict[int, str]:
        """The names of datasets, by index; where frames disagree, the first one's."""
        return dict(pair for frame in reversed(self.frames.values()) for pair in reversed(datasets_of(frame)))


def datasets_of(frame: pd.DataFrame) -> list[tuple[int, str]]:
    """The pairs of index and name of datasets that a frame has."""
    return list(frame[["dataset_idx", "dataset_name"]].drop_duplicates().itertuples(index=False, name=None))
