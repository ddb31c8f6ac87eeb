"""Runs whose files appear together."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kanbench.errors import InputError
from kanbench.files import PARTIAL
from kanbench.naming import Run


@contextlib.contextmanager
def staged(run: Run) -> Iterator[Run]:
    """Yield the run in a folder of its own, from which its files move to theirs when the block ends without an error.

    Raises
    ------
    InputError
        The files cannot be written.
    """
    folder = Path(run.folder)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
            stack.callback(shutil.rmtree, beside, ignore_errors=True)
            yield dataclasses.replace(run, place=str(beside))
            for path in sorted(beside.iterdir()):
                path.replace(folder / path.name)
        except OSError as error:
            raise InputError(f"{folder}/{run.name}: cannot be written ({error.strerror})") from error
