"""Extension modules of scipy.linalg without that package, whose import takes a tenth of a second and more."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import scipy


def extension(name: str, public: str) -> ModuleType:
    """`scipy.linalg.{name}` without `scipy.linalg`, or `public`, which has its functions, where it has no such file.

    Under its own name, so that an import of `scipy.linalg`, before or afterwards, meets the same module.
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
