"""Read untrusted files: bytes, JSON, YAML and tensors. No code in them is executed.

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
MAX_YAML = 1 << 20  # bytes of YAML: 1 MiB, at most 10 s; a model of 100 by 100 edges takes 80 KB
MAX_FILE = 1 << 30  # bytes of anything else: 1 GiB
MAX_SCALAR = 1_000  # characters of a YAML value: reading a base-60 number takes time quadratic in its length
MAX_DEPTH = 100  # levels of nested lists and mappings: deeper ones end in a RecursionError when compared or written
MAX_SHARED = 100_000  # values that aliases in YAML may expand to
TRUST = "plain data, or pass trusted=True to load it (may execute code)"
TORCHS_ADVICE = r"In PyTorch \d|Re-running|Check the documentation"  # its advice to load unsafely, around the reason

T = TypeVar("T")
FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml, which takes a tenth of the time
Loader = TypeVar("Loader", bound=yaml.SafeLoader)


@contextlib.contextmanager
def parser_errors(path: str | Path, pipe: bool = False) -> Iterator[None]:
    """Turn any error of a parser into an `InputError` that names the file.

    Parsers raise nearly any exception, and so do bugs; so the block should contain only the parser's call.

    Args:
        pipe (bool): Whether the file may be a pipe, as in a user's `<(…)`. Never for files of results: reading a pipe
            could wait for ever.

    Raises:
        InputError: The file cannot be read, or the block raised an error.
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
    """Read a file of at most `limit` bytes.

    Raises:
        InputError: The file is larger, or cannot be read.
    """
    with parser_errors(path, pipe), Path(path).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(path, f"more than {limit >> 20} MiB", "files below that")
    return content


def read_json(path: str | Path, pipe: bool = False) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises:
        InputError: The file is damaged, too large or too deeply nested, or contains something else.
    """
    content = read_bytes(path, MAX_TEXT, pipe)
    with parser_errors(path, pipe):
        value = json.loads(content)
    return checked_mapping(path, value)


def read_yaml(path: str | Path, pipe: bool = False) -> dict[str, Any]:
    """Read a YAML file that contains a mapping; tags that create Python objects are refused.

    Raises:
        InputError: The file is damaged, too large or too deeply nested, or contains something else.
    """
    loader, node = compose_yaml(path, yaml.SafeLoader, pipe)
    with parser_errors(path, pipe):
        value = loader.construct_document(node)
    return checked_mapping(path, value)


def compose_yaml(path: str | Path, kind: type[Loader], pipe: bool = False) -> tuple[Loader, yaml.Node]:
    """Parse a YAML file into nodes, whose number is checked.

    Returns:
        tuple: A loader of this kind, which constructs values from the nodes, and the root node.

    Raises:
        InputError: The file is damaged, empty or too large, or its aliases expand to too many values.
    """
    content = read_bytes(path, MAX_YAML, pipe)
    with parser_errors(path, pipe):
        _check_nesting(path, content)
        loader = kind(content)
        node = loader.get_single_node()
    if node is None:
        raise InputError(path, "nothing", "keys with values")
    _check_nodes(path, node, len(content) + MAX_SHARED)
    return loader, node


def _check_nesting(path: str | Path, content: bytes) -> None:
    """Refuse lists and mappings that are too deeply nested: libyaml would end the process."""
    depth = 0
    for event in yaml.parse(content, FAST):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _too_deep(path)


def _check_nodes(path: str | Path, node: yaml.Node, limit: int) -> None:
    """Refuse aliases that expand to more than `limit` nodes; a shared node counts at each use."""
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
    """Return the value if it is a mapping at most `MAX_DEPTH` levels deep, else raise `InputError`."""
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
        raise _too_deep(path)


def _too_deep(path: str | Path) -> InputError:
    return refusal(path, "nested lists or mappings", f"up to {MAX_DEPTH} levels")


def read_tensors(path: str | Path, trusted: bool = False) -> Any:
    """Read tensors in builtin containers from a file that `torch.save` wrote; onto the CPU.

    Args:
        trusted (bool): Whether to read other objects too (may execute code in the file).

    Raises:
        InputError: The file is damaged, names something not admitted, or claims tensors larger than itself.
    """
    import torch

    def anything() -> Any:
        with parser_errors(path):
            return torch.load(path, map_location="cpu", weights_only=False)

    return safely_first(lambda: _read_dense(path), anything, trusted)


def safely_first(safely: Callable[[], T], anything: Callable[[], T], trusted: bool) -> T:
    """Read with the safe reader; if it refuses and the file is trusted, with the other one.

    So trusting a file never makes it less readable.
    """
    try:
        return safely()
    except InputError:
        if not trusted:
            raise
    return anything()


def _read_dense(path: str | Path) -> Any:
    """Read dense tensors in builtin containers from a file that `torch.save` wrote."""
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
    """The error for an undamaged file with content that results never have."""
    return InputError(path, problem=f"refused: {why}", allowed=allowed)


def check_archive(path: str | Path) -> None:
    """Check the zip archive of `torch.save`: members uncompressed, so no larger than the file, and checksums correct.

    torch itself does not check them.

    Raises:
        InputError: The archive is damaged or refused.
    """
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
    """Refuse values that are neither builtin nor tensors, such as other classes of torch.

    Also refuse tensors that claim more elements than are stored: with strides of 0, sparse, or without data.
    """
    import torch

    plain = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
    left: list[Any] = [content]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if id(value) in seen:  # a few lists can contain each other many times
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
