"""What models say against the truth: values on a grid of a plane, and along lines. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kanbench.network.evaluation import evaluate
from kanbench.network.spline_network import SplineNetwork
from kanbench.presentation.figures.data import FigureUnavailableError, Note, index_of, model_of, problem_of
from kanbench.problems.poisson import Problem
from kanbench.problems.samples import make_dataset
from kanbench.storage.stored_run import StoredRun

GRID_POINTS = 101
LINE_POINTS = 401
SEARCH_POINTS = 10_000


@dataclass(frozen=True)
class Fit:
    """A model of a training."""

    model_type: str
    checkpoint: str
    network: SplineNetwork

    def values(self, x: np.ndarray) -> np.ndarray:
        """Its outputs in float64, shape (n,), for inputs of shape (n, d)."""
        return evaluate(self.network, x)[:, 0]


def fits(stored: StoredRun, dataset: str, note: Note) -> list[Fit]:
    """The models of a dataset, at the threshold where that is there.

    Raises:
        FigureUnavailableError: There is none, or they have other inputs than the problem.
    """
    problem, found = problem_of(dataset), []
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


def plane(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coordinates of both axes of a problem with two inputs, and all points of their grid, first axis fastest."""
    first, second = (np.linspace(*interval, GRID_POINTS) for interval in problem.domain)
    return first, second, np.stack([part.ravel() for part in np.meshgrid(first, second)], axis=1)


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
