"""Read pickles without running anything that they name.

A pickle is a program: it names functions and calls them with arguments of its own. Admitting only harmless ones is
hard to get right, because a harmless function with crafted arguments, or a class whose attributes are replaced, may not
be harmless. So nothing that a file names is imported or called here. Names of an admitted list become `Named`, calls of
them `Made`, which note the name, the arguments and the state; whoever wants a frame or tensors builds them from these
notes (`kanbench.io.untrusted.pickled_frames`, `kanbench.io.torch_file`).
"""

from __future__ import annotations

import contextlib
import pickletools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from kanbench.errors import one_line
from kanbench.io.readers import TRUST, refusal

MAX_OPCODES = 2_000_000  # 3 seconds; a frame has about ten for every column, and one for every piece of text

VALUES = frozenset({  # opcodes whose argument is the value
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
GETS = ("GET", "BINGET", "LONG_BINGET")
TYPES = ("dict", "list", "tuple", "set", "int", "float", "str")
PERSISTENT = "pickle.persistent_id"  # admits what is not in the pickle but beside it, as tensors' numbers are
DICTS = {  # they come out as plain ones; what a defaultdict would call for keys that are not there is never called
    "collections.OrderedDict": "dict",
    "collections.defaultdict": "dict",
    **{f"{module}.{name}": "type" for module in ("builtins", "__builtin__") for name in TYPES},
}
KEYS = (str, int, float, bool, bytes, type(None))


class RefusedError(ValueError):
    """What a pickle contains and a reader does not admit."""


class Named:
    """A function or class that a pickle names, by what the reader calls it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Made:
    """An object that a pickle asks for: the function or class, its arguments and the state that is set on it."""

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind = kind
        self.args = args
        self.state: Any = None


@contextlib.contextmanager
def refusals(path: str | Path, allowed: str = TRUST) -> Iterator[None]:
    """Say in one line what a file was refused for, and what is allowed.

    Raises:
        InputError
    """
    try:
        yield
    except RefusedError as error:
        raise refusal(path, one_line(error), allowed) from None


def read_pickle(data: bytes, admitted: Mapping[str, str]) -> Any:
    """What is in a pickle: builtin values, and notes in place of everything else.

    Args:
        data (bytes)
        admitted (mapping): From `module.name` to what the reader calls it; `DICTS` beside them. Persistent ids are
            calls of `PERSISTENT`.

    Raises:
        RefusedError: The pickle names something else, or does what no frame or metadata needs.
        ValueError, LookupError, TypeError: It is damaged.
    """
    machine = _Machine({**DICTS, **admitted})
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MAX_OPCODES:
            raise RefusedError(f"more than {MAX_OPCODES} opcodes")
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    def __init__(self, admitted: Mapping[str, str]) -> None:
        self.admitted = admitted
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in VALUES:
            if type(argument) is int and argument.bit_length() > 64:  # whoever shows or compares it would fail
                raise RefusedError(f"a number of {argument.bit_length()} bits")
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(self._last(TUPLES[name]))]
        elif name in GETS:
            stack.append(self.memo[int(argument)])
        elif name in PUTS:
            self.memo[int(argument)] = stack[-1]
        elif name not in ("PROTO", "FRAME", "STOP"):
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise RefusedError(f"the opcode {name}, which frames and metadata do not need")
            method(argument)

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise RefusedError("an opcode without its arguments")
        return self.stack[-count:]

    def _pop_last(self, count: int) -> list[Any]:
        items = self._last(count)
        del self.stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, _: None) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def _pop_mark(self, _: None) -> None:
        self._since_mark()

    def _dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _tuple(self, _: None) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _list(self, _: None) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set(items)

    def _append(self, _: None) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError(f"items that are appended to {kind_of(self.stack[-1])}")
        self.stack[-1].extend(items)

    def _setitem(self, _: None) -> None:
        self._set(self._pop_last(2))

    def _setitems(self, _: None) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise RefusedError(f"items that are set on {kind_of(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            number = isinstance(key, Made) and key.kind == "scalar"  # one of numpy's, hashed as the note that it is
            if type(key) not in KEYS and not number:  # hashing nested tuples that share their parts takes for ever
                raise RefusedError(f"{kind_of(key)} as a key")
            target[key] = value

    def _global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def _stack_global(self, _: None) -> None:
        self._name(*self._pop_last(2))

    def _name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}"
        if type(module) is not str or type(name) is not str or full not in self.admitted:
            raise RefusedError(f"it names {full[:200]}")
        self.stack.append(Named(self.admitted[full]))

    def _reduce(self, _: None) -> None:
        function, args = self._last(2)
        if not isinstance(function, Named) or type(args) is not tuple:
            raise RefusedError(f"a call of {kind_of(function)} with {kind_of(args)}")
        plain = function.kind == "dict" and len(args) <= 1 and all(isinstance(arg, (Named, NoneType)) for arg in args)
        self.stack[-2:] = [{} if plain else Made(function.kind, args)]

    _newobj = _reduce

    def _binpersid(self, _: None) -> None:
        self._name(*PERSISTENT.split("."))
        argument, function = self._last(2)
        self.stack[-2:] = [Made(function.kind, (argument,))]

    def _build(self, _: None) -> None:
        made, state = self._last(2)
        if type(made) is dict:  # a state dict of torch's has attributes beside its items, which nobody needs
            self.stack.pop()
            return
        if not isinstance(made, Made) or made.state is not None:
            raise RefusedError(f"a state for {kind_of(made)}")
        made.state = state
        self.stack.pop()


def kind_of(value: Any) -> str:
    """What errors call a value or a note."""
    return value.kind if isinstance(value, (Named, Made)) else type(value).__name__
