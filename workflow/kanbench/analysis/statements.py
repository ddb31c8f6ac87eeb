"""Statements about a run: who has the lowest error, by what factor, and with what certainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import log
from typing import Any

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import EQUAL_COMPUTE
from kanbench.analysis.ranking import EQUAL, Ranking, rank, versus
from kanbench.analysis.uncertainty import Factor
from kanbench.io.numbers import factor_text
from kanbench.plan.sections import SECTIONS, section_of

WHEN = {
    "iso_flops": "At equal compute by flops",
    "iso_time": "At equal compute by time",
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
        more (dict): `best`; of a ranking also `next`, `wins` and `datasets`, of a comparison of two also `one`, `other`
            and `better`.
        counterpart (Statement or None): At equal compute by flops, the same by time, and the other way round; None
            where that is not known.
    """

    comparison: str
    dataset: str | None
    answer: str
    detail: str = ""
    factor: Factor | None = None
    more: dict[str, Any] = field(default_factory=dict)
    counterpart: Statement | None = None

    @property
    def best(self) -> tuple[str, ...]:
        """Who has the lowest error; several if they are equal, none if nothing can be compared."""
        return self.more["best"] if self.factor or len(self.more["best"]) > 1 else ()

    @property
    def differs(self) -> bool:
        """Whether flops and time give different answers."""
        return self.counterpart is not None and self.counterpart.best not in ((), self.best) and self.best != ()

    @property
    def decided(self) -> bool | None:
        """Whether the seeds leave no doubt and, at equal compute, flops and time agree; None with too few seeds."""
        if self.differs:
            return False
        own = self.factor.decided if self.factor else None
        if not own or self.comparison not in EQUAL_COMPUTE:
            return own
        other = self.counterpart.factor if self.counterpart else None
        return other is not None and other.decided is True

    @property
    def verdict(self) -> str:
        """What `decided` is, in words, and why; empty where that is plain from the number of seeds and the interval."""
        other = next((by for moment, by in EQUAL_COMPUTE.items() if moment != self.comparison), "")
        if self.differs and self.counterpart:
            return f"not decided, because by {other} the best is {join_names(self.counterpart.best)}"
        if self.factor is None or self.factor.seeds == 1:
            return ""
        if self.decided is None:
            return "too few to decide"
        if self.comparison not in EQUAL_COMPUTE or not self.factor.decided:
            return "" if self.decided else "not decided"
        if self.decided:
            return f"decided, by {other} too"
        known = self.counterpart is not None and self.counterpart.factor is not None
        return f"not decided by {other}" if known else f"not decided, because not known by {other}"

    @property
    def text(self) -> str:
        """A sentence to be read alone."""
        where = f", on {self.dataset}" if self.dataset else ""
        sure = ": ".join(filter(None, (_above_one(self.factor).certainty if self.factor else "", self.verdict)))
        detail = f"; {self.detail}" if self.detail else ""
        return f"{WHEN[self.comparison]}{where}, {self.answer}{f' ({sure})' if sure else ''}{detail}."

    @property
    def numbers(self) -> dict[str, Any]:
        """`factor`, `low`, `high` and `seeds`, which are None where they are not known, `decided`, and `more`."""
        factor, decided = self.factor, self.decided
        if factor is None:
            return {**dict.fromkeys(("factor", "low", "high", "seeds")), "decided": decided, **self.more}
        low, high = (None, None) if factor.seeds == 1 else (factor.low, factor.high)
        known = {"factor": factor.value, "low": low, "high": high, "seeds": factor.seeds, "decided": decided}
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
    """Comparisons of the model types of a section at every moment.

    The ranking over all datasets; for section 2.2 every approach against the baseline; the ranking on every dataset.
    """
    single = _paired({m: [_single(measures, m, i) for i in measures.datasets] for m in measures.logs})
    over_all = _paired({m: _over_all(measures, m, single[m]) for m in measures.logs})
    return [statement for moment in measures.logs for statement in (*over_all[moment], *single[moment])]


def _paired(found: dict[str, list[Statement]]) -> dict[str, list[Statement]]:
    """Lists of statements about the same things by moment; those at equal compute are given their counterparts."""
    if not set(EQUAL_COMPUTE) <= set(found):
        return found
    by_flops, by_time = (found[moment] for moment in EQUAL_COMPUTE)
    pairs = list(zip(by_flops, by_time, strict=True))
    both = [replace(a, counterpart=b) for a, b in pairs], [replace(b, counterpart=a) for a, b in pairs]
    return {**found, **dict(zip(EQUAL_COMPUTE, both, strict=True))}


def _single(measures: Measures, comparison: str, dataset_idx: int) -> Statement:
    ranking = rank(measures.logs_on(comparison, [dataset_idx]))
    more = {"best": ranking.best, "next": ranking.next}
    return Statement(comparison, measures.datasets[dataset_idx], _answer(ranking), "", ranking.factor, more)


def _over_all(measures: Measures, comparison: str, single: list[Statement]) -> list[Statement]:
    """The ranking over all datasets, with who won on how many; for section 2.2 every approach against the baseline."""
    ranking = rank(measures.logs_on(comparison, measures.comparable))
    datasets = tuple(measures.datasets[i] for i in ranking.datasets)
    wins = Counter(_winner(statement) for statement in single if statement.dataset in datasets)
    counts = ", ".join(f"{name} {count}" for name, count in wins.most_common())
    detail = f"over {_problems(len(datasets), len(measures.datasets))}, won: {counts}" if counts else ""
    more = {"best": ranking.best, "next": ranking.next, "wins": dict(wins), "datasets": datasets}
    first = Statement(comparison, None, _answer(ranking), detail, ranking.factor, more)
    section = section_of(measures.section)
    if section is not SECTIONS["section2_2"] or section.reference not in measures.model_types:
        return [first]
    others = [name for name in measures.model_types if name != section.reference]
    return [first, *(compare_two(measures, comparison, name, str(section.reference)) for name in others)]


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
    more = {"one": one, "other": other, "better": len(result.better), "best": _ahead(result.factor, one, other)}
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


def _ahead(factor: Factor | None, one: str, other: str) -> tuple[str, ...]:
    """Which of two has the lower error; both if they are equal."""
    if factor is None:
        return ()
    return (one, other) if abs(log(factor.value)) <= EQUAL else (one,) if factor.value > 1 else (other,)


def _winner(statement: Statement) -> str:
    return "not decided" if statement.decided is False else " = ".join(statement.more["best"])


def _answer(ranking: Ranking) -> str:
    if not ranking.datasets:
        who = f"all of {join_names(ranking.compared)} have" if ranking.compared else "any has"
        return f"nothing can be compared: no problem on which {who} an error"
    if len(ranking.compared) == 1:
        return f"nothing can be compared: only {ranking.compared[0]} has an error"
    if ranking.factor is None or ranking.next is None or len(ranking.best) > 1:
        rest = f", lower than {ranking.next}" if ranking.next else ""
        return f"{join_names(ranking.best)} have the same error{rest}"
    return f"{ranking.best[0]} has {factor_phrase(ranking.factor, ranking.next)}"
