"""Frames: one row per dataset and epoch, with what cannot be derived in `attrs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from kanbench.errors import InputError, one_line
from kanbench.files import whole_file
from kanbench.naming import SECTIONS, Section, without_variant
from kanbench.reading import MAX_FILE, clear_errors, read_bytes
from kanbench.storage.handover import Handover
from kanbench.storage.pickled_frames import MAX_COLUMNS, MAX_ROWS, frame_of_pickle
from kanbench.storage.pickles import refusals
from kanbench.storage.values import builtin

COLUMNS = {
    "dataset_idx": "int64",
    "dataset_name": "str",
    "grid_size": "int64",
    "epoch": "int64",
    "train_loss": "float64",
    "test_loss": "float64",
    "dense_mse": "float64",
    "time": "float64",
    "total_time": "float64",
    "time_per_epoch": "float64",
    "n_evals": "int64",
    "num_params": "int64",
}

MORE_COLUMNS = {
    "section2_2": {"attribution_threshold": "float64", "important_neurons": "int64", "total_neurons": "int64"},
}


def build_frame(trainings: Sequence[Handover], reference: Sequence[Handover]) -> pd.DataFrame:
    """The frame of one model type.

    Parameters
    ----------
    trainings : sequence
        What the model type's trainings handed over, one per dataset.
    reference : sequence
        The same of the section's reference model type.

    Raises
    ------
    InputError
        The trainings were not made alike, so that their rows cannot be compared.
    """
    _check_alike(trainings, reference)
    section = _section(trainings[0])
    parts = [history(training) for training in sorted(trainings, key=lambda t: t["dataset_idx"])]
    more = MORE_COLUMNS.get(without_variant(trainings[0]["section"]), {})
    frame = pd.concat(parts, ignore_index=True).astype(COLUMNS | more)
    frame.insert(len(COLUMNS), section.label, trainings[0]["model_type"])
    frame.attrs = _attrs(trainings[0], reference)
    return portable(frame)


def portable(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its text as Python objects.

    pandas 3 keeps text in pyarrow's arrays where pyarrow is installed, and a pickle of those cannot be read where it
    is not.
    """
    text = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
    return frame.astype(dict.fromkeys(text, object)).set_axis(frame.columns.astype(object), axis="columns")


def history(training: Handover) -> pd.DataFrame:
    """The history of one training, one row per epoch."""
    columns = [*COLUMNS, *MORE_COLUMNS.get(without_variant(training["section"]), ())]
    frame = pd.DataFrame(training["history"], columns=[c for c in columns if c not in _DERIVED])
    frame["dataset_idx"], frame["dataset_name"] = training["dataset_idx"], training["dataset_name"]
    stages = frame.groupby("grid_size", sort=False)["time"]
    ends = stages.max()
    seconds = ends - ends.shift(fill_value=0.0)
    frame["total_time"] = frame["grid_size"].map(seconds)
    frame["time_per_epoch"] = frame["total_time"] / stages.transform("size")
    return frame[columns]


def _section(training: Handover) -> Section:
    return SECTIONS[without_variant(training["section"])]


_DERIVED = ("dataset_idx", "dataset_name", "total_time", "time_per_epoch")


def _attrs(training: Handover, reference: Sequence[Handover]) -> dict[str, Any]:
    threshold_time = fmean(part["checkpoints"]["at_threshold"]["time"] for part in reference)
    return {
        **{key: training[key] for key in ("section", "timestamp", "epochs", "device", "model_type")},
        "lbfgs_threshold_time": None,
        "baseline_threshold_time": None,
        _section(training).threshold_time: threshold_time,
        "provenance": training["provenance"],
    }


def _check_alike(trainings: Sequence[Handover], reference: Sequence[Handover]) -> None:
    wanted = _section(trainings[0]).reference
    for other in reference:
        if other["model_type"] != wanted:
            raise InputError(f"reference: found trainings of {other['model_type']}; allowed: of {wanted}")
        for key in ("section", "timestamp", "epochs", "device"):
            if other[key] != trainings[0][key]:
                raise InputError(f"{wanted}, the reference, has {key} {other[key]!r}; allowed: {trainings[0][key]!r}")
        found, seed = (part["provenance"].get("seed") for part in (other, trainings[0]))
        if found != seed:
            raise InputError(f"{wanted}, the reference, has seed {found}; allowed: {seed}")
    for key in ("model_type", "section", "timestamp", "epochs", "device", "provenance"):
        found = {str(training[key]): training["dataset_name"] for training in trainings}
        if len(found) > 1:
            raise InputError(
                f"{trainings[0]['model_type']}: the datasets were trained with different {key}: "
                + "; ".join(f"{name}: {value}" for value, name in found.items())
            )


def write_frame(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame, with its attrs, as pickle or parquet, by the ending of `path`."""
    with whole_file(path) as partial:
        if str(path).endswith(".parquet"):
            from pyarrow import ArrowException

            try:
                frame.to_parquet(partial)
            except (ValueError, TypeError, ArrowException) as error:
                reason = one_line(error)[:200]
                raise InputError(f"{path}: parquet cannot hold this ({reason}); allowed: numbers and text") from error
        else:
            portable(frame).to_pickle(partial)


def read_frame(path: str | Path, trusted: bool = False) -> pd.DataFrame:
    """Read a pickled frame or one in parquet, by the ending of `path`; its text as Python objects.

    Parameters
    ----------
    trusted : bool
        Whether to read any pickle, which may run code of the file's author. Otherwise nothing that the file names is
        imported or called.

    Raises
    ------
    InputError
        The file is not a frame, is damaged, or contains what a frame does not need.
    """
    frame = _read_parquet(path) if str(path).endswith(".parquet") else _read_pickled(path, trusted)
    if not all(isinstance(column, str) for column in frame.columns):
        raise InputError(f"{path}: found columns {str(list(frame.columns))[:200]}; allowed: names")
    with clear_errors(path):  # text in parquet that is not utf-8 is found here
        return portable(frame)


def _read_pickled(path: str | Path, trusted: bool) -> pd.DataFrame:
    if trusted:
        with clear_errors(path):
            frame = pd.read_pickle(path, compression=None)
        if not isinstance(frame, pd.DataFrame):
            raise InputError(f"{path}: found a {type(frame).__name__}; allowed: a DataFrame")
        frame.attrs = builtin(frame.attrs)
        return frame
    content = read_bytes(path)
    with clear_errors(path), refusals(path):
        return frame_of_pickle(content)


def _read_parquet(path: str | Path) -> pd.DataFrame:
    from pyarrow.parquet import read_metadata

    with clear_errors(path):
        about = read_metadata(path)  # a few bytes can stand for any number of rows
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        size = max(size, 8 * about.num_rows * about.num_columns)  # what it is read into
        if about.num_rows > MAX_ROWS or about.num_columns > MAX_COLUMNS or size > MAX_FILE:
            raise InputError(
                f"{path}: found {about.num_rows} rows, {about.num_columns} columns, {size} bytes; allowed: {MAX_ROWS}, "
                f"{MAX_COLUMNS}, {MAX_FILE}"
            )
        return pd.read_parquet(path)
