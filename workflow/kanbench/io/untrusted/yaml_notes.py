"""Read YAML in which `yaml.dump` stored Python objects, without running anything that its tags name.

Tags that name functions and classes become notes, as such names in pickles do (see
`kanbench.io.untrusted.pickle_machine`), and the same builder turns them into values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kanbench.io.readers import FAST, MAX_SHARED, checked_mapping, compose_yaml, parser_errors
from kanbench.io.untrusted.numpy_notes import PLAIN_NAMES, NumpyBuilder
from kanbench.io.untrusted.pickle_machine import Made, Named, RefusedError, refusals

PYTHON = "tag:yaml.org,2002:python/"
ALLOWED = "numbers, text, and lists and mappings of them, those of numpy included"


def read_dumped_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that contains a mapping; numpy scalars and arrays become Python numbers and lists.

    Raises:
        InputError: The file is damaged, or its tags name something else.
    """
    loader, node = compose_yaml(path, _NotingLoader)
    with parser_errors(path), refusals(path, ALLOWED):
        # compose_yaml has limited what aliases expand to
        value = NumpyBuilder(node.end_mark.index + MAX_SHARED).plain(loader.construct_document(node))
    return checked_mapping(path, value)


class _NotingLoader(FAST):
    """A loader of plain values that turns admitted names into notes and refuses all other tags."""

    def named(self, name: str, node: yaml.Node) -> Named:
        """`!!python/name:NAME ''`"""
        if name not in PLAIN_NAMES:
            raise _naming(name, node)
        return Named(PLAIN_NAMES[name])

    def made(self, name: str, node: yaml.Node) -> Made:
        """`!!python/object/apply:NAME` and `!!python/object/new:NAME`, with arguments and possibly a state"""
        kind = self.named(name, node).kind
        parts: dict[Any, Any] = {}
        if isinstance(node, yaml.MappingNode):
            parts = self.construct_mapping(node, deep=True)
        elif isinstance(node, yaml.SequenceNode):
            parts = {"args": self.construct_sequence(node, deep=True)}
        match parts:
            case {"args": list(args), **rest} if rest.keys() <= {"state"}:
                return Made(kind, tuple(args), rest.get("state"))
        raise RefusedError(f"a call of {name[:200]} with parts other than arguments and a state")

    def as_tuple(self, node: yaml.SequenceNode) -> tuple[Any, ...]:
        return tuple(self.construct_sequence(node, deep=True))

    def refuse(self, node: yaml.Node) -> None:
        raise _naming(node.tag.removeprefix(PYTHON).removeprefix("object:").removeprefix("module:"), node)


def _naming(name: str, node: yaml.Node) -> RefusedError:
    return RefusedError(f"it names {name[:200]} in line {node.start_mark.line + 1}")


for _tag in ("object/apply:", "object/new:"):
    _NotingLoader.add_multi_constructor(PYTHON + _tag, _NotingLoader.made)
_NotingLoader.add_multi_constructor(f"{PYTHON}name:", _NotingLoader.named)
_NotingLoader.add_constructor(f"{PYTHON}tuple", _NotingLoader.as_tuple)
_NotingLoader.add_constructor(None, _NotingLoader.refuse)
