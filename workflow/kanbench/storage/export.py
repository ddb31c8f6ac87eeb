"""Export runs for the readers of the study's original scripts; kanbench itself does not read the export.

Their figures use `final_train_loss` and `final_test_loss` from a frame `grid_history` with one row per grid, and
`dimension`, `architecture` and `architecture_type` from frames of high-dimensional problems. Losses stay mean squared
errors, as those readers label them.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.naming import Run
from kanbench.plan.sections import without_variant
from kanbench.storage.comparable import converted_frames
from kanbench.storage.conventions import FINAL_LOSSES
from kanbench.storage.conversion import ConvertedRun
from kanbench.storage.derive import Frames
from kanbench.storage.frames import write_frame
from kanbench.storage.metadata import write_metadata
from kanbench.storage.saving import staged
from kanbench.storage.stored_run import StoredRun


def export_for_original(stored: StoredRun, folder: str | Path, *, dry_run: bool = False) -> list[str]:
    """Export a run into a results folder for the original readers; the run itself is not changed.

    Args:
        dry_run (bool): Whether only to return what would be written.

    Returns:
        list of str: A line for each file that was, or would be, written.

    Raises:
        InputError: The run cannot be read, the folder cannot be written, or a file of the same name exists.
    """
    target = dataclasses.replace(stored.run, results=str(folder), folder_override=_folder(stored.run, folder))
    frames = converted_frames(stored.frames)
    metadata = ConvertedRun(stored).metadata() if stored.is_original else stored.metadata
    models = [file.path for file in stored.of_kind("checkpoint", "weights")]
    writes: dict[str, Callable[[Path], object]] = {
        **{Path(target.frame(n)).name: partial(write_frame, _completed(stored, n, frames)) for n in frames},
        **({Path(target.checkpoint_metadata()).name: partial(write_metadata, metadata)} if metadata else {}),
        **{path.name: partial(shutil.copyfile, path) for path in models},
    }
    paths = [Path(target.folder) / name for name in writes]
    for path in paths:
        if path.exists():
            raise InputError(path, problem="already exists", allowed="a folder without files of this run")
    if not dry_run:
        with staged(target) as new:
            for name, write in writes.items():
                write(Path(new.folder) / name)
    return [f"write {path}" for path in paths]


def _folder(run: Run, folder: str | Path) -> str:
    """The folder in which the original readers look: `sec1_results` for sections 1_1 and 2_1, and so on."""
    return str(Path(folder) / f"sec{run.section.split('_')[1]}_results")


def _completed(stored: StoredRun, name: str, frames: Frames) -> pd.DataFrame:
    """A frame with the additional columns that the original readers expect, as far as they can be derived."""
    frame, history = frames[name], frames.get("grid_history", pd.DataFrame())
    attrs = frame.attrs
    if name == "grid_history" and {"dataset_idx", "grid_size", "train_loss", "test_loss"} <= set(frame):
        frame = frame.groupby(["dataset_idx", "grid_size"], sort=False, as_index=False).tail(1)
        frame = frame.assign(**{new: frame[own] for new, own in FINAL_LOSSES.items()})
    if name == "summary" and {"dataset_idx", "grid_size"} <= set(history) and "dataset_idx" in frame:
        done = history.groupby("dataset_idx")["grid_size"].nunique()
        frame = frame.assign(grids_completed=frame["dataset_idx"].map(done).fillna(0).astype(int))
    if stored.run.section != without_variant(stored.run.section) and "dataset_name" in frame:
        frame = frame.assign(**_shape(stored, frame))
    frame = frame.copy(deep=False)
    frame.attrs = attrs
    return frame


def _shape(stored: StoredRun, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns with the dimension of each row's problem and the model's width, as far as they are known."""
    dims = {dataset: inputs for dataset, inputs in stored.inputs.items() if inputs is not None}
    found = {"dimension": frame["dataset_name"].map(dims)} if len(dims) == frame["dataset_name"].nunique() else {}
    widths = {str(config["width"]) for config in stored.configs()}
    if stored.section.frame_names or len(widths) != 1:
        return found
    hidden = {len(config["width"]) - 2 for config in stored.configs()}
    kind = next((word for word in ("shallow", "deep") if stored.run.section.endswith(f"_{word}")), None)
    kind = kind or ("shallow" if hidden == {1} else "deep")
    return {
        **found,
        "architecture": pd.Series(widths.pop(), frame.index),
        "architecture_type": pd.Series(kind, frame.index),
    }
