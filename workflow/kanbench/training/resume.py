"""The state from which a training resumes if its process or its machine dies.

The state of a training is one file: a SHA-256, and then a numpy archive of a text, which is JSON, and of the arrays
that it refers to. A file that is damaged, or of another training, is not used: the training then starts again.
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

# Seconds from one state to the next: what a crash costs, at most, beside what is done again anyway (imports, samples).
# To save one takes some 10 ms; at every stage, a training of Adam of 60 epochs would spend a third of its time on that.
EVERY = 10.0
EVERY_STAGE = 1.0  # at the end of a stage
DIGEST = hashlib.sha256().digest_size
ARRAY = "array"  # the only key of what stands for an array in the text
TEXT = "text"

State = dict[str, Any]
T = TypeVar("T")

log = logging.getLogger("kanbench")


class Resumable(Protocol):
    """A part of a training that changes while it runs."""

    def state(self) -> State:
        """What its next decisions depend on, beside the settings: numbers, text, lists, dicts and arrays, by value."""

    def resume(self, state: State) -> None:
        """Continue as the part would whose state this is."""


class Stateful:
    """A Resumable whose attributes are its state."""

    def state(self) -> State:
        return copy.deepcopy(vars(self))

    def resume(self, state: State) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class ResumeState:
    """A place for the state of one training, and of those that it consists of.

    Args:
        folder (path): Of this training alone.
        name (str): The file's, without its ending.
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

    def save(self, key: dict[str, str], state: Any) -> None:
        """Save the state of the training that `key` describes: all that its result depends on.

        `state` is made of dataclasses, dicts, lists, text, numbers and arrays. One that cannot be written is worth a
        warning, not the training.
        """
        content = _packed({"key": key, "state": state})
        try:
            with atomic_write(self.path) as partial:
                partial.write_bytes(hashlib.sha256(content).digest() + content)
        except InputError as error:
            if self.can_be_written:
                log.warning("%s; after a crash this training starts anew", error)
            self.can_be_written = False
        self.saved_at = time.monotonic()

    def load(self, key: dict[str, str], kind: type[T]) -> T | None:
        """The state of the training that `key` describes, a `kind`; None where there is none that can be used."""
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
        """Nothing is kept any longer: the training has ended, and left its results."""
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
    """The key, and the state as a `kind`, each of its values of the declared type."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = json.loads(
                arrays[TEXT].tobytes(),
                object_hook=lambda value: arrays[value[ARRAY]] if value.keys() == {ARRAY} else value,
            )
        key = msgspec.convert(found["key"], dict[str, str])
        return key, msgspec.convert(found["state"], kind, dec_hook=lambda _, value: value)
    except Exception as error:  # a file from elsewhere can hold anything, and these readers raise it
        raise InputError(path, problem=f"refused ({one_line(error)[:100]})") from None
