"""Statements about the model types of a section: which is best, by how much, and how sure that is."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import MOMENTS as COMPARISONS
from kanbench.analysis.ranking import Ranking, rank, versus
from kanbench.analysis.words import (
    MOMENTS,
    Statement,
    against,
    listed,
    numbers_of,
    problems,
    question_of,
    sure,
    sure_if_seeds,
)
from kanbench.plan.sections import SECTIONS, section_of


def statements(measures: Measures) -> list[Statement]:
    """What the data say about the question of a section that compares model types.

    For each of the three moments: the best over all datasets, for section 2.2 also every approach against the
    baseline, and the best on every dataset.
    """
    found = []
    for comparison in COMPARISONS:
        single = {i: rank(_logs(measures, comparison, [i])) for i in measures.datasets}
        found.append(_overall(measures, comparison, single))
        if section_of(measures.section) is SECTIONS["section2_2"]:
            found += _against_reference(measures, comparison)
        found += [_on_dataset(measures, comparison, i, ranking) for i, ranking in single.items()]
    return found


def _overall(measures: Measures, comparison: str, single: dict[int, Ranking]) -> Statement:
    ranking = rank(_logs(measures, comparison, measures.comparable))
    wins = Counter(_winner(single[i]) for i in ranking.datasets)
    text, short = _best(ranking, "geometric mean of relative error")
    if ranking.datasets:
        counts = ", ".join(f"{name} {count}" for name, count in wins.most_common())
        over = problems(len(ranking.datasets), len(measures.datasets))
        text = f"{text} This is over {over}, of which are won: {counts}."
        partly = len(ranking.datasets) < len(measures.datasets)
        short = f"{short}; {f'over {over}, ' if partly else 'problems '}won: {counts}"
    return Statement(
        question_of(measures.section),
        comparison,
        f"{MOMENTS[comparison]}, {text}",
        short,
        numbers_of(
            ranking.factor,
            best=ranking.best,
            next=ranking.next,
            wins=dict(wins),
            datasets=tuple(measures.datasets[i] for i in ranking.datasets),
        ),
    )


def _on_dataset(measures: Measures, comparison: str, dataset_idx: int, ranking: Ranking) -> Statement:
    name = measures.datasets[dataset_idx]
    text, short = _best(ranking, "error")
    return Statement(
        question_of(measures.section),
        comparison,
        f"{MOMENTS[comparison]}, on {name}, {text}",
        short,
        numbers_of(ranking.factor, best=ranking.best, next=ranking.next),
        name,
    )


def _against_reference(measures: Measures, comparison: str) -> list[Statement]:
    """Every approach against the section's reference, which the question of section 2.2 is about."""
    reference, found = section_of(measures.section).reference, []
    for name in measures.model_types:
        if name == reference or reference not in measures.model_types:
            continue
        result = versus(_logs(measures, comparison, measures.comparable), name, reference)
        if result.factor is None:
            text = short = f"{name} and {reference} cannot be compared: no problem on which both have an error."
        else:
            of = problems(len(result.better), len(result.datasets))
            equal = f", an equal one on {len(result.equal)}" if result.equal else ""
            text = (
                f"{name} has a lower error than {reference} on {of}{equal}; its geometric mean of relative error is "
                f"{against(result.factor, f'that of {reference}')}{sure(result.factor)}."
            )
            short = f"{name}: {against(result.factor, reference)}{sure_if_seeds(result.factor)}"
        found.append(
            Statement(
                question_of(measures.section),
                comparison,
                f"{MOMENTS[comparison]}, {text}",
                short,
                numbers_of(result.factor, one=name, other=reference, better=len(result.better)),
            )
        )
    return found


def _logs(measures: Measures, comparison: str, datasets: list[int]) -> pd.DataFrame:
    logs = measures.logs[comparison]
    return logs[logs.index.get_level_values("dataset_idx").isin(datasets)]


def _winner(ranking: Ranking) -> str:
    if ranking.factor is not None and ranking.factor.decided is False:
        return "not decided"
    return " = ".join(ranking.best) or "not decided"


def _best(ranking: Ranking, error: str) -> tuple[str, str]:
    """The sentence and its short form, without the moment."""
    if not ranking.datasets:
        return (f"nothing can be compared: no problem on which {_all(ranking)} an error.",) * 2
    if len(ranking.compared) == 1:
        return (f"{ranking.compared[0]} is the only one that has an error: there is nothing to compare.",) * 2
    if not ranking.best:
        return ("none is ahead of all others in the median over seeds: not decided.",) * 2
    if len(ranking.best) > 1:
        rest = f", and that of {ranking.next} is higher" if ranking.next else ""
        return (f"{listed(ranking.best)} are equal: they have the same lowest {error}{rest}.",) * 2
    best, factor, other = ranking.best[0], ranking.factor, ranking.next
    size, short = against(factor, f"that of {other}"), f"{against(factor, other)}{sure_if_seeds(factor)}"
    if factor.decided is False:
        text = f"it is not decided whether {best} or {other} is best: the {error} of {best} is {size}{sure(factor)}."
        return text, f"{best}: {short}"
    return f"{best} has the lowest {error}, {size}, the next{sure(factor)}.", f"{best}: {short}"


def _all(ranking: Ranking) -> str:
    return f"all of {listed(ranking.compared)} have" if ranking.compared else "any has"
