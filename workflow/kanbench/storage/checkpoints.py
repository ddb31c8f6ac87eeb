"""Checkpoints as pykan reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from kan import KAN

from kanbench.errors import InputError
from kanbench.files import whole_files
from kanbench.model_config import REQUIRED
from kanbench.models import save_checkpoint
from kanbench.storage.values import builtin

MEBIBYTE = 1 << 20


def write_checkpoint(model: KAN, base: str | Path, inputs: torch.Tensor) -> None:
    """Write the three files of a checkpoint, whole or not at all; see `kanbench.models.save_checkpoint`."""
    base = Path(base)
    for key in REQUIRED:  # numpy's numbers and tuples, which YAML writes as objects that pykan refuses to read
        setattr(model, key, builtin(getattr(model, key)))
    with whole_files(base.parent, about=base) as folder:
        try:
            save_checkpoint(model, str(folder / base.name), inputs)
        except RuntimeError as error:  # what torch.save makes of a full disk, in words that do not say so
            (folder / base.name).write_bytes(bytes(MEBIBYTE))  # which this does
            raise InputError(f"{base}: cannot be written ({' '.join(str(error).split())})") from error
