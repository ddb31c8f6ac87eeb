"""Check the metadata of checkpoints: complete, small, without weights, and as the frames say."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from kanbench.io.readers import read_bytes
from kanbench.plan.naming import CHECKPOINTS, Run
from kanbench.storage.derive import Frames
from kanbench.storage.metadata import METRICS, Metadata
from kanbench.storage.verification.findings import Findings

MAX_BYTES = 1024  # of a checkpoint; about 150 are needed
FROM_FRAMES = ("time", "train_loss", "test_loss", "dense_mse", "grid_size", "num_params")
OF_SUMMARY = {"at_threshold": "merged_threshold_dense_mse", "final": "merged_dense_mse"}  # the dense MSE


def check_metadata(
    run: Run, metadata: Metadata, frames: Frames, model_types: list[str], datasets: list[int], findings: Findings
) -> None:
    """Check the metadata of a run by itself and against its frames."""
    path, section = run.checkpoint_metadata(), run.kind
    for model_type in {*metadata, *model_types}:
        if model_type not in section.model_types:
            findings.fault(path, f"found model type {model_type!r}; allowed: {', '.join(section.model_types)}")
        elif set(metadata.get(model_type, {})) != set(datasets):
            there = ", ".join(map(repr, metadata.get(model_type, {}))) or "none"
            findings.fault(path, f"{model_type}: found datasets {there}; allowed: {', '.join(map(repr, datasets))}")
    count = 0
    for model_type, per_dataset in metadata.items():
        for index, checkpoints in per_dataset.items():
            if set(checkpoints) != set(CHECKPOINTS):
                findings.fault(path, f"{model_type}, dataset {index}: found checkpoints {', '.join(checkpoints)}")
            for name, row in checkpoints.items():
                count += 1
                _check_row(path, f"{model_type}, dataset {index}, {name}", row, section.label, model_type, findings)
            _check_against_frame(run, model_type, index, checkpoints, frames, findings)
    content = read_bytes(path)
    if len(content) > MAX_BYTES * (count + 1):
        findings.fault(path, f"found {len(content)} bytes for {count} checkpoints; allowed: {MAX_BYTES} for each")
    if b"numpy" in content:  # read_metadata makes Python's of them
        findings.fault(path, "found numbers of numpy's; allowed: builtin types, which load without it")
    _check_threshold_time(run, metadata, frames, findings)


def _check_row(path: str, where: str, row: dict[str, Any], label: str, model_type: str, findings: Findings) -> None:
    expected = {*METRICS, label}
    if set(row) != expected:
        missing, more = sorted(expected - set(row)), sorted(map(str, set(row) - expected))
        findings.fault(
            path, f"{where}: missing {', '.join(missing) or 'nothing'}; too much {', '.join(more) or 'nothing'}"
        )
    for key, value in row.items():
        allowed = str if key == label else (int, float)
        if not isinstance(value, allowed) or isinstance(value, bool):
            findings.fault(path, f"{where}: {key}: found a {type(value).__name__}; allowed: a number, no weights")
    if row.get(label, model_type) != model_type:
        findings.fault(path, f"{where}: {label}: found {row[label]!r}; allowed: {model_type}")


def _check_against_frame(
    run: Run, model_type: str, index: int, checkpoints: dict[str, Any], frames: Frames, findings: Findings
) -> None:
    """Every checkpoint is a row of the history, and `final` its last. An untrained model (epoch 0) has no row."""
    name = model_type if model_type in frames else "grid_history"
    if name not in frames or not {"dataset_idx", "epoch", *FROM_FRAMES} <= set(frames[name].columns):
        return
    history = frames[name][frames[name]["dataset_idx"] == index].drop_duplicates("epoch").set_index("epoch")
    path, last = run.checkpoint_metadata(), max(history.index, default=0)
    for checkpoint, row in checkpoints.items():
        where, epoch = f"{model_type}, dataset {index}, {checkpoint}", row.get("epoch")
        if checkpoint == "final" and epoch != last:
            findings.fault(path, f"{where}: epoch {epoch}, but the frame ends with {last}")
        elif epoch not in history.index and epoch != 0:
            findings.fault(path, f"{where}: epoch {epoch}, which the frame does not have")
        elif epoch != 0:
            for key in FROM_FRAMES:
                if row.get(key) != history.at[epoch, key]:
                    findings.fault(path, f"{where}: {key} is {row.get(key)!r}, in the frame {history.at[epoch, key]}")
    if "summary" in frames:
        rows = frames["summary"][frames["summary"]["dataset_idx"] == index]
        for checkpoint, column in OF_SUMMARY.items():
            there = column in rows and checkpoint in checkpoints
            if there and (rows[column] != checkpoints[checkpoint].get("dense_mse")).any():
                what = f"dataset {index}: {column} is not that of the {checkpoint} checkpoint"
                findings.fault(run.frame("summary"), what)


def _check_threshold_time(run: Run, metadata: Metadata, frames: Frames, findings: Findings) -> None:
    section = run.kind
    rows = [checkpoints.get("at_threshold", {}) for checkpoints in metadata.get(section.reference or "", {}).values()]
    times = [row["time"] for row in rows if isinstance(row.get("time"), (int, float))]
    if not times:
        return
    for name, frame in frames.items():
        stored = frame.attrs.get(section.threshold_time)
        if isinstance(stored, (int, float)) and abs(stored - fmean(times)) > 1e-9 * fmean(times):
            findings.fault(
                run.frame(name),
                f"{section.threshold_time} is {stored}, but the mean of {section.reference} is {fmean(times)}",
            )
