"""The state from which a training resumes if its process or machine dies.

A state is one file: a SHA-256 digest, then a numpy archive of a JSON text and the arrays that it refers to. A file
that is damaged, or belongs to another training, is not used; the training then starts from the beginning.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from kanbench.errors import InputError, one_line
from kanbench.io.atomic import atomic_write

# Seconds between saved states: the most that a crash costs, besides what is repeated anyway (imports, samples).
# Saving takes some 10 ms; at every stage, that would be a third of the time of an Adam training of 60 epochs.
EVERY = 10.0
EVERY_STAGE = 1.0  # at the end of a stage
DIGEST = hashlib.sha256().digest_size
ARRAY = "array"  # in the JSON text, {"array": NAME} stands for an array
TEXT = "text"

State = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger("kanbench")


class Resumable(Protocol):
    """A part of a training with a state that changes during training."""

    def state(self) -> State:
        """Copy all that its future behaviour depends on besides settings: numbers, text, lists, dicts and arrays."""

    def resume(self, state: State) -> None:
        """Restore a state."""


class Stateful:
    """A `Resumable` whose state is its attributes."""

    def state(self) -> State:
        return copy.deepcopy(vars(self))

    def resume(self, state: State) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class ResumeState:
    """Saves and loads the state of one training, in a file of its own.

    Args:
        folder (path): Used by this training only.
        name (str): File name without suffix.
    """

    def __init__(self, folder: str | Path, name: str = "training") -> None:
        self.folder, self.path = Path(folder), Path(folder) / f"{name}.state"
        self.saved_at = time.monotonic()
        self.can_be_written = True

    def part(self, name: str) -> ResumeState:
        """The resume state of a training that has to run before this one."""
        return ResumeState(self.folder, name)

    def due(self, stage_ends: bool) -> bool:
        """Return whether it is time to save a state."""
        return time.monotonic() - self.saved_at >= (EVERY_STAGE if stage_ends else EVERY)

    def save(self, key: dict[str, str], state: Any) -> None:
        """Save a state; if it cannot be written, warn and let the training continue.

        Args:
            key (dict): Identifies the training: all that its result depends on.
            state: Dataclasses, dicts, lists, text, numbers and arrays.
        """
        content = _packed({"key": key, "state": state})
        try:
            with atomic_write(self.path) as partial:
                partial.write_bytes(hashlib.sha256(content).digest() + content)
        except InputError as error:
            if self.can_be_written:
                log.warning("%s; after a crash, this training starts from the beginning", error)
            self.can_be_written = False
        self.saved_at = time.monotonic()

    def load(self, key: dict[str, str], kind: type[T]) -> T | None:
        """Load the state of the training that `key` identifies, as a `kind`; None if there is no usable one."""
        self.saved_at = time.monotonic()
        try:
            content = self.path.read_bytes()
            if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
                raise InputError(self.path, problem="damaged")
            its, state = _unpacked(self.path, content[DIGEST:], kind)
            if differing := sorted(name for name in key.keys() | its.keys() if its.get(name) != key.get(name)):
                raise InputError(self.path, problem=f"differs from this training in {', '.join(differing)}")
        except FileNotFoundError:
            return None
        except (OSError, InputError) as error:
            log.warning("%s; the training starts from the beginning", error)
            return None
        return state

    def remove(self) -> None:
        """Delete the folder; call this when the training has committed its results."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _packed(content: State) -> bytes:
    arrays: dict[str, np.ndarray] = {}

    def stand_in(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays[name := str(len(arrays))] = value
            return {ARRAY: name}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, frozenset):
            return sorted(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        raise TypeError(f"{type(value).__name__} in a state")

    text = json.dumps(content, default=stand_in)
    buffer = io.BytesIO()
    np.savez(buffer, **{TEXT: np.frombuffer(text.encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _unpacked(path: Path, content: bytes, kind: type[T]) -> tuple[dict[str, str], T]:
    """Read the key and the state, as a `kind` whose values have the declared types."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = json.loads(
                arrays[TEXT].tobytes(),
                object_hook=lambda value: arrays[value[ARRAY]] if value.keys() == {ARRAY} else value,
            )
        key = msgspec.convert(found["key"], dict[str, str])
        return key, msgspec.convert(found["state"], kind, dec_hook=lambda _, value: value)
    except Exception as error:  # the file can hold anything, and these readers can raise anything
        raise InputError(path, problem=f"refused ({one_line(error)[:100]})") from None
