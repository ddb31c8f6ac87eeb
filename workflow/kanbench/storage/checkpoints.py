"""Checkpoints as pykan reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
    with _builtin_attributes(model), whole_files(base.parent, about=base) as folder:
        try:
            save_checkpoint(model, str(folder / base.name), inputs)
        except RuntimeError as error:  # what torch.save makes of a full disk, in words that do not say so
            (folder / base.name).write_bytes(bytes(MEBIBYTE))  # which this does
            raise InputError(f"{base}: cannot be written ({' '.join(str(error).split())})") from error


@contextlib.contextmanager
def _builtin_attributes(model: KAN) -> Iterator[None]:
    """Inside, a model's configuration has no numbers of numpy's and no tuples, which YAML writes as objects."""
    kept = {key: getattr(model, key) for key in REQUIRED}
    try:
        for key, value in kept.items():
            setattr(model, key, builtin(value))
        yield
    finally:
        for key, value in kept.items():
            setattr(model, key, value)
