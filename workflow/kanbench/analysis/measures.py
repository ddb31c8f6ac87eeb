"""The errors behind tables and statements, by moment, seed, dataset and model type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from kanbench.analysis.moments import EQUAL_COMPUTE, MOMENTS, moments
from kanbench.errors import InputError
from kanbench.plan.labels import problem_labels
from kanbench.problems.target_scale import TargetScale
from kanbench.storage.comparable import Replicates
from kanbench.storage.derive import datasets_of
from kanbench.storage.metadata import Metadata
from kanbench.storage.problems import scale_of_problem

# Smallest meaningful MSE in float64, relative to the variance of the target.
ROUNDING = float(np.finfo(float).eps) ** 2


@dataclass(frozen=True)
class Measures:
    """The measured errors of a section's run.

    Attributes:
        seeds (tuple): Seeds of the replicates; None if a run does not record its seed.
        datasets (dict): `{dataset_idx: name}`.
        scales (dict): `{dataset_idx: TargetScale}`, None if the problem is not known.
        rows (DataFrame): Rows of the frames, indexed by `seed` (its position), `moment`, `dataset_idx` and
            `model_type`. For section 2.3, rows of the frames `summary`, indexed by `seed` and `dataset_idx`.
        errors (dict): `{moment: dense MSEs}`: frames indexed by seed and dataset, with one column per model type; nan
            if missing. Equal compute is omitted if no frame has the flops, or the times.
        logs (dict): Natural logarithms of `errors`; nan if not finite. Errors below `ROUNDING` are raised to it, so an
            error of 0 has a logarithm.
    """

    section: str
    seeds: tuple[int | None, ...]
    datasets: dict[int, str]
    scales: dict[int, TargetScale | None]
    rows: pd.DataFrame
    errors: dict[str, pd.DataFrame]
    logs: dict[str, pd.DataFrame]

    @property
    def model_types(self) -> tuple[str, ...]:
        """Model types that have a frame, in the order of tables."""
        return tuple(map(str, self.logs["final"]))

    @property
    def labels(self) -> dict[int, str]:
        """Names of the datasets in text, by `dataset_idx`."""
        labels = problem_labels(self.datasets.values())
        return {i: labels[name] for i, name in self.datasets.items()}

    @property
    def variances(self) -> dict[int, float | None]:
        """Variances of the targets, by `dataset_idx`; 0 if constant, None if the problem is not known."""
        return {i: None if s is None else 0.0 if s.is_constant else s.variance for i, s in self.scales.items()}

    @property
    def comparable(self) -> list[int]:
        """The datasets that averages include: those whose target is not constant."""
        return [i for i in self.datasets if self.variances[i] != 0]

    def logs_on(self, moment: str, datasets: Iterable[int]) -> pd.DataFrame:
        """Select the comparable part of `logs` on some datasets.

        If a model type has errors on a dataset but lacks one for some seed, that seed is nan for all model types there.
        All statements and figures about the dataset then come from the same seeds.
        """
        logs, chosen = self._of_same_seeds[moment], set(datasets)
        return logs if chosen >= self.datasets.keys() else logs[logs.index.isin(chosen, level="dataset_idx")]

    @cached_property
    def _of_same_seeds(self) -> dict[str, pd.DataFrame]:
        found = {}
        for moment, logs in self.logs.items():
            there = logs.notna()
            lacks = (there.groupby(level="dataset_idx").transform("any") & ~there).any(axis="columns")
            found[moment] = logs.mask(lacks, axis="index")
        return found

    def mean_errors(self, moment: str) -> pd.DataFrame:
        """Geometric means of the errors over the seeds, one row per dataset; with one seed, the errors themselves."""
        if len(self.seeds) == 1:
            return self.errors[moment].droplevel("seed")
        return self.logs_on(moment, self.datasets).groupby(level="dataset_idx").mean().apply(np.exp)

    def relative_logs(self, logs: pd.DataFrame) -> pd.DataFrame:
        """Mean logarithms of the relative errors over the datasets, one row per seed.

        `logs` must contain only datasets whose target has a known variance.
        """
        variances = pd.Series(self.variances, dtype=float).loc[logs.index.get_level_values("dataset_idx")]
        return logs.sub(np.log(variances.to_numpy()), axis="index").groupby(level="seed").mean()


def measures_of(
    section: str,
    seeds: Iterable[int | None],
    datasets: dict[int, str],
    rows: pd.DataFrame,
    errors: dict[str, pd.DataFrame],
    frames: Sequence[pd.DataFrame],
) -> Measures:
    """Make `Measures` from dense MSEs by moment.

    Args:
        errors (dict): `{moment: dense MSEs}`, frames indexed by `seed` (its position) and `dataset_idx`.
        frames (sequence of DataFrame): Their attrs describe the problems.
    """
    seeds, scales = tuple(seeds), {i: scale_of_problem(name, frames) for i, name in datasets.items()}
    variances = {i: 1.0 if s is None or s.is_constant else s.variance for i, s in scales.items()}
    index = pd.MultiIndex.from_product([range(len(seeds)), list(datasets)], names=["seed", "dataset_idx"])
    rounding = ROUNDING * np.array([variances[i] for _, i in index])[:, None]
    errors = {moment: table.reindex(index).astype(float) for moment, table in errors.items()}
    logs = {}
    for moment, table in errors.items():
        finite = np.where(np.isfinite(table), np.maximum(table, rounding), np.nan)
        logs[moment] = pd.DataFrame(np.log(finite), index, table.columns)
    return Measures(section, seeds, datasets, scales, rows, errors, logs)


def measure(replicates: Replicates, metadata: Metadata | None = None) -> Measures:
    """Collect the errors of a section that compares model types.

    Args:
        replicates (dict): `{seed: {model type: frame}}`; the first is the run itself.
        metadata (dict, optional): Metadata of the first replicate's checkpoints.

    Raises:
        InputError: A frame lacks the columns `dataset_idx` or `epoch`.
    """
    for frames in replicates.values():
        for model_type, frame in frames.items():
            for column in ("dataset_idx", "epoch"):
                if column not in frame:
                    raise InputError(model_type, problem=f"no column {column!r}")
    first = next(iter(replicates.values()))
    # Metadata also has the datasets on which every training failed.
    named = datasets_of(frame for frames in replicates.values() for frame in frames.values())
    recorded = {int(i): str(i) for checkpoints in (metadata or {}).values() for i in checkpoints}
    datasets = dict(sorted({**recorded, **named}.items()))
    parts = [moments(frames, metadata if frames is first else None) for frames in replicates.values()]
    parts = [part.drop(columns="seed", errors="ignore") for part in parts]  # a user's column; here it is an index level
    rows = pd.concat(dict(enumerate(parts)), names=["seed"])
    model_types = list(dict.fromkeys(name for frames in replicates.values() for name in frames))
    told = [m for m in MOMENTS if m not in EQUAL_COMPUTE or m in rows.index.unique("moment")]
    errors = {moment: _errors(rows, moment).reindex(columns=model_types) for moment in told}
    section = next(iter(first.values())).attrs["section"]
    return measures_of(section, replicates, datasets, rows, errors, list(first.values()))


def _errors(rows: pd.DataFrame, moment: str) -> pd.DataFrame:
    """Dense MSEs at a moment, by seed and dataset, one column per model type."""
    keys, there = ["seed", "dataset_idx"], rows[rows.index.isin([moment], level="moment")].reset_index()
    if "dense_mse" not in there or there.empty:
        return there[keys].head(0).set_index(keys)
    return there.pivot_table("dense_mse", keys, "model_type", dropna=False)
