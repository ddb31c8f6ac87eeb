"""Frames: one row per dataset and epoch, with what cannot be derived in `attrs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError, one_line
from kanbench.io.atomic import atomic_write
from kanbench.io.readers import MAX_FILE, check_depth, clear_errors, read_bytes, refusal
from kanbench.io.untrusted.pickle_machine import refusals
from kanbench.io.untrusted.pickled_frames import MAX_COLUMNS, MAX_ROWS, frame_of_pickle
from kanbench.plan.sections import SECTIONS, Section, without_variant
from kanbench.storage.stored_names import MAX_DATASETS
from kanbench.storage.training_record import TrainingRecord
from kanbench.storage.values import builtin, same_frame

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

BELOW = {"dataset_idx": MAX_DATASETS, "epoch": 1 << 31, "grid_size": 1 << 31}  # whole numbers from 0
KINDS = {  # what `pandas.api.types.infer_dtype` calls them; a column without values is either
    "text": ("string", "categorical", "empty"),
    "numbers": ("integer", "integer-na", "floating", "mixed-integer-float", "empty"),
}

MORE_COLUMNS = {
    "section2_2": {"attribution_threshold": "float64", "important_neurons": "int64", "total_neurons": "int64"},
}


def build_frame(trainings: Sequence[TrainingRecord], reference: Sequence[TrainingRecord]) -> pd.DataFrame:
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


def history(training: TrainingRecord) -> pd.DataFrame:
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


def _section(training: TrainingRecord) -> Section:
    return SECTIONS[without_variant(training["section"])]


_DERIVED = ("dataset_idx", "dataset_name", "total_time", "time_per_epoch")


def _attrs(training: TrainingRecord, reference: Sequence[TrainingRecord]) -> dict[str, Any]:
    threshold_time = fmean(part["checkpoints"]["at_threshold"]["time"] for part in reference)
    return {
        **{key: training[key] for key in ("section", "timestamp", "epochs", "device", "model_type")},
        "lbfgs_threshold_time": None,
        "baseline_threshold_time": None,
        _section(training).threshold_time: threshold_time,
        "provenance": training["provenance"],
    }


def _check_alike(trainings: Sequence[TrainingRecord], reference: Sequence[TrainingRecord]) -> None:
    wanted = _section(trainings[0]).reference
    for other in reference:
        if other["model_type"] != wanted:
            raise InputError("reference", f"trainings of {other['model_type']}", f"of {wanted}")
        for key in ("section", "timestamp", "epochs", "device"):
            if other[key] != trainings[0][key]:
                raise InputError(
                    f"{wanted}, the reference, has {key} {other[key]!r}; allowed", problem=f"{trainings[0][key]!r}"
                )
        found, seed = (part["provenance"].get("seed") for part in (other, trainings[0]))
        if found != seed:
            raise InputError(f"{wanted}, the reference, has seed {found}; allowed", problem=seed)
    for key in ("model_type", "section", "timestamp", "epochs", "device", "provenance"):
        found = {str(training[key]): training["dataset_name"] for training in trainings}
        if len(found) > 1:
            raise InputError(
                f"{trainings[0]['model_type']}: the datasets were trained with different {key}: "
                + "; ".join(f"{name}: {value}" for value, name in found.items())
            )


def write_frame(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame, with its attrs, as pickle or parquet, by the ending of `path`."""
    kind = "parquet" if str(path).endswith(".parquet") else "pickle"
    with atomic_write(path) as partial:
        try:
            if kind == "parquet":
                frame.to_parquet(partial)
            else:
                portable(frame).to_pickle(partial)
        except (OSError, MemoryError):  # the disk's, and the machine's
            raise
        except Exception as error:  # of values that are neither numbers nor text, nearly anything is raised
            reason = one_line(error)[:200]
            raise InputError(path, allowed="numbers and text", problem=f"{kind} cannot hold this ({reason})") from error


