"""Statements about a run: which model type has the lowest error, by what factor, and how certain that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log
from typing import Any

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import EQUAL_COMPUTE
from kanbench.analysis.ranking import EQUAL, Ranking, rank, versus
from kanbench.analysis.uncertainty import Factor
from kanbench.plan.labels import model_label
from kanbench.plan.sections import SECTIONS, section_of


@dataclass(frozen=True)
class Statement:
    """One comparison of errors: of two model types, or a ranking of all.

    Attributes:
        comparison (str): The moment of the comparison: one of `MOMENTS`, or `initial`.
        dataset (str or None): None for the geometric mean over all comparable datasets.
        one (tuple of str): Compared with `other`. In a ranking the best, several if tied; empty if nothing can be
            compared.
        other (str or None): In a ranking the best of the others, if there are any.
        factor (Factor or None): Error of `other` divided by error of `one`; None if nothing can be compared.
        best (tuple of str): Those with the lowest error; several if tied, empty if nothing can be compared.
        datasets (tuple of str): The compared datasets.
        better, equal (int): The number of datasets on which `one` has the lower error, or the same.
        wins (dict): In a ranking over all datasets, `{best: number of datasets}`; `not decided` counts the others.
        is_ranking (bool): Whether all model types are compared.
        obstacle (str): Why nothing can be compared.
        counterpart (Statement or None): At equal compute by flops, the same comparison by time, and vice versa; None
            if not known.
    """

    comparison: str
    dataset: str | None
    one: tuple[str, ...]
    other: str | None
    factor: Factor | None
    best: tuple[str, ...]
    datasets: tuple[str, ...]
    better: int
    equal: int = 0
    wins: dict[str, int] | None = None
    is_ranking: bool = False
    obstacle: str = ""
    counterpart: Statement | None = None

    @property
    def differs(self) -> bool:
        """Whether flops and time give different answers."""
        return self.counterpart is not None and self.counterpart.best not in ((), self.best) and self.best != ()

    @property
    def decided(self) -> bool | None:
        """Whether the interval excludes 1 and, at equal compute, flops and time agree; None with too few seeds."""
        if self.differs:
            return False
        own = self.factor.decided if self.factor else None
        if not own or self.comparison not in EQUAL_COMPUTE:
            return own
        other = self.counterpart.factor if self.counterpart else None
        return other is not None and other.decided is True

    @property
    def doubt(self) -> str:
        """Why the comparison is not decided; empty if it is."""
        by = next((by for moment, by in EQUAL_COMPUTE.items() if moment != self.comparison), "")
        if self.obstacle:
            return self.obstacle
        if self.differs and self.counterpart:
            return f"by {by} the best is {join_names(map(model_label, self.counterpart.best))}"
        if self.factor is None or self.decided:
            return ""
        if self.decided is None:
            return "one seed" if self.factor.seeds == 1 else "too few seeds"
        if not self.factor.decided:
            return "the interval includes 1"
        known = self.counterpart is not None and self.counterpart.factor is not None
        return f"not decided by {by}" if known else f"not known by {by}"

    @property
    def numbers(self) -> dict[str, Any]:
        """The `factor`, its interval `low` to `high`, and the number of `seeds`; None if not known."""
        factor = self.factor
        if factor is None:
            return dict.fromkeys(("factor", "low", "high", "seeds"))
        low, high = (None, None) if factor.seeds == 1 else (factor.low, factor.high)
        return {"factor": factor.value, "low": low, "high": high, "seeds": factor.seeds}


def join_names(names: Iterable[object], last: str = "and") -> str:
    """Join names for a sentence, such as `a, b and c`."""
    *first, final = map(str, names)
    return f"{', '.join(first)} {last} {final}" if first else final


def statements(measures: Measures) -> list[Statement]:
    """Compare the model types of a section at every moment.

    The result has the rankings over all datasets and on each and, for section 2.2, every approach against the baseline,
    likewise.
    """
    single = _paired({m: [_single(measures, m, i) for i in measures.datasets] for m in measures.logs})
    over_all = _paired({m: [_over_all(measures, m, single[m])] for m in measures.logs})
    against = _paired({m: _against_reference(measures, m) for m in measures.logs})
    return [s for moment in measures.logs for s in (*over_all[moment], *single[moment], *against[moment])]


def _paired(found: dict[str, list[Statement]]) -> dict[str, list[Statement]]:
    """Link the statements at equal compute by flops and by time, which come in the same order, as counterparts."""
    if not set(EQUAL_COMPUTE) <= set(found):
        return found
    by_flops, by_time = (found[moment] for moment in EQUAL_COMPUTE)
    pairs = list(zip(by_flops, by_time, strict=True))
    both = [replace(a, counterpart=b) for a, b in pairs], [replace(b, counterpart=a) for a, b in pairs]
    return {**found, **dict(zip(EQUAL_COMPUTE, both, strict=True))}


def _single(measures: Measures, comparison: str, dataset_idx: int) -> Statement:
    return _ranking(
        comparison, measures.datasets[dataset_idx], rank(measures.logs_on(comparison, [dataset_idx])), measures
    )


def _over_all(measures: Measures, comparison: str, single: list[Statement]) -> Statement:
    """The ranking over all datasets, with the number of datasets that each wins."""
    ranking = rank(measures.logs_on(comparison, measures.comparable))
    made = _ranking(comparison, None, ranking, measures)
    there = [statement for statement in single if statement.dataset in made.datasets]
    wins = Counter("not decided" if one.decided is False else " = ".join(one.best) for one in there)
    return replace(made, better=wins[" = ".join(made.one)], wins=dict(wins))


def _ranking(comparison: str, dataset: str | None, ranking: Ranking, measures: Measures) -> Statement:
    datasets = tuple(measures.datasets[i] for i in ranking.datasets)
    is_compared = ranking.factor is not None or len(ranking.best) > 1
    best = ranking.best if is_compared else ()
    obstacle = "" if is_compared else _obstacle(ranking)
    return Statement(
        *(comparison, dataset, best, ranking.next, ranking.factor, best, datasets, len(datasets)),
        is_ranking=True,
        obstacle=obstacle,
    )


def _obstacle(ranking: Ranking) -> str:
    if ranking.datasets:
        return f"only {model_label(ranking.compared[0])} has an error"
    who = f"all of {join_names(map(model_label, ranking.compared))} have" if ranking.compared else "any has"
    return f"no problem on which {who} an error"


def _against_reference(measures: Measures, comparison: str) -> list[Statement]:
    """For section 2.2, every approach against the baseline, over all datasets and on each."""
    section = section_of(measures.section)
    if section is not SECTIONS["section2_2"] or section.reference not in measures.model_types:
        return []
    others = [name for name in measures.model_types if name != section.reference]
    datasets = (None, *measures.datasets)
    return [compare_two(measures, comparison, name, str(section.reference), i) for i in datasets for name in others]


def compare_two(measures: Measures, comparison: str, one: str, other: str, dataset_idx: int | None = None) -> Statement:
    """Compare one column of `measures.logs` with another, over all datasets or on one."""
    datasets = measures.comparable if dataset_idx is None else [dataset_idx]
    result = versus(measures.logs_on(comparison, datasets), one, other)
    return Statement(
        comparison,
        None if dataset_idx is None else measures.datasets[dataset_idx],
        (one,),
        other,
        result.factor,
        _ahead(result.factor, one, other),
        tuple(measures.datasets[i] for i in result.datasets),
        len(result.better),
        len(result.equal),
        obstacle="" if result.factor else "no problem on which both have an error",
    )


def _ahead(factor: Factor | None, one: str, other: str) -> tuple[str, ...]:
    """The one of two with the lower error; both if tied."""
    if factor is None:
        return ()
    return (one, other) if abs(log(factor.value)) <= EQUAL else (one,) if factor.value > 1 else (other,)
