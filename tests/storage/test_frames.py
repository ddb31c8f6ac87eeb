"""Frames, checkpoint metadata and records: what is built, and that all of it survives writing and reading."""

import json
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from kanbench.errors import InputError
from kanbench.storage.frames import build_frame, read_frame, write_frame
from kanbench.storage.metadata import build_metadata, read_metadata, write_metadata
from kanbench.storage.training_record import TrainingRecord, read_record, write_record
from support.records import STAMP, TRAININGS, frame_of, record


def test_a_frame_has_the_contracts_columns_and_one_row_per_epoch():
    frame = frame_of("adam")
    assert list(frame.columns) == [
        "dataset_idx",
        "dataset_name",
        "grid_size",
        "epoch",
        "train_loss",
        "test_loss",
        "dense_mse",
        "time",
        "total_time",
        "time_per_epoch",
        "n_evals",
        "flops",
        "num_params",
        "optimizer",
    ]
    assert len(frame) == 8
    assert frame["optimizer"].unique().tolist() == ["adam"]
    assert frame.groupby("dataset_idx")["epoch"].max().tolist() == [4, 4]


def test_times_of_stages():
    frame = frame_of("adam")
    assert frame["total_time"].tolist() == [2, 2, 4, 4, 4, 4, 8, 8]
    assert frame["time_per_epoch"].tolist() == [1, 1, 2, 2, 2, 2, 4, 4]
    early = build_frame([record("adam", 0, epochs_run=3)], TRAININGS["lbfgs"])
    assert early["total_time"].tolist() == [2, 2, 2]
    assert early["time_per_epoch"].tolist() == [1, 1, 2]


def test_a_training_that_failed_at_once_has_no_rows():
    trainings = [record("adam", 0, epochs_run=0), record("adam", 1)]
    frame = build_frame(trainings, TRAININGS["lbfgs"])
    assert frame["dataset_idx"].tolist() == [1] * 4
    assert frame.dtypes.equals(frame_of("adam").dtypes)
    assert build_metadata(trainings)["adam"][0]["final"]["epoch"] == 0
    assert len(build_frame(trainings[:1], TRAININGS["lbfgs"])) == 0


def test_attrs_are_what_cannot_be_derived():
    assert frame_of("adam").attrs == {
        "section": "section2_1",
        "timestamp": STAMP,
        "epochs": 2,
        "device": "cpu",
        "model_type": "adam",
        "lbfgs_threshold_time": 6.0,  # the mean of 4 and 8
        "baseline_threshold_time": None,
        "provenance": {"seed": 1, "dtype": "float64", "engine": "reference", "config_digest": "adam"},
    }


@pytest.mark.parametrize("key", ["device", "provenance"])
def test_trainings_that_were_not_made_alike_are_not_put_together(key):
    first, second = TRAININGS["adam"]
    second = replace(second, **{key: "cuda" if key == "device" else {"seed": 2}})
    with pytest.raises(InputError) as error:
        build_frame([first, second], TRAININGS["lbfgs"])
    assert error.value.where.startswith(f"{key} of adam")
    assert str(getattr(second, key)) in error.value.found


def test_the_reference_has_the_same_seed():
    reference = [replace(part, provenance={**part.provenance, "seed": 2}) for part in TRAININGS["lbfgs"]]
    with pytest.raises(InputError) as error:
        build_frame(TRAININGS["adam"], reference)
    assert (error.value.where, error.value.found) == ("seed of adam and lbfgs, the reference", "1; 2")


@pytest.mark.parametrize("suffix", ["pkl", "parquet"])
def test_frames_and_attrs_survive_every_format(tmp_path, suffix):
    frame, path = frame_of("lm"), tmp_path / f"frame.{suffix}"
    write_frame(frame, path)
    read = read_frame(path)
    pd.testing.assert_frame_equal(read, frame, check_exact=True)
    plain = pd.read_pickle(path) if suffix == "pkl" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(plain, frame, check_exact=True, check_dtype=False, check_column_type=False)
    assert read.attrs == plain.attrs == frame.attrs


