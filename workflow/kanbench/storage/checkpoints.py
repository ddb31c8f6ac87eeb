"""Write checkpoints that pykan can read, atomically."""

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
    """Write the three files of a checkpoint atomically.

    Args:
        model (SplineNetwork or KAN): The model.
        base (path): The files are `{base}_config.yml`, `{base}_state` and `{base}_cache_data`.
        inputs (array of shape (n, d), for a KAN a Tensor): See `kanbench.network.checkpoints.write_checkpoint`.

    Raises:
        InputError: The files cannot be written.
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
    vars(model).update(builtin(kept))  # YAML would write numpy scalars and tuples as Python objects
    try:
        save_checkpoint(model, path, inputs)
    except RuntimeError as error:  # torch.save raises this for a full disk, with a misleading message
        path.write_bytes(bytes(1 << 20))  # on a full disk, this raises a clear error
        raise InputError(base, problem=f"cannot be written ({one_line(error)})") from error
    finally:
        vars(model).update(kept)
