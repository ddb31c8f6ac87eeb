"""Runs whose files appear together."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from kanbench.files import whole_files
from kanbench.naming import Run


@contextlib.contextmanager
def staged(run: Run) -> Iterator[Run]:
    """Yield the run in a folder of its own, from which its files move to theirs when the block ends without an error.

    Raises
    ------
    InputError
        The files cannot be written.
    """
    with whole_files(run.folder, about=f"{run.folder}/{run.name}") as beside:
        yield dataclasses.replace(run, place=str(beside))
