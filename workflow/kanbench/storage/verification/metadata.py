"""Check checkpoint metadata: complete, small, without weights, and consistent with the frames."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kanbench.io.readers import read_bytes
from kanbench.plan.naming import CHECKPOINTS
from kanbench.storage.metadata import METRICS, Metadata
from kanbench.storage.verification.report import CheckedRun

MAX_BYTES = 1024  # per checkpoint; about 150 are needed
OF_SUMMARY = {"at_threshold": "merged_threshold_dense_mse", "final": "merged_dense_mse"}  # columns of the dense MSE


@dataclass(frozen=True)
class RecordedCheckpoint:
    """A checkpoint as recorded in the metadata; metrics in `row` may be missing, but are numbers."""

    path: str  # of the metadata file
    model_type: str
    dataset_idx: int
    name: str
    row: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.path}: {self.model_type}, dataset {self.dataset_idx}, {self.name}"


def check_metadata(checked: CheckedRun, metadata: Metadata, model_types: list[str]) -> list[RecordedCheckpoint]:
    """Check the metadata of a run by itself and against its frames; return the checkpoints with valid metadata."""
    path, section, report = checked.run.checkpoint_metadata(), checked.run.kind, checked.report
    sound = []
    for model_type in {**metadata, **dict.fromkeys(model_types)}:
        per_dataset = metadata.get(model_type, {})
        if model_type not in section.model_types:
            report.fault(f"{path}: model type", found=repr(model_type), allowed=", ".join(section.model_types))
        elif set(per_dataset) != set(checked.datasets):
            there, allowed = (", ".join(map(repr, indices)) or "none" for indices in (per_dataset, checked.datasets))
            report.fault(f"{path}: {model_type}: datasets", found=there, allowed=allowed)
        for index, checkpoints in per_dataset.items():
            if set(checkpoints) != set(CHECKPOINTS) and not checked.is_converted:
                there = ", ".join(map(repr, checkpoints))
                report.fault(f"{path}: {model_type}, dataset {index}: checkpoints", found=there)
            for name, row in checkpoints.items():
                checkpoint = RecordedCheckpoint(path, model_type, index, name, row)
                known = model_type in section.model_types and index in checked.datasets and name in CHECKPOINTS
                if _has_metrics(checked, checkpoint) and known:
                    _check_against_frames(checked, checkpoint)
                    sound.append(checkpoint)
    count = sum(len(checkpoints) for per_dataset in metadata.values() for checkpoints in per_dataset.values())
    content = read_bytes(path)
    if len(content) > MAX_BYTES * (count + 1):
        report.fault(path, found=f"{len(content)} bytes for {count} checkpoints", allowed=f"{MAX_BYTES} for each")
    if b"numpy" in content:  # read_metadata has converted them
        report.fault(path, found="numpy scalars", allowed="builtin types, which load without numpy")
    if not checked.is_converted:  # the original scripts used another rule for the threshold time
        _check_threshold_time(checked, sound)
    return sound


def _has_metrics(checked: CheckedRun, checkpoint: RecordedCheckpoint) -> bool:
    """Check that a row has numbers and its model type; return whether all values have the right types."""
    row, label, report = checkpoint.row, checked.run.kind.label, checked.report
    expected = {*METRICS, label}
    if (missing := sorted(expected - set(row))) and not checked.is_converted:
        report.fault(checkpoint, f"missing: {', '.join(missing)}")
    if (more := sorted(map(str, set(row) - expected))) and not checked.is_converted:
        report.fault(checkpoint, found=", ".join(more), allowed=", ".join(sorted(expected)))
    kinds = {key: str if key == label else (int, float) for key in row}
    wrong = [key for key in row if not isinstance(row[key], kinds[key]) or isinstance(row[key], bool)]
    for key in wrong:
        report.fault(f"{checkpoint}: {key}", found=f"a {type(row[key]).__name__}", allowed="a number, no weights")
    if row.get(label, checkpoint.model_type) != checkpoint.model_type:
        report.fault(f"{checkpoint}: {label}", found=repr(row[label])[:100], allowed=checkpoint.model_type)
    return not wrong


def _check_against_frames(checked: CheckedRun, checkpoint: RecordedCheckpoint) -> None:
    """Check that a checkpoint equals a row of the history, `final` the last; an untrained model (epoch 0) has none."""
    index, row, report = checkpoint.dataset_idx, checkpoint.row, checked.report
    if (rows := checked.history(checkpoint.model_type, index)) is not None:
        history = rows.drop_duplicates("epoch").set_index("epoch", drop=False)
        epoch, last = row.get("epoch"), max(history.index, default=0)
        if checkpoint.name == "final" and epoch != last:
            report.fault(checkpoint, f"epoch {epoch}, but the frame ends with {last}")
        elif epoch not in history.index and epoch != 0:
            report.fault(checkpoint, f"epoch {epoch}, which the frame does not have")
        elif epoch != 0:
            for key in METRICS:
                if checked.is_converted and key == "train_loss":  # the frame has the loss before the step
                    continue
                if row.get(key) != (value := history.at[epoch, key]):
                    report.fault(checkpoint, f"{key} is {row.get(key)}, in the frame {value!s}")
    if (summary := checked.frames.get("summary")) is not None:
        column = OF_SUMMARY[checkpoint.name]
        rows = summary[summary["dataset_idx"] == index]
        if column in rows and (rows[column] != row.get("dense_mse")).any():
            where = f"{checked.run.frame('summary')}: dataset {index}"
            report.fault(where, f"{column} is not that of the {checkpoint.name} checkpoint")


def _check_threshold_time(checked: CheckedRun, checkpoints: list[RecordedCheckpoint]) -> None:
    """Check that the threshold time in attrs is the mean over the reference's checkpoints."""
    section = checked.run.kind
    found = [c for c in checkpoints if (c.model_type, c.name) == (section.reference, "at_threshold")]
    if times := [c.row["time"] for c in found if "time" in c.row]:
        for name, frame in checked.frames.items():
            stored, mean = frame.attrs.get(section.threshold_time), fmean(times)
            if isinstance(stored, (int, float)) and abs(stored - mean) > 1e-9 * mean:
                problem = f"{section.threshold_time} is {stored}, but the mean of {section.reference} is {mean}"
                checked.report.fault(checked.run.frame(name), problem)
