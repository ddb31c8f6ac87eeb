"""The data of figures, from a stored run: its curves, and its models compared with the truth. Nothing here draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.labels import OF_CHECKPOINTS
from kanbench.problems import Problem
from kanbench.problems.samples import make_dataset
from kanbench.storage.problems import problem_of_run, scale_of_problem
from kanbench.storage.stored_run import StoredRun

GRID_POINTS = 101
LINE_POINTS = 401
SEARCH_POINTS = 10_000
Note = Callable[[str], None]  # called with a line for every part of a figure that is left out


class FigureUnavailableError(Exception):
    """The run lacks the data for a figure or a part of it; the text says what is missing."""


def problem_of(stored: StoredRun, dataset: str) -> Problem:
    """Find the problem of a dataset.

    Raises:
        FigureUnavailableError: The problem is not known, or its file may not be run.
    """
    try:
        return problem_of_run(dataset, stored.compared.values(), stored.problems, stored.trusted)
    except InputError as error:
        raise FigureUnavailableError(str(error)) from error


def index_of(stored: StoredRun, dataset: str) -> int:
    return next(index for index, name in stored.datasets.items() if name == dataset)


def model_of(stored: StoredRun, model_type: str, dataset_idx: int) -> tuple[str, SplineNetwork]:
    """Read the model to draw; return its moment and network.

    It is the model at the threshold or, without a threshold, the final one.

    Raises:
        FigureUnavailableError: There is no model in pykan's format, it has more than spline edges, or it cannot be
            read.
    """
    found = stored.checkpoints(model_type, dataset_idx)
    if not found:
        raise FigureUnavailableError("it has no checkpoint that pykan reads")
    first = next(iter(found))
    checkpoint = first if stored.comparable.has_thresholds else "final" if "final" in found else first
    base = found[checkpoint]
    try:
        return named.at if (named := OF_CHECKPOINTS.get(checkpoint)) else checkpoint, stored.network(base)
    except InputError as error:  # one unreadable model does not prevent drawing the others
        raise FigureUnavailableError(str(error)) from error


def curves(stored: StoredRun, model_type: str, x: str, losses: Iterable[str]) -> dict[tuple[int, str], pd.DataFrame]:
    """Collect the losses of a model type by epoch, over the seeds.

    Returns:
        dict: `{(dataset_idx, loss): frame}`. Frames are indexed by `epoch`, or by `x` if that is the grid, and have `x`
            (the median), `y` (geometric mean), `low` and `high` (minimum and maximum). Curves without data are left
            out.
    """
    keys = ["dataset_idx", x if x == "grid_size" else "epoch"]
    every = stored.histories(model_type)
    numbers = tuple(number for number, frame in enumerate(every) if {*keys, x} <= set(frame))
    if not numbers:
        return {}
    median = (
        pd.concat([every[number][keys].assign(x=every[number][x]) for number in numbers]).groupby(keys)["x"].median()
    )
    return {
        (i, loss): rows.assign(x=median.xs(i))
        for (i, loss), rows in _spreads(stored, model_type, tuple(keys), numbers, tuple(losses)).items()
    }


@lru_cache(maxsize=16)
def _spreads(
    stored: StoredRun, model_type: str, keys: tuple[str, ...], numbers: tuple[int, ...], losses: tuple[str, ...]
) -> dict[tuple[int, str], pd.DataFrame]:
    """The columns `y`, `low` and `high` of `curves`, over the histories with these numbers."""
    histories = [stored.histories(model_type)[number] for number in numbers]
    there = [loss for loss in losses if any(loss in frame for frame in histories)]
    every = pd.concat([frame.reindex(columns=[*keys, *there]) for frame in histories])
    groups = every.groupby(list(keys))[there]
    low, high, count = groups.min(), groups.max(), groups.count()
    with np.errstate(divide="ignore"):
        logs = every[there].astype(float).transform(np.log)
    mean = logs.groupby([every[key] for key in keys]).mean().apply(np.exp)
    mean = low.where(count < 2, mean)  # as in `geometric_mean`, a single value is kept unchanged
    found: dict[tuple[int, str], pd.DataFrame] = {}
    for loss in there:
        table = pd.DataFrame({"y": mean[loss], "low": low[loss], "high": high[loss]})
        for i, rows in table.groupby(level="dataset_idx"):
            if rows["y"].notna().any():
                found[cast(int, i), loss] = rows.droplevel("dataset_idx")
    return found


@lru_cache(maxsize=16)
def threshold_epochs(stored: StoredRun, model_type: str) -> dict[int, int]:
    """The epoch of the interpolation threshold by dataset, if there is one; the (lower) median over the seeds."""
    rows = [stored.thresholds(model_type, frame) for frame in stored.histories(model_type)]
    told = [part["epoch"] for part in rows if "epoch" in part]
    if not told:
        return {}
    epochs = pd.concat(told).groupby(level=0).quantile(0.5, interpolation="lower")
    return epochs.dropna().astype(int).to_dict()


@lru_cache(maxsize=64)
def stages(stored: StoredRun, model_type: str, dataset_idx: int) -> pd.Series:
    """The last epoch of every grid of a training, by grid size; empty if the frame does not record it."""
    frame = stored.compared[stored.section.history_of(model_type)]
    if not {"grid_size", "epoch"} <= set(frame):
        return pd.Series(dtype=int)
    return frame[frame["dataset_idx"] == dataset_idx].groupby("grid_size")["epoch"].max().sort_values()


def scales(stored: StoredRun) -> tuple[dict[int, float], str]:
    """Return the divisor of errors by dataset, and the label of their axis.

    The divisor is the variance of the target; if any target is not known, it is 1 for all.
    """
    scales = {i: scale_of_problem(name, stored.compared.values()) for i, name in stored.datasets.items()}
    variances = {i: scale.variance for i, scale in scales.items() if scale is not None}
    if len(variances) < len(scales):
        return dict.fromkeys(stored.datasets, 1.0), "dense MSE"
    return variances, "dense MSE / variance of the target"


@dataclass(frozen=True)
class Fit:
    """The model of a training at one moment; see `model_of`."""

    model_type: str
    moment: str
    network: SplineNetwork

    def values(self, x: np.ndarray) -> np.ndarray:
        """Evaluate the model in float64 at x, shape (n, d); return shape (n,)."""
        from kanbench.network.evaluation import evaluate  # imports numba, which figures of frames do not need

        return evaluate(self.network, x)[:, 0]


def fits(stored: StoredRun, dataset: str, note: Note) -> list[Fit]:
    """Read the models of a dataset, at the threshold if known.

    Raises:
        FigureUnavailableError: There is no model, or the number of inputs differs from the problem's.
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
    """A regular grid on the domain of a problem with two inputs, shape (n, 2); the first input varies fastest."""
    axes = (np.linspace(*interval, GRID_POINTS) for interval in problem.domain)
    return np.stack([part.ravel() for part in np.meshgrid(*axes)], axis=1)


def centres(problem: Problem) -> dict[str, np.ndarray]:
    """Choose the points that slices go through, shape (d,): the centre, and where the target is farthest from its mean.

    The centre alone would show nothing of a product of sines, which is zero on the axes. The other point is the best of
    10,000 points of a Sobol sequence.
    """
    samples = make_dataset(problem, 1, 1, SEARCH_POINTS, seed=0)
    values = samples.dense_label[:, 0]
    peak = samples.dense_input[np.abs(values - values.mean()).argmax()]
    return {"the middle": np.mean(problem.domain, axis=1), "the peak": peak}


def line(problem: Problem, centre: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample the line through `centre` along an axis: coordinates, shape (n,), and points, shape (n, d)."""
    along = np.linspace(*problem.domain[axis], LINE_POINTS)
    points = np.tile(centre, (LINE_POINTS, 1))
    points[:, axis] = along
    return along, points
