"""How kernels are compiled, and where their code is kept, so that a machine compiles them once and not in every job.

numba keeps the code of a function beside its source file, which may be read-only; it looks only at that file when it
decides whether to compile again, not at those of the functions it calls; and of jobs that start together every one
compiles. Here the code is kept in a folder of the user's, whose name is a digest of all the kernels' sources, and one
process compiles while the others wait.

Modules of kernels decorate functions with `compiled` or `compiled_unfused`. Before the first use of an engine's
kernels, ``cache.once("float64_4", compile)`` has everything compiled that `compile` uses of them. Importing a module of
kernels creates no folder: it is made when the first kernel is about to be used.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import logging
import os
import pickle
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import llvmlite.binding
import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from platformdirs import user_cache_path

from kanbench.errors import InputError, one_line
from kanbench.io.extensions import extension
from kanbench.io.locks import locked

PACKAGE = Path(__file__).parents[1]
SOURCES = (
    "engine/numba_engine/activations.py",
    "engine/numba_engine/cholesky.py",
    "engine/numba_engine/gram.py",
    "engine/numba_engine/inputs.py",
    "engine/numba_engine/kernels.py",
    "engine/numba_engine/linearized.py",
    "engine/numba_engine/objective.py",
    "engine/numba_engine/rows.py",
    "engine/numba_engine/simd.py",
    "engine/numba_engine/spans.py",
    "engine/numba_engine/structures.py",
    "engine/numba_engine/tables.py",
    "engine/numba_engine/tiles.py",
    "io/kernel_cache.py",
    "network/knot_insertion.py",
    "network/splines.py",
    "training/optimizers/adam_update.py",
    "training/optimizers/lbfgs.py",
    "training/optimizers/line_search.py",
    "training/optimizers/two_loops.py",
)

CHECKSUM = 4  # bytes
DAMAGED, UNWRITTEN = "damaged", "cannot be written"
CONSEQUENCES = {
    DAMAGED: "damaged kernels are compiled again",
    UNWRITTEN: "every job compiles the missing kernels; set NUMBA_CACHE_DIR to another folder",
}

log = logging.getLogger("kanbench")


class KernelCache:
    """The folder that the compiled code of some modules is kept in.

    It is a subfolder of `NUMBA_CACHE_DIR`, if that is set, or else of the user's cache folder. If it cannot be
    written to, what it holds is used all the same, but what is compiled is lost at the end of the process; so it is
    where the disk is full. What is damaged there is compiled anew. A line in the log says so.

    Args:
        sources (iterable of Path): The modules: all that their functions call, and that is compiled with them.
    """

    def __init__(self, sources: Iterable[Path]) -> None:
        self.sources = sorted(Path(source).resolve() for source in sources)
        self.kernels: list[Any] = []
        self.is_open = self.is_locked = False
        self.begun: set[str] = set()
        self.trouble: set[str] = set()

    def compiled(self, function: Callable[..., Any]) -> Any:
        """numba's `njit`, with code that is kept in the folder from `open` on.

        Divisions by zero are not errors, and not looked for; products are added without being rounded before.
        """
        return self._compiled(function, {"contract"})

    def compiled_inline(self, function: Callable[..., Any]) -> Any:
        """As `compiled`, in the place of every call: for what takes as long as to pass a few arrays."""
        return self._compiled(function, {"contract"}, forceinline=True)

    def compiled_unfused(self, function: Callable[..., Any]) -> Any:
        """As `compiled`, but products are rounded before they are added, as numpy and Python do it."""
        return self._compiled(function, False)

    def _compiled(self, function: Callable[..., Any], fastmath: set[str] | Literal[False], **options: Any) -> Any:
        kernel = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, **options)(function)
        self.kernels.append(kernel)
        if self.is_open:
            self._keep([kernel])
        return kernel

    def open(self) -> None:
        """Load kernels from the folder, and keep in it what is compiled from now on.

        Raises:
            InputError: numba does not compile in this process.
        """
        if not self.is_open:
            if disabled := numba.config.DISABLE_JIT:
                raise InputError(
                    "NUMBA_DISABLE_JIT", disabled, "0: kernels use vectors, which exist in compiled code only"
                )
            # numba imports it before its first kernel, which needs none of it.
            extension("cython_blas", "scipy.linalg.cython_blas")
            self.is_open = True
            self._keep(self.kernels)

    def _keep(self, kernels: Iterable[Any]) -> None:
        if self.folder is None:
            return
        before = numba.config.CACHE_DIR  # numba reads its setting here; other people's functions keep theirs
        numba.config.CACHE_DIR = str(self.folder)
        try:
            for kernel in kernels:
                kernel._cache = _Files(kernel.py_func, self._notice)  # as `enable_caching` does with numba's own
        finally:
            numba.config.CACHE_DIR = before

    def _notice(self, trouble: str, reason: BaseException, file: str) -> None:
        """Say what is wrong with a file, and what follows; of all such files once."""
        if trouble not in self.trouble:
            self.trouble.add(trouble)
            why = getattr(reason, "strerror", None) or f"{type(reason).__name__}: {one_line(reason)[:100]}"
            log.warning("%s: %s (%s); %s", file, trouble, why, CONSEQUENCES[trouble])

    @functools.cached_property
    def folder(self) -> Path | None:
        """The folder, which exists and can be written to; None where there is no such place at all."""
        base = os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("kanbench")
        folder = Path(base) / self._digest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            self._notice(UNWRITTEN, error, str(folder))
            return _throwaway_copy(folder)
        return folder

    def _digest(self) -> str:
        """Changes when numba cannot use the old code: sources where they are, versions, processor, checks of bounds."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(bytes(source) + b"\0" + source.read_bytes() + b"\0")
        features = llvmlite.binding.get_host_cpu_features().flatten()
        machine = sys.implementation.cache_tag, numba.__version__, llvmlite.binding.get_host_cpu_name(), features
        digest.update(repr((*machine, bool(numba.config.BOUNDSCHECK))).encode())
        return digest.hexdigest()[:16]

    def once(self, what: str, compile: Callable[[], object]) -> None:
        """Call `compile`, which uses all kernels for `what`, unless that has been done with this folder.

        Other processes wait here until it is done, and then load what they need.

        Args:
            what (str): Any name for a set of argument types.
        """
        if what in self.begun:
            return
        self.begun.add(what)  # `compile` may come here again
        self.open()
        if self.folder is None:  # what is used is compiled then
            return
        done = self.folder / f"{what}.compiled"
        if done.exists():
            return
        with self._lock(self.folder / "lock"):
            if not done.exists():
                log.info("compiling kernels for %s into %s", what, self.folder)
                compile()
                if UNWRITTEN not in self.trouble:
                    done.touch()

    @contextlib.contextmanager
    def _lock(self, lock: Path) -> Iterator[None]:
        """One process compiles at a time; what it compiles may need other kernels, which it compiles then."""
        if self.is_locked:
            yield
            return
        with contextlib.suppress(OSError):
            lock.touch()
        with locked(lock):  # some network file systems have no locks: then every job compiles
            self.is_locked = True
            try:
                yield
            finally:
                self.is_locked = False


