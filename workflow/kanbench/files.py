"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kanbench.errors import InputError

# Before the name of a file that is being written. The second point is for torch.save, which names the archive inside a
# file by what precedes the last point, and takes no empty name.
PARTIAL = ".part."


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, which gets that name when the block ends without an error.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(PARTIAL + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):  # nothing to remove, or no such folder
            partial.unlink()
