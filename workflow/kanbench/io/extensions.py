"""Import extension modules of scipy.linalg without the package itself, which takes over 0.1 s to import."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import scipy


def extension(name: str, public: str) -> ModuleType:
    """Import `scipy.linalg.{name}` without importing `scipy.linalg`.

    The module is registered under its own name, so a later import of `scipy.linalg` finds the same one.

    Args:
        name (str): The extension module.
        public (str): The public module with the same functions, used if scipy has no such file.
    """
    full_name = f"scipy.linalg.{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    spec = PathFinder.find_spec(full_name, [str(Path(scipy.__file__).parent / "linalg")])
    if spec is None or spec.loader is None:
        return importlib.import_module(public)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
