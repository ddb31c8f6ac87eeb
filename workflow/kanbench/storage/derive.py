"""Derive what follows from the columns of frames, and is therefore not stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from kanbench.errors import InputError
from kanbench.storage.values import builtin
from kanbench.training.threshold import Threshold

Frames = dict[str, pd.DataFrame]

# Columns, of any format, that may distinguish trainings on the same dataset.
CONFIGURATION = (
    *("optimizer", "approach", "depth", "activation", "is_pruned", "width", "hidden", "k", "seed", "dimension"),
    *("architecture", "architecture_type", "lr", "learning_rate", "lamb", "damping"),
)
MEASURED = (
    "dataset_name",
    "grid_size",
    "epoch",
    "n_evals",
    "flops",
    "num_params",
    "important_neurons",
    "total_neurons",
)


def _column(frames: pd.DataFrame | Frames, *columns: str) -> pd.DataFrame:
    """These columns of one frame, or of all frames that have them, concatenated."""
    every = frames.values() if isinstance(frames, dict) else [frames]
    parts = [frame[list(columns)] for frame in every if set(columns) <= set(frame.columns)]
    if not parts:
        raise InputError(f"no frame with the column{'s' * (len(columns) > 1)} {', '.join(map(repr, columns))}")
    for part in parts:
        part.attrs = {}  # concat compares attrs, which differ between model types
    return pd.concat(parts, ignore_index=True)


def _values(frames: pd.DataFrame | Frames, column: str) -> list[Any]:
    """The distinct values of a column, sorted, without missing ones."""
    try:
        return sorted(set(builtin(_column(frames, column)[column].dropna().tolist())))
    except TypeError:  # lists, or numbers and text together
        raise InputError(column, "values that cannot be sorted", "numbers or text") from None


def _largest(frames: pd.DataFrame | Frames, column: str) -> Any:
    values = _values(frames, column)
    if not values:
        raise InputError(column, "no values", "at least one")
    return values[-1]


def grids(frames: pd.DataFrame | Frames) -> list[int]:
    """The trained grids, in increasing order."""
    return _values(frames, "grid_size")


def dataset_names(frames: pd.DataFrame | Frames) -> list[str]:
    """The names of the datasets, in the order of their indices."""
    named = _column(frames, "dataset_idx", "dataset_name").drop_duplicates().sort_values("dataset_idx", kind="stable")
    return named["dataset_name"].tolist()


def datasets_of(frames: Iterable[pd.DataFrame]) -> dict[int, str]:
    """`{index: name}` of the datasets in frames; without a column of names, the name is the index."""
    names: dict[int, str] = {}
    for frame in frames:
        if "dataset_idx" in frame:
            named = frame["dataset_name"] if "dataset_name" in frame else frame["dataset_idx"]
            names |= dict(zip(frame["dataset_idx"].astype(int), map(str, named), strict=True))
    return dict(sorted(names.items()))


def is_pruned(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which rows belong to a pruned model; its earlier training is in the rows of the unpruned one."""
    return frame["is_pruned"].eq(True) if "is_pruned" in frame else pd.Series(False, frame.index)


def training_keys(frame: pd.DataFrame) -> list[str]:
    """The columns that identify a training: `dataset_idx`, and others if a dataset has several trainings.

    These are columns of CONFIGURATION and, if an epoch still has several rows, others that are not measurements.
    """
    if "dataset_idx" not in frame or frame.empty:
        return ["dataset_idx"]
    keys = ["dataset_idx", *_differing(frame, CONFIGURATION)]
    for name in frame:
        epoch = [key for key in (*keys, "grid_size", "epoch") if key in frame]
        # Select these columns first: otherwise pandas visits all columns, and copies the attrs for each.
        if "epoch" not in frame or not frame[epoch].duplicated().any():
            break
        if name not in (*keys, *MEASURED) and frame[name].dtype.kind != "f":
            keys += _differing(frame, [str(name)])
    return keys


