"""Compile kernels and cache their code, so that a machine compiles them only once and not in every job.

numba's own cache has three problems: it lies beside the source file, which may be read-only; it ignores changes in
the files of called functions; and jobs that start together all compile. This cache is a folder of the user, named by
a digest of the sources of all kernels, and one process compiles while the others wait.

Kernel modules decorate functions with `compiled` or `compiled_unfused`. Before an engine first uses its kernels, it
calls ``cache.once("float64_4", compile)``, which compiles every kernel that `compile` uses. Importing a kernel module
creates no folder; the folder is created before the first kernel is used.
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
    "engine/numba_engine/dense.py",
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
    """A folder with the compiled code of the given modules.

    It is a subfolder of `NUMBA_CACHE_DIR` if that is set, else of the user's cache folder. If it cannot be written to
    or the disk is full, its content is still used, but newly compiled code is lost at the end of the process. Damaged
    files are compiled again. Both are logged.

    Args:
        sources (iterable of Path): The modules, including all that their functions call.
    """

    def __init__(self, sources: Iterable[Path]) -> None:
        self.sources = sorted(Path(source).resolve() for source in sources)
        self.kernels: list[Any] = []
        self.is_open = self.is_locked = False
        self.begun: set[str] = set()
        self.trouble: set[str] = set()

    def compiled(self, function: Callable[..., Any]) -> Any:
        """numba's `njit`, with code stored in the folder after `open`.

        Division by zero is not checked (IEEE results); multiply-add may be fused.
        """
        return self._compiled(function, {"contract"})

    def compiled_inline(self, function: Callable[..., Any]) -> Any:
        """Like `compiled`, but inlined into callers: for functions that take no longer than passing a few arrays."""
        return self._compiled(function, {"contract"}, forceinline=True)

    def compiled_unfused(self, function: Callable[..., Any]) -> Any:
        """Like `compiled`, without fused multiply-add, so results round as in numpy and Python."""
        return self._compiled(function, False)

    def _compiled(self, function: Callable[..., Any], fastmath: set[str] | Literal[False], **options: Any) -> Any:
        kernel = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, **options)(function)
        self.kernels.append(kernel)
        if self.is_open:
            self._keep([kernel])
        return kernel

    def open(self) -> None:
        """Load kernels from the folder, and store there what is compiled from now on.

        Raises:
            InputError: Compilation by numba is disabled in this process.
        """
        if not self.is_open:
            if disabled := numba.config.DISABLE_JIT:
                raise InputError(
                    "NUMBA_DISABLE_JIT", disabled, "0: kernels use vectors, which exist in compiled code only"
                )
            # numba would import all of scipy.linalg before its first kernel.
            extension("cython_blas", "scipy.linalg.cython_blas")
            self.is_open = True
            self._keep(self.kernels)

    def _keep(self, kernels: Iterable[Any]) -> None:
        if self.folder is None:
            return
        before = numba.config.CACHE_DIR  # read when a cache is created; restored for functions of other packages
        numba.config.CACHE_DIR = str(self.folder)
        try:
            for kernel in kernels:
                kernel._cache = _Files(kernel.py_func, self._notice)  # as numba's `enable_caching` does
        finally:
            numba.config.CACHE_DIR = before

    def _notice(self, trouble: str, reason: BaseException, file: str) -> None:
        """Log a file's problem and its consequence; only the first of each kind."""
        if trouble not in self.trouble:
            self.trouble.add(trouble)
            why = getattr(reason, "strerror", None) or f"{type(reason).__name__}: {one_line(reason)[:100]}"
            log.warning("%s: %s (%s); %s", file, trouble, why, CONSEQUENCES[trouble])

    @functools.cached_property
    def folder(self) -> Path | None:
        """The cache folder, created if needed; a temporary copy if it is not writable, None if there is none either."""
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
        """A digest of what compiled code depends on: source paths and contents, versions, processor, bounds checks."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(bytes(source) + b"\0" + source.read_bytes() + b"\0")
        features = llvmlite.binding.get_host_cpu_features().flatten()
        machine = sys.implementation.cache_tag, numba.__version__, llvmlite.binding.get_host_cpu_name(), features
        digest.update(repr((*machine, bool(numba.config.BOUNDSCHECK))).encode())
        return digest.hexdigest()[:16]

    def once(self, what: str, compile: Callable[[], object]) -> None:
        """Call `compile` unless this folder already has the kernels for `what`.

        Other processes wait until it has returned, then load the compiled code.

        Args:
            what (str): A name for a set of argument types.
            compile (callable): Uses all kernels for `what`, and so compiles them.
        """
        if what in self.begun:
            return
        self.begun.add(what)  # first: `compile` may call `once` again
        self.open()
        if self.folder is None:  # kernels are compiled on first use
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
        """Let one process compile at a time; reentrant, because kernels may compile other kernels."""
        if self.is_locked:
            yield
            return
        with contextlib.suppress(OSError):
            lock.touch()
        with locked(lock):  # on network file systems without locks, every job compiles
            self.is_locked = True
            try:
                yield
            finally:
                self.is_locked = False


class _Files(FunctionCache):
    """The cached files of one kernel; errors with them are logged and never stop a training.

    Args:
        notice (callable): Called with the kind of trouble, the error and the file.
    """

    def __init__(self, function: Callable[..., Any], notice: Callable[[str, BaseException, str], None]) -> None:
        super().__init__(function)
        path = self._cache_path
        self._cache_file = _CheckedFile(path, self._impl.filename_base, self._impl.locator.get_source_stamp())
        self._notice = notice

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for these argument types; if damaged, delete it and return None."""
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
        """Disable the cache in this process if the disk is full or the folder is gone."""
        try:
            yield
        except OSError as error:
            self._notice(UNWRITTEN, error, self._cache_path)
            self.disable()


class _CheckedFile(IndexDataCacheFile):
    """numba's cache files with a checksum before the code: LLVM aborts the process on damaged code."""

    last = ""  # path of the last file read

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
    """Copy a folder, which need not exist, to a temporary one that is deleted at the end of the process.

    numba reads only from folders that it can write to. Returns None if no temporary folder can be created.
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
