"""What figures show, from a stored run: nothing here draws."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from kanbench.network.checkpoints import NoSumOfSplinesError
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems.poisson import PROBLEMS, Problem
from kanbench.problems.target_scale import target_scale
from kanbench.storage.stored_run import StoredRun

Note = Callable[[str], None]  # is given a line for every part of a figure that is left out


class FigureUnavailableError(Exception):
    """A figure, or a part of it, that a run does not have the data for; the text says what is missing."""


def problem_of(dataset: str) -> Problem:
    """The problem of this name.

    Raises:
        FigureUnavailableError: It is none of kanbench's, so that its target is not known.
    """
    if dataset not in PROBLEMS:
        raise FigureUnavailableError(f"the target of {dataset} is not known: it is none of kanbench.problems")
    return PROBLEMS[dataset]


def index_of(stored: StoredRun, dataset: str) -> int:
    return next(index for index, name in stored.datasets.items() if name == dataset)


def model_of(stored: StoredRun, model_type: str, dataset_idx: int) -> tuple[str, SplineNetwork]:
    """The checkpoint that is drawn, and its model: that at the threshold, or the final one where only that is there.

    Raises:
        FigureUnavailableError: There is none in pykan's format, or it is no sum of splines.
    """
    found = stored.checkpoints(model_type, dataset_idx)
    if not found:
        raise FigureUnavailableError("it has no checkpoint that pykan reads")
    checkpoint, base = next(iter(found.items()))
    try:
        return checkpoint, stored.network(base)
    except NoSumOfSplinesError as error:
        raise FigureUnavailableError(str(error)) from error


def curve(stored: StoredRun, model_type: str, dataset_idx: int, x: str, y: str) -> pd.DataFrame | None:
    """A loss of one training, by epoch: its median over the seeds, the smallest and the largest, and the median of x.

    Returns:
        DataFrame or None: Indexed by `epoch`, with `x`, `y`, `low` and `high`. None where no frame has the columns and
            rows.
    """
    parts = []
    for frame in stored.histories(model_type):
        if {"epoch", x, y} <= set(frame):
            rows = frame[frame["dataset_idx"] == dataset_idx]
            parts.append(pd.DataFrame({"epoch": rows["epoch"], "x": rows[x], "y": rows[y]}))
    every = pd.concat(parts) if parts else pd.DataFrame()
    if every.empty or every["y"].isna().all():
        return None
    return every.groupby("epoch").agg(x=("x", "median"), y=("y", "median"), low=("y", "min"), high=("y", "max"))


def threshold_epoch(stored: StoredRun, model_type: str, dataset_idx: int) -> int | None:
    """The epoch of the interpolation threshold; of several seeds the (lower) median."""
    rows = [stored.thresholds(model_type, frame) for frame in stored.histories(model_type)]
    epochs = pd.Series([part.loc[dataset_idx, "epoch"] for part in rows if dataset_idx in part.index])
    return None if epochs.empty else int(epochs.quantile(0.5, interpolation="lower"))


def stages(stored: StoredRun, model_type: str, dataset_idx: int) -> pd.Series:
    """The last epoch of every grid of a training, by grid size; empty where the frame does not tell."""
    frame = stored.frames["grid_history" if stored.section.frame_names else model_type]
    if "grid_size" not in frame:
        return pd.Series(dtype=int)
    return frame[frame["dataset_idx"] == dataset_idx].groupby("grid_size")["epoch"].max().sort_values()


def scales(stored: StoredRun) -> tuple[dict[int, float], str]:
    """By what errors are divided, by dataset, and what the axis of such errors is called.

    The variance of the target; 1 for all where the target of one is not known.
    """
    if not set(stored.datasets.values()) <= PROBLEMS.keys():
        return dict.fromkeys(stored.datasets, 1.0), "dense MSE"
    variances = {i: target_scale(name).variance for i, name in stored.datasets.items()}
    return variances, "dense MSE / variance of the target"
