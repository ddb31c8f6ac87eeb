"""Check the metadata of checkpoints: complete, small, without weights, and as the frames say."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kanbench.io.readers import read_bytes
from kanbench.plan.naming import CHECKPOINTS
from kanbench.storage.metadata import METRICS, Metadata
from kanbench.storage.verification.report import CheckedRun

MAX_BYTES = 1024  # of a checkpoint; about 150 are needed
OF_SUMMARY = {"at_threshold": "merged_threshold_dense_mse", "final": "merged_dense_mse"}  # the dense MSE


@dataclass(frozen=True)
class RecordedCheckpoint:
    """A checkpoint, and what the metadata record of it: `row`, in which metrics may be missing but are numbers."""

    model_type: str
    dataset_idx: int
    name: str
    row: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.model_type}, dataset {self.dataset_idx}, {self.name}"


def check_metadata(checked: CheckedRun, metadata: Metadata, model_types: list[str]) -> list[RecordedCheckpoint]:
    """Check the metadata of a run by itself and against its frames; return the checkpoints that are sound in it."""
    path, section, report = checked.run.checkpoint_metadata(), checked.run.kind, checked.report
    sound = []
    for model_type in {**metadata, **dict.fromkeys(model_types)}:
        per_dataset = metadata.get(model_type, {})
        if model_type not in section.model_types:
            allowed = ", ".join(section.model_types)
            report.fault(f"{path}: model type", found=repr(model_type), allowed=allowed)
        elif set(per_dataset) != set(checked.datasets):
            there = ", ".join(map(repr, per_dataset)) or "none"
            allowed = ", ".join(map(repr, checked.datasets))
            report.fault(f"{path}: {model_type}: datasets", found=there, allowed=allowed)
        for index, checkpoints in per_dataset.items():
            if set(checkpoints) != set(CHECKPOINTS):
                there = ", ".join(map(repr, checkpoints))
                report.fault(f"{path}: {model_type}, dataset {index}: checkpoints", found=there)
            for name, row in checkpoints.items():
                checkpoint = RecordedCheckpoint(model_type, index, name, row)
                known = model_type in section.model_types and index in checked.datasets and name in CHECKPOINTS
                if _has_metrics(checked, checkpoint) and known:
                    sound.append(checkpoint)
    for checkpoint in sound:
        _check_against_frames(checked, checkpoint)
    count = sum(len(checkpoints) for per_dataset in metadata.values() for checkpoints in per_dataset.values())
    content = read_bytes(path)
    if len(content) > MAX_BYTES * (count + 1):
        report.fault(path, "", f"{len(content)} bytes for {count} checkpoints", f"{MAX_BYTES} for each")
    if b"numpy" in content:  # read_metadata makes Python's of them
        report.fault(path, "", "numbers of numpy's", "builtin types, which load without it")
    _check_threshold_time(checked, [c for c in sound if c.model_type == section.reference and c.name == "at_threshold"])
    return sound


def _has_metrics(checked: CheckedRun, checkpoint: RecordedCheckpoint) -> bool:
    """Whether the values of a row are numbers and its model type."""
    where, row = f"{checked.run.checkpoint_metadata()}: {checkpoint}", checkpoint.row
    label, sound = checked.run.kind.label, True
    expected = {*METRICS, label}
    if missing := sorted(expected - set(row)):
        checked.report.fault(where, f"missing: {', '.join(missing)}")
    if more := sorted(map(str, set(row) - expected)):
        checked.report.fault(where, found=", ".join(more), allowed=", ".join(sorted(expected)))
    for key, value in row.items():
        if not isinstance(value, str if key == label else (int, float)) or isinstance(value, bool):
            found = f"a {type(value).__name__}"
            checked.report.fault(f"{where}: {key}", found=found, allowed="a number, no weights")
            sound = False
    if row.get(label, checkpoint.model_type) != checkpoint.model_type:
        checked.report.fault(f"{where}: {label}", found=repr(row[label])[:100], allowed=checkpoint.model_type)
    return sound


def _check_against_frames(checked: CheckedRun, checkpoint: RecordedCheckpoint) -> None:
    """Every checkpoint is a row of the history, and `final` its last. An untrained model (epoch 0) has no row."""
    index, row = checkpoint.dataset_idx, checkpoint.row
    if (frame := checked.history(checkpoint.model_type)) is not None:
        history = frame[frame["dataset_idx"] == index].drop_duplicates("epoch").set_index("epoch")
        where, epoch = f"{checked.run.checkpoint_metadata()}: {checkpoint}", row.get("epoch")
        last = max(history.index, default=0)
        if checkpoint.name == "final" and epoch != last:
            checked.report.fault(where, f"epoch {epoch}, but the frame ends with {last}")
        elif epoch not in history.index and epoch != 0:
            checked.report.fault(where, f"epoch {epoch}, which the frame does not have")
        elif epoch != 0:
            for key in (key for key in METRICS if key != "epoch"):
                if row.get(key) != (value := history.at[epoch, key]):
                    checked.report.fault(where, f"{key} is {row.get(key)}, in the frame {value!s}")
    if (summary := checked.frames.get("summary")) is not None:
        column = OF_SUMMARY[checkpoint.name]
        rows = summary[summary["dataset_idx"] == index]
        if column in rows and (rows[column] != row.get("dense_mse")).any():
            where = f"{checked.run.frame('summary')}: dataset {index}"
            checked.report.fault(where, f"{column} is not that of the {checkpoint.name} checkpoint")


def _check_threshold_time(checked: CheckedRun, reference: list[RecordedCheckpoint]) -> None:
    section, times = checked.run.kind, [c.row["time"] for c in reference if "time" in c.row]
    if not times:
        return
    for name, frame in checked.frames.items():
        stored = frame.attrs.get(section.threshold_time)
        if isinstance(stored, (int, float)) and abs(stored - fmean(times)) > 1e-9 * fmean(times):
            where, mean = checked.run.frame(name), f"the mean of {section.reference} is {fmean(times)}"
            checked.report.fault(where, f"{section.threshold_time} is {stored}, but {mean}")
