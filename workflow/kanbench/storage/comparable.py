"""Frames made comparable, whoever stored them: what analysis, tables, figures and pages work on.

Losses are mean squared errors; epochs count from 1 through all grids; there is a cumulative `time`; and there is one
training for every model type and dataset. Frames of the present format are that already and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.storage.attrs import is_converted
from kanbench.storage.conventions import FINAL_LOSSES, LOSSES, has_losses, is_original, loss_measure
from kanbench.storage.derive import Frames, training_keys

Replicates = dict[int | None, Frames]
BEST = "best_expert_dense_mse"
Chosen = dict[str, str]  # by dataset, the configuration in words


@dataclass(frozen=True)
class Comparable:
    """A run's frames as they are compared.

    Attributes:
        replicates (dict): `{seed: {name: frame}}`, without frames that have not even columns.
        notes (tuple of str): What was converted, derived and chosen.
        has_thresholds (bool): Whether the checkpoints and their metadata are of the thresholds of these frames. The
            original scripts found thresholds on roots of errors for some model types and on errors for others, and kept
            no models of them.
    """

    replicates: Replicates
    notes: tuple[str, ...]
    has_thresholds: bool


def comparable(replicates: Replicates) -> Comparable:
    """Make frames, as `StoredRun.replicates` has them, comparable."""
    first = next(iter(replicates.values()))
    original = any(is_original(frame) for frame in first.values())
    compared = {seed: comparable_frames(frames) for seed, frames in replicates.items()}
    known = not original and not any(map(is_converted, first.values()))
    return Comparable(compared, tuple(_notes(first, original)), known)


def comparable_frames(frames: Frames) -> Frames:
    """Comparable copies of frames, or the frames themselves where nothing is to be done; those with any columns."""
    return {name: best_configurations(frame) for name, frame in converted_frames(frames).items()}


def converted_frames(frames: Frames) -> Frames:
    """The frames that have any columns, each `converted`; in the summary of merging the best expert, if it lacks it."""
    new = {name: converted(frame) for name, frame in frames.items() if len(frame.columns)}
    summary, experts = (new.get(name, pd.DataFrame()) for name in ("summary", "experts"))
    if "dataset_idx" in summary and {"dataset_idx", "dense_mse"} <= set(experts) and BEST not in summary:
        best = summary["dataset_idx"].map(experts.groupby("dataset_idx")["dense_mse"].min())
        new["summary"] = summary.assign(**{BEST: best})
    return new


def converted(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with all of its trainings, in mean squared errors, with epochs from 1 and with `time`.

    What is converted says so: its provenance has `losses`.
    """
    new = frame.reset_index() if "dataset_idx" in frame.index.names else frame
    new = new if new.index.is_unique else new.reset_index(drop=True)
    if "dataset_idx" not in new and "dataset_name" in new:
        new = new.assign(dataset_idx=pd.factorize(new["dataset_name"])[0])
    if names := {old: name for old, name in FINAL_LOSSES.items() if old in new and name not in new}:
        new = new.rename(columns=names)
    if loss_measure(frame) == "rmse":
        # Pruned models were evaluated by the scripts themselves, not by pykan.
        roots = ~new["is_pruned"].astype(bool) if "is_pruned" in new else np.ones(len(new), bool)
        new = new.assign(**{loss: new[loss].mask(roots, new[loss] ** 2) for loss in LOSSES if loss in new})
    if "dataset_idx" in new and "epoch" in new:
        new = _with_time(_from_one(_without_doubles(new)))
    if new is not frame:
        new.attrs = {**frame.attrs, "provenance": {**(frame.attrs.get("provenance") or {}), "losses": "mse"}}
    return new


