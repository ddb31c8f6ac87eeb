"""Write and read arrays in the format of `torch.save` (a zip archive since torch 1.6) without torch.

An archive `name` contains a pickle `name/data.pkl`, in which each tensor is a call of `torch._utils._rebuild_tensor_v2`
with its storage, offset, shape and strides (in elements), and a file `name/data/KEY` with the numbers of each storage.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kanbench.io.readers import check_archive, parser_errors
from kanbench.io.untrusted.pickle_machine import PERSISTENT, Made, Named, RefusedError, kind_of, read_pickle, refusals

Array = NDArray[np.floating]

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage"}
READ = STORAGES | {"float16": "HalfStorage"}
TENSORS = f"dense tensors of {', '.join(READ)}"
ADMITTED = {
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_parameter": "parameter",
    PERSISTENT: "storage",
    **{f"torch.{storage}": dtype for dtype, storage in READ.items()},
}
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # an empty one


def write_arrays(path: str | Path, content: Array | Mapping[str, Array]) -> None:
    """Write an array, which `torch.load` reads as a tensor, or arrays by name, read as an OrderedDict of tensors.

    Args:
        content (array or mapping of arrays): float32 or float64, of any shape.
    """
    arrays = content if isinstance(content, Mapping) else {"": content}
    tensors = [_tensor(str(key), array) for key, array in enumerate(arrays.values())]
    items = b"".join(_text(name) + tensor for name, tensor in zip(arrays, tensors, strict=True))
    program = ORDERED_DICT + b"(" + items + b"u" if arrays is content else tensors[0]
    parts = {"data.pkl": b"\x80\x02" + program + b".", "byteorder": b"little", "version": b"3\n"}
    for key, array in enumerate(arrays.values()):
        parts[f"data/{key}"] = array.astype(array.dtype.newbyteorder("<")).tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            # A default ZipInfo has a fixed date, so equal arrays give identical files.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), part)


def _tensor(key: str, array: Array) -> bytes:
    """Opcodes that build a contiguous tensor from the numbers in `data/KEY`."""
    strides = [math.prod(max(1, size) for size in array.shape[axis + 1 :]) for axis in range(array.ndim)]
    kind = f"ctorch\n{STORAGES[str(array.dtype)]}\n".encode()
    storage = _tuple([_text("storage"), kind, _text(key), _text("cpu"), _integer(array.size)]) + b"Q"
    shape = (_tuple(map(_integer, sizes)) for sizes in (array.shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + _tuple([storage, _integer(0), *shape, b"\x89", ORDERED_DICT]) + b"R"


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _integer(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def _tuple(parts: Any) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def read_arrays(path: str | Path) -> Array | dict[str, Array]:
    """Read an array, or arrays by name, from a file that `torch.save` wrote, from any device.

    Nothing that the file names is called: see `kanbench.io.untrusted.pickle_machine`.

    Returns:
        array or dict of arrays: Read-only.

    Raises:
        InputError: The file is damaged, or contains other things than dense tensors of floating-point numbers.
    """
    check_archive(path)
    with parser_errors(path), refusals(path, TENSORS), zipfile.ZipFile(path) as archive:
        files = {name.partition("/")[2]: name for name in archive.namelist()}
        order = archive.read(files["byteorder"]) if "byteorder" in files else b"little"

        @cache
        def numbers(key: str, dtype: str) -> Array:
            stored = np.dtype(dtype).newbyteorder("<" if order == b"little" else ">")
            return np.frombuffer(archive.read(files[f"data/{key}"]), stored).astype(dtype, copy=False)

        content = read_pickle(archive.read(files["data.pkl"]), ADMITTED)
        if isinstance(content, dict):
            return {str(name): _array(value, numbers) for name, value in content.items()}
        return _array(content, numbers)


def _array(value: Any, numbers: Callable[[str, str], Array]) -> Array:
    """The array that the notes on a tensor describe, as a view that must lie within its storage."""
    if isinstance(value, Made) and value.kind == "parameter" and value.args:
        value = value.args[0]
    match value:
        case Made("tensor", (Made("storage", ((_, Named(dtype), str(key), _, int(size)),)), *layout)):
            data, (offset, shape, strides) = numbers(key, dtype), layout[:3]
        case _:
            raise RefusedError(f"it has a {kind_of(value)}")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise RefusedError("a tensor whose shape, strides and offset are not all integers, at least 0")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if len(data) != size or math.prod(shape) > size or (math.prod(shape) > 0 and last >= size):
        raise RefusedError(f"a tensor of shape {str(shape)[:99]} without its values")
    steps = [stride * data.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(data[offset:], shape, steps, writeable=False)
