"""The frames of section 2.3, built from the records of trainings, and the run as a whole."""

import pandas as pd
import pytest
from msgspec.structs import replace

import kanbench
from kanbench.errors import InputError
from kanbench.storage.frames import read_frame, write_frame
from kanbench.storage.merge_frames import build_merge_frame
from kanbench.storage.metadata import build_metadata
from kanbench.storage.training_record import TrainingRecord

STAMP = "20260101_000000"
NAMES = ["poisson_2d_sin", "poisson_2d_poly"]
SHARED = {
    "section": "section2_3",
    "timestamp": STAMP,
    "epochs": None,
    "device": "cpu",
    "provenance": {"dtype": "float64"},
}


def expert(dataset, seed, valid_loss, dependencies="0,1"):
    known = {
        "depth": 2,
        "k": 3,
        "seed": seed,
        "train_loss": 0.1,
        "valid_loss": valid_loss,
        "test_loss": valid_loss + 0.01,
        "dense_mse": 10 - valid_loss,
        "dependencies": dependencies,
        "num_params": 400,
        "n_evals": 100 * seed,
        "flops": 5000 * seed,
        "steps": 40,
        "train_time": 1.5,
    }
    return record("expert", dataset, expert=known)


def record(model_type, dataset, **more):
    parts = {"settings": {}, "stopped": None, "checkpoints": {}, "history": []}
    which = {"model_type": model_type, "dataset_idx": dataset, "dataset_name": NAMES[dataset]}
    return TrainingRecord(**{**SHARED, **parts, **which, **more})


def row(epoch, dense_mse):
    return {
        "grid_size": 5 if epoch < 3 else 10,
        "epoch": epoch,
        "train_loss": dense_mse / 2,
        "test_loss": dense_mse * 2,
        "dense_mse": dense_mse,
        "time": 0.5 * epoch,
        "n_evals": 24 * epoch,
        "flops": 700 * epoch,
        "num_params": 800,
    }


def training(model_type, dataset, dense, **more):
    rows = [row(epoch, mse) for epoch, mse in enumerate(dense, start=1)]
    best = min(rows, key=lambda r: r["test_loss"])
    return record(model_type, dataset, checkpoints={"at_threshold": best, "final": rows[-1]}, history=rows, **more)


EXPERTS = [expert(0, 1, 3.0), expert(0, 2, 1.0), expert(0, 3, 2.0), expert(0, 4, 5.0, "0")]
EXPERTS += [expert(1, seed, float(seed)) for seed in (1, 2, 3, 4)]
MERGED = [
    training(
        "merge_kan",
        dataset,
        [4.0, 3.0, 1.0, 2.0],
        merging={
            "selected": [{"depth": 2, "k": 3, "seed": seed, "weight": weight} for seed, weight in selected],
            "ensemble_dense_mse": 4.5,
            "initial_dense_mse": 4.5,
            "initial_num_params": 700,
            "via": [{"n_evals": 10, "flops": 300, "time": 0.25}] * 2,
        },
    )
    for dataset, selected in ((0, [(2, 0.9), (4, 0.1)]), (1, [(1, 0.5), (2, 0.6)]))
]
CONTROLS = [training("control", dataset, [9.0, 8.0]) for dataset in (0, 1)]
PARTS = {"experts": EXPERTS[::-1], "merged": MERGED[::-1], "controls": CONTROLS[::-1]}


def test_experts():
    frame = build_merge_frame("experts", 2, experts=EXPERTS)
    assert frame["dataset_idx"].tolist() == [0] * 4 + [1] * 4
    assert frame["seed"].tolist() == [1, 2, 3, 4] * 2
    assert frame["selected"].tolist() == [False, True, False, True, True, True, False, False]
    for column in ("depth", "k", "train_loss", "test_loss", "dense_mse", "dependencies", "num_params", "train_time"):
        assert frame[column].tolist() == [training.expert[column] for training in EXPERTS]
    assert frame.attrs == {
        "section": "section2_3",
        "timestamp": STAMP,
        "device": "cpu",
        "model_type": "merge_kan",
        "n_seeds": 4,
        "n_experts": 4,
        "n_selected": 2,
        "provenance": {"dtype": "float64"},
    }


def test_selected_experts():
    frame = build_merge_frame("selected_experts", 2, **PARTS)
    assert frame["dataset_name"].tolist() == [NAMES[0]] * 2 + [NAMES[1]] * 2
    assert frame["rank"].tolist() == [1, 2, 1, 2]
    assert frame["seed"].tolist() == [2, 4, 1, 2]
    assert frame["weight"].tolist() == [0.9, 0.1, 0.5, 0.6]
    assert frame["valid_loss"].tolist() == [1.0, 5.0, 1.0, 2.0]


