"""Which experts are merged. Imports nothing heavy: the consolidation reads it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any


def select_experts(experts: Sequence[Mapping[str, Any]], n_selected: int) -> list[int]:
    """The positions of the experts to merge, the best first.

    First the best expert of every dependency pattern, that is of every set of inputs that experts depend on, then the
    best of the others; if there are more patterns than places, the best of those. `valid_loss` decides, the loss on a
    sample that neither training nor testing uses.

    Args:
        experts (sequence of dict): With `valid_loss`, None or nan where it is not finite, and `dependencies`, a text.
    """

    def loss(position: int) -> float:
        value = experts[position]["valid_loss"]
        return value if value is not None and isfinite(value) else inf

    ranked = sorted(range(len(experts)), key=loss)  # stable: equal losses in the order of the experts
    patterns: dict[str, int] = {}
    for position in ranked:
        patterns.setdefault(experts[position]["dependencies"], position)
    first = list(patterns.values())
    others = [position for position in ranked if position not in first]
    return sorted([*first, *others][:n_selected], key=ranked.index)
