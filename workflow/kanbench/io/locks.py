"""Locks between processes, which end with their process, however that ends, and leave no file where they are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    HAS_FLOCK = False
else:
    HAS_FLOCK = True

TEMPORARY = getattr(os, "O_TEMPORARY", 0)  # Windows deletes such a file with its process
PAUSE = 0.01  # seconds


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file or folder.

    On Windows, which opens no folders, the lock is a file in the user's folder for temporary files: it is one between
    processes of one user on one machine.

    Args:
        wait (bool): Until no other process holds it.

    Yields:
        bool: Whether this process holds it: no other does, and the file system has such locks.

    Raises:
        OSError: There is no such file or folder.
    """
    with (_flock if HAS_FLOCK else _exclusive_file)(path, wait) as is_held:
        yield is_held


@contextlib.contextmanager
def _flock(path: Path, wait: bool) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # NFS locks what is open for writing
    try:
        is_held = False
        with contextlib.suppress(OSError):  # another process's, or one of a file system that has none
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            is_held = True
        yield is_held
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _exclusive_file(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a file that only one process can make."""
    name = os.path.normcase(path.resolve(strict=True))
    file = Path(tempfile.gettempdir(), f"kanbench-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.lock")
    while (descriptor := _made(file)) is None and wait:
        time.sleep(PAUSE)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # while it is open: afterwards it may be another process's
        os.close(descriptor)


def _made(file: Path) -> int | None:
    """A descriptor of a new file; None where it is there, or where Windows has not quite deleted it: no permission."""
    with contextlib.suppress(FileExistsError, PermissionError):
        return os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | TEMPORARY)
    return None
