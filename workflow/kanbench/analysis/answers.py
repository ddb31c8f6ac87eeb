"""The answer to a section's question, as a sentence and as a small matrix of errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from kanbench.analysis.measures import Measures
from kanbench.analysis.ranking import EQUAL
from kanbench.analysis.statements import Statement, join_names
from kanbench.analysis.uncertainty import Factor
from kanbench.io.numbers import factor_text
from kanbench.plan.labels import MOMENTS, model_label

BEST_EXPERT = "best_expert"  # section 2.3 asks whether the merged model beats it
_MERGED = "it has", "the best expert"
YES_OR_NO = {  # model type → subject and verb of the answer, and the reference, as read after the question
    "adaptive_only": ("it gives", "refining all"),
    "merged_threshold": _MERGED,
    "merged_final": _MERGED,
}


def answer_of(said: Sequence[Statement]) -> Statement:
    """Pick the statement over all datasets that answers the section's question.

    That is the one at equal compute by flops, or by time if flops are not known; for section 2.3 the one at the
    threshold, or at the end of training if the threshold is not known.
    """
    answers = [s for s in said if not s.is_ranking and s.one[0] in YES_OR_NO and s.dataset is None]
    return next((s for s in answers if s.factor), next(iter(answers), said[0]))


def sentence(answer: Statement, problems: int) -> str:
    """Phrase the answer, to be read after the question: yes, no or a name, with factor, certainty and counts.

    Args:
        problems (int): Number of problems of the run, including those that cannot be compared.
    """
    when = MOMENTS[answer.comparison].when
    if answer.obstacle:
        return f"Nothing can be compared: {answer.obstacle}."
    if answer.factor is None or answer.other is None:
        return f"A tie: {when}, {_names(answer.one)} have the same error."
    if answer.differs and answer.counterpart:
        has = f"{'has' if len(answer.best) == 1 else 'have'} the {'lowest' if answer.is_ranking else 'lower'} error"
        by_one, by_other = (MOMENTS[s.comparison].at for s in (answer, answer.counterpart))
        return f"Not decided: {_names(answer.best)} {has} {by_one}, but {_names(answer.counterpart.best)} {by_other}."
    # With too few seeds, the interval may span thirty decades; the matrix shows it.
    certainty = "" if answer.factor.decided is None else f" ({_above_one(answer.factor).certainty})"
    claim = f"{when}, {_claim(answer, answer.factor)}{certainty}"
    if answer.decided is False:
        return f"Not decided: {claim}, but {answer.doubt}."
    verdict = _names(answer.one) if answer.is_ranking else "Yes" if answer.factor.value > 1 else "No"
    if answer.decided is None:
        seeds = answer.factor.seeds
        verdict += f" ({'one seed' if seeds == 1 else f'{seeds} seeds'} only)"
    others = problems - len(answer.datasets)
    left_out = f"; {others} problem{'' if others == 1 else 's'} cannot be compared" if others else ""
    return f"{verdict}: {claim}{_count(answer, answer.factor)}{left_out}."


def _names(names: Sequence[str]) -> str:
    return join_names(map(model_label, names))


def _above_one(factor: Factor) -> Factor:
    return factor if factor.value >= 1 else factor.inverse()


def _claim(answer: Statement, factor: Factor) -> str:
    """Such as `LM has an error 2.3 times lower than L-BFGS, the next best`."""
    if answer.is_ranking:
        who = _names(answer.one) if answer.decided is False else "it" if len(answer.one) == 1 else "they"
        subject = f"{who} {'has' if len(answer.one) == 1 else 'have'}"
        other = f"{model_label(str(answer.other))}, the next best"
    else:
        subject, other = YES_OR_NO[answer.one[0]]
    size = factor_text(_above_one(factor).value)
    if _is_one(factor):
        return f"{subject} the same error as {other}"
    if size == "1":
        return f"{subject} an error within 0.5 % of that of {other}"
    return f"{subject} an error {size} times {_low(factor)} than {other}"


def _is_one(factor: Factor) -> bool:
    return abs(log(factor.value)) <= EQUAL


def _low(factor: Factor) -> str:
    return "lower" if factor.value > 1 else "higher"


def _count(answer: Statement, factor: Factor) -> str:
    """Such as `, and the lowest on 3 of 4 problems`; empty for a single problem."""
    of, equal = len(answer.datasets), answer.equal
    if of == 1:
        return ""
    if _is_one(factor):
        return f", and the same on {_problems(equal, of)}"
    number = answer.better if factor.value > 1 else of - answer.better - equal
    word = "the lowest" if answer.is_ranking else f"a {_low(factor)} one"
    return f", and {word} on {_problems(number, of)}{f', equal on {equal}' if equal else ''}"


def _problems(number: int, of: int) -> str:
    """Such as `3 of 4 problems`, `all 4 problems` or `both problems`."""
    if number < of:
        return f"{number} of {of} problems"
    return "both problems" if of == 2 else f"all {of} problems"


@dataclass(frozen=True)
class Row:
    """The errors on one problem, or their means over all problems.

    Attributes:
        dataset (str or None): None for the geometric mean over all comparable problems.
        errors (tuple of float): In the order of `Matrix.compared`; nan if missing.
        best (tuple of bool): Whether each error is the lowest.
        statement (Statement or None): The comparison that gives the factor, if there is one.
    """

    dataset: str | None
    errors: tuple[float, ...]
    best: tuple[bool, ...]
    statement: Statement | None


@dataclass(frozen=True)
class Matrix:
    """Errors by problem and model type, at the moment that answers the question.

    Attributes:
        comparison (str): The moment, a key of `MOMENTS`.
        is_relative (bool): Whether errors are divided by the target's variance, which has to be known for all problems.
        compared (tuple of str): Model types; for section 2.3 expert, merged model and control.
        ratio (tuple of two str, or None): Numerator and denominator of the factor. None in a ranking, where the factor
            is the error of the next best over that of the best, whichever they are on a problem.
        rows (tuple of Row): One per problem; the last is the mean over all.
    """

    comparison: str
    is_relative: bool
    compared: tuple[str, ...]
    ratio: tuple[str, str] | None
    rows: tuple[Row, ...]


def matrix(measures: Measures, said: Sequence[Statement], answer: Statement) -> Matrix:
    """Collect the errors behind an answer; the last row is the mean over all problems."""
    moment, compared = answer.comparison, measures.model_types
    if answer.other == BEST_EXPERT:
        compared = (BEST_EXPERT, *answer.one, f"control_{moment}")
    compared = tuple(name for name in compared if measures.logs[moment][name].notna().any())
    scales = measures.variances
    is_relative = all(variance is not None for variance in scales.values())
    like = [s for s in said if s.comparison == moment and s.is_ranking == answer.is_ranking]
    if not answer.is_ranking:
        like = [s for s in like if (s.one, s.other) == (answer.one, answer.other)]
    by_dataset = {s.dataset: s for s in like}
    rows = []
    for i, name in measures.datasets.items():
        logs = measures.logs_on(moment, [i])[list(compared)]
        scale = np.log(scales[i] or 1.0) if is_relative else 0.0
        rows.append(_row(name, np.exp(logs.mean() - scale).to_numpy(), by_dataset.get(name)))
    rows.append(_row(None, _of_all(measures, answer, compared, is_relative), by_dataset.get(None)))
    ratio = None if answer.is_ranking or answer.other is None else (answer.other, answer.one[0])
    return Matrix(moment, is_relative, compared, ratio, tuple(rows))


def _of_all(measures: Measures, answer: Statement, compared: Sequence[str], is_relative: bool) -> np.ndarray:
    """Geometric means of relative errors over the datasets that the answer covers."""
    if not is_relative:
        return np.full(len(compared), np.nan)
    indices = [i for i, name in measures.datasets.items() if name in answer.datasets]
    logs = measures.logs_on(answer.comparison, indices)[list(compared)]
    return np.exp(measures.relative_logs(logs).mean(skipna=False)).to_numpy()


def _row(dataset: str | None, errors: np.ndarray, statement: Statement | None) -> Row:
    least = np.nanmin(errors) if np.isfinite(errors).any() else np.nan
    best = errors <= least * (1 + EQUAL)
    return Row(dataset, tuple(errors.tolist()), tuple(best.tolist()), statement)
