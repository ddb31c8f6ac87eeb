"""Atomic writes: a file is complete or absent, even if the process is killed or others write to the same place."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kanbench.errors import InputError
from kanbench.io.locks import locked

# Prefix of the temporary folders, next to the target, that hold files while they are written.
PARTIAL = ".part."


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to `path` when the block ends without an error.

    Raises:
        InputError: The file cannot be written.
    """
    with atomic_folder(Path(path).parent, about=path) as folder:
        yield folder / Path(path).name


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 and with line feeds on every system.

    Raises:
        InputError: The file cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def atomic_folder(folder: str | Path, about: str | Path) -> Iterator[Path]:
    """Yield an empty folder; the files in it move to `folder` when the block ends without an error.

    Args:
        about (path): The path that error messages name.

    Raises:
        InputError: The files cannot be written.
    """
    with _written(about), _partial(Path(folder)) as partial:
        yield partial
        for file in sorted(partial.iterdir()):
            # Flush the content before renaming, in case the machine crashes. On Windows fsync needs write access.
            with file.open("r+b") as opened:
                os.fsync(opened.fileno())
            file.replace(Path(folder, file.name))


@contextlib.contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder, waiting for other processes to release it; do not nest.

    On file systems without such locks (NFS has none for folders) nothing is locked; see `kanbench.io.locks`.

    Raises:
        InputError: The folder does not exist and cannot be created.
    """
    with contextlib.ExitStack() as held:
        with _written(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(Path(folder)))
        yield


def check_writable(folder: str | Path) -> None:
    """Create the folder if needed, and check that files can be created in it.

    Raises:
        InputError: The folder or files in it cannot be created.
    """
    with _written(folder), _partial(Path(folder)):
        pass


@contextlib.contextmanager
def _written(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(path, problem=f"cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder inside `folder`, locked by this process and removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    with contextlib.ExitStack() as held:
        path = _locked_folder(folder, held)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _locked_folder(folder: Path, held: contextlib.ExitStack) -> Path:
    """Create a folder inside `folder`, locked until `held` exits."""
    while True:  # another process may remove it as stale before it is locked
        path = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
        with contextlib.suppress(FileNotFoundError):
            held.enter_context(locked(path))
        if path.exists():
            return path


def _remove_stale(folder: Path) -> None:
    """Remove the temporary folders of killed processes: those that no process locks."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError), locked(partial, wait=False) as is_stale:  # it may be gone by now
            if is_stale:
                shutil.rmtree(partial, ignore_errors=True)
