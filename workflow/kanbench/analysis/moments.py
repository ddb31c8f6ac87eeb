"""Trainings at equal compute, at their threshold and at their end; derived from frames, never stored."""

from __future__ import annotations

import contextlib

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.sections import section_of
from kanbench.storage.comparable import comparable_frames
from kanbench.storage.derive import Frames, at_threshold
from kanbench.storage.metadata import Metadata

EQUAL_COMPUTE = {"iso_flops": "flops", "iso_time": "time"}  # flops come first: they are the same on every machine
MOMENTS = (*EQUAL_COMPUTE, "threshold", "final")


def iso_compute(results: Frames, metadata: Metadata | None = None, by: str = "flops") -> pd.DataFrame:
    """Take every model type at its last epoch within the reference's work.

    The work on a dataset is what the section's reference model type had used up to its threshold.

    Args:
        results (dict): Frames by model type, with the column `by`; for `time`, the times of stages are enough.
        metadata (dict, optional): Metadata of the checkpoints; without it, the threshold is found in the reference's
            frame.
        by (str): `flops` (cumulative operations) or `time` (cumulative seconds).

    Returns:
        DataFrame: Rows of the frames, indexed by `dataset_idx` and `model_type`. A model type whose first epoch exceeds
            the work has no row.

    Raises:
        InputError: The reference, or a frame's column `by`, is missing.
    """
    return _iso_compute(
        next(iter(results.values())).attrs["section"], _sorted(comparable_frames(results)), metadata, by
    )


def _iso_compute(section: str, compared: Frames, metadata: Metadata | None, by: str) -> pd.DataFrame:
    """As `iso_compute`, for frames from `_sorted`."""
    work = _reference_work(section, compared, metadata, by)
    rows = []
    for model_type, frame in compared.items():
        if by not in frame:
            raise InputError(section, problem=f"{model_type} has no column {by!r}")
        within = frame[frame[by] <= frame["dataset_idx"].map(work)]
        rows.append(within.groupby("dataset_idx").tail(1))
    return pd.concat(rows).set_index(["dataset_idx", "model_type"])


def _reference_work(section: str, results: Frames, metadata: Metadata | None, by: str) -> dict[int, float | None]:
    """The reference's `by` at its threshold, by dataset; metadata alone give only its time."""
    reference = section_of(section).reference
    if reference is None:
        raise InputError(section, allowed="a section that compares model types", problem="has no reference")
    checkpoints = (metadata or {}).get(reference, {})
    if reference not in results:
        recorded = {i: named["at_threshold"]["time"] for i, named in checkpoints.items() if "at_threshold" in named}
        if recorded and by == "time":
            return recorded
        raise InputError(section, ", ".join(results), problem=f"the reference {reference} is missing")
    if by not in results[reference]:
        raise InputError(section, problem=f"{reference} has no column {by!r}")
    rows = at_threshold(results[reference], checkpoints)
    return dict(zip(rows["dataset_idx"], rows[by], strict=True))


def _sorted(results: Frames) -> Frames:
    """Copies sorted by dataset and epoch, with `model_type`, and without attrs (`concat` compares them)."""
    found = {}
    for model_type, frame in results.items():
        found[model_type] = frame.sort_values(["dataset_idx", "epoch"], kind="stable").assign(model_type=model_type)
        found[model_type].attrs = {}
    return found


def moments(results: Frames, metadata: Metadata | None = None) -> pd.DataFrame:
    """Take every training at four moments: equal compute by flops and by time, its threshold, and its end.

    Args:
        results (dict): Comparable frames of a section that compares model types.
        metadata (dict, optional): Metadata of the checkpoints, which records the epochs of the thresholds; without it,
            they are found in the frames.

    Returns:
        DataFrame: Rows of the frames, indexed by `moment` (one of `MOMENTS`), `dataset_idx` and `model_type`. There is
            no row for a training without epochs, without an epoch within the reference's work, or for equal compute
            without flops or times.
    """
    parts, compared = [], _sorted(results)
    for model_type, frame in compared.items():
        parts.append(frame.groupby("dataset_idx").tail(1).assign(moment="final"))
        if "test_loss" in frame:
            rows = at_threshold(frame, (metadata or {}).get(model_type, {}))
            parts.append(rows.assign(moment="threshold"))
    section = next(iter(results.values())).attrs["section"]
    for moment, by in EQUAL_COMPUTE.items():
        with contextlib.suppress(InputError):
            parts.append(_iso_compute(section, compared, metadata, by).reset_index().assign(moment=moment))
    return pd.concat(parts).set_index(["moment", "dataset_idx", "model_type"])
