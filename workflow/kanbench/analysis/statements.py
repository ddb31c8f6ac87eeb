"""Statements about a run: who has the lowest error, by what factor, and with what certainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kanbench.analysis.measures import Measures
from kanbench.analysis.ranking import Ranking, rank, versus
from kanbench.analysis.uncertainty import Factor
from kanbench.io.numbers import factor_text
from kanbench.plan.sections import SECTIONS, section_of

WHEN = {
    "iso_compute": "At equal compute",
    "threshold": "At the threshold",
    "final": "At the end",
    "initial": "Before its training",
}


@dataclass(frozen=True)
class Statement:
    """One comparison of errors.

    Attributes:
        comparison (str): A key of `WHEN`: when the errors were compared.
        dataset (str or None): None if it is about the geometric mean over all datasets that can be compared.
        answer (str): Who has the lower error, and by what factor: `lm has a 2.3 times lower error than adam`.
        detail (str): On how many problems.
        factor (Factor or None): How many times larger the error of the second is; None where nothing can be compared.
        more (dict): Of a ranking `best`, `next`, `wins` and `datasets`, of a comparison of two `one`, `other` and
            `better`.
    """

    comparison: str
    dataset: str | None
    answer: str
    detail: str = ""
    factor: Factor | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """A sentence to be read alone."""
        where = f", on {self.dataset}" if self.dataset else ""
        certainty = f" ({_above_one(self.factor).certainty})" if self.factor else ""
        detail = f"; {self.detail}" if self.detail else ""
        return f"{WHEN[self.comparison]}{where}, {self.answer}{certainty}{detail}."

    @property
    def numbers(self) -> dict[str, Any]:
        """`factor`, `low`, `high`, `seeds` and `decided`, which are None where they are not known, and `more`."""
        if (factor := self.factor) is None:
            return {**dict.fromkeys(("factor", "low", "high", "seeds", "decided")), **self.more}
        low, high = (None, None) if factor.seeds == 1 else (factor.low, factor.high)
        known = {"factor": factor.value, "low": low, "high": high, "seeds": factor.seeds, "decided": factor.decided}
        return {**known, **self.more}


def join_names(names: Iterable[object], last: str = "and") -> str:
    """a, b and c"""
    *first, final = map(str, names)
    return f"{', '.join(first)} {last} {final}" if first else final


def factor_phrase(factor: Factor, other: str) -> str:
    """'a 2.3 times lower error than adam'"""
    size = factor_text(_above_one(factor).value)
    if abs(factor.value - 1) < 1e-12:
        return f"the same error as {other}"
    if size == "1":
        return f"an error within 0.5 % of that of {other}"
    return f"a {size} times {'lower' if factor.value > 1 else 'higher'} error than {other}"


def _above_one(factor: Factor) -> Factor:
    return factor if factor.value >= 1 else factor.inverse()


def statements(measures: Measures) -> list[Statement]:
    """Comparisons of the model types of a section at each of the three moments.

    The ranking over all datasets; for section 2.2 every approach against the baseline; the ranking on every dataset.
    """
    found = []
    reference = section_of(measures.section).reference
    for comparison in measures.logs:
        single = {i: rank(measures.logs_on(comparison, [i])) for i in measures.datasets}
        found.append(_overall(measures, comparison, single))
        if section_of(measures.section) is SECTIONS["section2_2"] and reference in measures.model_types:
            others = [name for name in measures.model_types if name != reference]
            found += [compare_two(measures, comparison, name, str(reference)) for name in others]
        for i, ranking in single.items():
            more = {"best": ranking.best, "next": ranking.next}
            found.append(Statement(comparison, measures.datasets[i], _answer(ranking), "", ranking.factor, more))
    return found


def _overall(measures: Measures, comparison: str, single: dict[int, Ranking]) -> Statement:
    ranking = rank(measures.logs_on(comparison, measures.comparable))
    datasets = tuple(measures.datasets[i] for i in ranking.datasets)
    wins = Counter(_winner(single[i]) for i in ranking.datasets)
    counts = ", ".join(f"{name} {count}" for name, count in wins.most_common())
    detail = f"over {_problems(len(datasets), len(measures.datasets))}, won: {counts}" if counts else ""
    more = {"best": ranking.best, "next": ranking.next, "wins": dict(wins), "datasets": datasets}
    return Statement(comparison, None, _answer(ranking), detail, ranking.factor, more)


def compare_two(
    measures: Measures,
    comparison: str,
    one: str,
    other: str,
    dataset_idx: int | None = None,
    names: dict[str, str] | None = None,
) -> Statement:
    """How one column of `measures.logs` does against another, over all datasets or on one; `names` are for the text."""
    datasets = measures.comparable if dataset_idx is None else [dataset_idx]
    result = versus(measures.logs_on(comparison, datasets), one, other)
    first, second = (names or {}).get(one, one), (names or {}).get(other, other)
    more = {"one": one, "other": other, "better": len(result.better)}
    dataset = None if dataset_idx is None else measures.datasets[dataset_idx]
    if result.factor is None:
        answer = f"{first} and {second} cannot be compared: no problem on which both have an error"
        return Statement(comparison, dataset, answer, more=more)
    equal = f", equal on {len(result.equal)}" if result.equal else ""
    detail = "" if dataset else f"lower on {_problems(len(result.better), len(result.datasets))}{equal}"
    answer = f"{first} has {factor_phrase(result.factor, second)}"
    return Statement(comparison, dataset, answer, detail, result.factor, more)


def _problems(number: int, of: int) -> str:
    """3 of 4 problems"""
    return f"{number} of {of} problem{'' if of == 1 else 's'}"


def _winner(ranking: Ranking) -> str:
    if ranking.factor is not None and ranking.factor.decided is False:
        return "not decided"
    return " = ".join(ranking.best) or "not decided"


def _answer(ranking: Ranking) -> str:
    if not ranking.datasets:
        who = f"all of {join_names(ranking.compared)} have" if ranking.compared else "any has"
        return f"nothing can be compared: no problem on which {who} an error"
    if len(ranking.compared) == 1:
        return f"nothing can be compared: only {ranking.compared[0]} has an error"
    if not ranking.best:
        return "none is ahead of all others in the median over seeds: not decided"
    if ranking.factor is None or ranking.next is None or len(ranking.best) > 1:
        rest = f", lower than {ranking.next}" if ranking.next else ""
        return f"{join_names(ranking.best)} have the same error{rest}"
    return f"{ranking.best[0]} has {factor_phrase(ranking.factor, ranking.next)}"
