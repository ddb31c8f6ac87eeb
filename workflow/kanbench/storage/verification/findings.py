"""What a check of a run finds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kanbench.errors import InputError, one_line
from kanbench.io.readers import clear_errors


@dataclass
class Findings:
    """
    Attributes
    ----------
    faults : list of str
        What is wrong: a line each, which begins with the file.
    notes : list of str
        What could not be checked, and why.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, path: str | Path, what: str) -> None:
        line = f"{path}: {one_line(what)}"
        if line not in self.faults:
            self.faults.append(line)

    def note(self, what: str) -> None:
        if what not in self.notes:
            self.notes.append(what)

    @contextlib.contextmanager
    def faults_of_reading(self) -> Iterator[None]:
        """Take a file that cannot be read as a fault, and go on."""
        try:
            yield
        except InputError as error:
            self.faults.append(str(error))

    @contextlib.contextmanager
    def faults_of_checking(self, path: str | Path) -> Iterator[None]:
        """Take it as a fault of a file, too, if its contents are what no check foresees."""
        with self.faults_of_reading(), clear_errors(path):
            yield

    def compare_frames(
        self, path: str | Path, frame: pd.DataFrame, other: pd.DataFrame, the_other: str = "the pickled frame"
    ) -> None:
        """Note where a frame differs from the same one from elsewhere."""
        if frame.attrs != other.attrs:
            self.fault(path, f"its attrs differ from those of {the_other}")
        if list(frame.columns) != list(other.columns) or len(frame) != len(other):
            self.fault(path, f"found {frame.shape} rows and columns; {the_other} has {other.shape}")
            return
        differing = [name for name in frame.columns if not frame[name].equals(other[name])]
        if differing:
            self.fault(path, f"{', '.join(differing)} differ from {the_other}'s")