def _differing(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """The columns with several values on the same dataset; columns of incomparable values are skipped."""
    found = []
    for name in columns:
        with contextlib.suppress(TypeError):
            if name not in frame or frame[name].nunique(dropna=False) < 2:  # a fast check first
                continue
            if frame.groupby("dataset_idx")[name].nunique(dropna=False).max() > 1:
                found.append(name)
    return found


def num_datasets(frames: pd.DataFrame | Frames) -> int:
    return int(_column(frames, "dataset_idx")["dataset_idx"].nunique())


def total_epochs(frame: pd.DataFrame) -> dict[int, int]:
    """The last epoch of each dataset, counted through all grids."""
    return _by_dataset(_column(frame, "dataset_idx", "epoch").groupby("dataset_idx")["epoch"].max())


def final_grid(frame: pd.DataFrame) -> dict[int, int]:
    """The last grid of each dataset's training; without models that have no grid."""
    rows = _column(frame, "dataset_idx", "epoch", "grid_size").sort_values("epoch", kind="stable")
    return _by_dataset(rows.groupby("dataset_idx")["grid_size"].last().dropna())


def epochs_per_grid(frames: pd.DataFrame | Frames) -> int:
    """The epochs per grid: the maximum over all trainings and grids, because some may have ended early."""
    every = frames.values() if isinstance(frames, dict) else [frames]
    parts = [_column(frame, "dataset_idx", "grid_size", "epoch") for frame in every if len(frame)]
    if not parts:
        raise InputError("no frame with rows")
    # dropna=False, because models without grids have NaN
    stages = [part.groupby(["dataset_idx", "grid_size"], dropna=False) for part in parts]
    return int(max(stage["epoch"].nunique().max() for stage in stages))


def _by_dataset(series: pd.Series) -> dict[int, int]:
    return dict(zip(series.index.astype(int).tolist(), series.astype(int).tolist(), strict=True))


def threshold_rows(frame: pd.DataFrame, tolerance: float = 0.05, patience: int = 2) -> pd.DataFrame:
    """The row at the interpolation threshold of each training, indexed by `training_keys` (usually `dataset_idx`).

    See `kanbench.training.threshold` for the rule. The losses must be mean squared errors, as made by
    `kanbench.storage.comparable`: 5 % of a root correspond to 10 % of the error.

    Raises:
        InputError: A column `test_loss`, `epoch` or `dataset_idx` is missing.
    """
    _column(frame, "dataset_idx", "epoch", "test_loss")
    keys, ordered = training_keys(frame), frame.sort_values("epoch", kind="stable")
    thresholds: dict[int, Threshold] = {}
    best: dict[int, int] = {}  # position of the row at the threshold, by training
    trainings = ordered.groupby(keys, dropna=False).ngroup()
    for position, (training, loss) in enumerate(zip(trainings, ordered["test_loss"], strict=True)):
        if thresholds.setdefault(training, Threshold(patience, tolerance)).update(loss):
            best[training] = position
    rows = ordered.iloc[[best[training] for training in sorted(best)]].set_index(keys)
    rows.attrs = {}
    return rows


def at_threshold(history: pd.DataFrame, checkpoints: dict[int, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """The rows of trainings at their thresholds: at the epochs in `checkpoints`, else by the default rule.

    Args:
        history (DataFrame): With one training per dataset.
        checkpoints (dict): `{dataset_idx: {checkpoint: {metric: value}}}`; epoch 0 is an untrained model, without a
            row.
    """
    epochs: dict[Any, Any] = {
        i: named["at_threshold"]["epoch"]
        for i, named in checkpoints.items()
        if "epoch" in named.get("at_threshold", {})
    }
    if not history["dataset_idx"].isin(epochs).all():
        epochs = threshold_rows(history)["epoch"].to_dict() | epochs
    return history[history["epoch"] == history["dataset_idx"].map(epochs)]


def threshold_summary(frames: Frames, tolerance: float = 0.05, patience: int = 2) -> pd.DataFrame:
    """Epoch, time and losses at the interpolation threshold, by dataset and model type."""
    wanted = ["dataset_name", "epoch", "time", "train_loss", "test_loss", "dense_mse", "grid_size", "num_params"]
    parts = []
    for model_type, frame in frames.items():
        rows = threshold_rows(frame, tolerance, patience)
        parts.append(rows[[c for c in wanted if c in rows]].assign(model_type=model_type).reset_index())
    return pd.concat(parts, ignore_index=True).set_index(["dataset_idx", "model_type"]).sort_index(kind="stable")


DERIVABLE: dict[str, tuple[str, Callable[[Any], Any]]] = {  # old attr → how to derive it, as text and code
    "grids": ("df['grid_size'].unique()", grids),
    "num_datasets": ("df['dataset_idx'].nunique()", num_datasets),
    "dataset_names": ("df['dataset_name'].unique()", dataset_names),
    "optimizers": ("df['optimizer'].unique()", lambda f: _values(f, "optimizer")),
    "approaches": ("df['approach'].unique()", lambda f: _values(f, "approach")),
    "depths": ("df['depth'].unique()", lambda f: _values(f, "depth")),
    "activations": ("df['activation'].unique()", lambda f: _values(f, "activation")),
    "num_params": ("df['num_params']", lambda f: _values(f, "num_params")),
    "total_epochs": ("df.groupby('dataset_idx')['epoch'].max()", lambda f: int(_largest(f, "epoch"))),
    "final_grid": ("df.groupby('dataset_idx')['grid_size'].last()", lambda f: _largest(f, "grid_size")),
}
