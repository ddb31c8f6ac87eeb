"""The numbers that figures show, from frames: nothing here draws."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kanbench.analysis import iso_compute
from kanbench.errors import InputError
from kanbench.figures.source import LeftOutError, Source, problem_of

LOSSES = {"train_loss": "training loss", "test_loss": "test loss", "dense_mse": "dense MSE"}


def curve(source: Source, model_type: str, dataset_idx: int, x: str, y: str) -> pd.DataFrame | None:
    """A loss of one training, by epoch: its median over the seeds, the smallest and the largest, and the median of x.

    Returns
    -------
    DataFrame or None
        Indexed by `epoch`, with `x`, `y`, `low` and `high`. None where no frame has the columns and rows.
    """
    parts = []
    for frame in source.frames(model_type):
        if {"epoch", x, y} <= set(frame):
            rows = frame[frame["dataset_idx"] == dataset_idx]
            parts.append(pd.DataFrame({"epoch": rows["epoch"], "x": rows[x], "y": rows[y]}))
    rows = pd.concat(parts) if parts else pd.DataFrame()
    if rows.empty or rows["y"].isna().all():
        return None
    groups = rows.groupby("epoch")
    y = groups["y"]
    return pd.DataFrame({"x": groups["x"].median(), "y": y.median(), "low": y.min(), "high": y.max()})


def threshold_epoch(source: Source, model_type: str, dataset_idx: int) -> int | None:
    """The epoch of the interpolation threshold; of several seeds the (lower) median."""
    rows = [source.thresholds(model_type, frame) for frame in source.frames(model_type)]
    epochs = pd.Series([part.loc[dataset_idx, "epoch"] for part in rows if dataset_idx in part.index])
    return None if epochs.empty else int(epochs.quantile(0.5, interpolation="lower"))


def stages(source: Source, model_type: str, dataset_idx: int) -> pd.Series:
    """The last epoch of every grid of a training, by grid size; empty where the frame does not tell."""
    frame = source.results["grid_history" if source.section.other_frames else model_type]
    if "grid_size" not in frame:
        return pd.Series(dtype=int)
    return frame[frame["dataset_idx"] == dataset_idx].groupby("grid_size")["epoch"].max().sort_values()


def scales(source: Source) -> tuple[dict[int, float], str]:
    """By what errors are divided, by dataset, and what the axis of such errors is called.

    The variance of the target; 1 for all where the target of one is not known.
    """
    from kanbench.target_scale import target_scale  # imports torch

    try:
        variances = {i: target_scale(problem_of(name).name).variance for i, name in source.datasets.items()}
        return variances, "dense MSE / variance of the target"
    except LeftOutError:
        return dict.fromkeys(source.datasets, 1.0), "dense MSE"


def comparison(source: Source) -> pd.DataFrame:
    """Every training at equal compute, at its end and at its threshold, one row per seed.

    Returns
    -------
    DataFrame
        `dataset_idx`, `model_type`, `seed` (a position), `iso_compute`, `final` (dense MSE, relative to the variance of
        the target if that is known) and `time` (seconds to the threshold); nan where the run does not tell.
    """
    scale, _ = scales(source)
    rows = []
    for seed, every in enumerate(source.replicates.values()):
        frames = {name: every[name] for name in source.model_types if name in every and len(every[name])}
        iso = _iso_compute(source, frames, first=seed == 0)
        for model_type, frame in frames.items():
            last = frame.groupby("dataset_idx").tail(1).set_index("dataset_idx")
            times = source.thresholds(model_type, frame).get("time", {})
            for i in last.index:
                errors = {"iso_compute": iso.get((i, model_type)), "final": last.get("dense_mse", {}).get(i)}
                row = {name: np.nan if error is None else error / scale[i] for name, error in errors.items()}
                row["time"] = times.get(i, np.nan)
                rows.append({"dataset_idx": i, "model_type": model_type, "seed": seed, **row})
    return pd.DataFrame(rows)


def _iso_compute(source: Source, frames: dict, first: bool) -> pd.Series:
    reference = source.section.reference
    metadata = source.metadata if first and reference in (source.metadata or {}) else None
    try:
        table = iso_compute(frames, metadata)
    except InputError:  # no reference, or no times
        return pd.Series(dtype=float)
    return table["dense_mse"] if "dense_mse" in table else pd.Series(dtype=float)
