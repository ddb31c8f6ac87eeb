"""Divides work among threads, with results that do not depend on their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """Call `function` for every part; return the results in order. Threads help, as compiled code releases the GIL."""
    if threads <= 1:
        return list(map(function, parts))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, parts))
