"""Build Python values from notes on numpy objects: scalars, arrays and dtypes.

The admitted names are those that numpy 1 and 2 write; types, shapes and sizes in the notes are checked. Metadata and
model configurations are read without importing pandas or torch.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kanbench.io.untrusted.pickle_machine import Made, Named, RefusedError, kind_of, read_pickle

Array = NDArray[Any]

MAX_LENGTH = 10_000_000  # of an axis of an array; also rows of a frame
MAX_DIMENSIONS = 32  # of an array: numpy 1's limit
DTYPE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|O8|[US]\d{1,6}|[mM]8")  # no long doubles: they differ by machine
UNITS = (b"s", b"ms", b"us", b"ns")  # of dates, as in pandas


def names(modules: str, kinds: dict[str, str]) -> dict[str, str]:
    """The reader's kind for each name, in each of the modules (separated by spaces)."""
    return {f"{module}.{name}": kind for module in modules.split() for name, kind in kinds.items()}


PLAIN_NAMES = {
    **names("_codecs", {"encode": "latin1"}),
    **names("builtins __builtin__", {"bytes": "bytes", "bytearray": "bytes", "complex": "complex"}),
    **names("numpy", {"dtype": "dtype", "ndarray": "ndarray"}),
    **names("numpy.core.multiarray numpy._core.multiarray", {"_reconstruct": "array", "scalar": "scalar"}),
    **names("numpy.core.numeric numpy._core.numeric", {"_frombuffer": "array of a buffer"}),
    **names("torch", {"device": "device"}),
    **names("pathlib pathlib._local", {"PosixPath": "path", "WindowsPath": "path"}),
}


def metadata_of_pickle(data: bytes) -> Any:
    """Read builtin values from a pickle; numpy scalars and 0-dimensional arrays become Python values.

    Raises:
        RefusedError, ValueError, LookupError, TypeError: The pickle contains something else, or is damaged.
    """
    return NumpyBuilder(len(data), dimensions=0).plain(read_pickle(data, PLAIN_NAMES))


