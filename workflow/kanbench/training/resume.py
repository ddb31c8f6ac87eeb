"""What a training goes on from if its process or its machine dies.

The state of a training is one file: a SHA-256, and then a numpy archive of a text, which is JSON, and of the arrays
that it refers to. A file that is damaged, or of another training, is not used: the training then begins anew.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from kanbench.errors import InputError, one_line
from kanbench.io.atomic import atomic_write

# Seconds from one state to the next: what a crash costs, at most, beside what is done again anyway (imports, samples).
# To save one takes some 10 ms; at every stage, a training of Adam of 60 epochs would spend a third of its time on that.
EVERY = 10.0
EVERY_STAGE = 1.0  # at the end of a stage
DIGEST = hashlib.sha256().digest_size
ARRAY = "array"  # the only key of what stands for an array in the text
TEXT = "text"

State = dict[str, Any]

log = logging.getLogger("kanbench")


class Stateful:
    """A part of a training whose attributes are its state: numbers, text, lists, dicts and arrays."""

    def state(self) -> State:
        return dict(vars(self))

    def resume(self, state: State) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class ResumeState:
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
        self.saved_at = time.monotonic()
        self.can_be_written = True

    def part(self, name: str) -> ResumeState:
        """The place for a training that this one needs before it begins."""
        return ResumeState(self.folder, name)

    def due(self, stage_ends: bool) -> bool:
        """Whether it is time to save a state."""
        return time.monotonic() - self.saved_at >= (EVERY_STAGE if stage_ends else EVERY)

    def save(self, key: State, state: State) -> None:
        """Save the state of the training that `key` describes: all that its result depends on.

        A state that cannot be written is worth one line, not the training.
        """
        content = _packed({"key": key, "state": state})
        try:
            with atomic_write(self.path) as partial:
                partial.write_bytes(hashlib.sha256(content).digest() + content)
        except InputError as error:
            if self.can_be_written:
                log.warning("%s; a crash of this training would cost all of it", error)
            self.can_be_written = False
        self.saved_at = time.monotonic()

    def load(self, key: State) -> State | None:
        """The state of the training that `key` describes; None where there is none that can be used."""
        self.saved_at = time.monotonic()
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._unused(f"cannot be read ({error.strerror})")
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            return self._unused("damaged")
        try:
            found = _unpacked(content[DIGEST:])
            its = found["key"]
            differing = sorted(name for name in key.keys() | its.keys() if its.get(name) != key.get(name))
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


def _packed(content: State) -> bytes:
    arrays: dict[str, np.ndarray] = {}

    def stand_in(value: Any) -> dict[str, str]:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{type(value).__name__} in a state")
        arrays[name := str(len(arrays))] = value
        return {ARRAY: name}

    text = json.dumps(content, default=stand_in)
    buffer = io.BytesIO()
    np.savez(buffer, **{TEXT: np.frombuffer(text.encode(), np.uint8)}, **arrays)
    return buffer.getvalue()


def _unpacked(content: bytes) -> State:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return json.loads(
            arrays[TEXT].tobytes(), object_hook=lambda value: arrays[value[ARRAY]] if value.keys() == {ARRAY} else value
        )


@functools.cache
def code_digest() -> str:
    """The same as long as the package's code is."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(bytes(source.relative_to(package)) + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
