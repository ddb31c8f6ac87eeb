"""Checkpoints as pykan reads them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from kan import KAN

from kanbench.errors import InputError
from kanbench.models import save_checkpoint
from kanbench.naming import CHECKPOINT_FILES


def write_checkpoint(model: KAN, base: str | Path, inputs: torch.Tensor) -> None:
    """Write the three files of a checkpoint, each whole or not at all; see `kanbench.models.save_checkpoint`."""
    base = Path(base)
    partial = base.with_name(f".{base.name}.part")
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(model, str(partial), inputs)
        for file in CHECKPOINT_FILES:
            Path(f"{partial}_{file}").replace(f"{base}_{file}")
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        raise InputError(f"{base}: cannot be written ({error})") from error
    finally:
        for file in CHECKPOINT_FILES:
            with contextlib.suppress(OSError):  # nothing to remove, or no such folder
                Path(f"{partial}_{file}").unlink()
