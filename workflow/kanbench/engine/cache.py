"""Where compiled kernels are kept, so that a machine compiles them once and not in every job.

numba keeps the code of a function beside its source file, which may be read-only; it looks only at that file when it
decides whether to compile again, not at those of the functions it calls; and of jobs that start together every one
compiles. Here the code is kept in a folder of the user's, whose name is a digest of all the kernels' sources, and one
process compiles while the others wait.

Modules of kernels share ``cache = KernelCache(sources)`` and decorate functions with ``cache.keep(njit(cache=True))``.
Before the first use, ``cache.once("float64_4", compile)`` has everything compiled that `compile` uses of them.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from platformdirs import user_cache_path

LOCK = "lock"

log = logging.getLogger("kanbench")


class KernelCache:
    """The folder that the compiled code of some modules is kept in.

    It is a subfolder of `NUMBA_CACHE_DIR`, if that is set, or else of the user's cache folder. If it cannot be
    written to, what it holds is used all the same, but what is compiled is lost at the end of the process.

    Parameters
    ----------
    sources : iterable of Path
        The modules: all that their functions call, and that is compiled with them.
    """

    def __init__(self, sources: Iterable[Path]) -> None:
        self.sources = sorted(Path(source).resolve() for source in sources)
        self.begun: set[str] = set()

    @functools.cached_property
    def folder(self) -> Path:
        """The folder, which exists and can be written to."""
        base = os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("kanbench")
        folder = Path(base) / self._digest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            log.warning(
                "%s: cannot be written (%s): kernels that it lacks are compiled by every job; NUMBA_CACHE_DIR is "
                "where to keep them",
                folder,
                error.strerror,
            )
            return _throwaway_copy(folder)
        return folder

    def _digest(self) -> str:
        """The same as long as numba can use the same code: sources where they are, versions, processor."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(bytes(source) + b"\0" + source.read_bytes() + b"\0")
        features = llvmlite.binding.get_host_cpu_features().flatten()
        machine = sys.implementation.cache_tag, numba.__version__, llvmlite.binding.get_host_cpu_name(), features
        digest.update(repr(machine).encode())
        return digest.hexdigest()[:16]

    def keep(self, decorator: Callable[[Callable], Any]) -> Callable[[Callable], Any]:
        """numba's decorator `njit(cache=True, …)`, whose code is kept in the folder."""

        def decorate(function: Callable) -> Any:
            with self._numba_caches_here():
                return decorator(function)

        return decorate

    @contextlib.contextmanager
    def _numba_caches_here(self) -> Iterator[None]:
        """numba reads its setting when it decorates; other people's functions keep theirs."""
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(self.folder)
        try:
            yield
        finally:
            numba.config.CACHE_DIR = before

    def once(self, what: str, compile: Callable[[], None]) -> None:
        """Call `compile`, which uses all kernels for `what`, unless that has been done with this folder.

        Other processes wait here until it is done, and then load what they need.

        Parameters
        ----------
        what : str
            Any name for a set of argument types.
        """
        done = self.folder / f"{what}.compiled"
        if what in self.begun or done.exists():
            return
        self.begun.add(what)  # `compile` may come here again
        with (self.folder / LOCK).open("w") as lock:
            with contextlib.suppress(OSError):  # some network file systems have no locks: then every job compiles
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                log.info("compiling kernels for %s into %s", what, self.folder)
                compile()
                done.touch()


def _throwaway_copy(folder: Path) -> Path:
    """A copy of a folder, which need not exist, that is deleted at the end of the process.

    numba does not read from a folder that it cannot write to.
    """
    copy = Path(tempfile.mkdtemp(prefix="kanbench-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    with contextlib.suppress(OSError):
        shutil.copytree(folder, copy, dirs_exist_ok=True)
    return copy
