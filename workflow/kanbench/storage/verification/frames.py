"""Check frames: their columns, attrs and rows, and the consistency of a run's frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.storage.attrs import essential, is_converted, mixed, provenance_of
from kanbench.storage.derive import DERIVABLE
from kanbench.storage.frames import stage_times
from kanbench.storage.schema import HISTORY, SUMMARY, Column, columns
from kanbench.storage.values import same
from kanbench.storage.verification.report import CheckedRun, VerificationReport, datasets_of

PROVENANCE = ("dtype", "engine", "python", "torch", "pykan", "kanbench", "config_digest")
THRESHOLD_TIMES = {section.threshold_time for section in SECTIONS.values() if section.threshold_time is not None}


def check_frame(run: Run, name: str, frame: pd.DataFrame, report: VerificationReport) -> bool:
    """Check one frame by itself; return whether its columns are valid, so that it can be compared with others."""
    path, section = run.frame(name), run.kind
    model_type = section.model_type_of(name)
    _check_attrs(run, name, model_type, frame, report)
    wanted = columns(run.section, name)
    if not _check_columns(path, frame, wanted, report):
        return False
    frame = frame[[column for column in wanted if column in frame]]
    numbers = frame.select_dtypes("number")
    if is_converted(frame):  # other columns may not be recorded in all rows
        numbers = numbers[[column for column in numbers if column in HISTORY]]
    losses = numbers.filter(regex="_(loss|mse)$")
    if infinite := numbers.columns[~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=0)].tolist():
        report.fault(f"{path}: {', '.join(infinite)}", found="numbers that are not finite")
    if negative := losses.columns[(losses < 0).any()].tolist():
        report.fault(f"{path}: {', '.join(negative)}", found="less than 0", allowed="mean squares")
    if not frame["dataset_idx"].is_monotonic_increasing:
        report.fault(path, "the datasets are not in the order of dataset_idx")
    for index, names in frame.groupby("dataset_idx")["dataset_name"].unique().items():
        if len(names) > 1:
            report.fault(path, f"dataset {index} has several names", ", ".join(names))
    if {name for name, column in HISTORY.items() if not column.optional} <= set(frame.columns):
        _check_history(path, frame, report)
        if len(frame) and set(frame[section.label]) != {model_type}:
            report.fault(f"{path}: {section.label}", found=", ".join(frame[section.label].unique()), allowed=model_type)
    return True


def _check_columns(path: str, frame: pd.DataFrame, wanted: dict[str, Column], report: VerificationReport) -> bool:
    """Check that no column is missing, and that all have the types of the schema."""
    if missing := [name for name, column in wanted.items() if not column.optional and name not in frame]:
        if not is_converted(frame):
            report.fault(path, f"no columns {', '.join(missing)}")
            return False
        report.note(f"{path}: no columns {', '.join(missing)}: the run was converted, and they were not recorded")
        if "epoch" not in frame:
            return False
    if others := [str(name) for name in frame if name not in wanted]:
        report.note(f"{path}: columns {', '.join(others)}, which kanbench does not write")
    sound = True
    for name, column in wanted.items():
        if name in frame and (allowed := _other_kind(frame[name], column, is_converted(frame))):
            report.fault(f"{path}: {name}", found=frame[name].dtype, allowed=allowed)
            sound = False
    return sound


def _other_kind(values: pd.Series[Any], column: Column, any_numbers: bool) -> str:
    """The allowed type of a column if it has another one, else ""; optional columns may have any numbers."""
    if (column.optional and column.frames == SUMMARY) or (any_numbers and column.dtype != "object"):
        return "" if values.dtype.kind in "iuf" else "numbers"
    if column.dtype == "object" and values.dtype == "object" and not all(isinstance(value, str) for value in values):
        return "text in every row"
    return "" if values.dtype == column.dtype else column.dtype


def _check_attrs(run: Run, name: str, model_type: str, frame: pd.DataFrame, report: VerificationReport) -> None:
    path, section, attrs = run.frame(name), run.kind, frame.attrs
    required = ("section", "timestamp", "model_type", *essential(run.section))
    if missing := [key for key in required if key not in attrs]:
        report.fault(path, f"its attrs have no {', '.join(missing)}")
    for key in (key for key in attrs if key not in required):
        why = "can be derived from the columns" if key in DERIVABLE else "is not part of the format"
        report.fault(path, f"its attrs have {key}, which {why}")
    named = {**{key: getattr(run, key) for key in ("section", "timestamp", "epochs", "seed")}, "model_type": model_type}
    stated: dict[Any, Any] = {**provenance_of(frame), **attrs}
    for key, value in named.items():
        if value is not None and not same(stated.get(key, value), value):
            report.fault(path, f"{key} is {stated[key]!r} in its attrs, {value!r} in its name")
    if attrs.get("device", "cpu") not in ("cpu", "cuda"):
        report.fault(f"{path}: device", found=repr(attrs["device"]), allowed="cpu, cuda")
    for key in sorted(THRESHOLD_TIMES.intersection(required, attrs)):
        value, own = attrs[key], key == section.threshold_time
        unknown = value is None and is_converted(frame)
        if own and not unknown and not (type(value) in (int, float) and 0 <= value < np.inf):
            report.fault(f"{path}: {key}", found=repr(value), allowed="seconds")
        elif not own and value is not None:
            report.fault(f"{path}: {key}", found=repr(value), allowed="None: no model type of this section has it")
    provenance = attrs.get("provenance")
    if provenance is None or is_converted(frame):
        why = "no provenance" if provenance is None else "converted from another format"
        report.note(f"{path}: {why}, so the settings of its trainings are unknown")
    elif not isinstance(provenance, dict) or any(key not in provenance for key in PROVENANCE):
        report.fault(f"{path}: provenance", allowed=f"a dict with {', '.join(PROVENANCE)}")


def _check_history(path: str, frame: pd.DataFrame, report: VerificationReport) -> None:
    """Check each training's rows: epochs from 1, grids do not decrease, time and evaluations increase."""
    epochs = frame.attrs.get("epochs")
    for index, rows in frame.groupby("dataset_idx"):
        where = f"{path}: dataset {index}"
        if rows["epoch"].tolist() != list(range(1, len(rows) + 1)):
            report.fault(where, f"the epochs are not 1 to {len(rows)}, in order and without duplicates")
            continue
        if not rows["grid_size"].is_monotonic_increasing:
            report.fault(where, "grid_size decreases from one epoch to the next")
        if not (np.diff(rows["n_evals"], prepend=0) > 0).all():
            report.fault(where, "n_evals does not increase from 0 with every epoch")
        if "flops" in rows and not (np.diff(rows["flops"], prepend=0) > 0).all():
            report.fault(where, "flops does not increase from 0 with every epoch")
        if not (np.diff(rows["time"], prepend=0) >= 0).all() or not rows["time"].iloc[-1]:  # equal with coarse clocks
            report.fault(where, "time decreases, or is 0 at the end")
        stages = rows.groupby("grid_size", sort=False)
        if isinstance(epochs, int) and stages.size().max() > epochs:
            report.fault(where, found=f"{stages.size().max()} epochs on one grid", allowed=epochs)
        if any(not np.allclose(rows[name], values) for name, values in stage_times(rows).items()):
            report.fault(where, "total_time and time_per_epoch do not follow from the column time")
        if stages["num_params"].nunique().max() > 1:
            report.fault(where, "num_params changes within a grid")


def check_frames_of_run(checked: CheckedRun, known: dict[int, str] | None = None) -> None:
    """Check that the frames of a run agree in attrs, and in names of datasets (also with `known`)."""
    checked.report.remarks += [f"{checked.run.name}: {sentence}" for sentence in mixed(checked.frames)]
    names, first = checked.dataset_names | (known or {}), next(iter(checked.frames), "")
    for name, frame in checked.frames.items():
        path = checked.run.frame(name)
        for index, dataset in datasets_of(frame):
            if names[index] != dataset:
                checked.report.fault(path, f"dataset {index} is {dataset}, in another frame {names[index]}")
        for key in (key for key in essential(checked.run.section) if key != "provenance"):
            own, value = frame.attrs.get(key), checked.frames[first].attrs.get(key)
            if not same(own, value):
                checked.report.fault(path, f"{key} is {own!r} in its attrs, {value!r} in those of {first}")
