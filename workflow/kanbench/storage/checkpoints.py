"""Checkpoints as pykan reads them, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kanbench.errors import InputError, one_line
from kanbench.io.atomic import atomic_folder
from kanbench.network import checkpoints
from kanbench.network.checkpoint_config import REQUIRED
from kanbench.network.spline_network import SplineNetwork
from kanbench.storage.values import builtin


def write_checkpoint(model: Any, base: str | Path, inputs: Any) -> None:
    """Write the three files of a checkpoint, whole or not at all.

    Args:
        model (SplineNetwork or KAN)
        base (path): What the files' names begin with.
        inputs (array or Tensor (of a KAN), shape (n, d)): See `kanbench.network.checkpoints.write_checkpoint`.
    """
    base = Path(base)
    if isinstance(model, SplineNetwork):
        checkpoints.write_checkpoint(model, base, inputs)
    else:
        with atomic_folder(base.parent, about=base) as folder:
            _save_kan(model, folder / base.name, base, inputs)


def _save_kan(model: Any, path: Path, base: Path, inputs: Any) -> None:
    from kanbench.network.pykan import save_checkpoint

    kept = {key: getattr(model, key) for key in REQUIRED}
    vars(model).update(builtin(kept))  # YAML writes numpy's numbers, and tuples, as objects
    try:
        save_checkpoint(model, path, inputs)
    except RuntimeError as error:  # what torch.save makes of a full disk, in words that do not say so
        path.write_bytes(bytes(1 << 20))  # which this does
        raise InputError(base, problem=f"cannot be written ({one_line(error)})") from error
    finally:
        vars(model).update(kept)
