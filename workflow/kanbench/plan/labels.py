"""Display names of model types, problems and moments in text, tables, figures and on the page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MODEL_TYPES = {
    "adam": "Adam",
    "lbfgs": "L-BFGS",
    "lm": "LM",
    "adaptive_only": "adaptive only",
    "adaptive_regular": "adaptive + regular",
    "merge_kan": "merged",
    "mlp": "MLP",
    "siren": "SIREN",
    "kan": "KAN",
    "kan_pruning": "pruned KAN",
    # models compared in section 2.3
    "best_expert": "best expert",
    "chosen_expert": "chosen expert",
    **dict.fromkeys(("merged_initial", "merged_threshold", "merged_final"), "merged"),
    **dict.fromkeys(("control_threshold", "control_final"), "control"),
}
SUITES = {  # prefixes of problem names
    "feynman": "Feynman",
    "initialization": "",
    "kan_paper": "KAN paper:",
    "section1": "",
}
POISSON = re.compile(r"poisson_(\d+)d_(\w+)")


@dataclass(frozen=True)
class Moment:
    """The names of a moment of training."""

    name: str  # in headings
    at: str  # in titles
    when: str  # in answers, which do not presuppose the terms


MOMENTS = {
    "threshold": Moment("threshold", "at the threshold", "at the best test loss"),
    "iso_flops": Moment("equal flops", "at equal flops", "at equal compute"),
    "iso_time": Moment("equal time", "at equal time", "at equal training time"),
    "final": Moment("end", "at the end", "at the end of training"),
    "initial": Moment("before training", "before training", "before its training"),
}
OF_CHECKPOINTS = {"at_threshold": MOMENTS["threshold"], "final": MOMENTS["final"]}


def model_label(name: str) -> str:
    """The label of a model type, as `L-BFGS` for lbfgs; unknown names are returned unchanged."""
    return MODEL_TYPES.get(name, name)


def problem_labels(names: Iterable[str]) -> dict[str, str]:
    """`{name: label}`: `sin` for poisson_2d_sin, `sin, 10 inputs` for poisson_10d_sin.

    Names of user-defined problems stay unchanged, and so do names whose labels would be equal.
    """
    labels = {name: problem_label(name) for name in names}
    shared = list(labels.values())
    return {name: label if shared.count(label) == 1 else name for name, label in labels.items()}


def problem_label(name: str) -> str:
    """The label of a single problem."""
    if poisson := POISSON.fullmatch(name):
        inputs, kind = poisson.groups()
        return kind if inputs == "2" else f"{kind}, {inputs} input{'' if inputs == '1' else 's'}"
    suite = next((suite for suite in SUITES if name.startswith(f"{suite}_")), None)
    if suite is None:
        return name
    return f"{SUITES[suite]} {name.removeprefix(f'{suite}_').replace('_', ' ')}".strip()
