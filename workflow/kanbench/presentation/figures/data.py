"""The numbers that figures show, from frames: nothing here draws."""

from __future__ import annotations

import pandas as pd

from kanbench.analysis.moments import moments
from kanbench.presentation.figures.source import FigureUnavailableError, Source, problem_of
from kanbench.problems.target_scale import target_scale

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
    frame = source.results["grid_history" if source.section.frame_names else model_type]
    if "grid_size" not in frame:
        return pd.Series(dtype=int)
    return frame[frame["dataset_idx"] == dataset_idx].groupby("grid_size")["epoch"].max().sort_values()


def scales(source: Source) -> tuple[dict[int, float], str]:
    """By what errors are divided, by dataset, and what the axis of such errors is called.

    The variance of the target; 1 for all where the target of one is not known.
    """
    try:
        variances = {i: target_scale(problem_of(name).name).variance for i, name in source.datasets.items()}
        return variances, "dense MSE / variance of the target"
    except FigureUnavailableError:
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
    wanted = {"iso_compute": "dense_mse", "final": "dense_mse", "threshold": "time"}
    parts = []
    for seed, every in enumerate(source.replicates.values()):
        frames = {name: every[name] for name in source.model_types if name in every and len(every[name])}
        if not frames:
            continue
        rows = moments(frames, source.metadata if seed == 0 else None).reindex(columns=["dense_mse", "time"])
        moment_of = rows.index.get_level_values("moment")
        values = {moment: rows.loc[moment_of == moment, name].droplevel("moment") for moment, name in wanted.items()}
        parts.append(pd.DataFrame(values).rename(columns={"threshold": "time"}).assign(seed=seed).reset_index())
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    errors = ["iso_compute", "final"]
    table[errors] = table[errors].div(table["dataset_idx"].map(scale), axis="index")
    return table
