"""kanbench: train Kolmogorov-Arnold networks (KANs) and store the results.

`fit` trains networks, `problem` turns a function into a problem, and the other functions read and write runs. They are
imported on first use, because the Snakefile imports this package and must not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "fit": "training.fit",
    "problem": "problems.registry",
    "save_run": "storage.saving",
    **dict.fromkeys(("find_run", "list_runs", "load_checkpoint_metadata", "load_run"), "storage.runs"),
}
__all__ = ["find_run", "fit", "list_runs", "load_checkpoint_metadata", "load_run", "problem", "save_run"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"kanbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