class NumpyBuilder:
    """Builds values from notes, with a budget on their number.

    Nested shared parts can expand a small file to an astronomical number of values. Without sharing, each value takes
    at least a byte, so the budget is proportional to the size of the file.

    Args:
        size (int): Bytes of the file.
        dimensions (int): The most dimensions of an array among plain values.
    """

    def __init__(self, size: int, dimensions: int = MAX_DIMENSIONS) -> None:
        self.budget = 1000 + 10 * size
        self.dimensions = dimensions

    def charge(self, count: int) -> None:
        """Subtract values from the budget; raise `RefusedError` if it is exceeded."""
        self.budget -= count
        if self.budget < 0:
            raise RefusedError("too many parts, or parts that contain each other")

    def plain(self, value: Any) -> Any:
        """The value in builtin types: arrays as lists, devices and paths as text."""
        self.charge(1)
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if type(value) is bytearray:
            self.charge(len(value))
            return bytes(value)
        if type(value) in (list, tuple):
            return type(value)(self.plain(item) for item in value)
        if type(value) is dict:
            return {self.plain(key): self.plain(item) for key, item in value.items()}
        return self._plain_of_note(value)

    def _plain_of_note(self, value: Any) -> Any:
        match value:
            case Named("missing"):
                return math.nan
            case Made("scalar", (dtype, raw)):
                return self._scalar(self.dtype_of(dtype), self.bytes_of(raw))
            case Made("array" | "array of a buffer"):
                array = self.array_of(value)
                if array.ndim > self.dimensions or array.dtype.kind in "mM":
                    raise RefusedError(f"an array of {array.dtype}, shape {array.shape}, instead of a number")
                return array.tolist()
        return self._plain_of_python(value)

    def _plain_of_python(self, value: Any) -> Any:
        match value:
            case Made("latin1", (str(text), "latin1")):
                self.charge(len(text))
                return text.encode("latin1")
            case Made("bytes", () | (_,) as args):
                return self.bytes_of(args[0]) if args else b""
            case Made("complex", (float(real), float(imaginary))):
                return complex(real, imaginary)
            case Made("device", (str(kind), *index)) if index == [] or (len(index) == 1 and type(index[0]) is int):
                self.charge(len(kind))
                return ":".join(map(str, (kind, *index)))
            case Made("path", parts) if all(type(part) is str for part in parts):
                self.charge(sum(map(len, parts)))
                return str(PurePosixPath(*parts))
        raise RefusedError(f"a {kind_of(value)} instead of a number, text, list or dict")

    def bytes_of(self, value: Any) -> bytes:
        """The bytes that a note or value stands for, else raise `RefusedError`."""
        raw = self.plain(value)
        if type(raw) is not bytes:
            raise RefusedError("an array without bytes")
        self.charge(len(raw))
        return raw

    def dtype_of(self, note: Any) -> np.dtype[Any]:
        """The dtype, if the note's layout equals that of numpy for this dtype."""
        match note:
            case Made("dtype", (str(code), False | 0, True | 1), state) if DTYPE.fullmatch(code):
                dtype = np.dtype(code)
            case _:
                raise RefusedError("a dtype other than numbers, text, dates and objects")
        if state is None and dtype.kind not in "mM":
            return dtype
        numpys: Any = dtype.__reduce__()
        version, order, *layout = numpys[2]
        match state:
            case (int(stored), ("<" | ">" | "|") as byteorder, *rest) if stored == version:
                same = [(type(part), part) for part in rest[:6]] == [(type(part), part) for part in layout[:6]]
                if same and (byteorder == "|") == (order == "|"):
                    return self._with_unit(dtype, rest[6:]).newbyteorder(byteorder)
        raise RefusedError(f"a dtype {code} whose layout is not numpy's")

    def _with_unit(self, dtype: np.dtype[Any], more: list[Any]) -> np.dtype[Any]:
        match more:
            case [] if dtype.kind not in "mM":
                return dtype
            case [(None | {}, (unit, 1, 1, 1))] if dtype.kind in "mM" and not more[0][0]:
                if (name := self.bytes_of(unit)) in UNITS:
                    return np.dtype(f"{dtype.kind}8[{name.decode()}]")
        raise RefusedError(f"a dtype {dtype.kind} whose unit is none of {b', '.join(UNITS).decode()}")

    def _scalar(self, dtype: np.dtype[Any], raw: bytes) -> Any:
        if dtype.kind in "OmM":
            raise RefusedError(f"a scalar of {dtype} instead of a number or text")
        if len(raw) != dtype.itemsize:
            raise RefusedError(f"a scalar of {dtype} in {len(raw)} bytes")
        return np.ndarray((), dtype, raw).item()

    def array_of(self, note: Any) -> Array:
        """The array that a note describes, else raise `RefusedError`."""
        match note:
            case Made("array", (Named("ndarray"), (0,), _), (1, tuple(shape), dtype, bool(fortran), raw)):
                return self._filled(shape, self.dtype_of(dtype), raw, "F" if fortran else "C")
            case Made("array of a buffer", (raw, dtype, tuple(shape), ("C" | "F") as order)):
                return self._filled(shape, self.dtype_of(dtype), raw, order)
            case Made("array of a buffer", (raw, dtype, tuple(shape), "K", tuple(axes))):  # since numpy 2.3
                if all(type(axis) is int for axis in axes):
                    return self._filled(shape, self.dtype_of(dtype), raw, "C").transpose(axes)
        raise RefusedError(f"a {kind_of(note)} instead of an array")

    def _filled(self, shape: tuple[Any, ...], dtype: np.dtype[Any], raw: Any, order: Literal["C", "F"]) -> Array:
        whole = all(type(length) is int and 0 <= length <= MAX_LENGTH for length in shape)
        if len(shape) > MAX_DIMENSIONS or not whole:  # not shown in the message: it may contain anything
            raise RefusedError(f"an array whose shape is not up to {MAX_DIMENSIONS} integers from 0 to {MAX_LENGTH}")
        size = math.prod(shape)
        if dtype.kind != "O":
            content = self.bytes_of(raw)
            if len(content) == size * dtype.itemsize:
                self.charge(size)  # empty strings take no bytes
                return np.ndarray(shape, dtype, content, order=order).astype(dtype.newbyteorder("="), order="K")
        elif type(raw) is list and len(raw) == size:
            flat = np.empty(size, object)
            for position, item in enumerate(raw):  # not flat[:] = raw, which would unpack lists
                flat[position] = self.plain(item)
            return flat.reshape(shape, order=order)
        raise RefusedError(f"an array of shape {shape} with contents of another size")
