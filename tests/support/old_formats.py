"""Runs of every known format, written with plain pandas, pickle and json."""

import json

import numpy as np
import pandas as pd

STAMP = "20251024_143022"
META = {
    "section": "section2_1",
    "timestamp": STAMP,
    "epochs": 2,
    "device": "cpu",
    "lbfgs_threshold_time": 45.2,
    "baseline_threshold_time": None,
    "provenance": None,
}
DERIVABLE = {"grids": [3, 5], "num_datasets": 2, "dataset_names": ["sin", "poly"]}


def plain_frame(model_type, label="optimizer"):
    """Two datasets, two grids, two epochs of each."""
    rows = [
        {
            "dataset_idx": dataset_idx,
            "dataset_name": ("sin", "poly")[dataset_idx],
            "grid_size": (3, 3, 5, 5)[epoch - 1],
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "test_loss": (dataset_idx + 1) / epoch,
            "dense_mse": 2 / epoch,
            "total_time": 0.5 * epoch,
            "time_per_epoch": 0.25,
            "num_params": 120,
            label: model_type,
        }
        for dataset_idx in (0, 1)
        for epoch in (1, 2, 3, 4)
    ]
    return pd.DataFrame(rows)


def write(folder, stem, model_types=("adam", "lbfgs"), attrs=None, formats=("pkl",), label="optimizer"):
    """Frames with pandas; `attrs` are those that they have in common."""
    folder.mkdir(parents=True, exist_ok=True)
    for model_type in model_types:
        frame = plain_frame(model_type, label)
        frame.attrs = {**attrs, "model_type": model_type} if attrs else {}
        if "pkl" in formats:
            frame.to_pickle(folder / f"{stem}_{model_type}.pkl")
        if "parquet" in formats:
            frame.to_parquet(folder / f"{stem}_{model_type}.parquet")


ESSENTIAL = {key: META[key] for key in ("epochs", "device", "lbfgs_threshold_time")}
STEM = f"section2_1_{STAMP}"


def present(folder):
    write(folder, f"{STEM}_e2", attrs=META, formats=("pkl", "parquet"))


def few_attrs(folder):
    write(folder, f"{STEM}_e2", attrs={"section": "section2_1", "timestamp": STAMP, **ESSENTIAL})


def no_epochs_in_names(folder):
    write(folder, STEM, attrs={"section": "section2_1", "timestamp": STAMP, **ESSENTIAL})


def json_beside(folder):
    write(folder, STEM)
    (folder / f"{STEM}_meta.json").write_text(json.dumps({**ESSENTIAL, **DERIVABLE}))


def json_without_epochs_in_its_name(folder):
    write(folder, f"{STEM}_e2")
    (folder / f"{STEM}_meta.json").write_text(json.dumps({**ESSENTIAL, **DERIVABLE}))


def json_with_epochs_in_its_name(folder):
    write(folder, f"{STEM}_e2")
    (folder / f"{STEM}_e2_meta.json").write_text(json.dumps({**ESSENTIAL, "timestamp": STAMP}))


def parquet_only(folder):
    write(folder, f"{STEM}_e2", attrs=META, formats=("parquet",))


def parquet_without_attrs(folder):
    write(folder, STEM, formats=("parquet",))
    (folder / f"{STEM}_meta.json").write_text(json.dumps({**ESSENTIAL, **DERIVABLE}))


def numbers_of_numpy(folder):
    stored = {**ESSENTIAL, "epochs": np.int64(2), "lbfgs_threshold_time": np.float64(45.2), "grids": np.array([3, 5])}
    write(folder, STEM, attrs=stored)


def derivable_attrs(folder):
    write(folder, f"{STEM}_e2", attrs={**ESSENTIAL, **DERIVABLE})


VARIANTS = (
    present,
    few_attrs,
    no_epochs_in_names,
    json_beside,
    json_without_epochs_in_its_name,
    json_with_epochs_in_its_name,
    parquet_only,
    parquet_without_attrs,
    numbers_of_numpy,
    derivable_attrs,
)

SECTION_1 = {
    "section": "section1_1",
    "timestamp": STAMP,
    "epochs": 2,
    "device": "cpu",
    "kan_threshold_time": 12.5,
    "provenance": None,
}