class _Files(FunctionCache):
    """A kernel's files in the folder, of which none can stop a training.

    Args:
        notice (callable): What to say, the error and the file.
    """

    def __init__(self, function: Callable[..., Any], notice: Callable[[str, BaseException, str], None]) -> None:
        super().__init__(function)
        path = self._cache_path
        self._cache_file = _CheckedFile(path, self._impl.filename_base, self._impl.locator.get_source_stamp())
        self._notice = notice

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for argument types; None, and no trace of it, where it is damaged."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling raises nearly anything
            self._notice(DAMAGED, error, self._cache_file.last)
            with self._without_failing():
                self._cache_file.flush()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with self._without_failing():
            super().save_overload(sig, data)

    @contextlib.contextmanager
    def _without_failing(self) -> Iterator[None]:
        """Where the disk is full, or the folder is gone, the process does without it."""
        try:
            yield
        except OSError as error:
            self._notice(UNWRITTEN, error, self._cache_path)
            self.disable()


class _CheckedFile(IndexDataCacheFile):
    """numba's files of a function, with a checksum before each code: LLVM ends the process where that is damaged."""

    last = ""  # the path that was read last

    def _load_index(self) -> Any:
        self.last = self._index_path
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        self.last = self._data_path(name)
        content = Path(self.last).read_bytes()
        if zlib.crc32(content[CHECKSUM:]).to_bytes(CHECKSUM) != content[:CHECKSUM]:
            raise ValueError("checksum mismatch")
        return pickle.loads(content[CHECKSUM:])

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(zlib.crc32(content).to_bytes(CHECKSUM) + content)


def _throwaway_copy(folder: Path) -> Path | None:
    """A copy of a folder, which need not exist, that is deleted at the end of the process; None where it has no place.

    numba does not read from a folder that it cannot write to.
    """
    try:
        copy = Path(tempfile.mkdtemp(prefix="kanbench-"))
    except OSError:
        return None
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    with contextlib.suppress(OSError):
        shutil.copytree(folder, copy, dirs_exist_ok=True)
    return copy


cache = KernelCache(PACKAGE / source for source in SOURCES)
compiled, compiled_inline, compiled_unfused = cache.compiled, cache.compiled_inline, cache.compiled_unfused
