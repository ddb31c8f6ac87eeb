"""What figures show, from a stored run: its curves, and its models against the truth. Nothing here draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Problem
from kanbench.problems.samples import make_dataset
from kanbench.storage.problems import problem_of_run, scale_of_problem
from kanbench.storage.stored_run import StoredRun

GRID_POINTS = 101
LINE_POINTS = 401
SEARCH_POINTS = 10_000
WORDS = {"at_threshold": "at the threshold", "final": "at the end"}
Note = Callable[[str], None]  # is given a line for every part of a figure that is left out


class FigureUnavailableError(Exception):
    """A figure, or a part of it, that a run does not have the data for; the text says what is missing."""


def problem_of(stored: StoredRun, dataset: str) -> Problem:
    """The problem of a dataset; FigureUnavailableError if it is not known, or its file is not to be run."""
    try:
        return problem_of_run(dataset, stored.compared.values(), stored.problems, stored.trusted)
    except InputError as error:
        raise FigureUnavailableError(str(error)) from error


def index_of(stored: StoredRun, dataset: str) -> int:
    return next(index for index, name in stored.datasets.items() if name == dataset)


def model_of(stored: StoredRun, model_type: str, dataset_idx: int) -> tuple[str, SplineNetwork]:
    """The model that is drawn, and at what moment: at the threshold, or the final one where that is not known.

    Raises:
        FigureUnavailableError: There is none in pykan's format, it is no sum of splines, or it cannot be read.
    """
    found = stored.checkpoints(model_type, dataset_idx)
    if not found:
        raise FigureUnavailableError("it has no checkpoint that pykan reads")
    first = next(iter(found))
    checkpoint = first if stored.comparable.has_thresholds else "final" if "final" in found else first
    base = found[checkpoint]
    try:
        return WORDS.get(checkpoint, checkpoint), stored.network(base)
    except InputError as error:  # one model that cannot be read or drawn does not cost the others
        raise FigureUnavailableError(str(error)) from error


def curves(stored: StoredRun, model_type: str, x: str, losses: Iterable[str]) -> dict[tuple[int, str], pd.DataFrame]:
    """The losses of a model type by epoch: the geometric mean over the seeds, the least and the most.

    Returns:
        dict: `{(dataset_idx, loss): frame}`, the frames indexed by `epoch`, or by `x` where that is grids, with `x`
            (the median), `y`, `low` and `high`. What no frame has the columns and rows of is left out.
    """
    index = x if x == "grid_size" else "epoch"
    keys = ["dataset_idx", index]
    histories = [frame for frame in stored.histories(model_type) if {*keys, x} <= set(frame)]
    if not histories:
        return {}
    there = [loss for loss in losses if any(loss in frame for frame in histories)]
    every = pd.concat([frame.reindex(columns=[*keys, *there]).assign(x=frame[x]) for frame in histories])
    groups = every.groupby(keys)
    median, low, high, count = groups["x"].median(), *(getattr(groups[there], f)() for f in ("min", "max", "count"))
    with np.errstate(divide="ignore"):
        mean = np.exp(every[there].astype(float).transform(np.log).groupby([every[key] for key in keys]).mean())
    mean = low.where(count < 2, mean)  # as in `geometric_mean`, a single one stays as it is, to the bit
    found: dict[tuple[int, str], pd.DataFrame] = {}
    for loss in there:
        table = pd.DataFrame({"x": median, "y": mean[loss], "low": low[loss], "high": high[loss]})
        for i, rows in table.groupby(level="dataset_idx"):
            if rows["y"].notna().any():
                found[cast(int, i), loss] = rows.droplevel("dataset_idx")
    return found


def threshold_epochs(stored: StoredRun, model_type: str) -> dict[int, int]:
    """The epoch of the interpolation threshold by dataset, where there is one; of several seeds the (lower) median."""
    rows = [stored.thresholds(model_type, frame) for frame in stored.histories(model_type)]
    told = [part["epoch"] for part in rows if "epoch" in part]
    if not told:
        return {}
    epochs = pd.concat(told).groupby(level=0).quantile(0.5, interpolation="lower")
    return epochs.dropna().astype(int).to_dict()


def stages(stored: StoredRun, model_type: str, dataset_idx: int) -> pd.Series:
    """The last epoch of every grid of a training, by grid size; empty where the frame does not tell."""
    frame = stored.compared[stored.section.history_of(model_type)]
    if not {"grid_size", "epoch"} <= set(frame):
        return pd.Series(dtype=int)
    return frame[frame["dataset_idx"] == dataset_idx].groupby("grid_size")["epoch"].max().sort_values()


def scales(stored: StoredRun) -> tuple[dict[int, float], str]:
    """By what errors are divided, by dataset, and what the axis of such errors is called.

    The variance of the target; 1 for all where the target of one is not known.
    """
    scales = {i: scale_of_problem(name, stored.compared.values()) for i, name in stored.datasets.items()}
    variances = {i: scale.variance for i, scale in scales.items() if scale is not None}
    if len(variances) < len(scales):
        return dict.fromkeys(stored.datasets, 1.0), "dense MSE"
    return variances, "dense MSE / variance of the target"


@dataclass(frozen=True)
class Fit:
    """The model of a training at a moment; see `model_of`."""

    model_type: str
    moment: str
    network: SplineNetwork

    def values(self, x: np.ndarray) -> np.ndarray:
        """Its outputs in float64, shape (n,), for inputs of shape (n, d)."""
        from kanbench.network.evaluation import evaluate  # imports numba, which figures of frames do not need

        return evaluate(self.network, x)[:, 0]


def fits(stored: StoredRun, dataset: str, note: Note) -> list[Fit]:
    """The models of a dataset, at the threshold where that is there.

    Raises:
        FigureUnavailableError: There is none, or they have other inputs than the problem.
    """
    problem, found = problem_of(stored, dataset), []
    for model_type in stored.model_types:
        try:
            fit = Fit(model_type, *model_of(stored, model_type, index_of(stored, dataset)))
        except FigureUnavailableError as reason:
            note(f"no {model_type}: {reason}")
            continue
        if fit.network.width[0] == problem.dim:
            found.append(fit)
        else:
            note(f"no {model_type}: its model has {fit.network.width[0]} inputs, the problem {problem.dim}")
    if not found:
        raise FigureUnavailableError("no checkpoint fits it")
    return found


def plane(problem: Problem) -> np.ndarray:
    """All points of a square grid on the domain of a problem with two inputs, the first axis fastest."""
    axes = (np.linspace(*interval, GRID_POINTS) for interval in problem.domain)
    return np.stack([part.ravel() for part in np.meshgrid(*axes)], axis=1)


def centres(problem: Problem) -> dict[str, np.ndarray]:
    """The points that slices go through, shape (d,): the middle, and where the target is farthest from its mean.

    The middle alone shows nothing of a product of sines, which is zero on the axes. The other point is one of 10,000 of
    a Sobol sequence.
    """
    samples = make_dataset(problem, 1, 1, SEARCH_POINTS, seed=0)
    values = samples.dense_label[:, 0]
    peak = samples.dense_input[np.abs(values - values.mean()).argmax()]
    return {"the middle": np.mean(problem.domain, axis=1), "the peak": peak}


def line(problem: Problem, centre: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along an axis, shape (n,), and the points of the line through `centre`, shape (n, d)."""
    along = np.linspace(*problem.domain[axis], LINE_POINTS)
    points = np.tile(centre, (LINE_POINTS, 1))
    points[:, axis] = along
    return along, points
