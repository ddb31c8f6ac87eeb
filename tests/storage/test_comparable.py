"""Frames made comparable: one measure of losses, epochs from 1, time, and one training of a model type on a dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kanbench.errors import InputError
from kanbench.presentation.figures.data import model_of
from kanbench.presentation.tables.findings import findings_of
from kanbench.storage.comparable import comparable, converted
from kanbench.storage.runs import open_run
from support.original import merging, optimizers_newest, section_1_newest
from support.original_odd import lm_as_roots
from support.original_readers import outcome


def original(rows=6, **columns):
    """Two grids of three epochs as the original scripts store them, with roots of errors."""
    frame = pd.DataFrame(
        {
            "dataset_idx": 0,
            "dataset_name": "poisson_2d_sin",
            "grid_size": np.repeat([3, 5], 3)[:rows],
            "epoch": np.arange(rows),
            "train_loss": np.linspace(3.0, 1.0, rows),
            "test_loss": np.linspace(4.0, 2.0, rows),
            "total_time": np.repeat([0.75, 1.5], 3)[:rows],
            "time_per_epoch": np.repeat([0.25, 0.5], 3)[:rows],
        }
    ).assign(**columns)
    frame.attrs = {"section": "section1_1", "model_type": "kan", "provenance": {"format": "original", "losses": "rmse"}}
    return frame


TIMES = [0.25, 0.5, 0.75, 1.25, 1.75, 2.25]


def test_a_frame_in_roots_is_squared_and_says_so():
    stored = original()
    new = converted(stored)
    assert new["test_loss"].tolist() == (stored["test_loss"] ** 2).tolist()
    assert new["epoch"].tolist() == [1, 2, 3, 4, 5, 6] and new["time"].tolist() == TIMES
    assert new.attrs["provenance"]["losses"] == "mse" and stored.attrs["provenance"]["losses"] == "rmse"
    assert converted(new) is new


@pytest.mark.parametrize("order", ["stored", "by epoch", "shuffled"])
def test_epochs_that_begin_anew_with_every_grid_are_counted_through_all(order):
    frame = original(epoch=[0, 1, 2, 0, 1, 2])
    frame = {
        "stored": frame,
        "by epoch": frame.sort_values("epoch", kind="stable"),
        "shuffled": frame.sample(frac=1, random_state=1),
    }[order]
    new = converted(frame).sort_values("epoch")
    assert new["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert new["grid_size"].tolist() == [3, 3, 3, 5, 5, 5] and new["time"].tolist() == TIMES


@pytest.mark.parametrize("epochs", [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 1, 2, 9]], ids=["through", "anew"])
def test_a_pruned_model_comes_after_the_training_that_it_was_pruned_from(epochs):
    """Its losses are mean squared errors, and its time is that of the training and of pruning."""
    pruned = pd.DataFrame(
        {**original().iloc[-1].to_dict(), "total_time": 0.125, "time_per_epoch": 0.0, "test_loss": 0.5}, index=[6]
    )
    frame = pd.concat([original(), pruned]).assign(epoch=epochs, is_pruned=[False] * 6 + [True])
    frame.attrs = original().attrs
    new = converted(frame)
    assert new["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert new["time"].tolist() == [*TIMES, 2.375]
    assert new["test_loss"].iloc[-1] == 0.5 and new["test_loss"].iloc[-2] == 4.0
    made = comparable({None: {"kan_pruning": frame}})
    assert made.replicates[None]["kan_pruning"]["epoch"].tolist() == [7]
    assert any("pruned models are compared" in note for note in made.notes)


def test_the_newest_runs_of_section_1_count_pruning_last(tmp_path):
    stored = open_run(section_1_newest(tmp_path), results_dir=tmp_path)
    pruned, plain = stored.compared["kan_pruning"].set_index("dataset_idx"), stored.compared["kan"]
    for index, rows in plain.groupby("dataset_idx"):
        assert pruned.loc[index, "epoch"] == rows["epoch"].max() + 1
        assert pruned.loc[index, "time"] > 0.9 * rows["time"].max()
    assert not any("ended early" in note for note in findings_of(stored).notes)


@pytest.mark.parametrize("key", ["activation", "seed", "lr", "of_a_user"])
def test_trainings_are_told_apart_by_every_column_that_does(key):
    values = [0.1, 0.01] if key == "lr" else [1, 2] if key == "seed" else ["a", "b"]
    parts = [original().assign(**{key: value, "test_loss": i + 1.0}) for i, value in enumerate(values)]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = original().attrs
    made = comparable({None: {"kan": frame}})
    kept = made.replicates[None]["kan"]
    assert kept[key].unique().tolist() == values[:1] and kept["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert any("2 configurations" in note and key in note for note in made.notes)


def test_a_configuration_without_a_name_can_be_the_best():
    parts = [original().assign(test_loss=0.5), original().assign(activation="relu")]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = original().attrs
    assert comparable({None: {"kan": frame}}).replicates[None]["kan"]["activation"].isna().all()


def test_rows_that_are_there_twice_count_once_and_others_are_refused():
    twice = pd.concat([original(), original()])
    twice.attrs = original().attrs
    made = comparable({None: {"kan": twice}})
    assert len(made.replicates[None]["kan"]) == 6 and any("6 duplicate rows" in note for note in made.notes)
    other = pd.concat([original(), original().assign(test_loss=9.0)])
    other.attrs = original().attrs
    with pytest.raises(InputError, match="several rows of dataset_idx 0, grid_size 3, epoch 0"):
        comparable({None: {"kan": other}})


def test_columns_in_the_index_are_columns(tmp_path):
    optimizers_newest(tmp_path)
    before = open_run("section2_1", results_dir=tmp_path)
    measures, expected = before.loss_measures, before.compared["adam"]
    for path in tmp_path.glob("sec1_results/*_e2_[al]*.pkl"):
        frame = pd.read_pickle(path)
        frame.set_index(["dataset_idx", "grid_size", "epoch"]).to_pickle(path)
    for path in tmp_path.glob("sec1_results/*.parquet"):
        path.unlink()
    after = open_run("section2_1", results_dir=tmp_path)
    assert after.loss_measures == measures
    assert after.compared["adam"]["test_loss"].tolist() == pytest.approx(expected["test_loss"].tolist())


def test_one_model_that_contradicts_the_others_decides_nothing(tmp_path):
    lm_as_roots(tmp_path)
    with pytest.warns(UserWarning, match="its losses are rmse, not mse"):
        assert open_run("section2_1", results_dir=tmp_path).loss_measures["lm"] == "rmse"
    path = next(tmp_path.glob("sec1_results/*_lm.pkl"))
    frame = pd.read_pickle(path)
    last = frame.index[frame["dataset_idx"] == 0][-1]
    frame.loc[last, "test_loss"] = frame.loc[last, "test_loss"] ** 2  # as if of another measure
    frame.to_pickle(path)
    for other in tmp_path.glob("sec1_results/*_lm.parquet"):
        other.unlink()
    assert open_run("section2_1", results_dir=tmp_path).loss_measures["lm"] == "mse"


def test_the_best_expert_follows_from_the_experts(tmp_path):
    merging(tmp_path)
    stored = open_run("section2_3", results_dir=tmp_path)
    assert "best_expert_dense_mse" not in stored.frames["summary"]
    best = stored.frames["experts"].groupby("dataset_idx")["dense_mse"].min()
    summary = stored.compared["summary"].set_index("dataset_idx")
    assert summary["best_expert_dense_mse"].to_dict() == best.to_dict()
    answer = findings_of(stored).answer
    assert answer.factor is not None and (answer.comparison, answer.other) == ("final", "best_expert")


def test_a_converted_run_keeps_what_is_to_be_known(tmp_path):
    optimizers_newest(tmp_path)
    assert outcome(["migrate", "--results-dir", str(tmp_path)])[0] == 0
    stored = open_run("section2_1", results_dir=tmp_path)
    assert not stored.is_original and not stored.comparable.has_thresholds
    notes = " ".join(findings_of(stored).notes)
    assert "padded" in notes and "times include evaluations" in notes and "four dead" not in notes


def test_the_final_model_is_drawn_where_no_model_is_of_the_threshold(tmp_path):
    section = section_1_newest(tmp_path)
    for path in list(tmp_path.glob("sec1_results/*_kan_0_at_threshold_*")):
        path.rename(path.with_name(path.name.replace("at_threshold", "at_kan_threshold_time")))
    stored = open_run(section, results_dir=tmp_path)
    assert model_of(stored, "kan", 0)[0] == "at the end"
