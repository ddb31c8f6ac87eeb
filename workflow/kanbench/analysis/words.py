"""What statements are made of, and the words that they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kanbench.analysis.uncertainty import Factor, factor_text
from kanbench.plan.sections import SECTIONS, section_of

QUESTIONS = {
    "section2_1": "Which optimizer trains a KAN best for the same compute?",
    "section2_2": "Does refining only the important neurons' grids beat refining all?",
    "section2_3": "Can experts be merged into one wider KAN that beats each of them?",
}
MOMENTS = {
    "iso_compute": "At equal compute",
    "threshold": "At the threshold",
    "final": "At the end",
    "initial": "Before its training",
}


@dataclass(frozen=True)
class Statement:
    """A sentence that follows from the data.

    Attributes
    ----------
    question : str
        That of the section.
    comparison : str
        A key of `MOMENTS`: when the errors were compared.
    text : str
        The whole of it, to be read alone.
    short : str
        The same for a line of a terminal, after the comparison's name.
    numbers : dict
        What the text says: `factor`, `low`, `high`, `seeds`, `decided` and more.
    dataset : str or None
        None if it is about all.
    """

    question: str
    comparison: str
    text: str
    short: str
    numbers: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None


def question_of(section: str) -> str:
    """The question of a section, which may have a longer name or be one of another experiment."""
    known = section_of(section)
    return next((QUESTIONS[name] for name in SECTIONS if known is SECTIONS[name]), "Which model type is best?")


def listed(names: Sequence[str], last: str = "and") -> str:
    """a, b and c"""
    names = list(map(str, names))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def against(factor: Factor, other: str) -> str:
    """'2.3 times lower than adam'"""
    if abs(factor.value - 1) < 1e-12:
        return f"the same as {other}"
    size = factor_text(above_one(factor).value)
    if size == "1":
        return f"within 0.5 % of {other}"
    return f"{size} times {'lower' if factor.value > 1 else 'higher'} than {other}"


def above_one(factor: Factor) -> Factor:
    """What `against` is about: the factor, or its inverse."""
    return factor if factor.value >= 1 else factor.inverse()


def sure(factor: Factor) -> str:
    """How sure that is, for a sentence."""
    return f" ({above_one(factor).certainty})"


def sure_if_seeds(factor: Factor) -> str:
    """The same for a short form, which stands where it is said if there is one seed only."""
    return "" if factor.seeds == 1 else sure(factor)


def problems(number: int, of: int) -> str:
    """3 of 4 problems"""
    return f"{number} of {of} problem{'' if of == 1 else 's'}"


def numbers_of(factor: Factor | None, **more: Any) -> dict[str, Any]:
    """For `Statement.numbers`."""
    if factor is None:
        return {"factor": None, "low": None, "high": None, "seeds": None, "decided": None, **more}
    low, high = (None, None) if factor.seeds == 1 else (factor.low, factor.high)
    known = {"factor": factor.value, "low": low, "high": high, "seeds": factor.seeds, "decided": factor.decided}
    return {**known, **more}
