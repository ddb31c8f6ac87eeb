"""kanbench: training Kolmogorov-Arnold networks (KANs), and keeping the results.

The functions below train networks (`fit`), and read and write runs. They are imported when first used, because the
Snakefile imports this package and must not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = ["find_run", "fit", "list_runs", "load_checkpoint_metadata", "load_run", "save_run"]

_ELSEWHERE = {"fit": "training.fit", "save_run": "storage.saving"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"kanbench.{_ELSEWHERE.get(name, 'storage.runs')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
