"""The answer to a question: its sentence, and the matrix of errors beside it."""

import math
import re
import statistics

import numpy as np
import pytest

from kanbench.presentation.tables.findings import findings
from kanbench.problems.target_scale import target_scale
from support.planted import POLY, SIN, SPEC, merged, run

CLEAR = {"adam": {SIN: 1.0, POLY: 0.1}, "lbfgs": {SIN: 0.2, POLY: 0.02}, "lm": {SIN: 0.01, POLY: 0.001}}
SCALES = {name: target_scale(name).variance for name in (SIN, POLY)}


def sentence(replicates):
    replicates = replicates if 1 in replicates else {1: replicates}
    return findings(replicates).sentence.replace("\u00a0", " ")


def seeds_of(ratios, section="section2_1", one="adam", other="lbfgs"):
    """Replicates in which the error of `other` is so many times that of `one`."""
    return {
        seed: run({one: {SIN: 1.0, POLY: 0.1}, other: {SIN: ratio, POLY: 0.1 * ratio}}, section)
        for seed, ratio in enumerate(ratios, start=1)
    }


ONE = " (one seed only): at equal compute, "


def test_the_best_is_named_with_its_factor_and_on_how_many_problems():
    assert sentence(run(CLEAR)) == (
        f"LM{ONE}it has an error 20 times lower than L-BFGS, the next best, and the lowest on both problems."
    )
    few = seeds_of([2, 3, 4])
    assert sentence(few) == (
        "Adam (3 seeds only): at equal compute, it has an error 2.9 times lower than L-BFGS, the next best, and the "
        "lowest on both problems."
    )
    # 720^(1/5) = 3.728; the logarithms have a standard deviation of 0.4332 and 2.776 is Student's quantile for 4
    assert sentence(seeds_of([2, 3, 4, 5, 6])) == (
        "Adam: at equal compute, it has an error 3.7 times lower than L-BFGS, the next best (95 % CI 2.2–6.4, "
        "5 seeds), and the lowest on both problems."
    )


def test_what_is_not_decided_is_said_to_be_so():
    assert re.fullmatch(
        r"Not decided: at equal compute, Adam has an error 1\.5 times lower than L-BFGS, the next best \(95 % CI "
        r"0\.\d+–\S+, 5 seeds\), but the interval includes 1\.",
        sentence(seeds_of([2, 0.5, 4, 0.3, 6])),
    )


def test_flops_and_time_that_disagree_decide_nothing():
    errors = {
        "adam": {SIN: [0.9, 0.5, 0.1, 0.05]},
        "lbfgs": {SIN: [0.6, 0.3, 0.4, 0.4]},
        "lm": {SIN: [0.8, 0.02, 0.01]},
    }
    frames = run(errors, seconds={"adam": 0.5, "lm": 2.0})
    frames["adam"]["flops"] //= 2
    assert sentence(frames) == ("Not decided: LM has the lowest error at equal flops, but Adam at equal time.")


def test_ties_and_near_ties():
    assert sentence(run({**CLEAR, "adam": CLEAR["lm"]})) == (
        f"Adam and LM{ONE}they have an error 20 times lower than L-BFGS, the next best, and the lowest on both "
        "problems."
    )
    assert sentence(run(dict.fromkeys(CLEAR, CLEAR["lm"]))) == (
        "A tie: at equal compute, Adam, L-BFGS and LM have the same error."
    )
    assert "an error within 0.5 % of that of L-BFGS" in sentence(run({"adam": {SIN: 1.0}, "lbfgs": {SIN: 1.003}}))


def test_questions_of_yes_or_no():
    yes, no, equal = (
        sentence(run({"adaptive_only": {SIN: error, POLY: 1.0}, "baseline": {SIN: 1.0, POLY: 1.0}}, "section2_2"))
        for error in (0.25, 4.0, 1.0)
    )
    of = "one on 1 of 2 problems, equal on 1."
    assert yes == f"Yes{ONE}it gives an error 2.0 times lower than refining all, and a lower {of}"
    assert no == f"No{ONE}it gives an error 2.0 times higher than refining all, and a higher {of}"
    assert equal == f"No{ONE}it gives the same error as refining all, and the same on both problems."
    good = {"best_expert_dense_mse": 4.0, "merged_threshold_dense_mse": 0.5, "merged_dense_mse": 8.0}
    assert sentence(merged({SIN: good})) == (
        "Yes (one seed only): at the best test loss, it has an error 8.0 times lower than the best expert."
    )


