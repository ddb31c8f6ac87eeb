"""Check frames: columns, attrs, rows, and that those of a run agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.storage.attrs import essential
from kanbench.storage.derive import DERIVABLE, Frames
from kanbench.storage.frames import COLUMNS, MORE_COLUMNS
from kanbench.storage.merge_frames import EXPERT_COLUMNS
from kanbench.storage.verification.findings import Findings
from kanbench.storage.verification.merging import check_merging

PROVENANCE = ("dtype", "engine", "python", "torch", "pykan", "kanbench", "config_digest")
TEXT = ("dataset_name", "dependencies", "optimizer", "approach")
DTYPES = COLUMNS | MORE_COLUMNS["section2_2"] | dict.fromkeys(TEXT, "object") | {"selected": "bool"}
THRESHOLD_TIMES = {section.threshold_time for section in SECTIONS.values()} - {None}
OF_EXPERTS = ("dataset_idx", "dataset_name", *EXPERT_COLUMNS)
MERGE_COLUMNS = {
    "summary": ("dataset_idx", "dataset_name", "n_experts_trained", "n_experts_selected", "merged_dense_mse"),
    "experts": (*OF_EXPERTS, "selected"),
    "selected_experts": (*OF_EXPERTS, "rank", "weight"),
    "grid_history": (*COLUMNS, "approach"),
}


def check_frame(run: Run, name: str, frame: pd.DataFrame, findings: Findings) -> bool:
    """Check one frame by itself; return whether it has the columns that others are compared with."""
    path, section = run.frame(name), run.kind
    _check_attrs(run, name, frame.attrs, findings)
    columns = MERGE_COLUMNS.get(name) or (*COLUMNS, *MORE_COLUMNS.get(without_variant(run.section), ()), section.label)
    missing = [column for column in columns if column not in frame]
    if missing:
        findings.fault(path, f"no columns {', '.join(missing)}")
        return False
    more = [column for column in frame if column not in columns]
    if more and name != "summary":  # which says more than others need
        findings.note(f"{path}: columns {', '.join(more)}, which kanbench does not write")
        frame = frame[list(columns)]
    others = [column for column in frame if not _has_dtype(frame[column].dtype, DTYPES.get(column))]
    for column in others:
        findings.fault(path, f"{column}: found {frame[column].dtype}; allowed: {DTYPES.get(column, 'numbers')}")
    if others:
        return False
    numbers = frame.select_dtypes("number")
    if infinite := numbers.columns[~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=0)].tolist():
        findings.fault(path, f"{', '.join(infinite)}: found numbers that are not finite")
    losses = numbers.filter(regex="_(loss|mse)$")
    if negative := losses.columns[(losses < 0).any()].tolist():
        findings.fault(path, f"{', '.join(negative)}: found less than 0; allowed: mean squares")
    if not frame["dataset_idx"].is_monotonic_increasing:
        findings.fault(path, "the datasets are not in the order of dataset_idx")
    for index, names in frame.groupby("dataset_idx")["dataset_name"].unique().items():
        if len(names) > 1:
            findings.fault(path, f"dataset {index} has the names {', '.join(map(str, names))}")
    if set(COLUMNS) <= set(frame.columns):
        _check_history(path, frame, frame.attrs.get("epochs"), findings)
        model_type = name if name in section.model_types else section.model_types[0]
        if len(frame) and set(frame[section.label]) != {model_type}:
            findings.fault(path, f"{section.label}: found {', '.join(map(str, frame[section.label].unique()))}")
    return True


def _has_dtype(found: Any, allowed: str | None) -> bool:
    """Whether it is the one of a column; where none is known, any of numbers is."""
    if allowed is not None:
        return found == allowed
    return pd.api.types.is_numeric_dtype(found) and not pd.api.types.is_bool_dtype(found)


def _check_attrs(run: Run, name: str, attrs: dict[str, Any], findings: Findings) -> None:
    path, section = run.frame(name), run.kind
    required = ("section", "timestamp", "model_type", *essential(run.section))
    missing, more = [key for key in required if key not in attrs], [key for key in attrs if key not in required]
    if missing:
        findings.fault(path, f"its attrs have no {', '.join(missing)}")
    for key in more:
        why = "can be derived from the columns" if key in DERIVABLE else "is none of the format's"
        findings.fault(path, f"its attrs have {key}, which {why}")
    model_type = name if name in section.model_types else section.model_types[0]
    named = {"section": run.section, "timestamp": run.timestamp, "model_type": model_type}
    named |= {"epochs": run.epochs} if run.epochs is not None else {}
    for key, value in named.items():
        if attrs.get(key, value) != value:
            findings.fault(path, f"its attrs say {key} {attrs[key]!r}, its name {value!r}")
    if attrs.get("device", "cpu") not in ("cpu", "cuda"):
        findings.fault(path, f"device: found {attrs['device']!r}; allowed: cpu, cuda")
    if section.threshold_time is not None and not _is_time(attrs.get(section.threshold_time, 0.0)):
        findings.fault(path, f"{section.threshold_time}: found {attrs[section.threshold_time]!r}; allowed: seconds")
    for key in sorted(THRESHOLD_TIMES & set(required) - {section.threshold_time}):
        if attrs.get(key) is not None:
            findings.fault(path, f"{key}: found {attrs[key]!r}; allowed: None: no model type of this section has it")
    provenance = attrs.get("provenance")
    if provenance is None:
        findings.note(f"{path}: no provenance, so that the settings of its trainings are not known")
    elif not isinstance(provenance, dict) or any(key not in provenance for key in PROVENANCE):
        findings.fault(path, f"provenance: allowed: a dict with {', '.join(PROVENANCE)}")


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _check_history(path: str, frame: pd.DataFrame, epochs: int | None, findings: Findings) -> None:
    """Rows of every training: one per epoch, from 1; grids that do not fall; each epoch takes time and evaluations."""
    for index, rows in frame.groupby("dataset_idx"):
        where = f"dataset {index}"
        if rows["epoch"].tolist() != list(range(1, len(rows) + 1)):
            findings.fault(path, f"{where}: the epochs are not 1 to {len(rows)}, each once and in order")
            continue
        if not rows["grid_size"].is_monotonic_increasing:
            findings.fault(path, f"{where}: grid_size falls from one epoch to the next")
        if not (np.diff(rows["n_evals"], prepend=0) > 0).all():
            findings.fault(path, f"{where}: n_evals does not rise from 0 with every epoch")
        if not (np.diff(rows["time"], prepend=0) >= 0).all() or not rows["time"].iloc[-1]:  # of coarse clocks, too
            findings.fault(path, f"{where}: time falls, or is 0 at the end")
        stages = rows.groupby("grid_size", sort=False)
        if isinstance(epochs, int) and stages.size().max() > epochs:
            findings.fault(path, f"{where}: {stages.size().max()} epochs on one grid; allowed: {epochs}")
        ends = stages["time"].max()
        seconds = rows["grid_size"].map(ends - ends.shift(fill_value=0.0))
        per_epoch = seconds / stages["epoch"].transform("size")
        if not (np.allclose(rows["total_time"], seconds) and np.allclose(rows["time_per_epoch"], per_epoch)):
            findings.fault(path, f"{where}: total_time and time_per_epoch are not those of the column time")
        if stages["num_params"].nunique().max() > 1:
            findings.fault(path, f"{where}: num_params changes while the grid stays")


def check_frames_of_run(run: Run, frames: Frames, findings: Findings) -> None:
    """Check that the frames of a run agree with each other."""
    names: dict[int, str] = {}
    shared: dict[str, tuple[str, Any]] = {}
    for name, frame in frames.items():
        if {"dataset_idx", "dataset_name"} <= set(frame.columns):
            for index, dataset in frame[["dataset_idx", "dataset_name"]].drop_duplicates().itertuples(index=False):
                if names.setdefault(index, dataset) != dataset:
                    findings.fault(run.frame(name), f"dataset {index} is {dataset}, in another frame {names[index]}")
        for key in essential(run.section):
            other, value = shared.setdefault(key, (name, frame.attrs.get(key)))
            if key != "provenance" and frame.attrs.get(key) != value:
                findings.fault(
                    run.frame(name), f"its attrs say {key} {frame.attrs.get(key)!r}, those of {other} {value!r}"
                )
    check_merging(run, frames, findings)
