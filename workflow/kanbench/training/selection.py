"""Selects the experts to merge. Imports nothing heavy, because the consolidation uses it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any


def select_experts(experts: Sequence[Mapping[str, Any]], n_selected: int) -> list[int]:
    """Select the experts to merge; return their positions, best first.

    A dependency pattern is the set of inputs that an expert depends on. The best expert of every pattern is selected
    first, then the best of the rest. If there are more patterns than `n_selected`, the best of them are selected.
    Experts are ranked by `valid_loss`, the loss on a sample used neither for training nor for testing.

    Args:
        experts (sequence of dict): Each with `valid_loss` (None or nan if not finite) and `dependencies` (str).
        n_selected (int): How many to select.
    """

    def loss(position: int) -> float:
        value = experts[position]["valid_loss"]
        return value if value is not None and isfinite(value) else inf

    ranked = sorted(range(len(experts)), key=loss)  # stable: equal losses keep the experts' order
    patterns: dict[str, int] = {}
    for position in ranked:
        patterns.setdefault(experts[position]["dependencies"], position)
    first = list(patterns.values())
    others = [position for position in ranked if position not in first]
    return sorted([*first, *others][:n_selected], key=ranked.index)