def test_grid_history():
    frame = build_merge_frame("grid_history", 2, **PARTS)
    assert len(frame) == 8
    assert frame["epoch"].tolist() == [1, 2, 3, 4] * 2
    assert frame["approach"].unique().tolist() == ["merge_kan"]
    assert frame["total_time"].tolist() == [1.0] * 8
    assert frame["time_per_epoch"].tolist() == [0.5] * 8


def test_summary():
    frame = build_merge_frame("summary", 2, **PARTS)
    assert frame["dataset_idx"].tolist() == [0, 1]
    first = frame.iloc[0]
    assert first["n_experts_trained"] == 4
    assert first["n_experts_selected"] == 2
    assert first["best_expert_dense_mse"] == 5.0  # of all experts, whatever the selection thinks of it
    assert first["chosen_expert_dense_mse"] == 9.0  # the one with the lowest validation loss
    assert first["ensemble_dense_mse"] == first["initial_dense_mse"] == 4.5
    assert first["merged_dense_mse"] == 2.0
    assert first["merged_threshold_dense_mse"] == 1.0
    assert first["merged_num_params"] == 800
    assert first["control_dense_mse"] == 8.0
    assert first["control_n_evals"] == 48
    assert first["experts_n_evals"] == 1000
    assert first["experts_flops"] == 50_000
    assert first["merged_flops"] == 2800 and first["control_flops"] == 1400
    assert first["experts_time"] == 6.0
    assert first["via_n_evals"] == 20
    assert first["via_flops"] == 600
    assert first["via_time"] == 0.5


@pytest.mark.parametrize("name", ["summary", "experts", "selected_experts", "grid_history"])
@pytest.mark.parametrize("suffix", ["pkl", "parquet"])
def test_frames_come_back(tmp_path, name, suffix):
    frame = build_merge_frame(name, 2, **PARTS)
    path = tmp_path / f"frame.{suffix}"
    write_frame(frame, path)
    again = read_frame(path)
    pd.testing.assert_frame_equal(again, frame)
    assert again.attrs == frame.attrs


def with_provenance(records, **provenance):
    return [replace(training, provenance=provenance) for training in records]


@pytest.mark.parametrize(
    ("name", "parts", "where", "found"),
    [
        ("summary", {"experts": EXPERTS, "merged": MERGED}, "summary", "no trainings of controls"),
        ("experts", {"experts": MERGED}, "model_type of expert", "expert; merge_kan"),
        (
            "experts",
            {"experts": [*EXPERTS[1:], *with_provenance(EXPERTS[:1], dtype="float32")]},
            "provenance",
            "float32",
        ),
        ("summary", PARTS | {"controls": CONTROLS[:1]}, "datasets of expert, merge_kan, control", "'control': [0]"),
        (
            "summary",
            PARTS | {"merged": with_provenance(MERGED, seed=1), "controls": with_provenance(CONTROLS, seed=2)},
            "seed of merge_kan, control",
            "1; 2",
        ),
        ("selected_experts", PARTS | {"experts": EXPERTS[2:]}, "experts", "none with depth 2, k 3, seed 2"),
    ],
)
def test_what_is_missing_or_different_is_said(name, parts, where, found):
    with pytest.raises(InputError) as error:
        build_merge_frame(name, 2, **parts)
    assert error.value.where.startswith(where)
    assert found in error.value.found


def test_at_least_one_expert_is_selected():
    with pytest.raises(InputError) as error:
        build_merge_frame("experts", 0, experts=EXPERTS)
    assert (error.value.where, error.value.found) == ("n_selected", "0")


def test_losses_that_are_not_finite_are_numbers():
    """Also where no expert of a run has another."""
    frame = build_merge_frame(
        "experts", 2, experts=[replace(e, expert={**e.expert, "valid_loss": None}) for e in EXPERTS]
    )
    assert frame["valid_loss"].dtype == "float64"
    assert frame["valid_loss"].isna().all()


def test_a_run_is_saved_and_loaded(tmp_path):
    frames = {name: build_merge_frame(name, 2, **PARTS) for name in ("summary", "experts", "grid_history")}
    attrs = {
        key: frames["summary"].attrs[key] for key in ("device", "n_seeds", "n_experts", "n_selected", "provenance")
    }
    checkpoints = build_metadata(MERGED)
    assert checkpoints["merge_kan"][0]["final"]["approach"] == "merge_kan"
    timestamp = kanbench.save_run(frames, "section2_3", checkpoints=checkpoints, results_dir=tmp_path, **attrs)
    results, meta = kanbench.load_run("section2_3", timestamp, results_dir=tmp_path)
    assert list(results) == ["summary", "experts", "grid_history"]
    assert meta == {"section": "section2_3", "timestamp": timestamp, "model_type": "merge_kan", **attrs}
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(results[name], frame)
    assert kanbench.load_checkpoint_metadata("section2_3", timestamp, results_dir=tmp_path) == checkpoints
    with pytest.raises(InputError, match="merge_kan"):
        kanbench.save_run({"merge_kan": frames["summary"]}, "section2_3", timestamp=STAMP, results_dir=tmp_path)
