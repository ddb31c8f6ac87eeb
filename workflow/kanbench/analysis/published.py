"""Published figures on a run's problems, compared with the run's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

from kanbench.analysis.measures import Measures
from kanbench.analysis.uncertainty import geometric_mean
from kanbench.io.numbers import factor_text
from kanbench.problems.published import Published, published_of
from kanbench.storage.comparable import Replicates


@dataclass(frozen=True)
class Against:
    """A published figure and ours.

    Attributes:
        ours (dict): `{model type: geometric mean over the seeds}`; nan if missing.
    """

    figure: Published
    ours: dict[str, float]

    @property
    def best(self) -> float:
        """The lowest of ours; nan if there is none."""
        return min((value for value in self.ours.values() if not isnan(value)), default=nan)

    @property
    def factor(self) -> float:
        """How many times larger the published figure is than our best; nan if there is none."""
        return self.figure.value / self.best if self.best else nan

    @property
    def text(self) -> str:
        """Problem, set-up, measure and both figures in words."""
        ours = f"{self.figure.measure} {self.best:.3g} against {self.figure.value:.3g}"
        return f"{self.figure.problem}, {self.figure.set_up}: {ours}"


def against_published(measures: Measures, replicates: Replicates) -> list[Against]:
    """Pair every published figure on the run's problems with ours.

    Ours is, for a relative L2 error, on the dense sample at the threshold; for a figure on a given grid, at the last
    epoch on that grid; otherwise at the last epoch.
    """
    return [
        Against(
            figure,
            {model_type: _ours(figure, i, model_type, measures, replicates) for model_type in measures.model_types},
        )
        for i, name in measures.datasets.items()
        for figure in published_of(name)
    ]


def _ours(figure: Published, i: int, model_type: str, measures: Measures, replicates: Replicates) -> float:
    if figure.measure == "relative L2":
        scale, errors = measures.scales[i], measures.mean_errors("threshold")[model_type]
        return nan if scale is None else sqrt(float(errors[i]) / scale.mean_square)
    column = "test_loss" if figure.measure == "test RMSE" else "train_loss"
    loss = geometric_mean(list(_last(column, i, figure.grid, model_type, replicates)))
    return sqrt(loss) if figure.measure == "test RMSE" else loss


def _last(column: str, i: int, grid: int | None, model_type: str, replicates: Replicates) -> Iterator[float]:
    """A column's value at the last epoch of a grid, or of the training, for every seed that has one."""
    for frames in replicates.values():
        frame = frames.get(model_type)
        if frame is not None and {column, "grid_size"} <= set(frame):
            there = frame["dataset_idx"].eq(i) & (True if grid is None else frame["grid_size"].eq(grid))
            yield from frame[there].nlargest(1, "epoch")[column]


def published_statements(compared: Sequence[Against]) -> list[str]:
    """Say how many figures we improve on, by how much, and which not; singular problems are counted separately."""
    known = [one for one in compared if not isnan(one.factor)]
    return [
        *_said([one for one in known if not one.figure.singular]),
        *_apart([one for one in known if one.figure.singular]),
    ]


def _said(compared: Sequence[Against]) -> Iterator[str]:
    if not compared:
        return
    factors = sorted(one.factor for one in compared if one.factor > 1)
    some = f"Better than {len(factors)} of {len(compared)} published figures"
    if not factors:
        yield f"{some}."
    elif len(factors) == 1:
        yield f"{some}, by a factor of {factor_text(factors[0])}."
    else:
        least, mean, most = map(factor_text, (factors[0], geometric_mean(factors), factors[-1]))
        yield f"{some}, by factors of {least} to {most} (geometric mean {mean})."
    if others := [one.text for one in compared if not one.factor > 1]:
        yield f"Not better: {'; '.join(others)}."


def _apart(singular: Sequence[Against]) -> Iterator[str]:
    if singular:
        names = ", ".join(dict.fromkeys(one.figure.problem for one in singular))
        better = sum(one.factor > 1 for one in singular)
        count = f"better than {better} of {len(singular)}"
        yield f"Counted separately, because the target is singular on its domain ({names}): {count}."