KNOWN = {  # what pandas 1.5 and numpy 1.24 have under these names, and anything newer too
    ("builtins", "slice"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("pandas", "DataFrame"),
    ("pandas", "Index"),
    ("pandas", "RangeIndex"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.internals.managers", "BlockManager"),
}


class Named(pickle.Unpickler):
    """Notes the names in a pickle."""

    def find_class(self, module, name):
        self.names.add((module, name))
        return super().find_class(module, name)


@pytest.mark.parametrize("rows", [0, 8, 80_000], ids=["no rows", "a few", "more than a part of a pickle"])
def test_a_pickled_frame_is_read_by_older_pandas_and_numpy(tmp_path, rows):
    """Written with pandas 3 and numpy 2, read by hand with pandas 1.5, 2.0 and 2.2, with numpy 1.24 and 1.26."""
    path, few = tmp_path / "frame.pkl", frame_of("adam")
    frame = few.iloc[np.arange(rows) % len(few)].reset_index(drop=True)
    frame["text"] = f"numpy._core.multiarray {rows}"  # of dtype str
    frame.attrs = few.attrs
    write_frame(frame, path)
    assert path.read_bytes()[:2] == b"\x80\x04"  # the protocol
    with path.open("rb") as file:
        reader = Named(file)
        reader.names = set()
        read = reader.load()
    assert reader.names <= KNOWN
    for there in (read, read_frame(path)):
        pd.testing.assert_frame_equal(there, frame.astype({"text": object}), check_column_type=False)
        assert there.attrs == frame.attrs


def test_metadata_is_builtin_types_only_and_small(tmp_path):
    path = tmp_path / "metadata.pkl"
    write_metadata(build_metadata(TRAININGS["lm"] + TRAININGS["adam"]), path)
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(path.read_bytes())}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ"}
    metadata = pickle.loads(path.read_bytes())
    assert list(metadata) == ["adam", "lm"]
    assert metadata["lm"][1]["final"] == {
        "epoch": 4,
        "time": 12.0,
        "train_loss": 0.2,
        "test_loss": 0.5,
        "dense_mse": 0.75,
        "grid_size": 5,
        "num_params": 150,
        "optimizer": "lm",
    }
    assert metadata == read_metadata(path)
    assert path.stat().st_size < 8 * 1024


def test_records_come_back_exactly(tmp_path):
    path, made = tmp_path / "training.json", record("adam", 0)
    made.history[0]["time"] = 0.1 + 0.2
    write_record(made, path)
    assert read_record(path) == made
    assert list(json.loads(path.read_text())) == list(TrainingRecord.__struct_fields__[:12])  # the others are empty


def test_numbers_that_are_not_finite_are_null_in_a_record(tmp_path):
    made = record("adam", 0)
    made.history[0]["test_loss"], made.history[1]["dense_mse"] = float("nan"), np.float64(0.25)
    write_record(made, tmp_path / "training.json")
    history = json.loads((tmp_path / "training.json").read_text())["history"]
    assert (history[0]["test_loss"], history[1]["dense_mse"]) == (None, 0.25)
    read = read_record(tmp_path / "training.json")
    assert np.isnan(build_frame([read], TRAININGS["lbfgs"])["test_loss"].iloc[0])


def without_a_key(content):
    del content["device"]


def without_a_metric(content):
    del content["history"][2]["n_evals"]


def with_text_for_a_metric(content):
    content["checkpoints"]["final"]["epoch"] = "4"


def without_a_checkpoint(content):
    del content["checkpoints"]["final"]


def of_another_section(content):
    content["section"] = "section1_1"


def of_half_an_expert(content):
    content["expert"] = {"depth": 2}


DAMAGE = [
    without_a_key,
    without_a_metric,
    with_text_for_a_metric,
    without_a_checkpoint,
    of_another_section,
    of_half_an_expert,
]


@pytest.mark.parametrize("damage", ["", "{", "[]", *DAMAGE], ids=lambda damage: getattr(damage, "__name__", damage))
def test_a_damaged_record_is_said_to_be(damage, tmp_path):
    path = tmp_path / "training.json"
    write_record(record("adam", 0), path)
    if callable(damage):
        content = json.loads(path.read_text())
        damage(content)
        damage = json.dumps(content)
    path.write_text(damage)
    with pytest.raises(InputError, match="damaged") as error:
        read_record(path)
    assert error.value.where == str(path)


def test_the_reference_must_be_of_the_same_run():
    other = [replace(part, device="cuda") for part in TRAININGS["lbfgs"]]
    with pytest.raises(InputError) as error:
        build_frame(TRAININGS["adam"], other)
    assert (error.value.where, error.value.found) == ("device of adam and lbfgs, the reference", "cpu; cuda")
    with pytest.raises(InputError) as error:
        build_frame(TRAININGS["adam"], TRAININGS["lm"])
    assert (error.value.where, error.value.found) == ("model_type of the reference", "lbfgs; lm")
