"""What the columns of frames tell, and is therefore never stored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from kanbench.errors import InputError
from kanbench.storage.values import builtin
from kanbench.training.threshold import Threshold

Frames = dict[str, pd.DataFrame]

# Columns, of whoever stored a frame, that may tell trainings on one dataset apart.
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
    """These columns of one frame or of all."""
    every = frames.values() if isinstance(frames, dict) else [frames]
    parts = [frame[list(columns)] for frame in every if set(columns) <= set(frame.columns)]
    if not parts:
        raise InputError(f"no frame with the column{'s' * (len(columns) > 1)} {', '.join(map(repr, columns))}")
    for part in parts:
        part.attrs = {}  # concat compares attrs, and those of model types differ
    return pd.concat(parts, ignore_index=True)


def _values(frames: pd.DataFrame | Frames, column: str) -> list[Any]:
    """The values of a column, sorted, without duplicates and missing ones."""
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
    """The grids that were trained, in increasing order."""
    return _values(frames, "grid_size")


def dataset_names(frames: pd.DataFrame | Frames) -> list[str]:
    """The names of the datasets, in the order of their indices."""
    named = _column(frames, "dataset_idx", "dataset_name").drop_duplicates().sort_values("dataset_idx", kind="stable")
    return named["dataset_name"].tolist()


def datasets_of(frames: Iterable[pd.DataFrame]) -> dict[int, str]:
    """The names of the datasets that frames have rows of, by their index, which is the name where there is none."""
    names: dict[int, str] = {}
    for frame in frames:
        if "dataset_idx" in frame:
            named = frame["dataset_name"] if "dataset_name" in frame else frame["dataset_idx"]
            names |= dict(zip(frame["dataset_idx"].astype(int), map(str, named), strict=True))
    return dict(sorted(names.items()))


def is_pruned(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of a pruned model, which was trained before as the one that is not pruned."""
    return frame["is_pruned"].eq(True) if "is_pruned" in frame else pd.Series(False, frame.index)


def training_keys(frame: pd.DataFrame) -> list[str]:
    """`dataset_idx`, and the columns that tell trainings on one dataset apart, where there are several of a frame.

    Those of CONFIGURATION; where rows of one epoch are left, also other columns that are no measurements.
    """
    if "dataset_idx" not in frame or frame.empty:
        return ["dataset_idx"]
    keys = ["dataset_idx", *_differing(frame, CONFIGURATION)]
    for name in frame:
        epoch = [key for key in (*keys, "grid_size", "epoch") if key in frame]
        # Of these columns alone: pandas would look at all of them, and copy the attrs for each.
        if "epoch" not in frame or not frame[epoch].duplicated().any():
            break
        if name not in (*keys, *MEASURED) and frame[name].dtype.kind != "f":
            keys += _differing(frame, [str(name)])
    return keys


def _differing(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """Those of the columns that have several values on a dataset; values that cannot be compared are none."""
    found = []
    for name in columns:
        with contextlib.suppress(TypeError):
            if name not in frame or frame[name].nunique(dropna=False) < 2:  # which is soon found out
                continue
            if frame.groupby("dataset_idx")[name].nunique(dropna=False).max() > 1:
                found.append(name)
    return found


def num_datasets(frames: pd.DataFrame | Frames) -> int:
    return int(_column(frames, "dataset_idx")["dataset_idx"].nunique())


def total_epochs(frame: pd.DataFrame) -> dict[int, int]:
    """The last epoch of every dataset, counted through all grids."""
    return _by_dataset(_column(frame, "dataset_idx", "epoch").groupby("dataset_idx")["epoch"].max())


def final_grid(frame: pd.DataFrame) -> dict[int, int]:
    """The grid that every dataset's training ended with; none of a model without a grid."""
    rows = _column(frame, "dataset_idx", "epoch", "grid_size").sort_values("epoch", kind="stable")
    return _by_dataset(rows.groupby("dataset_idx")["grid_size"].last().dropna())


def epochs_per_grid(frames: pd.DataFrame | Frames) -> int:
    """The epochs of a grid: the most that any training has on any, because some may have ended early."""
    every = frames.values() if isinstance(frames, dict) else [frames]
    parts = [_column(frame, "dataset_idx", "grid_size", "epoch") for frame in every if len(frame)]
    if not parts:
        raise InputError("no frame with rows")
    stages = [part.groupby(["dataset_idx", "grid_size"], dropna=False) for part in parts]  # NaN is a model's own stage
    return int(max(stage["epoch"].nunique().max() for stage in stages))


def _by_dataset(series: pd.Series) -> dict[int, int]:
    return dict(zip(series.index.astype(int).tolist(), series.astype(int).tolist(), strict=True))


def threshold_rows(frame: pd.DataFrame, tolerance: float = 0.05, patience: int = 2) -> pd.DataFrame:
    """The row at the interpolation threshold of every training, by `training_keys`: most often by `dataset_idx`.

    See `kanbench.training.threshold`. The losses are to be mean squared errors, as `kanbench.storage.comparable` makes
    them: of roots, 5 % are 10 % of the errors.

    Raises:
        InputError: There is no column `test_loss`, `epoch` or `dataset_idx`.
    """
    _column(frame, "dataset_idx", "epoch", "test_loss")
    keys, ordered = training_keys(frame), frame.sort_values("epoch", kind="stable")
    thresholds: dict[int, Threshold] = {}
    best: dict[int, int] = {}  # the position of the row, by training
    trainings = ordered.groupby(keys, dropna=False).ngroup()
    for position, (training, loss) in enumerate(zip(trainings, ordered["test_loss"], strict=True)):
        if thresholds.setdefault(training, Threshold(patience, tolerance)).update(loss):
            best[training] = position
    rows = ordered.iloc[[best[training] for training in sorted(best)]].set_index(keys)
    rows.attrs = {}
    return rows


def at_threshold(history: pd.DataFrame, checkpoints: dict[int, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """The rows of trainings at their thresholds: at the epochs of `checkpoints`, or else found by the default rule.

    Args:
        history (DataFrame): With one training for every dataset.
        checkpoints (dict): `{dataset_idx: {checkpoint: {metric: value}}}`; an epoch of 0 is that of an untrained model,
            which has no row.
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


DERIVABLE: dict[str, tuple[str, Callable[[Any], Any]]] = {  # what may be stored → how to get it, in words and in code
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
