"""Checkpoints as pykan reads them, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_folder
from kanbench.network import checkpoints
from kanbench.network.checkpoint_config import REQUIRED
from kanbench.network.spline_network import SplineNetwork
from kanbench.storage.values import builtin

MEBIBYTE = 1 << 20


def write_checkpoint(model: Any, base: str | Path, inputs: Any) -> None:
    """Write the three files of a checkpoint, whole or not at all.

    Args:
        model (SplineNetwork or KAN)
        base (path): What the files' names begin with.
        inputs (array or Tensor (of a KAN), shape (n, d)): See `kanbench.network.checkpoints.write_checkpoint`.
    """
    base = Path(base)
    with atomic_folder(base.parent, about=base) as folder:
        if isinstance(model, SplineNetwork):
            checkpoints.write_checkpoint(model, folder / base.name, inputs)
        else:
            _save_kan(model, folder / base.name, base, inputs)


def _save_kan(model: Any, path: Path, base: Path, inputs: Any) -> None:
    from kanbench.network.pykan import save_checkpoint

    with _builtin_attributes(model):
        try:
            save_checkpoint(model, path, inputs)
        except RuntimeError as error:  # what torch.save makes of a full disk, in words that do not say so
            path.write_bytes(bytes(MEBIBYTE))  # which this does
            raise InputError(base, problem=f"cannot be written ({' '.join(str(error).split())})") from error


@contextlib.contextmanager
def _builtin_attributes(model: Any) -> Iterator[None]:
    """Inside, a KAN's configuration has no numbers of numpy's and no tuples, which YAML writes as objects."""
    kept = {key: getattr(model, key) for key in REQUIRED}
    try:
        for key, value in kept.items():
            setattr(model, key, builtin(value))
        yield
    finally:
        for key, value in kept.items():
            setattr(model, key, value)
