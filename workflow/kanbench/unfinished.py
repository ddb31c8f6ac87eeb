"""What a training goes on from if its process or its machine dies.

The state of a training is one file: a SHA-256, and then what `torch.save` makes of numbers, text and tensors. A file
that is damaged, or of another training, is not used: the training then begins anew.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from kanbench.errors import InputError, one_line
from kanbench.files import whole_file

# Seconds from one state to the next: what a crash costs, at most, beside what is done again anyway (imports, samples).
# To keep one takes some 10 ms; at every stage, a training of Adam of 60 epochs would spend a third of its time on that.
EVERY = 10.0
EVERY_STAGE = 1.0  # at the end of a stage
DIGEST = hashlib.sha256().digest_size

State = dict[str, Any]

log = logging.getLogger("kanbench")


class Unfinished:
    """A place for the state of one training, and of those that it consists of.

    Parameters
    ----------
    folder : path
        Of this training alone.
    name : str
        The file's, without its ending.
    """

    def __init__(self, folder: str | Path, name: str = "training") -> None:
        self.folder, self.path = Path(folder), Path(folder) / f"{name}.state"
        self.kept_at = time.monotonic()
        self.can_be_written = True

    def part(self, name: str) -> Unfinished:
        """The place for a training that this one needs before it begins."""
        return Unfinished(self.folder, name)

    def due(self, stage_ends: bool) -> bool:
        """Whether it is time to keep a state."""
        return time.monotonic() - self.kept_at >= (EVERY_STAGE if stage_ends else EVERY)

    def keep(self, key: State, state: State) -> None:
        """Keep the state of the training that `key` describes: all that its result depends on.

        A state that cannot be written is worth one line, not the training.
        """
        buffer = io.BytesIO()
        torch.save({"key": key, "state": state}, buffer)
        content = buffer.getvalue()
        try:
            with whole_file(self.path) as partial:
                partial.write_bytes(hashlib.sha256(content).digest() + content)
        except InputError as error:
            if self.can_be_written:
                log.warning("%s; a crash of this training would cost all of it", error)
            self.can_be_written = False
        self.kept_at = time.monotonic()

    def find(self, key: State, device: str) -> State | None:
        """The state of the training that `key` describes, on a device; None where there is none that can be used."""
        self.kept_at = time.monotonic()
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._unused(f"cannot be read ({error.strerror})")
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            return self._unused("damaged")
        try:
            found = torch.load(io.BytesIO(content[DIGEST:]), map_location=device, weights_only=True)
            differing = sorted(name for name in key.keys() | found["key"].keys() if found["key"].get(name) != key[name])
        except Exception as error:  # of files from elsewhere, which can hold anything
            return self._unused(f"refused ({one_line(error)[:100]})")
        if differing:
            return self._unused(f"of a training with another {', '.join(differing)}")
        return found["state"]

    def _unused(self, why: str) -> None:
        log.warning("%s: %s; the training begins anew", self.path, why)

    def remove(self) -> None:
        """Nothing is kept any longer: the training has ended, and left its results."""
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def code_digest() -> str:
    """The same as long as the package's code is."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(bytes(source.relative_to(package)) + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
