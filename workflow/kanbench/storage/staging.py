"""Runs whose files appear together."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_folder
from kanbench.plan.naming import Run


@contextlib.contextmanager
def staged(run: Run) -> Iterator[Run]:
    """Yield the run in a folder of its own, from which its files move to theirs when the block ends without an error.

    Raises:
        InputError: The files cannot be written; or what the block raised, of the files where they would have been.
    """
    with atomic_folder(run.folder, about=f"{run.folder}/{run.name}") as beside:
        try:
            yield dataclasses.replace(run, folder_override=str(beside))
        except InputError as error:  # names a file there, which is gone by the time that this is read
            raise error.at(error.where.replace(str(beside), run.folder)) from error
