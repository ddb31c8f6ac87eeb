"""Checkpoints as pykan reads them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from kan import KAN

from kanbench.errors import InputError
from kanbench.files import PARTIAL, whole_file
from kanbench.models import save_checkpoint
from kanbench.naming import CHECKPOINT_FILES


def write_checkpoint(model: KAN, base: str | Path, inputs: torch.Tensor) -> None:
    """Write the three files of a checkpoint, whole or not at all; see `kanbench.models.save_checkpoint`."""
    base = Path(base)
    with contextlib.ExitStack() as files:
        for file in CHECKPOINT_FILES:
            files.enter_context(whole_file(f"{base}_{file}"))
        try:
            save_checkpoint(model, str(base.with_name(PARTIAL + base.name)), inputs)
        except RuntimeError as error:  # what torch.save makes of a full disk
            raise InputError(f"{base}: cannot be written ({' '.join(str(error).split())})") from error
