"""The errors that tables and statements are made from, by seed, dataset and model type, at the three moments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kanbench.analysis.moments import MOMENTS, moments
from kanbench.errors import InputError
from kanbench.problems.poisson import PROBLEMS
from kanbench.problems.target_scale import target_scale
from kanbench.storage.derive import Frames
from kanbench.storage.metadata import Metadata

Replicates = dict[int | None, Frames]

# Squared: what float64 cannot tell from an error of 0, relative to the variance of the target.
ROUNDING = float(np.finfo(float).eps) ** 2


@dataclass(frozen=True)
class Measures:
    """What was measured in the run of a section.

    Attributes:
        seeds (tuple): Of the replicates; None where a run does not tell.
        datasets (dict): `{dataset_idx: name}`.
        variances (dict): `{dataset_idx: variance of the target}`; 0 if it is constant, None if the problem is not
            known.
        rows (DataFrame): Rows of the frames, indexed by `seed` (its position), `moment`, `dataset_idx` and
            `model_type`; of section 2.3 those of the frames `summary`, indexed by `seed` and `dataset_idx`.
        logs (dict): `{moment: logarithms of the dense MSEs}`: frames indexed by seed and dataset, with one column for
            each of what is compared; nan where there is none or it is not finite.
    """

    section: str
    seeds: tuple[int | None, ...]
    datasets: dict[int, str]
    variances: dict[int, float | None]
    rows: pd.DataFrame
    logs: dict[str, pd.DataFrame]

    @property
    def model_types(self) -> tuple[str, ...]:
        """Those that have a frame, in the order of tables."""
        return tuple(map(str, self.logs["final"]))

    @property
    def comparable(self) -> list[int]:
        """The datasets whose target is not constant: those that averages are made of."""
        return [i for i in self.datasets if self.variances[i] != 0]

    def logs_on(self, moment: str, datasets: Iterable[int]) -> pd.DataFrame:
        """The part of `logs` that is about some datasets."""
        logs = self.logs[moment]
        return logs[logs.index.isin(list(datasets), level="dataset_idx")]

    def mean_relative_errors(self, logs: pd.DataFrame) -> pd.DataFrame:
        """Geometric means over the datasets of the errors relative to the targets' variances, a row per seed.

        `logs` has only datasets whose targets have a variance that is known.
        """
        variances = pd.Series(self.variances, dtype=float).loc[logs.index.get_level_values("dataset_idx")]
        return logs.sub(np.log(variances.to_numpy()), axis="index").groupby(level="seed").mean().apply(np.exp)


def seeds_by_datasets(seeds: Sequence[int | None], datasets: Iterable[int]) -> pd.MultiIndex:
    """The index of `Measures.logs`."""
    return pd.MultiIndex.from_product([range(len(seeds)), list(datasets)], names=["seed", "dataset_idx"])


def log_errors(errors: pd.DataFrame, variances: dict[int, float | None]) -> pd.DataFrame:
    """Logarithms of mean squared errors with a level `dataset_idx` of the index; nan where they are not finite.

    Errors below rounding count as rounding, so that an error of 0 has a logarithm.
    """
    values = errors.to_numpy(dtype=float)
    rounding = ROUNDING * np.array([variances[i] or 1.0 for i in errors.index.get_level_values("dataset_idx")])
    finite = np.where(np.isfinite(values), np.maximum(values, rounding[:, None]), np.nan)
    return pd.DataFrame(np.log(finite), errors.index, errors.columns)


def measure(replicates: Replicates, metadata: Metadata | None = None) -> Measures:
    """Collect the errors of a section that compares model types.

    Args:
        replicates (dict): `{seed: {model type: frame}}`; the first is the run itself.
        metadata (dict, optional): Of the checkpoints of the first.

    Raises:
        InputError: A frame lacks the columns `dataset_idx` or `epoch`.
    """
    for frames in replicates.values():
        for model_type, frame in frames.items():
            for column in ("dataset_idx", "epoch"):
                if column not in frame:
                    raise InputError(model_type, problem=f"no column {column!r}")
    first = next(iter(replicates.values()))
    datasets = _datasets(replicates.values(), metadata)
    parts = [moments(frames, metadata if frames is first else None) for frames in replicates.values()]
    rows = pd.concat(dict(enumerate(parts)), names=["seed"])
    model_types = list(dict.fromkeys(name for frames in replicates.values() for name in frames))
    index, scales = seeds_by_datasets(tuple(replicates), datasets), variances(datasets)
    return Measures(
        section=next(iter(first.values())).attrs["section"],
        seeds=tuple(replicates),
        datasets=datasets,
        variances=scales,
        rows=rows,
        logs={moment: log_errors(_errors(rows, moment, index, model_types), scales) for moment in MOMENTS},
    )


def _errors(rows: pd.DataFrame, moment: str, index: pd.MultiIndex, model_types: list[str]) -> pd.DataFrame:
    """The dense MSEs at a moment, by seed and dataset, one column per model type."""
    there = rows[rows.index.isin([moment], level="moment")]
    if "dense_mse" not in there or there.empty:
        return pd.DataFrame(np.nan, index, model_types)
    table = there.reset_index().pivot_table("dense_mse", index.names, "model_type", dropna=False)
    return table.reindex(index=index, columns=model_types)


def variances(datasets: dict[int, str]) -> dict[int, float | None]:
    """The variances of the targets of datasets: 0 for a constant target, None for a problem that is not known."""
    scales = {i: target_scale(name) if name in PROBLEMS else None for i, name in datasets.items()}
    return {i: None if scale is None else 0.0 if scale.is_constant else scale.variance for i, scale in scales.items()}


def _datasets(runs: Iterable[Frames], metadata: Metadata | None) -> dict[int, str]:
    """All datasets that frames or metadata have, by index, also those on which trainings failed."""
    names = {int(i): str(i) for checkpoints in (metadata or {}).values() for i in checkpoints}
    for frames in runs:
        for frame in frames.values():
            for i, name in zip(frame["dataset_idx"], frame.get("dataset_name", frame["dataset_idx"]), strict=True):
                names[int(i)] = str(name)
    return dict(sorted(names.items()))
