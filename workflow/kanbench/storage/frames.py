"""Frames: one row per dataset and epoch, with everything that cannot be derived in `attrs`."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError, one_line
from kanbench.io.atomic import atomic_write
from kanbench.io.readers import MAX_FILE, check_depth, parser_errors, read_bytes, refusal, safely_first
from kanbench.io.untrusted.pickle_machine import refusals
from kanbench.io.untrusted.pickled_frames import MAX_COLUMNS, MAX_ROWS, frame_of_pickle
from kanbench.plan.sections import section_of
from kanbench.storage.problems import with_problems
from kanbench.storage.schema import DERIVED, HISTORY, dtypes
from kanbench.storage.training_record import TrainingRecord, common_settings, made_alike, of_several
from kanbench.storage.values import builtin, same, same_data

KINDS = {  # names of `pandas.api.types.infer_dtype`; an empty column counts as either
    "text": ("string", "categorical", "empty"),
    "numbers": ("integer", "integer-na", "floating", "mixed-integer-float", "empty"),
}


def build_frame(trainings: Sequence[TrainingRecord], reference: Sequence[TrainingRecord]) -> pd.DataFrame:
    """The frame of one model type, with one row per dataset and epoch.

    Args:
        trainings (sequence of TrainingRecord): The model type's trainings, one per dataset.
        reference (sequence of TrainingRecord): Those of the section's reference, whose threshold time is stored.

    Raises:
        InputError: The trainings were made with different settings, so their rows cannot be compared.
    """
    _check_alike(trainings, reference)
    first = trainings[0]
    section = section_of(first.section)
    frame = histories(trainings, first.model_type)
    frame.attrs.update({key: getattr(first, key) for key in ("section", "timestamp", "epochs", "device", "model_type")})
    frame.attrs.update(lbfgs_threshold_time=None, baseline_threshold_time=None)
    frame.attrs[section.threshold_time] = fmean(record.checkpoints["at_threshold"]["time"] for record in reference)
    frame.attrs["provenance"] = with_problems(of_several(trainings), trainings)
    return frame


def histories(trainings: Sequence[TrainingRecord], model_type: str) -> pd.DataFrame:
    """The rows of all epochs of a model type's trainings, ordered by dataset."""
    section = trainings[0].section
    types, label, parts = dtypes(section, "grid_history"), section_of(section).label, []
    for record in sorted(trainings, key=lambda record: record.dataset_idx):
        rows = pd.DataFrame(record.history, columns=[name for name in types if name not in DERIVED])
        rows["dataset_idx"], rows["dataset_name"], rows[label] = record.dataset_idx, record.dataset_name, model_type
        parts.append(rows.assign(**stage_times(rows)))
    return portable(pd.concat(parts, ignore_index=True)[list(types)].astype(types))


