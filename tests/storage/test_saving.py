"""What `save_run` leaves out or refuses of frames that users have worked with, and says so."""

import warnings

import pandas as pd
import pytest

from kanbench import load_run, save_run
from kanbench.errors import InputError
from kanbench.storage.comparable import without_doubles
from support.records import frame_of


def save(frame, folder):
    save_run({"adam": frame}, "section2_1", results_dir=folder)
    return load_run("section2_1", results_dir=folder)[0]["adam"]


@pytest.fixture
def frame():
    return frame_of("adam")


def test_attrs_of_ones_own_are_named(frame, tmp_path):
    own = frame.copy()
    own.attrs |= {"my_note": "x", 3: "y"}
    with pytest.warns(UserWarning, match=r"^results\.adam\.attrs: not stored: my_note, 3; stored are epochs, device"):
        there = save(own, tmp_path)
    assert there.attrs == frame.attrs | {"timestamp": there.attrs["timestamp"]}


@pytest.mark.parametrize("index", [None, ["dataset_idx", "epoch"]])
def test_rows_that_are_there_twice_are_named_and_stored_once(frame, tmp_path, index):
    double = pd.concat([frame, frame.iloc[2:4]])
    double = double if index is None else double.set_index(index)
    double.attrs = frame.attrs
    with pytest.warns(UserWarning, match=r"^results\.adam: 2 duplicate rows are stored once: rows 8, 9 \(from 0\)"):
        there = save(double, tmp_path)
    pd.testing.assert_frame_equal(there[list(frame)], frame, check_like=True, check_index_type=False)


def test_experts_that_are_there_twice_are_named_and_stored_once(tmp_path):
    """Of a frame without epochs."""
    experts = pd.DataFrame({"dataset_idx": 0, "dataset_name": "own", "depth": 2, "k": [2, 3, 3], "seed": [1, 1, 2]})
    experts["dense_mse"] = [1.0, float("nan"), float("nan")]
    double = pd.concat([experts, experts.iloc[1:2]], ignore_index=True)
    double.attrs = experts.attrs
    with pytest.warns(UserWarning, match=r"^results\.experts: 1 duplicate rows are stored once: rows 3 "):
        save_run({"experts": double}, "section2_3", results_dir=tmp_path)
    there = load_run("section2_3", results_dir=tmp_path)[0]["experts"]
    assert there[["k", "seed"]].to_numpy().tolist() == [[2, 1], [3, 1], [3, 2]]


def test_rows_with_lists_are_there_twice_as_well(frame, tmp_path):
    frame["note"] = [[row, 1] for row in range(len(frame))]
    double = pd.concat([frame, frame.iloc[2:4]], ignore_index=True)
    assert without_doubles(double).equals(frame)


def test_rows_of_one_epoch_that_differ_are_refused(frame, tmp_path):
    double = pd.concat([frame, frame.iloc[2:3].assign(test_loss=99.0)])
    double.attrs = frame.attrs
    with pytest.raises(InputError, match=r"^save_run: results\.adam: found several rows of .*epoch 3; allowed: one"):
        save(double, tmp_path)
    assert not list(tmp_path.rglob("*.pkl"))


def test_a_column_that_is_there_twice_is_refused(frame, tmp_path):
    double = pd.concat([frame, frame[["time"]]], axis=1)
    double.attrs = frame.attrs
    with pytest.raises(InputError, match=r"^save_run: results\.adam: found the column 'time' twice; allowed: one$"):
        save(double, tmp_path)


def test_what_load_run_returned_is_saved_without_a_word(frame, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(save(frame, tmp_path / "a"), tmp_path / "b")