def _without_doubles(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without rows that are there twice; of one epoch of a training there may be one.

    Raises:
        InputError: There are several, which differ.
    """
    epoch = [key for key in (*training_keys(frame), "grid_size", "epoch") if key in frame]
    if not frame.duplicated(epoch).any():
        return frame
    frame = frame.drop_duplicates()
    if (double := frame.duplicated(epoch)).any():
        which = ", ".join(f"{key} {value}" for key, value in frame.loc[double, epoch].iloc[0].items())
        raise InputError(frame.attrs.get("model_type", "frame"), f"several rows of {which}", "one, or equal ones")
    return frame


def _from_one(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with epochs from 1, counted through all grids, where they begin at 0 or anew with every grid."""
    keys = training_keys(frame)
    twice, stage = frame.duplicated([*keys, "epoch"]).any(), [*keys, "grid_size", "epoch"]
    if twice and "grid_size" in frame and not frame.duplicated(stage).any():
        return frame.assign(epoch=frame.groupby(keys, sort=False, dropna=False).cumcount() + 1)
    return frame.assign(epoch=frame["epoch"] + 1) if frame["epoch"].min() == 0 else frame


def _with_time(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `time` at the end of every epoch, from the times of the grids' stages where it has none."""
    if "time" in frame or not {"total_time", "time_per_epoch"} <= set(frame):
        return frame
    # A pruned model was trained before, as the one that is not pruned.
    keys = [key for key in training_keys(frame) if key != "is_pruned"]
    stage = [*keys, *(key for key in ("grid_size", "is_pruned") if key in frame)]
    rows = frame.sort_values([*keys, "epoch"], kind="stable")
    stages = rows.groupby(stage, sort=False, dropna=False)
    total = stages["total_time"].transform("max")
    is_last = stages.cumcount(ascending=False) == 0
    ends = total.where(is_last, 0.0).groupby([rows[key] for key in keys], sort=False, dropna=False).cumsum()
    start = ends.where(is_last, ends + total) - total
    return frame.assign(time=start + total * (stages.cumcount() + 1) / stages["epoch"].transform("size"))


def best_configurations(frame: pd.DataFrame) -> pd.DataFrame:
    """Of several configurations of a dataset, the rows of the one whose last test loss is the lowest.

    A pruned model comes before those that are not.
    """
    if not (chosen := _chosen(frame)):
        return frame
    keys = training_keys(frame)
    wanted = pd.DataFrame(chosen.values(), columns=keys)
    kept = frame.merge(wanted, on=keys)[list(frame.columns)]
    kept.attrs = frame.attrs
    return kept


def _chosen(frame: pd.DataFrame) -> dict[int, tuple[object, ...]]:
    """The keys of the training of every dataset that is compared; none where there is nothing to choose."""
    keys = training_keys(frame)
    if len(keys) == 1 or not {"epoch", "test_loss"} <= set(frame):
        return {}
    last = frame.sort_values("epoch", kind="stable").groupby(keys, sort=False, dropna=False).tail(1)
    last = last.assign(test_loss=last["test_loss"].replace([np.inf, -np.inf], np.nan))
    order = ["dataset_idx", *(["is_pruned"] if "is_pruned" in keys else []), "test_loss"]
    ascending = [key != "is_pruned" for key in order]
    best = last.sort_values(order, ascending=ascending, kind="stable").drop_duplicates("dataset_idx")
    return {int(row[0]): tuple(row) for row in best[keys].itertuples(index=False)}


def _notes(frames: Frames, original: bool) -> list[str]:
    """What is to be known of the conversion of a run's frames."""
    found = []
    measures = {name: loss_measure(frame) for name, frame in frames.items() if has_losses(frame)}
    if roots := [name for name, measure in measures.items() if measure == "rmse"]:
        others = [name for name, measure in measures.items() if measure == "mse"]
        rest = f"; those of {', '.join(others)} are mean squared errors as they are" if others else ""
        found.append(
            f"Losses of {', '.join(roots)} were stored as root mean squared errors, and are squared here{rest}."
        )
    if original:
        found.append(
            "Stored by the study's original scripts: the dense MSE of an epoch is that at the end of its grid, on a "
            "domain padded by 5 % a side, where no model was trained; train losses of Adam are those before the step; "
            "parameters include four dead ones for every edge. Epochs are counted from 1 here, and thresholds are "
            "found anew, on mean squared errors."
        )
    if timed := [n for n, f in frames.items() if len(f) and "time" not in f and "time" in converted(f)]:
        found.append(f"The time of {', '.join(timed)} follows from total_time, in which evaluations are included.")
    for name, frame in frames.items():
        if len(frame) and len(converted(frame)) < len(frame):
            found.append(f"{name}: {len(frame) - len(converted(frame))} rows are there twice, and are left out once.")
        if len(frame) and (chosen := _chosen(new := converted(frame))):
            found.append(_choice(name, new, chosen))
    return found


def _choice(name: str, frame: pd.DataFrame, chosen: dict[int, tuple[object, ...]]) -> str:
    keys = training_keys(frame)
    names = dict(zip(frame["dataset_idx"], frame.get("dataset_name", frame["dataset_idx"]), strict=True))
    count = frame.groupby("dataset_idx")[keys].apply(lambda rows: len(rows.drop_duplicates())).max()
    if keys[1:] == ["is_pruned"]:
        return f"{name}: the pruned models are compared, where there are some."
    words = "; ".join(f"{names[i]}: {', '.join(map(str, values[1:]))}" for i, values in chosen.items())
    return (
        f"{name} was trained in {count} configurations ({', '.join(keys[1:])}), of which that with the lowest last "
        f"test loss is compared: {words}."
    )
