"""Tables of a run, and statements about it: every winner is computed, with how large the difference is and how sure.

`load_findings` reads a run, `findings` takes frames. They are imported when first used, because the command line
imports this package, and has no need of pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["findings", "load_findings"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("kanbench.presentation.tables.conclusions"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
