"""Read pickles without running anything that they name.

A pickle is a program: it names functions and calls them with arguments of its own. Admitting only harmless functions
is not enough: crafted arguments or replaced attributes can make them harmful. So nothing that a file names is imported
or called here. Admitted names become `Named` and calls of them become `Made`, which note the name, the arguments and
the state. Numbers, frames and tensors are then built from these notes (by `numpy_notes` and `pickled_frames` beside
this module, and by `kanbench.io.torch_file`).
"""

from __future__ import annotations

import contextlib
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from kanbench.errors import one_line
from kanbench.io.readers import TRUST, refusal

MAX_OPCODES = 2_000_000  # 3 seconds; a frame has about ten per column and one per string
VALUES = (  # opcodes whose argument is the value
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
TYPES = ("dict", "list", "tuple", "set", "int", "float", "str")
PERSISTENT = "pickle.persistent_id"  # admits references to data outside the pickle, such as the numbers of tensors
DICTS = {  # read as plain dicts; the factory of a defaultdict is never called
    "collections.OrderedDict": "dict",
    "collections.defaultdict": "dict",
    **{f"{module}.{name}": "type" for module in ("builtins", "__builtin__") for name in TYPES},
}
KEYS = (str, int, float, bool, bytes, NoneType)


class RefusedError(ValueError):
    """A pickle contains something that the reader does not admit."""


@dataclass(eq=False, repr=False)
class Named:
    """A function or class that a pickle names, as the reader's kind."""

    kind: str


@dataclass(eq=False, repr=False)  # hashed by identity and shown without parts: nested shared parts may be huge
class Made:
    """An object that a pickle would create: the kind of function or class, its arguments and its state."""

    kind: str
    args: tuple[Any, ...]
    state: Any = None


@contextlib.contextmanager
def refusals(path: str | Path, allowed: str = TRUST) -> Iterator[None]:
    """Turn a `RefusedError` into an `InputError` that says what is allowed."""
    try:
        yield
    except RefusedError as error:
        raise refusal(path, one_line(error), allowed) from None


def read_pickle(data: bytes, admitted: Mapping[str, str]) -> Any:
    """Read a pickle: builtin values, and notes in place of everything else.

    Args:
        admitted (mapping): From `module.name` to the reader's kind, in addition to `DICTS`. Persistent ids are calls
            of `PERSISTENT`.

    Raises:
        RefusedError: The pickle names something else, or uses opcodes that no frame or metadata needs.
        ValueError, LookupError, TypeError: The pickle is damaged.
    """
    machine = _Machine({**DICTS, **admitted})
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MAX_OPCODES:
            raise RefusedError(f"more than {MAX_OPCODES} opcodes")
        if opcode.name not in OPCODES:
            raise RefusedError(f"the opcode {opcode.name}, which frames and metadata do not need")
        OPCODES[opcode.name](machine, argument)
    return machine.stack.pop()


class _Machine:
    """The stack machine that executes a pickle's opcodes."""

    def __init__(self, admitted: Mapping[str, str]) -> None:
        self.admitted = admitted
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        if type(value) is int and value.bit_length() > 64:  # printing or comparing it could fail
            raise RefusedError(f"a number of {value.bit_length()} bits")
        self.stack.append(value)

    def take(self, count: int) -> list[Any]:
        """Pop the last `count` values off the stack."""
        if len(self.stack) < count:
            raise RefusedError("an opcode without its arguments")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def since_mark(self) -> list[Any]:
        return self.take(len(self.stack) - self.marks.pop())

    def pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError(f"items appended to {kind_of(self.stack[-1])}")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise RefusedError(f"items set on {kind_of(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            number = isinstance(key, Made) and key.kind == "scalar"  # a numpy scalar; its note is hashed by identity
            if type(key) not in KEYS and not number:  # hashing nested tuples with shared parts may take for ever
                raise RefusedError(f"{kind_of(key)} as a key")
            target[key] = value

    def make_dict(self) -> None:
        items = self.since_mark()
        self.push({})
        self.set_items(items)

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}" if type(module) is type(name) is str else "something without a name"
        if full not in self.admitted:
            raise RefusedError(f"it names {full[:200]}")
        self.push(Named(self.admitted[full]))

    def call(self) -> None:
        function, args = self.take(2)
        if not isinstance(function, Named) or type(args) is not tuple:
            raise RefusedError(f"a call of {kind_of(function)} with {kind_of(args)}")
        plain = function.kind == "dict" and len(args) <= 1 and all(isinstance(arg, (Named, NoneType)) for arg in args)
        self.push({} if plain else Made(function.kind, args))

    def persistent(self) -> None:
        self.name(*PERSISTENT.split("."))
        argument, function = self.take(2)
        self.push(Made(function.kind, (argument,)))

    def set_state(self) -> None:
        made, state = self.take(2)
        self.push(made)
        if type(made) is dict:  # the attributes of a torch state dict are not needed
            return
        if not isinstance(made, Made) or made.state is not None:
            raise RefusedError(f"a state for {kind_of(made)}")
        made.state = state


# All other opcodes are refused. Arguments are used only as values, names or memo positions.
OPCODES: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(VALUES, _Machine.push),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, index: m.push(m.memo[int(index)])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, index: m.memo.update({int(index): m.stack[-1]})),
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE1": lambda m, _: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.take(3))),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "DICT": lambda m, _: m.make_dict(),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items(m.take(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "GLOBAL": lambda m, names: m.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.take(2)),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.call(),
    "BINPERSID": lambda m, _: m.persistent(),
    "BUILD": lambda m, _: m.set_state(),
}


def kind_of(value: Any) -> str:
    """The name of a value or note in error messages."""
    return value.kind if isinstance(value, (Named, Made)) else type(value).__name__
