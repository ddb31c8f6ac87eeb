"""Start a training's process quickly: what pykan imports for plots and formulas waits until something needs it.

pykan imports scikit-learn, sympy, matplotlib and pandas for `plot`, `suggest_symbolic` and the like, which takes longer
than torch does. A training needs none of them, and a run has a hundred trainings, each a process of its own. Only those
processes, which are the command line's, are started like this: who imports kanbench or pykan imports them as ever.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import os
import sys
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from unittest import mock

DEFERRED = ("matplotlib", "pandas", "sklearn", "sympy")


def start_torch() -> None:
    """Import torch and pykan, which takes a second that the other subcommands need not wait for; use one thread.

    Results must not depend on the number of cores, and more threads do not help problems of this size.
    """
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
    with quick_imports():
        import torch

        import_pykan()
    torch.set_num_threads(1)


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector, and never have it look at what was imported.

    Modules are not garbage. To look through them again and again takes a fifth of the time of importing torch, and
    half a second at exit.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class Deferred(types.ModuleType):
    """Stands for a module, or for an object of a module, until its first use, which calls `restore_pykan`."""

    def __init__(self, module: str, name: str | None = None) -> None:
        super().__init__(module)
        self.__deferred__ = module, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(_real(self), attribute)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _real(self)(*args, **kwargs)


def import_pykan() -> None:
    """Import pykan without the modules that only its plots and formulas need; they are imported when first used.

    Nothing stands in for them in `sys.modules`: only pykan's own names are bound to stand-ins, and to the real things
    from their first use on. Does nothing if pykan has been imported already.
    """
    if "kan" in sys.modules:
        return
    with mock.patch("builtins.__import__", _deferring(builtins.__import__)):
        import_module("kan")


def restore_pykan() -> None:
    """Import what `import_pykan` left out, and give pykan's modules the names that they would have had."""
    sympy = import_module("sympy")
    for namespace in _namespaces():
        for name, value in list(namespace.items()):
            if isinstance(value, Deferred):
                namespace[name] = _real_object(value)
    for module in ("kan.MultKAN", "kan"):  # the one says `from sympy import *`, the other `from .MultKAN import *`
        for name in sympy.__all__:
            vars(sys.modules[module]).setdefault(name, getattr(sympy, name))


def _deferring(real_import: Any) -> Any:
    """`__import__` as before, but with a stand-in for what pykan's own modules import of `DEFERRED`."""

    def deferring_import(name, globals=None, locals=None, fromlist=(), level=0):  # noqa: A002, RUF100
        if level or name.split(".")[0] not in DEFERRED or (globals or {}).get("__package__") != "kan":
            return real_import(name, globals, locals, fromlist, level)
        module = Deferred(name)
        if fromlist == ("*",):
            module.__all__ = []  # the names follow in `restore_pykan`
        elif fromlist:
            vars(module).update({attribute: Deferred(name, attribute) for attribute in fromlist})
        elif "." in name:  # `import a.b as c`: Python takes the attribute b of a
            vars(module)[name.split(".")[1]] = Deferred(name)
        return module

    return deferring_import


def _namespaces() -> list[dict[str, Any]]:
    return [vars(module) for name, module in list(sys.modules.items()) if name.split(".")[0] == "kan"]


def _real(deferred: Deferred) -> Any:
    restore_pykan()
    return _real_object(deferred)


def _real_object(deferred: Deferred) -> Any:
    module, name = deferred.__deferred__
    return import_module(module) if name is None else getattr(import_module(module), name)
