"""Files that appear whole or not at all, whatever happens to the process and whoever else writes there."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kanbench.errors import InputError
from kanbench.io.locks import locked

# Files that are being written lie in a folder of their own beside their place, whose name begins like this.
PARTIAL = ".part."


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; what is there gets the name `path` when the block ends without an error.

    Raises:
        InputError: The file cannot be written.
    """
    with atomic_folder(Path(path).parent, about=path) as folder:
        yield folder / Path(path).name


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all, that is the same on every machine: UTF-8, and lines end in a newline.

    Raises:
        InputError: It cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def atomic_folder(folder: str | Path, about: str | Path) -> Iterator[Path]:
    """Yield an empty folder; the files in it move to `folder` when the block ends without an error.

    Args:
        about (path): What errors name.

    Raises:
        InputError: The files cannot be written.
    """
    with _written(about), _partial(Path(folder)) as partial:
        yield partial
        for file in sorted(partial.iterdir()):
            # Have the content on the disk before the name: a machine may go down. Windows wants to be able to write.
            with file.open("r+b") as opened:
                os.fsync(opened.fileno())
            file.replace(Path(folder, file.name))


@contextlib.contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder; do not nest them.

    Where the file system has no such locks (NFS has none for folders) nobody waits; see `kanbench.io.locks`.

    Raises:
        InputError: There is no such folder, and it cannot be made.
    """
    with contextlib.ExitStack() as held:
        with _written(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(Path(folder)))
        yield


def check_writable(folder: str | Path) -> None:
    """Make a folder, if it is not there, and see whether files can be made in it.

    Raises:
        InputError: They cannot.
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
    """A folder inside `folder` that its process keeps locked, and that is removed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    _clear_away(folder)
    with contextlib.ExitStack() as held:
        path = _locked_folder(folder, held)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _locked_folder(folder: Path, held: contextlib.ExitStack) -> Path:
    """A new folder inside `folder`, with its lock until `held` ends."""
    while True:  # until nobody took it, before it was locked, for one that was left
        path = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
        with contextlib.suppress(FileNotFoundError):
            held.enter_context(locked(path))
        if path.exists():
            return path


def _clear_away(folder: Path) -> None:
    """Remove what was left by processes that were killed while they wrote: folders that nobody locks any more."""
    for left in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError), locked(left, wait=False) as is_left:  # or it is gone meanwhile
            if is_left:
                shutil.rmtree(left, ignore_errors=True)
