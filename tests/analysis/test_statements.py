"""What is said of planted data: winners, how large a difference is and how sure, and what is missing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kanbench.analysis.ranking import rank, versus
from kanbench.errors import InputError
from kanbench.presentation.tables.findings import findings
from kanbench.problems import PROBLEMS, Problem
from support.planted import POLY, SIN, SPEC, merged, run

CLEAR = {"adam": {SIN: 1.0, POLY: 0.1}, "lbfgs": {SIN: 0.2, POLY: 0.02}, "lm": {SIN: 0.01, POLY: 0.001}}


def said(replicates, comparison="threshold", dataset=None, metadata=None, **numbers):
    """The statement about this."""
    replicates = replicates if 1 in replicates else {1: replicates}
    found = [
        statement
        for statement in findings(replicates, metadata).statements
        if (statement.comparison, statement.dataset) == (comparison, dataset)
        and all(statement.numbers.get(key) == value for key, value in numbers.items())
    ]
    return found[0]


def notes(replicates, metadata=None):
    replicates = replicates if 1 in replicates else {1: replicates}
    return " ".join(findings(replicates, metadata).notes)


# --- one seed ---


def test_the_winner_and_by_how_much():
    statement = said(run(CLEAR))
    assert statement.answer == "lm has a 20 times lower error than lbfgs"
    assert statement.text == f"At the threshold, {statement.answer} (one seed); over 2 of 2 problems, won: lm 2."
    assert statement.numbers["factor"] == pytest.approx(20, rel=1e-12)
    assert statement.numbers["decided"] is None
    assert statement.numbers["low"] is None


def test_a_planted_change_changes_the_conclusion():
    for winner in CLEAR:
        changed = {**CLEAR, winner: {SIN: 1e-9, POLY: 1e-9}}
        assert said(run(changed)).text.startswith(f"At the threshold, {winner} has a ")
        assert said(run(changed), dataset=SIN).text.startswith(f"At the threshold, on {SIN}, {winner} has a ")


def test_the_three_moments_may_have_three_winners():
    errors = {
        "adam": {SIN: [0.3, 0.2, 0.1]},  # quick: 0.1 within the reference time
        "lbfgs": {SIN: [1.0, 0.5, 0.4]},  # 3 epochs to the threshold
        "lm": {SIN: [0.9, 0.05, 0.3, 0.3, 0.3, 0.01]},  # its threshold is epoch 2; at the end it is best
    }
    errors["adam"][SIN] += [0.04] * 3  # after the reference time
    frames = run(errors, seconds={"lm": 1.6})
    assert said(frames, "iso_compute").numbers["best"] == ("adam",)
    assert said(frames, "threshold").numbers["best"] == ("adam",)
    assert said(frames, "final").numbers["best"] == ("lm",)
    assert said(frames, "iso_compute").numbers["factor"] == pytest.approx(4)  # lbfgs 0.4: lm has had one epoch


def test_the_best_on_average_is_not_the_one_that_wins_most():
    errors = {"adam": {SIN: 1.0, POLY: 1.0, SPEC: 1e-6}, "lbfgs": {SIN: 0.9, POLY: 0.9, SPEC: 1.0}}
    text = said(run(errors)).text
    assert "adam has a 93 times lower error than lbfgs" in text
    assert "over 3 of 3 problems, won: lbfgs 2, adam 1" in text


def test_averages_do_not_depend_on_the_scale_of_a_problem():
    errors = {"adam": {SIN: 1.0, POLY: 3.0}, "lbfgs": {SIN: 2.0, POLY: 1.0}}
    small = {m: {SIN: e[SIN] * 1e-9, POLY: e[POLY] * 1e6} for m, e in errors.items()}
    assert said(run(small)).numbers["factor"] == pytest.approx(said(run(errors)).numbers["factor"], rel=1e-12)


def test_ties_are_said():
    tied = {**CLEAR, "adam": CLEAR["lm"]}
    statement = said(run(tied))
    assert statement.answer == "adam and lm have the same error, lower than lbfgs"
    assert "won: adam = lm 2" in statement.text
    everything = dict.fromkeys(CLEAR, CLEAR["lm"])
    assert "adam, lbfgs and lm have the same error" in said(run(everything)).text


def test_nearly_a_tie_is_not_called_a_factor_of_one():
    text = said(run({"adam": {SIN: 1.0}, "lbfgs": {SIN: 1.003}})).text
    assert "adam has an error within 0.5 % of that of lbfgs" in text


def test_errors_of_zero_are_compared():
    exact = {"adam": {SIN: 0.0}, "lbfgs": {SIN: 1.0}, "lm": {SIN: 0.0}}
    assert "adam and lm have the same error" in said(run(exact)).text


# --- what is missing ---


def test_missing_model_types_are_said():
    frames = run({name: CLEAR[name] for name in ("lbfgs", "lm")})
    assert "Missing in this run: adam." in notes(frames)
    assert said(frames).numbers["best"] == ("lm",)
    alone = run({"lbfgs": CLEAR["lbfgs"]})
    assert "nothing can be compared: only lbfgs has an error" in said(alone).text
    assert "Missing in this run: adam and lm." in notes(alone)


def test_without_the_reference_nothing_is_compared_at_equal_compute():
    frames = run({name: CLEAR[name] for name in ("adam", "lm")})
    assert "At equal compute, nothing can be compared" in said(frames, "iso_compute").text
    assert "Nothing is compared at equal compute (section2_1: no lbfgs, the reference" in notes(frames)
    assert said(frames, "threshold").numbers["best"] == ("lm",)


def test_a_dataset_that_one_lacks_is_not_averaged():
    lacking = {**CLEAR, "lm": {SIN: 1e-9}}
    statement = said(run(lacking))
    assert "over 1 of 2 problems" in statement.text
    assert statement.numbers["datasets"] == (SIN,)
    assert f"lm on {POLY}: no epochs; the training failed at once, or there was none." in notes(run(lacking))
    assert said(run(lacking), dataset=POLY).numbers["best"] == ("lbfgs",)


def test_a_training_that_failed_at_once_is_not_an_untrained_winner():
    untrained = {"epoch": 0, "time": 0.0, "test_loss": 1e-30, "dense_mse": 1e-30}
    failed = {**CLEAR, "adam": {}}
    metadata = {"adam": {i: {"at_threshold": untrained, "final": untrained} for i in (0, 1)}}
    assert said(run(failed), metadata=metadata).numbers["best"] == ("lm",)
    assert f"adam on {SIN}: no epochs" in notes(run(failed), metadata)
    nothing = run({model_type: {} for model_type in CLEAR})
    assert "no problem on which any has an error" in said(nothing, metadata=metadata).text


def test_a_training_that_ended_early_is_said():
    early = {**CLEAR, "adam": {SIN: [1.0], POLY: 0.1}}
    assert f"adam on {SIN}: ended early, after epoch 1 of 3." in notes(run(early))


def test_an_error_that_is_not_finite_does_not_count():
    lost = {**CLEAR, "lm": {SIN: [0.1, 0.1, np.inf], POLY: [0.1, 0.1, np.nan]}}
    assert said(run(lost), "final").numbers["best"] == ("lbfgs",)
    assert f"lm on {SIN}: its last dense MSE is not finite." in notes(run(lost))


def test_no_epoch_within_the_reference_time_is_said():
    frames = run(CLEAR, seconds={"lm": 100.0})
    assert f"lm has no epoch within the time of lbfgs's threshold on {SIN} and {POLY}" in notes(frames)
    assert said(frames, "iso_compute").numbers["best"] == ("lbfgs",)
    assert said(frames, "final").numbers["best"] == ("lm",)


def test_columns_that_old_runs_lack():
    for column, words in [("time", "time"), ("dense_mse", "dense MSE"), ("test_loss", "test loss")]:
        frames = {m: f.drop(columns=column) for m, f in run(CLEAR).items()}
        for one in frames.values():
            one.attrs["section"] = "section2_1"
        assert f"Not recorded in this run: {words}; what needs it is left out." in notes(frames)
        assert "nothing can be compared" in said(frames, "iso_compute").text
        best = () if column == "dense_mse" else ("lm",)
        assert said(frames, "final").numbers["best"] == best
    with pytest.raises(InputError, match="epoch") as error:
        findings({1: {m: f.drop(columns="epoch") for m, f in run(CLEAR).items()}})
    assert error.value.where == "adam"


@pytest.mark.parametrize(
    "target",
    [
        lambda x: x[:, [0]] * 0 + 7,
        lambda x: 1e8 + 1e-3 * x[:, [0]],
        lambda x: 1e-7 * x[:, [0]],
        lambda x: 1e-13 * (3.14 * x).sin().prod(dim=1, keepdim=True),
    ],
)
def test_a_constant_target_is_not_averaged(monkeypatch, target):
    monkeypatch.setitem(PROBLEMS, "flat", Problem("flat", target, ((-1, 1), (-1, 1))))
    frames = run({"adam": {"flat": 1e-30, SIN: 1.0}, "lbfgs": {"flat": 1.0, SIN: 0.5}})
    assert said(frames).numbers["best"] == ("lbfgs",)
    assert said(frames).numbers["datasets"] == (SIN,)
    assert "Not in averages: flat. The target is constant but for rounding" in notes(frames)


def test_a_problem_that_is_not_known_is_compared_all_the_same():
    frames = run({"adam": {"mine": 1.0, SIN: 1.0}, "lbfgs": {"mine": 0.25, SIN: 1.0}})
    assert said(frames).numbers["factor"] == pytest.approx(2)
    assert "The target of mine is not among the problems of this version" in notes(frames)


# --- several seeds ---


def seeds_of(ratios):
    """Replicates in which the error of lbfgs is so many times that of adam."""
    return {
        seed: run({"adam": {SIN: 1.0 * seed, POLY: 0.1}, "lbfgs": {SIN: ratio * seed, POLY: 0.1 * ratio}})
        for seed, ratio in enumerate(ratios, start=1)
    }


def test_several_seeds_that_agree_decide():
    statement = said(seeds_of([2, 3, 4, 5, 6]))
    assert "4.0 times lower error than lbfgs (95 % interval 2.0 to 6.0, 5 seeds)" in statement.text
    assert statement.numbers["decided"] is True
    assert statement.numbers["seeds"] == 5
    # of 5 values the median is the smallest in 6 % of all resamples, so that an interval of 95 % is all of them
    assert (statement.numbers["low"], statement.numbers["high"]) == (pytest.approx(2), pytest.approx(6))


def test_several_seeds_that_disagree_do_not():
    statement = said(seeds_of([2, 0.5, 4, 0.3, 6]))
    assert "(95 % interval 0.30 to 6.0, 5 seeds: not decided)" in statement.text
    assert statement.numbers["decided"] is False
    assert statement.numbers["factor"] == pytest.approx(2)


def test_few_seeds_decide_nothing():
    statement = said(seeds_of([2, 3, 4]))
    assert "(interval 2.0 to 4.0, 3 seeds: too few to decide)" in statement.text
    assert statement.numbers["decided"] is None
    assert "with a probability of 75 % at most" in notes(seeds_of([2, 3, 4]))
    assert "50 % at most" in notes(seeds_of([2, 3]))
    assert "at most" not in notes(seeds_of([2] * 5))


def test_seeds_are_paired():
    """Their own levels differ by factors of 10, and the ratio is always 2."""
    runs = {seed: run({"adam": {SIN: 10.0**seed}, "lbfgs": {SIN: 2 * 10.0**seed}}) for seed in range(1, 7)}
    numbers = said(runs).numbers
    assert (numbers["low"], numbers["factor"], numbers["high"]) == tuple(map(pytest.approx, (2, 2, 2)))


def test_a_seed_that_lacks_a_model_type_is_left_out_of_its_comparison():
    runs = seeds_of([2, 3, 4, 5, 6, 7])
    del runs[6]["lbfgs"]
    assert said(runs).numbers["seeds"] == 5
    assert f"lbfgs on {SIN}, seed 6: no epochs" in notes(runs)
    runs = seeds_of([2, 3, 4])
    runs[2]["lbfgs"] = runs[2]["lbfgs"].query("dataset_idx == 0")
    assert said(runs).numbers["datasets"] == (SIN,)


def test_nobody_may_be_ahead_of_all_others():
    circle = [(1, 2, 3), (2, 3, 1), (3, 1, 2)]
    runs = {
        seed: run({m: {SIN: float(e)} for m, e in zip(("adam", "lbfgs", "lm"), errors, strict=True)})
        for seed, errors in enumerate(circle, start=1)
    }
    assert "none is ahead of all others in the median over seeds: not decided" in said(runs).text
    assert said(runs).numbers["best"] == ()


LOGS = st.lists(st.floats(-30, 30), min_size=18, max_size=18)


def frame_of(values):
    """3 seeds × 2 datasets × 3 model types."""
    index = pd.MultiIndex.from_product([range(3), range(2)], names=["seed", "dataset_idx"])
    return pd.DataFrame(np.reshape(values, (6, 3)), index, ["a", "b", "c"])


@settings(max_examples=30, deadline=None)
@given(LOGS, st.permutations(["a", "b", "c"]), LOGS)
def test_the_order_of_columns_and_the_scales_of_datasets_do_not_matter(values, order, scales):
    logs = frame_of(np.round(values, 3))
    ranking = rank(logs)
    assert set(rank(logs[order]).best) == set(ranking.best)
    shifted = rank(logs.add(np.round(scales[:6], 3), axis="index"))
    assert shifted.best == ranking.best
    if ranking.factor:
        assert ranking.factor.value >= 1
        assert ranking.factor.low <= ranking.factor.value * (1 + 1e-9)
        assert shifted.factor.value == pytest.approx(ranking.factor.value, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(LOGS)
def test_there_and_back_again(values):
    one, other = versus(frame_of(values), "a", "b"), versus(frame_of(values), "b", "a")
    assert one.factor.value * other.factor.value == pytest.approx(1, rel=1e-9)
    assert one.factor.low * other.factor.high == pytest.approx(1, rel=0.2)  # two quantiles of resamples
    assert set(one.better) | set(other.better) | set(one.equal) == {0, 1}
    assert one.equal == other.equal


# --- sections 2.2 and 2.3 ---


def test_adaptive_density_is_compared_with_the_baseline():
    errors = {"adaptive_only": {SIN: 2.0, POLY: 1.0}, "adaptive_regular": {SIN: 0.5, POLY: 0.5}}
    frames = run({**errors, "baseline": {SIN: 1.0, POLY: 1.0}}, "section2_2")
    worse = said(frames, one="adaptive_only")
    assert "lower on 0 of 2 problems, equal on 1" in worse.text
    assert "adaptive_only has a 1.4 times higher error than baseline" in worse.text
    assert said(frames, one="adaptive_regular").numbers["factor"] == pytest.approx(2)
    assert findings({1: frames}).answer.text == said(frames, "iso_compute", one="adaptive_only").text
    frames["adaptive_only"] = run({"adaptive_only": {SIN: 0.1, POLY: 0.1}}, "section2_2")["adaptive_only"]
    assert "10 times lower error than baseline" in said(frames, one="adaptive_only").text


GOOD = {"best_expert_dense_mse": 4.0, "ensemble_dense_mse": 2.0, "initial_dense_mse": 2.0}
GOOD |= {"merged_threshold_dense_mse": 1.0, "merged_dense_mse": 8.0, "control_threshold_dense_mse": 0.5}


def test_merging_is_compared_with_experts_ensemble_and_control():
    frames = merged({SIN: GOOD, POLY: GOOD})
    assert said(frames, other="best_expert").numbers["factor"] == pytest.approx(4)
    assert "lower error than the best expert (one seed); lower on 2 of 2 problems" in findings({1: frames}).answer.text
    assert "2.0 times higher error than the control" in said(frames, other="control_threshold").text
    assert "the same error as the ensemble" in said(frames, "initial", other="ensemble").text
    assert "2.0 times higher error than the best expert" in said(frames, "final", other="best_expert").text
    assert "cannot be compared" in said(frames, other="chosen_expert").text
    missing = "Not recorded in this run: chosen_expert_dense_mse, control_dense_mse"
    assert missing in notes(frames)
    lost = merged({SIN: GOOD, POLY: {**GOOD, "merged_threshold_dense_mse": np.nan}})
    assert f"No finite error on {POLY}: merged_threshold." in notes(lost)
    assert "1 of 1 problem." in said(lost, other="best_expert").text
    with pytest.raises(InputError, match="summary"):
        findings({1: {"experts": frames["summary"]}})


def test_merging_with_several_seeds():
    runs = {
        seed: merged({SIN: {**GOOD, "merged_threshold_dense_mse": 4.0 / ratio}})
        for seed, ratio in enumerate([0.5, 2, 3, 4, 5], start=1)
    }
    statement = said(runs, other="best_expert")
    assert (
        "3.0 times lower error than the best expert (95 % interval 0.50 to 5.0, 5 seeds: not decided)" in statement.text
    )
    runs[7] = {"experts": runs[1]["summary"]}
    assert said(runs, other="best_expert").numbers == statement.numbers
    assert "Not finished, and left out: seed 7." in notes(runs)
