"""Colours, markers and line styles of model types, in figures and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from kanbench.plan.labels import model_label

# Okabe & Ito, "Color Universal Design" (2008): distinguishable with any kind of colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, LIGHT = "#767676", "#D0D0D0"  # for anything but data: references, stages, the truth


@dataclass(frozen=True)
class Look:
    """The look of one model type in every figure; the methods return keywords for lines and for points."""

    color: str
    marker: str
    linestyle: Any
    label: str

    def line(self, **more: Any) -> dict[str, Any]:
        return {"color": self.color, "linestyle": self.linestyle, **more}

    def points(self, **more: Any) -> dict[str, Any]:
        return {"color": self.color, "marker": self.marker, "linestyle": "none", **more}


Looks = Mapping[str, Look]
_DASHED, _DOTTED, _DASHDOT = (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2))
# References are blue squares with a solid line. The model types of a section differ in lightness, marker and line.
_DRAWN = {
    "adam": (ORANGE, "o", _DASHED),
    "lbfgs": (BLUE, "s", "-"),
    "lm": (BLACK, "^", _DASHDOT),
    "adaptive_only": (ORANGE, "o", _DASHED),
    "adaptive_regular": (BLACK, "^", _DASHDOT),
    "baseline": (BLUE, "s", "-"),
    "merge_kan": (BLACK, "^", "-"),
    "mlp": (SKY, "o", _DASHED),
    "siren": (BLACK, "^", _DASHDOT),
    "kan": (BLUE, "s", "-"),
    "kan_pruning": (ORANGE, "D", _DOTTED),
    # section 2.3, on the page
    "best_expert": (BLUE, "s", "-"),
    **dict.fromkeys(("merged_threshold", "merged_final"), (BLACK, "^", "-")),
    **dict.fromkeys(("control_threshold", "control_final"), (ORANGE, "o", _DASHED)),
}
LOOKS = {name: Look(*drawn, model_label(name)) for name, drawn in _DRAWN.items()}
_OTHERS = [(VERMILLION, "D", _DOTTED), (GREEN, "v", _DASHED), (PURPLE, "P", _DASHDOT), (SKY, "X", "-")]
# Losses by column of frames; used in panels with one model type.
LOSSES = {
    "train_loss": Look(ORANGE, "o", _DASHED, "training loss"),
    "test_loss": Look(BLUE, "s", "-", "test loss"),
    "dense_mse": Look(BLACK, "^", _DASHDOT, "dense MSE"),
}


def looks(model_types: Sequence[str]) -> dict[str, Look]:
    """Choose the looks of model types; unknown ones get the remaining colours."""
    others = cycle(_OTHERS)
    return {name: LOOKS[name] if name in LOOKS else Look(*next(others), name) for name in model_types}
