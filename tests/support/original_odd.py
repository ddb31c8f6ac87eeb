"""Stand-ins of runs of the original study's scripts that somebody changed, or made with other problems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from support.original import EPOCHS, STAMP, Rows, optimizers
from support.original_trainings import TWO

STEM = f"section2_1_{STAMP}_e{EPOCHS}"


def frame_paths(results: Path) -> dict[str, Path]:
    paths = (results / "sec1_results").glob(f"{STEM}_*.pkl")
    return {path.stem.removeprefix(f"{STEM}_"): path for path in paths if "checkpoint" not in path.name}


def rewrite(results: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a frame with plain pandas, which keeps its attrs; one in parquet goes."""
    path = frame_paths(results)[name]
    frame = pd.read_pickle(path)
    changed = change(frame)
    changed.attrs = frame.attrs
    changed.to_pickle(path)
    path.with_suffix(".parquet").unlink(missing_ok=True)


def duplicated_rows(results: Path) -> str:
    """A frame that was put together twice."""
    section = optimizers(results)
    rewrite(results, "adam", lambda frame: pd.concat([frame, frame]))
    return section


def unknown_model_type(results: Path) -> str:
    section = optimizers(results)
    frame = pd.read_pickle(frame_paths(results)["lm"]).assign(optimizer="SGD")
    frame.attrs["model_type"] = "sgd"
    frame.to_pickle(results / "sec1_results" / f"{STEM}_sgd.pkl")
    return section


def no_test_loss(results: Path) -> str:
    section = optimizers(results)
    rewrite(results, "lbfgs", lambda frame: frame.drop(columns="test_loss"))
    return section


def nan_losses(results: Path) -> str:
    """A training that diverged after the first grid; its checkpoints are those of one that did not."""
    section = optimizers(results)
    nan = np.array(np.nan, np.float32)

    def diverged(frame: pd.DataFrame) -> pd.DataFrame:
        rows = frame.to_dict("records")
        for row in rows:
            if row["dataset_idx"] == 0 and row["grid_size"] == 5:
                row |= {"train_loss": nan, "test_loss": nan, "dense_mse": float("nan")}
        return pd.DataFrame(rows)

    rewrite(results, "adam", diverged)
    return section


def one_dataset(results: Path) -> str:
    return optimizers(results, datasets=TWO[:1])


def foreign_datasets(results: Path) -> str:
    """Targets that are none of our problems, so that nothing can be computed again."""
    return optimizers(results, datasets=("bumps",), newest=False)


def squared(names: tuple[str, ...], power: float, name: str, rows: Rows) -> None:
    """Raise the losses of a model type to a power."""
    for row in rows if name in names else ():
        row |= {key: _as_before(row[key], row[key] ** power) for key in ("train_loss", "test_loss")}


def _as_before(old: Any, new: Any) -> Any:
    return np.array(new, np.float32) if isinstance(old, np.ndarray) else float(new)


def lm_as_roots(results: Path) -> str:
    """Somebody took the roots of LM's losses, for one measure in all frames."""
    return optimizers(results, change=partial(squared, ("lm",), 0.5))


def all_squared(results: Path) -> str:
    """Somebody squared the losses of the others, for the same reason."""
    return optimizers(results, change=partial(squared, ("adam", "lbfgs"), 2))


WHOLE = (one_dataset, foreign_datasets, lm_as_roots, all_squared)  # of which every reader can make something
BROKEN = (duplicated_rows, unknown_model_type, no_test_loss, nan_losses)