def test_problems_that_cannot_be_compared_are_counted():
    errors = {"adam": {SIN: 1.0, POLY: math.nan, SPEC: 1.0}, "lbfgs": {SIN: 0.5, POLY: 0.5, SPEC: math.nan}}
    assert sentence(run(errors)) == (
        f"L-BFGS{ONE}it has an error 2.0 times lower than Adam, the next best; 2 problems cannot be compared."
    )


def test_where_nothing_can_be_compared():
    assert sentence(run({"lbfgs": CLEAR["lbfgs"]})) == "Nothing can be compared: only L-BFGS has an error."
    without_reference = sentence(run({name: CLEAR[name] for name in ("adam", "lm")}))
    assert without_reference.startswith("LM (one seed only): at the best test loss, it has an error")


# --- the matrix ---


def test_the_matrix_has_relative_errors_and_marks_the_lowest():
    matrix = findings({1: run(CLEAR)}).matrix
    assert (matrix.comparison, matrix.is_relative, matrix.ratio) == ("iso_flops", True, None)
    assert matrix.compared == ("adam", "lbfgs", "lm")
    assert [row.dataset for row in matrix.rows] == [SIN, POLY, None]
    for row in matrix.rows[:2]:
        wanted = [CLEAR[m][row.dataset] / SCALES[row.dataset] for m in matrix.compared]
        assert row.errors == pytest.approx(wanted, rel=1e-12)
        assert row.best == (False, False, True)
        assert row.statement.factor.value == pytest.approx(20, rel=1e-12)
    wanted = [math.prod(CLEAR[m][name] / SCALES[name] for name in SCALES) ** 0.5 for m in matrix.compared]
    assert matrix.rows[2].errors == pytest.approx(wanted, rel=1e-12)


def test_with_several_seeds_errors_are_geometric_means_and_factors_have_intervals():
    ratios = [2, 3, 4, 5, 6]
    matrix = findings(seeds_of(ratios)).matrix
    mean = statistics.geometric_mean(ratios)
    assert matrix.rows[0].errors == pytest.approx([1 / SCALES[SIN], mean / SCALES[SIN]], rel=1e-12)
    for row in matrix.rows:
        assert row.errors[1] / row.errors[0] == pytest.approx(row.statement.factor.value, rel=1e-9)
        assert row.statement.factor.low < mean < row.statement.factor.high


def test_the_matrix_of_two_has_their_factor_on_every_problem():
    errors = {"adaptive_only": {SIN: 2.0, POLY: 1.0}, "adaptive_regular": {SIN: 0.5, POLY: 0.5}}
    matrix = findings({1: run({**errors, "baseline": {SIN: 1.0, POLY: 3.0}}, "section2_2")}).matrix
    assert matrix.ratio == ("baseline", "adaptive_only")
    assert [row.statement.factor.value for row in matrix.rows] == pytest.approx([0.5, 3, 1.5**0.5])
    assert [row.best for row in matrix.rows] == [(False, True, False)] * 3


def test_the_matrix_of_merging_has_expert_merged_model_and_control():
    columns = {"best_expert_dense_mse": 4.0, "merged_threshold_dense_mse": 0.5, "control_threshold_dense_mse": 0.25}
    matrix = findings({1: merged({SIN: columns, POLY: columns})}).matrix
    assert matrix.compared == ("best_expert", "merged_threshold", "control_threshold")
    assert matrix.ratio == ("best_expert", "merged_threshold")
    assert matrix.rows[0].errors == pytest.approx([e / SCALES[SIN] for e in (4.0, 0.5, 0.25)])
    assert [row.statement.factor.value for row in matrix.rows] == pytest.approx([8] * 3)
    without_control = {SIN: {**columns, "control_threshold_dense_mse": np.nan}}
    assert findings({1: merged(without_control)}).matrix.compared == ("best_expert", "merged_threshold")


def test_errors_on_problems_that_are_not_known_are_not_relative():
    matrix = findings({1: run({"adam": {"mine": 1.0, SIN: 1.0}, "lbfgs": {"mine": 0.25, SIN: 1.0}})}).matrix
    assert not matrix.is_relative
    assert matrix.rows[0].errors == (1.0, 0.25)
    assert all(map(math.isnan, matrix.rows[2].errors)) and matrix.rows[2].best == (False, False)
    assert matrix.rows[2].statement.factor.value == pytest.approx(2)


def test_a_problem_without_errors_has_none():
    lacking = {"adam": {SIN: 1.0, SPEC: 1.0}, "lbfgs": {SIN: 0.5, SPEC: np.nan}}
    row = findings({1: run(lacking)}).matrix.rows[1]
    assert row.dataset == SPEC and not any(row.best) and row.statement.factor is None