def write_and_compare(frame: pd.DataFrame, path: str | Path, trusted: bool = False) -> None:
    """Write a frame, and read it again.

    Raises
    ------
    InputError
        It cannot be written, or read, or does not come back as it was.
    """
    write_frame(frame, path)
    if not same_frame(read_frame(path, trusted), frame):
        raise InputError(path, allowed="numbers and text", problem="does not come back as it was")


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
        The file is not a frame, is damaged, or contains what a frame does not need; or a column that trainings have
        holds something else than theirs.
    """
    frame = (_read_parquet if str(path).endswith(".parquet") else _read_pickled)(path, trusted)
    check_depth(path, frame.attrs)
    with clear_errors(path):  # text in parquet that is not utf-8 is found here
        _check_columns(path, frame)
        return portable(_plain_numbers(frame))


def _plain_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The numbers of trainings, and all floats, in numpy's types: pandas's NA can be neither compared nor drawn."""
    plain = {}
    for name, values in frame.items():
        wanted = COLUMNS.get(name) or ("float64" if values.dtype.kind == "f" else "str")
        if wanted == "str" or (isinstance(values.dtype, np.dtype) and values.dtype.kind != "O"):
            continue
        plain[name] = values.to_numpy("float64", na_value=np.nan)
        if wanted == "int64" and (plain[name] % 1 == 0).all():
            plain[name] = values.to_numpy("int64")
    return frame.assign(**plain)


def _check_columns(path: str | Path, frame: pd.DataFrame) -> None:
    """Check what everything that reads frames relies on: numbers and text in their columns, indices that count."""
    if not frame.columns.is_unique or not all(isinstance(column, str) for column in frame.columns):
        raise InputError(path, f"columns {str(list(frame.columns))[:200]}", "names, each once")
    for name in frame.columns.intersection(list(COLUMNS)):
        allowed = "text" if COLUMNS[name] == "str" else "numbers"
        if (kind := pd.api.types.infer_dtype(frame[name], skipna=True)) not in KINDS[allowed]:
            raise InputError(path, allowed=allowed, problem=f"{name}: found {kind}")
    for name in frame.columns.intersection(list(BELOW)):
        values = frame[name].dropna() if name == "grid_size" else frame[name]  # a model without a grid has none
        values = pd.to_numeric(values).astype(float)
        wrong = values[~((values % 1 == 0) & values.between(0, BELOW[name] - 1))]
        if len(wrong):
            raise InputError(
                path, allowed=f"whole numbers below {BELOW[name]}", problem=f"{name}: found {wrong.iloc[0]:g}"
            )


def _read_pickled(path: str | Path, trusted: bool) -> pd.DataFrame:
    if trusted:
        with clear_errors(path):
            frame = pd.read_pickle(path, compression=None)
        if not isinstance(frame, pd.DataFrame):
            raise InputError(path, f"a {type(frame).__name__}", "a DataFrame")
        frame.attrs = builtin(frame.attrs)
        return frame
    content = read_bytes(path)
    with clear_errors(path), refusals(path):
        return frame_of_pickle(content)


def _read_parquet(path: str | Path, trusted: bool) -> pd.DataFrame:
    from pyarrow.parquet import read_metadata

    with clear_errors(path):
        about = read_metadata(path)  # a few bytes can stand for any number of rows
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        # the schema's columns, not those of a row group: where these are damaged, pyarrow ends the whole process
        columns = [about.schema.column(i) for i in range(about.num_columns)]
        size = max(size, about.num_rows * sum(max(8, column.length) for column in columns))  # what it is read into
        if about.num_rows > MAX_ROWS or about.num_columns > MAX_COLUMNS or size > MAX_FILE:
            raise InputError(
                path,
                f"{about.num_rows} rows, {about.num_columns} columns, {size} bytes",
                f"{MAX_ROWS}, {MAX_COLUMNS}, {MAX_FILE}",
            )
        nested = [column.path for column in columns if column.max_repetition_level or column.path != column.name]
        if nested and not trusted:  # a few bytes can stand for any number of values in a row
            raise refusal(path, f"lists or mappings in {nested[0]}")
        text = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        if text and (size := _size_of_text(path, text)) > MAX_FILE:
            raise InputError(path, f"{size} bytes of text", MAX_FILE)
        return pd.read_parquet(path)


def _size_of_text(path: str | Path, columns: list[str]) -> int:
    """The bytes of text in columns of parquet, where text that repeats is stored once, and is read so here."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetFile

    size = 0
    for column in ParquetFile(path, read_dictionary=columns).read(columns).columns:
        if pa.types.is_dictionary(column.type):
            sums = [pc.sum(pc.binary_length(part.dictionary).take(part.indices)).as_py() for part in column.chunks]
            size += sum(filter(None, sums))
        else:
            size += column.nbytes
    return size
