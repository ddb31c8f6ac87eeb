"""What is derived from frames and never stored: every training at equal compute, at its threshold and at its end."""

from __future__ import annotations

import contextlib

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.sections import section_of
from kanbench.storage.comparable import comparable_frames
from kanbench.storage.derive import Frames, at_threshold, threshold_rows
from kanbench.storage.metadata import Metadata

MOMENTS = ("iso_compute", "threshold", "final")


def iso_compute(results: Frames, metadata: Metadata | None = None) -> pd.DataFrame:
    """Every model type at its last epoch that ended within the reference time.

    The reference time of a dataset is the time at which the section's reference model type reached its threshold.

    Args:
        results (dict): Frames with a column `time`, or with times of the grids' stages.
        metadata (dict, optional): That of the checkpoints; without it the threshold is found in the reference's frame.

    Returns:
        DataFrame: Rows of the frames, indexed by `dataset_idx` and `model_type`. A model type whose first epoch took
            longer has no row.

    Raises:
        InputError: The reference, or a frame's column `time`, is missing.
    """
    section, compared = next(iter(results.values())).attrs["section"], _sorted(results)
    times = _reference_times(section, compared, metadata)
    rows = []
    for model_type, frame in compared.items():
        if "time" not in frame:
            raise InputError(section, problem=f"{model_type} has no column 'time'")
        within = frame[frame["time"] <= frame["dataset_idx"].map(times)]
        rows.append(within.groupby("dataset_idx").tail(1))
    return pd.concat(rows).set_index(["dataset_idx", "model_type"])


def _reference_times(section: str, results: Frames, metadata: Metadata | None) -> dict[int, float | None]:
    reference = section_of(section).reference
    if reference is None:
        raise InputError(section, allowed="sections that compare model types", problem="has no reference")
    checkpoints = (metadata or {}).get(reference, {})
    recorded = {i: named["at_threshold"]["time"] for i, named in checkpoints.items() if "at_threshold" in named}
    if reference not in results:
        if recorded:
            return recorded
        raise InputError(section, problem=f"no {reference}, the reference, among {', '.join(results)}")
    if "time" not in results[reference]:
        raise InputError(section, problem=f"{reference} has no column 'time'")
    times = threshold_rows(results[reference])["time"]
    return dict(zip(times.index, times, strict=True)) | recorded


def _sorted(results: Frames) -> Frames:
    """Comparable copies by dataset and epoch, with `model_type`, and without attrs, which `concat` would compare."""
    found = {}
    for model_type, frame in comparable_frames(results).items():
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
            rows = at_threshold(frame, (metadata or {}).get(model_type, {}))
            parts.append(rows.assign(moment="threshold"))
    with contextlib.suppress(InputError):
        parts.append(iso_compute(results, metadata).reset_index().assign(moment="iso_compute"))
    return pd.concat(parts).set_index(["moment", "dataset_idx", "model_type"])
