"""Work that is divided among threads, with results that do not depend on how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """The results of `function` for every part, in the order of the parts. Compiled code runs beside other threads."""
    if threads <= 1:
        return list(map(function, parts))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))
