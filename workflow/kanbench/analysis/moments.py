"""What is derived from frames and never stored: every training at equal compute, at its threshold and at its end."""

from __future__ import annotations

import contextlib
from typing import Any

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.sections import section_of
from kanbench.storage.derive import Frames, threshold_rows
from kanbench.storage.metadata import Metadata

MOMENTS = ("iso_compute", "threshold", "final")


def iso_compute(results: Frames, metadata: Metadata | None = None) -> pd.DataFrame:
    """Every model type at its last epoch that ended within the reference time.

    The reference time of a dataset is the time at which the section's reference model type reached its threshold.

    Args:
        results (dict): Frames with a column `time`.
        metadata (dict, optional): That of the checkpoints; without it the threshold is found in the reference's frame.

    Returns:
        DataFrame: Rows of the frames, indexed by `dataset_idx` and `model_type`. A model type whose first epoch took
            longer has no row.

    Raises:
        InputError: The reference, or a frame's column `time`, is missing.
    """
    section = next(iter(results.values())).attrs["section"]
    times = _reference_times(section, results, metadata)
    rows = []
    for model_type, frame in _sorted(results).items():
        if "time" not in frame:
            raise InputError(section, problem=f"{model_type} has no column 'time'")
        within = frame[frame["time"] <= frame["dataset_idx"].map(times)]
        rows.append(within.groupby("dataset_idx").tail(1))
    return pd.concat(rows).set_index(["dataset_idx", "model_type"])


def _reference_times(section: str, results: Frames, metadata: Metadata | None) -> dict[int, float | None]:
    reference = section_of(section).reference
    if reference is None:
        raise InputError(section, allowed="sections that compare model types", problem="has no reference")
    checkpoints = (metadata or {}).get(reference)
    if checkpoints:
        return {i: named.get("at_threshold", {}).get("time") for i, named in checkpoints.items()}
    if reference not in results:
        raise InputError(section, problem=f"no {reference}, the reference, among {', '.join(results)}")
    if "time" not in results[reference]:
        raise InputError(section, problem=f"{reference} has no column 'time'")
    times = threshold_rows(results[reference])["time"]
    return dict(zip(times.index, times, strict=True))


def _sorted(results: Frames) -> Frames:
    """Copies by dataset and epoch, with a column `model_type`, and without attrs, which `concat` would compare."""
    found = {}
    for model_type, frame in results.items():
        found[model_type] = frame.sort_values(["dataset_idx", "epoch"], kind="stable").assign(model_type=model_type)
        found[model_type].attrs = {}
    return found


def moments(results: Frames, metadata: Metadata | None = None) -> pd.DataFrame:
    """Every training at three moments: at equal compute, at its threshold, and at its end.

    Args:
        results (dict): Frames of a section that compares model types.
        metadata (dict, optional): That of the checkpoints, which tells the epochs of the thresholds; without it they
            are found in the frames.

    Returns:
        DataFrame: Rows of the frames, indexed by `moment` (one of `MOMENTS`), `dataset_idx` and `model_type`. What
            there is not has no row: a training without epochs, one that had no epoch within the reference time, equal
            compute where there are no times.
    """
    parts = []
    for model_type, frame in _sorted(results).items():
        parts.append(frame.groupby("dataset_idx").tail(1).assign(moment="final"))
        if "test_loss" in frame:
            rows = _at_threshold(frame, (metadata or {}).get(model_type, {}))
            parts.append(rows.assign(moment="threshold"))
    with contextlib.suppress(InputError):
        parts.append(iso_compute(results, metadata).reset_index().assign(moment="iso_compute"))
    return pd.concat(parts).set_index(["moment", "dataset_idx", "model_type"])


def _at_threshold(frame: pd.DataFrame, checkpoints: dict[int, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """The rows at the thresholds; the epochs of `checkpoints` stand, and 0 is that of an untrained model."""
    epochs = threshold_rows(frame)["epoch"].to_dict()
    for dataset_idx, named in checkpoints.items():
        epochs[dataset_idx] = named.get("at_threshold", {}).get("epoch", epochs.get(dataset_idx))
    return frame[frame["epoch"] == frame["dataset_idx"].map(epochs)]