def portable(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert text to Python objects: pandas 3 keeps it in pyarrow arrays, whose pickles need pyarrow."""
    text = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
    return frame.astype(dict.fromkeys(text, object)).set_axis(frame.columns.astype(object), axis="columns")


def _pickled(frame: pd.DataFrame) -> bytes:
    """Pickle a frame for old versions of numpy too: protocol 4 uses no functions that only numpy 2 has.

    numpy 2 names the module `numpy._core.multiarray`, which exists only since numpy 1.26; it is replaced by the older
    name, which all versions know. The name occurs only in the first frame of the pickle, before any data; the length of
    this frame follows the first three bytes.
    """
    content = pickle.dumps(portable(frame), protocol=4)
    renamed = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray", 1)
    length = int.from_bytes(content[3:11], "little") - len(content) + len(renamed)
    return renamed[:3] + length.to_bytes(8, "little") + renamed[11:]


def check_same(where: str, values: Iterable[Any]) -> None:
    """Raise `InputError` if values that must be the same for all trainings of a frame differ."""
    if len(different := set(map(str, values))) > 1:
        raise InputError(where, "; ".join(sorted(different)), "the same for all trainings")


def _check_alike(trainings: Sequence[TrainingRecord], reference: Sequence[TrainingRecord]) -> None:
    """Check that a model type's trainings share a provenance, and run and seed with the reference."""
    name, wanted = trainings[0].model_type, section_of(trainings[0].section).reference
    check_same(f"model_type of {name}", [record.model_type for record in trainings])
    check_same(f"provenance of {name}", [made_alike(record.provenance) for record in trainings])
    check_same("model_type of the reference", [wanted, *(record.model_type for record in reference)])
    both = f"{name} and {wanted}, the reference"
    for key in ("section", "timestamp", "epochs", "device"):
        check_same(f"{key} of {both}", [getattr(record, key) for record in (*trainings, *reference)])
    check_same(f"seed of {both}", [record.provenance.get("seed") for record in (*trainings, *reference)])
    check_settings([*trainings, *reference])


def check_settings(records: Iterable[TrainingRecord]) -> None:
    """Check that trainings on the same dataset agree in the problem and in the common settings.

    Raises:
        InputError: They differ; names the first difference and its trainings.
    """
    groups: dict[int, tuple[str, dict[str, Any]]] = {}
    for record in records:
        problem = {key: record.settings.get(key) for key in ("problem", "source")}
        settings = problem | common_settings(record.settings)
        first, its = groups.setdefault(record.dataset_idx, (record.model_type, settings))
        for key in sorted(its.keys() | settings.keys()):
            if its.get(key) != settings.get(key):
                found = f"{first} with {its.get(key)}, {record.model_type} with {settings.get(key)}"
                raise InputError(f"{key} of {record.dataset_name}", found, "the same for all trainings")


def stage_times(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns `total_time` and `time_per_epoch` of a training's rows, from their cumulative `time`."""
    stages = rows.groupby("grid_size", sort=False)["time"]
    ends = stages.max()
    total = rows["grid_size"].map(ends - ends.shift(fill_value=0.0))
    return pd.DataFrame({"total_time": total, "time_per_epoch": total / stages.transform("size")})


def write_frame(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame with its attrs, as pickle or parquet according to the ending of `path`.

    Raises:
        InputError: The file cannot be written, or the frame contains other values than numbers and text.
    """
    kind = "parquet" if str(path).endswith(".parquet") else "pickle"
    with atomic_write(path) as partial:
        try:
            if kind == "parquet":
                frame.to_parquet(partial)
            else:
                partial.write_bytes(_pickled(frame))
        except (OSError, MemoryError):  # not a fault of the frame
            raise
        except Exception as error:  # values other than numbers and text raise nearly any exception
            reason = one_line(error)[:200]
            raise InputError(path, allowed="numbers and text", problem=f"{kind} cannot hold this ({reason})") from error


def write_and_compare(frame: pd.DataFrame, path: str | Path, trusted: bool = False) -> None:
    """Write a frame, read it back, and compare.

    Raises:
        InputError: The frame cannot be written or read, or does not survive a write/read round trip.
    """
    write_frame(frame, path)
    there = read_frame(path, trusted)
    if not same(there.attrs, frame.attrs) or not same_data(there, frame):
        raise InputError(path, allowed="numbers and text", problem="does not survive a write/read round trip")


def read_frame(path: str | Path, trusted: bool = False) -> pd.DataFrame:
    """Read a frame, from pickle or parquet according to the ending of `path`; text as Python objects.

    Args:
        trusted (bool): Whether also to read what is otherwise refused (may execute code in the file). If False, nothing
            that the file names is imported or called.

    Raises:
        InputError: The file is damaged, is not a frame, contains what no frame needs, or has values of a wrong type in
            a column of histories.
    """
    frame = (_read_parquet if str(path).endswith(".parquet") else _read_pickled)(path, trusted)
    check_depth(path, frame.attrs)
    attrs, frame.attrs = frame.attrs, {}  # pandas deep-copies attrs whenever a column is selected
    if not frame.columns.is_unique or not all(isinstance(column, str) for column in frame.columns):
        raise InputError(path, f"columns {str(list(frame.columns))[:200]}", "unique names")
    with parser_errors(path):  # parquet text may not be valid UTF-8
        frame = portable(frame)
    _check_kinds(path, frame)
    with parser_errors(path):  # integers may be too large for any numpy dtype
        frame = _plain_numbers(frame)
    _check_integers(path, frame)
    frame.attrs = attrs
    return frame


def with_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the named levels of a frame's index into columns, as in other frames."""
    named = [name for name in frame.index.names if name is not None]
    if not named:
        return frame
    double = [name for name in named if name in frame]
    return frame.reset_index(level=double, drop=True).reset_index(drop=named == double)


def _plain_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert the numbers of histories, and all floats, to numpy dtypes: pandas's NA cannot be compared or plotted."""
    plain = {}
    for name, values in ((str(name), frame[name]) for name in frame):
        wanted = HISTORY[name].dtype if name in HISTORY else ("float64" if values.dtype.kind == "f" else "object")
        if wanted == "object" or (isinstance(values.dtype, np.dtype) and values.dtype.kind != "O"):
            continue
        plain[name] = values.to_numpy("float64", na_value=np.nan)
        if wanted == "int64" and (plain[name] % 1 == 0).all():
            plain[name] = values.to_numpy("int64")
    return frame.assign(**plain)


def _check_kinds(path: str | Path, frame: pd.DataFrame) -> None:
    """Check that the columns of histories contain numbers or text, as users of frames expect."""
    for name in frame.columns.intersection(list(HISTORY)):
        allowed = "text" if HISTORY[name].dtype == "object" else "numbers"
        if (kind := pd.api.types.infer_dtype(frame[name], skipna=True)) not in KINDS[allowed]:
            raise InputError(f"{path}: {name}", kind, allowed)


def _check_integers(path: str | Path, frame: pd.DataFrame) -> None:
    """Check that indices are integers in their range."""
    for name, column in HISTORY.items():
        if column.below is not None and name in frame:
            values = frame[name].dropna() if name == "grid_size" else frame[name]  # some models have no grid
            wrong = values[~((values % 1 == 0) & values.between(0, column.below - 1))]
            if len(wrong):
                raise InputError(f"{path}: {name}", f"{wrong.iloc[0]:g}", f"integers from 0 to {column.below - 1}")


def _read_pickled(path: str | Path, trusted: bool) -> pd.DataFrame:
    def safely() -> pd.DataFrame:
        content = read_bytes(path)
        with parser_errors(path), refusals(path):
            return frame_of_pickle(content)

    def anything() -> pd.DataFrame:
        with parser_errors(path):
            frame = pd.read_pickle(path, compression=None)
        if not isinstance(frame, pd.DataFrame):
            raise InputError(path, f"a {type(frame).__name__}", "a DataFrame")
        frame.attrs = builtin(frame.attrs)
        return frame

    return safely_first(safely, anything, trusted)


def _read_parquet(path: str | Path, trusted: bool) -> pd.DataFrame:
    from pyarrow.parquet import read_metadata

    with parser_errors(path):
        about = read_metadata(path)  # first: a few bytes can encode any number of rows
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        # Use the schema's columns; pyarrow aborts the process on damaged columns of a row group.
        columns = [about.schema.column(i) for i in range(about.num_columns)]
        size = max(size, about.num_rows * sum(max(8, column.length) for column in columns))  # size in memory
        if about.num_rows > MAX_ROWS or about.num_columns > MAX_COLUMNS or size > MAX_FILE:
            found = f"{about.num_rows} rows, {about.num_columns} columns, {size} bytes"
            raise InputError(path, found, f"{MAX_ROWS}, {MAX_COLUMNS}, {MAX_FILE}")
        nested = [column.path for column in columns if column.max_repetition_level or column.path != column.name]
        if nested and not trusted:  # a few bytes can encode any number of values in a row
            raise refusal(path, f"lists or mappings in {nested[0]}")
        text = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        if text and (size := _size_of_text(path, text)) > MAX_FILE:
            raise InputError(path, f"{size} bytes of text", MAX_FILE)
        return pd.read_parquet(path)


def _size_of_text(path: str | Path, columns: list[str]) -> int:
    """The size in bytes of text columns of parquet once expanded; reads them in dictionary encoding, as stored."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetFile

    size = 0
    for column in ParquetFile(path, read_dictionary=columns).read(columns).columns:
        if pa.types.is_dictionary(column.type):
            lengths = [pc.binary_length(part.dictionary).take(part.indices) for part in column.chunks]
            size += sum(pc.sum(part).as_py() or 0 for part in lengths)
        else:
            size += column.nbytes
    return size
