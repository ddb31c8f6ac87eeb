"""Locks between processes. A lock ends with its process, even a killed one, and adds no file to the locked folder."""

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
    """Hold an exclusive lock on a file or folder.

    Windows cannot open folders; there the lock is a file in the user's temporary folder, and so works only between
    processes of one user on one machine.

    Args:
        path (Path): An existing file or folder.
        wait (bool): Whether to wait while another process holds the lock.

    Yields:
        bool: Whether this process holds the lock; False if another does, or if the file system has no locks.

    Raises:
        OSError: The file or folder does not exist.
    """
    with (_flock if HAS_FLOCK else _exclusive_file)(path, wait) as is_held:
        yield is_held


@contextlib.contextmanager
def _flock(path: Path, wait: bool) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # NFS locks only files open for writing
    try:
        is_held = False
        with contextlib.suppress(OSError):  # held by another process, or no locks on this file system
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            is_held = True
        yield is_held
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _exclusive_file(path: Path, wait: bool) -> Iterator[bool]:
    """Use as lock a file that only one process can create."""
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
            file.unlink()  # before closing: afterwards the file may belong to another process
        os.close(descriptor)


def _made(file: Path) -> int | None:
    """Create the file and return its descriptor; None if it exists, or if Windows is still deleting it."""
    with contextlib.suppress(FileExistsError, PermissionError):
        return os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | TEMPORARY)
    return None
