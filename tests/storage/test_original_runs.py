"""Every reader on every run of the original study's scripts: stand-ins for each peculiarity, and real ones."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

import kanbench
from kanbench.errors import InputError
from kanbench.storage.runs import open_run
from kanbench.storage.values import same
from support.original import EPOCHS, STAMP, optimizers_newest
from support.original_cases import (
    EARLY_CASES,
    FRAME_CASES,
    KINDS,
    LOSSES,
    ODD_CASES,
    REAL_EARLY,
    REAL_FRAMES,
    ROOTS,
    SQUARES,
    WITH_FRAMES,
    Case,
    Written,
    assert_same_history,
    comparable,
    in_squares,
    parameters,
    plain,
)
from support.original_odd import all_squared, lm_as_roots
from support.original_readers import called, flat, loaded, of_cases, opened, outcome, state_of
from support.records import frame_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of what is found in files; others are errors

ANY = parameters(*FRAME_CASES, *ODD_CASES, *REAL_FRAMES)
EARLY = parameters(*EARLY_CASES, *REAL_EARLY)
READERS = ("list", "inspect", "verify", "tables", "summary")
DRAWN = parameters(*(case for case in FRAME_CASES if case.name in KINDS), *ODD_CASES, *REAL_FRAMES)


@of_cases(ANY)
@pytest.mark.parametrize("command", READERS)
def test_every_command_reads_every_run(command, written, tmp_path):
    status, last = called(command, written, tmp_path)
    if written.case not in ODD_CASES and command != "verify":
        assert status == 0, last
        assert last


@pytest.mark.slow
@of_cases(DRAWN)
@pytest.mark.parametrize("command", ["figures", "report"])
def test_every_run_is_drawn(command, written, tmp_path):
    status, last = called(command, written, tmp_path)
    assert last
    if written.case not in ODD_CASES:
        assert status == 0, last


@of_cases(EARLY)
@pytest.mark.parametrize("command", [*READERS, "figures", "report"])
def test_an_early_run_is_one_clear_line(command, written, tmp_path):
    status, last = called(command, written, tmp_path)
    if command not in ("list", "inspect", "verify"):
        assert status == 1
        assert f"{written.section}_{written.case.timestamp}" in last


@of_cases(EARLY)
def test_an_early_run_is_not_loaded(written):
    for more in ({}, {"load_models": True}, {"trusted": True}):
        with pytest.raises(InputError) as error:
            loaded(written, **more)
        assert f"{written.section}_{written.case.timestamp}" in str(error.value)
        assert len(str(error.value).splitlines()) == 1


@of_cases(parameters(*FRAME_CASES, *ODD_CASES, *EARLY_CASES, *REAL_FRAMES, *REAL_EARLY))
def test_every_file_is_explained(written):
    for path in written.files:
        status, last = outcome(["inspect", str(path)])
        assert path.stem in last or status == 1, last


@of_cases(ANY)
def test_frames_are_loaded_as_they_are_stored(written):
    results, meta = loaded(written)[:2]
    assert meta["section"] == written.section
    assert set(results) == set(written.frames)
    for name, frame in written.frames.items():
        assert list(results[name].columns) == list(frame.columns)
        for column in frame:
            assert plain(results[name][column]) == plain(frame[column]), (name, column)
            if column in LOSSES:
                assert not any(isinstance(value, np.ndarray) for value in results[name][column])


@of_cases(ANY)
def test_all_models_are_loaded(written):
    models = flat(loaded(written, load_models=True)[2])
    weights = [path for path in written.files if path.suffix == ".pth"]
    assert len(models) == len(written.bases) + len(weights)


@of_cases(WITH_FRAMES)
@pytest.mark.parametrize("part", ["state", "config.yml"])
def test_a_damaged_checkpoint_does_not_cost_the_others(part, written, tmp_path):
    run = written.copy(tmp_path)
    if not run.bases:
        return
    whole = flat(loaded(run, load_models=True)[2])
    damaged = run.bases[0].with_name(f"{run.bases[0].name}_{part}")
    damaged.write_bytes(damaged.read_bytes()[:100] if part == "state" else b"{no: [yaml")
    with pytest.warns(UserWarning, match=re.escape(damaged.name)):
        left = flat(loaded(run, load_models=True)[2])
    assert len(left) == len(whole) - 1
    for key, model in left.items():
        assert all(value.equal(state_of(whole[key])[name]) for name, value in state_of(model).items())


@of_cases(WITH_FRAMES)
def test_damaged_weights_do_not_cost_the_others(written, tmp_path):
    run = written.copy(tmp_path)
    if not (weights := [path for path in run.files if path.suffix == ".pth"]):
        return
    whole = flat(loaded(run, load_models=True)[2])
    weights[0].write_bytes(weights[0].read_bytes()[:100])
    with pytest.warns(UserWarning, match=re.escape(weights[0].name)):
        left = flat(loaded(run, load_models=True)[2])
    assert len(left) == len(whole) - 1


@of_cases(WITH_FRAMES)
def test_what_is_trusted_is_the_same(written):
    results, meta, models = loaded(written, load_models=True)
    trusted = loaded(written, load_models=True, trusted=True)
    assert meta == trusted[1]
    assert results.keys() == trusted[0].keys()
    for name, frame in results.items():
        pd.testing.assert_frame_equal(trusted[0][name], frame, check_exact=True)
        assert frame.attrs == trusted[0][name].attrs
    assert same(opened(written).metadata, opened(written, trusted=True).metadata)
    one, other = flat(models), flat(trusted[2])
    assert one.keys() == other.keys()
    for key, model in one.items():
        values = state_of(other[key])
        assert all(value.equal(values[name]) for name, value in state_of(model).items())


@of_cases(WITH_FRAMES)
def test_the_measure_of_every_loss_is_known(written):
    measures = opened(written).loss_measures
    for model_type in {*written.frames, *measures}:
        if model_type in (*ROOTS, *SQUARES) and len(written.frames.get(model_type, "any")):
            assert measures[model_type] == written.measure(model_type)
    if "grid_history" in written.frames:
        assert measures["merge_kan"] == "rmse"


@pytest.mark.parametrize("write", [lm_as_roots, all_squared])
def test_the_measure_is_checked_with_the_checkpoints(write, tmp_path):
    run = Written(Case(write.__name__, write), tmp_path, write(tmp_path))
    changed = ["lm"] if write is lm_as_roots else ["adam", "lbfgs"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        measures = opened(run).loss_measures
    assert measures == dict.fromkeys(("adam", "lbfgs", "lm"), run.measure("lm"))
    said = " ".join(str(warning.message) for warning in caught if warning.category is UserWarning)
    assert all(model_type in said for model_type in changed)


@of_cases(WITH_FRAMES)
def test_what_is_compared_has_one_meaning(written):
    made = opened(written).comparable
    frames = next(iter(made.replicates.values()))
    with_rows = {name for name, frame in written.frames.items() if len(frame)}
    assert set(frames) == with_rows
    for name in with_rows - {"kan_pruning"}:
        if "epoch" in written.frames[name]:
            assert_same_history(frames[name], comparable(written.frames[name], written.measure(name)))
    assert all(isinstance(note, str) and note for note in made.notes)
    assert len(made.notes)


@of_cases([case for case in WITH_FRAMES if "merging" in case.id or "section2_3" in case.id])
def test_losses_of_merged_models_are_compared_in_squares(written):
    history = next(iter(opened(written).comparable.replicates.values()))["grid_history"]
    for part in LOSSES:
        column = part if part in history else f"final_{part}"
        expected = in_squares(written.frames["grid_history"][f"final_{part}"], "rmse")
        assert list(history[column]) == pytest.approx(expected, rel=1e-6)


@of_cases([case for case in WITH_FRAMES if "section_1" in case.id or "section1_" in case.id])
def test_a_pruned_model_is_what_is_compared(written):
    frames = next(iter(opened(written).comparable.replicates.values()))
    stored = written.frames["kan_pruning"]
    for dataset_idx, rows in stored.groupby("dataset_idx") if len(stored) else ():
        made = frames["kan_pruning"].query(f"dataset_idx == {dataset_idx}").sort_values("epoch")
        assert len(made) == 1  # the pruned model is none of the epochs of the one that was pruned
        last = rows[rows["is_pruned"]].iloc[-1]
        assert [made[key].iloc[-1] for key in LOSSES] == pytest.approx([last[key] for key in LOSSES])  # squares already


@of_cases(WITH_FRAMES)
def test_thresholds_are_found_anew_and_models_are_drawn_as_they_are(written):
    """The metadata's are those of roots for some model types, and the models are copies of the final ones."""
    stored = opened(written)
    assert not stored.comparable.has_thresholds and stored.compared_metadata is None
    for model_type in stored.model_types:
        for history in stored.histories(model_type) if "epoch" in stored.compared.get(model_type, ()) else ():
            rows = stored.thresholds(model_type, history)
            best = history.groupby("dataset_idx")["test_loss"].min()
            assert (rows["test_loss"] >= best[rows.index]).all()


