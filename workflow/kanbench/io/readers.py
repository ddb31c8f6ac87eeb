"""Read files that somebody else may have made: bytes, JSON, YAML and tensors. Nothing in them is run.

The limits are far above what results need; they keep a damaged or hostile file from filling the memory.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kanbench.errors import InputError, one_line

MAX_TEXT = 1 << 22  # bytes of JSON: 4 MiB
MAX_YAML = 1 << 20  # bytes of YAML: 1 MiB, of which a model of a hundred by a hundred edges takes 80 KB; 10 s at most
MAX_FILE = 1 << 30  # bytes of anything else: 1 GiB
MAX_SCALAR = 1_000  # characters of a value in YAML: a number to base 60 takes the square of its length to read
MAX_DEPTH = 100  # levels of lists and mappings in each other: comparing or writing more ends in a RecursionError
MAX_SHARED = 100_000  # parts that aliases in YAML may stand for
TRUST = "plain data, or pass trusted=True to load it (may execute code)"
TORCHS_ADVICE = r"In PyTorch \d|Re-running|Check the documentation"  # around its reason: to read it without safety

T = TypeVar("T")
Loader = TypeVar("Loader", bound=yaml.SafeLoader)


@contextlib.contextmanager
def parser_errors(path: str | Path, pipe: bool = False) -> Iterator[None]:
    """Turn whatever the parser of a damaged file raises into one line that names the file.

    Parsers raise nearly anything, and so does a bug: the block should hold a parser's call and nothing else.

    Args:
        pipe (bool): Whether it may be one: a user's own `<(…)`, but never a file of results, which would be waited for.

    Raises:
        InputError: The file cannot be read, or what the block raised.
    """
    try:
        file = Path(path)
        if file.exists() and not (file.is_file() or file.is_dir() or (pipe and file.is_fifo())):
            raise OSError("not a regular file")
        yield
    except InputError:
        raise
    except Exception as error:
        reason = one_line(getattr(error, "strerror", None) or error)[:200] or type(error).__name__
        raise InputError(path, problem=f"cannot be read ({reason})") from error


def read_bytes(path: str | Path, limit: int = MAX_FILE, pipe: bool = False) -> bytes:
    """The content of a file that is not larger than `limit` bytes."""
    with parser_errors(path, pipe), Path(path).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(path, f"more than {limit >> 20} MiB", "files below that")
    return content


def read_json(path: str | Path, pipe: bool = False) -> dict[str, Any]:
    """The object in a JSON file."""
    content = read_bytes(path, MAX_TEXT, pipe)
    with parser_errors(path, pipe):
        value = json.loads(content)
    return checked_mapping(path, value)


def read_yaml(path: str | Path, pipe: bool = False) -> dict[str, Any]:
    """The mapping in a YAML file; tags that build objects are refused."""
    loader, node = compose_yaml(path, yaml.SafeLoader, pipe)
    with parser_errors(path, pipe):
        value = loader.construct_document(node)
    return checked_mapping(path, value)


def compose_yaml(path: str | Path, kind: type[Loader], pipe: bool = False) -> tuple[Loader, yaml.Node]:
    """The parts of a YAML file, whose number is checked, and a loader of this kind to make values of them."""
    content = read_bytes(path, MAX_YAML, pipe)
    with parser_errors(path, pipe):
        loader = kind(content)
        node = loader.get_single_node()
    if node is None:
        raise InputError(path, "nothing", "keys with values")
    _check_nodes(path, node, len(content) + MAX_SHARED)
    return loader, node


def _check_nodes(path: str | Path, node: yaml.Node, limit: int) -> None:
    """Refuse aliases of aliases, which stand for more parts than can ever be read: shared ones count every time."""
    count, rest = 1, [node]
    while rest:
        inner = rest.pop().value
        if isinstance(inner, str):
            if len(inner) > MAX_SCALAR:
                raise InputError(path, f"a value of {len(inner)} characters", f"up to {MAX_SCALAR}")
            continue
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else [item])]
        count += len(parts)
        if count > limit:
            raise refusal(path, "aliases", f"up to {MAX_SHARED} values that they expand to")
        rest += parts


def checked_mapping(path: str | Path, value: Any) -> dict[str, Any]:
    """The value, if it is a mapping that is not too deep."""
    if not isinstance(value, dict):
        raise InputError(path, type(value).__name__, "keys with values")
    check_depth(path, value)
    return value


def check_depth(path: str | Path, value: Any) -> None:
    """Refuse lists and mappings that are more than `MAX_DEPTH` levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        nested = [part for part in level if isinstance(part, (dict, list, tuple))]
        level = [inner for part in nested for inner in (part.values() if isinstance(part, dict) else part)]
    if level:
        raise refusal(path, "nested lists or mappings", f"up to {MAX_DEPTH} levels")


def read_tensors(path: str | Path, trusted: bool = False) -> Any:
    """What `torch.save` wrote, on the CPU: tensors in builtin containers.

    Args:
        trusted (bool): Whether to read other objects too (may execute code in the file).

    Raises:
        InputError: The file is damaged, names something that is not admitted, or its tensors are larger than it is.
    """
    import torch

    def anything() -> Any:
        with parser_errors(path):
            return torch.load(path, map_location="cpu", weights_only=False)

    return safely_first(lambda: _read_dense(path), anything, trusted)


def safely_first(safely: Callable[[], T], anything: Callable[[], T], trusted: bool) -> T:
    """What the reader of untrusted files makes of one; and what it refuses, from the other reader, if that is trusted.

    So whoever trusts a file gets at least what everybody gets.
    """
    try:
        return safely()
    except InputError:
        if not trusted:
            raise
    return anything()


def _read_dense(path: str | Path) -> Any:
    """What `torch.save` wrote, if it is dense tensors in builtin containers."""
    import torch

    check_archive(path)
    with parser_errors(path):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
                raise refusal(path, f"it names {named[1]}") from None
            reason = re.split(TORCHS_ADVICE, str(error).rpartition("WeightsUnpickler error: ")[2])[0]
            raise ValueError(reason or type(error).__name__) from None
    _check_tensors(path, content)
    return content


def refusal(path: str | Path, why: object, allowed: str = TRUST) -> InputError:
    """The error for a file that is whole, but has something in it that results have not."""
    return InputError(path, problem=f"refused: {why}", allowed=allowed)


def check_archive(path: str | Path) -> None:
    """An archive whose parts are not compressed cannot hold more than its size; torch does not look at checksums."""
    with parser_errors(path):
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise ValueError("not a zip archive, which torch.save writes since 1.6") from None
    with archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise refusal(path, "it is compressed, which torch.save does not do")
        if sum(part.file_size for part in parts) > Path(path).stat().st_size:
            raise refusal(path, "its members are larger than the file")
        with parser_errors(path):
            damaged = archive.testzip()
    if damaged is not None:
        raise InputError(path, problem="damaged (checksum mismatch)")


def _check_tensors(path: str | Path, content: Any) -> None:
    """Refuse what is neither builtin nor a tensor (torch's own classes, where they have been imported).

    And tensors that claim more elements than the file has: strides of 0, sparse ones, ones without data.
    """
    import torch

    plain = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
    left: list[Any] = [content]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if id(value) in seen:  # few lists can hold each other very often
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set)):
            left += value
        elif isinstance(value, torch.Tensor):
            whole = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
            if not whole or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise refusal(path, f"a tensor of shape {tuple(value.shape)} without its values")
        elif not isinstance(value, plain):
            name = value.__name__ if isinstance(value, type) else type(value).__name__
            raise refusal(path, f"it has a {name}")
