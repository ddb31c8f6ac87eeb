"""Rankings and pairwise comparisons, from logarithms of errors with one row per seed and dataset."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from kanbench.analysis.uncertainty import Factor

EQUAL = 1e-12  # logarithms closer than this differ by rounding only


@dataclass(frozen=True)
class Ranking:
    """The column with the lowest geometric mean error over datasets and seeds.

    Attributes:
        best (tuple of str): The best; several if tied, none if there is nothing to compare.
        next (str or None): The best of the others.
        factor (Factor or None): The error of `next` divided by the error of `best`.
        datasets (tuple of int): The compared datasets, on which all columns have an error for every seed.
        compared (tuple of str): The compared columns, which have at least one error.
    """

    best: tuple[str, ...]
    next: str | None
    factor: Factor | None
    datasets: tuple[int, ...]
    compared: tuple[str, ...]


def rank(logs: pd.DataFrame) -> Ranking:
    """Rank columns by their geometric mean errors.

    Args:
        logs (DataFrame): Logarithms of errors, indexed by `seed` and `dataset_idx`; nan if missing.
    """
    balanced = common(logs)
    compared, datasets = tuple(balanced.columns), tuple(balanced.index.unique("dataset_idx"))
    if not datasets:
        return Ranking((), None, None, datasets, compared)
    means = balanced.groupby(level="seed").mean()
    level = means.mean()
    best = tuple(column for column in compared if level[column] - level.min() <= EQUAL)
    others = level.drop(list(best))
    if others.empty:
        return Ranking(best, None, None, datasets, compared)
    second = str(others.idxmin())
    return Ranking(best, second, Factor.of_logs(means[second] - means[best[0]]), datasets, compared)


@dataclass(frozen=True)
class Versus:
    """A comparison of one column with another.

    Attributes:
        factor (Factor or None): Error of the other divided by error of the one, as the geometric mean over datasets and
            seeds; None if there is nothing to compare.
        better, equal (tuple of int): The datasets on which the one has the lower, or the same, mean error over seeds.
        datasets (tuple of int): The compared datasets.
    """

    factor: Factor | None
    better: tuple[int, ...]
    equal: tuple[int, ...]
    datasets: tuple[int, ...]


def versus(logs: pd.DataFrame, one: str, other: str) -> Versus:
    """Compare the errors of two columns; see `rank`."""
    pair = common(logs[[one, other]])
    if pair.shape[1] < 2 or pair.empty:
        return Versus(None, (), (), ())
    lead = pair[other] - pair[one]
    by_dataset = lead.groupby(level="dataset_idx", sort=False).mean()
    return Versus(
        factor=Factor.of_logs(lead.groupby(level="seed").mean()),
        better=tuple(by_dataset.index[by_dataset > EQUAL]),
        equal=tuple(by_dataset.index[by_dataset.abs() <= EQUAL]),
        datasets=tuple(by_dataset.index),
    )


def common(logs: pd.DataFrame) -> pd.DataFrame:
    """Keep a balanced part without missing errors, so that all averages are over the same seeds and datasets.

    Dropped are, in this order: columns without any error, seeds for which a column has no error, and datasets on which
    a column lacks an error for one of the remaining seeds.
    """
    if logs.size and not logs.isna().to_numpy().any():
        return logs
    present = logs.dropna(axis="columns", how="all")
    if present.columns.empty:
        return present.iloc[:0]
    there = present.notna()
    seeds = there.groupby(level="seed").any().all(axis="columns")
    present = present[seeds.loc[present.index.get_level_values("seed")].to_numpy()]
    whole = present.notna().all(axis="columns").groupby(level="dataset_idx").all()
    return present[whole.reindex(present.index.get_level_values("dataset_idx")).to_numpy(dtype=bool)]