def test_datasets_without_an_index_get_one_by_their_names(tmp_path):
    case = next(case for case in FRAME_CASES if case.name == "merging_highd")
    run = Written(case, tmp_path, case.write(tmp_path))
    for frame in next(iter(opened(run).comparable.replicates.values())).values():
        assert dict(zip(frame["dataset_idx"], frame["dataset_name"], strict=True)) == {
            0: "poisson_4d_poly",
            1: "poisson_4d_sin",
        }


def test_a_run_of_the_present_format_is_compared_as_it_is(tmp_path):
    frames = {m: frame_of(m) for m in ("adam", "lbfgs", "lm")}
    timestamp = kanbench.save_run(frames, "section2_1", results_dir=tmp_path)
    stored = open_run("section2_1", timestamp, results_dir=tmp_path)
    assert set(stored.loss_measures.values()) == {"mse"}
    assert stored.comparable.replicates.keys() == stored.replicates.keys()
    made = next(iter(stored.comparable.replicates.values()))
    for name, frame in stored.frames.items():
        pd.testing.assert_frame_equal(made[name], frame, check_exact=True)
        assert made[name].attrs == frame.attrs
    assert not stored.comparable.notes


@of_cases(parameters(*ODD_CASES))
def test_of_a_changed_run_what_can_be_is_compared(written):
    try:
        frames = next(iter(opened(written).comparable.replicates.values()))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    for frame in frames.values():
        assert not frame.duplicated(["dataset_idx", "epoch"]).any()
        assert frame["epoch"].min() == 1
    assert_same_history(frames["lm"], comparable(written.frames["lm"], "mse"))


def test_the_stand_ins_are_of_the_latest_format(tmp_path):
    """What the others differ from: names with epochs, and attrs that nothing derives."""
    optimizers_newest(tmp_path)
    _, meta = kanbench.load_run("section2_1", STAMP, epochs=EPOCHS, results_dir=tmp_path)
    assert meta["lbfgs_threshold_time"] == 0.75 and meta["baseline_threshold_time"] is None
