"""Convert values of attrs and metadata to builtin types, and compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MOST_EPOCHS = 10**9


def builtin(value: Any) -> Any:
    """Convert numpy scalars to Python numbers, arrays and tuples to lists; other values stay unchanged."""
    if isinstance(value, dict):
        return {builtin(key): builtin(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [builtin(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return builtin(value.tolist())
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two values have the same content.

    nan equals nan, arrays and tuples equal lists, and numbers as keys equal their text: JSON, in which parquet stores
    attrs, has neither tuples nor keys that are numbers.
    """
    return _same(builtin(one), builtin(other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        one, other = ({str(key): value for key, value in items.items()} for items in (one, other))
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if one is other or _is_missing(one) or _is_missing(other):  # comparing pandas's NA gives NA
        return one is other or (_is_missing(one) and _is_missing(other))
    return (one == other) is True  # objects may return anything


def _is_missing(value: Any) -> bool:
    import pandas as pd  # here: not needed by trainings, which only write checkpoints

    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def same_data(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two frames have the same columns and values, by `same`."""
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return False
    pairs = ((one.iloc[:, i], other.iloc[:, i]) for i in range(one.shape[1]))  # by position: names may be duplicates
    return all(a.equals(b) or same(a.tolist(), b.tolist()) for a, b in pairs)


def epochs_of(value: Any) -> int | None:
    """Parse a number of epochs, written as 10, 10.0 or "10"; None if it is invalid."""
    value = builtin(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(MOST_EPOCHS)):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 1 <= value < MOST_EPOCHS else None
