"""Make frames of any format comparable, for analysis, tables, figures and pages.

Comparable frames have mean squared errors, epochs counted from 1 through all grids, cumulative `time`, and one training
per model type and dataset. Frames of the present format already are comparable, and stay unchanged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.problems.source import Source
from kanbench.storage.attrs import in_words, is_converted, mixed, provenance_of
from kanbench.storage.conventions import FINAL_LOSSES, LOSSES, has_losses, is_original, loss_measure
from kanbench.storage.derive import Frames, is_pruned, training_keys
from kanbench.storage.problems import stated_in

Replicates = dict[int | None, Frames]
BEST = "best_expert_dense_mse"


@dataclass(frozen=True)
class Comparable:
    """The comparable frames of a run.

    Attributes:
        replicates (dict): `{seed: {name: frame}}`, without frames that have no columns.
        notes (tuple of str): What was converted, derived and chosen.
        has_thresholds (bool): Whether checkpoints and metadata belong to the thresholds of these frames. The original
            scripts determined thresholds on root mean squared errors for some model types and on mean squared errors
            for others, and saved no models at them.
    """

    replicates: Replicates
    notes: tuple[str, ...]
    has_thresholds: bool


def comparable(replicates: Replicates) -> Comparable:
    """Make the frames of a run, as in `StoredRun.replicates`, comparable.

    Raises:
        InputError: A training has different rows for the same epoch, or a summary for the same dataset; or settings or
            problems differ between frames, according to the digests in their provenance.
    """
    _check_alike(replicates)
    every = {seed: converted_frames(_sharing_provenance(frames)) for seed, frames in replicates.items()}
    compared = {seed: _sharing_provenance(_best_of(frames)) for seed, frames in every.items()}
    stored, first = next(iter(replicates.values())), next(iter(every.values()))
    of_original = any(is_original(frame) or is_converted(frame) for frame in stored.values())
    notes = [*_notes(stored, first, of_original), *mixed(_by_name(replicates))]
    return Comparable(compared, tuple(notes), not of_original)


def _by_name(replicates: Replicates) -> Frames:
    """The nonempty frames of all seeds, by names that include the seed."""
    first = next(iter(replicates))
    return {
        name if seed == first else f"{name} with seed {seed}": frame
        for seed, frames in replicates.items()
        for name, frame in frames.items()
        if len(frame)
    }


def _check_alike(replicates: Replicates) -> None:
    """Check that all frames agree in common settings and problems; unrecorded ones pass."""
    digests: dict[str, dict[Any, list[str]]] = {}
    for name, frame in _by_name(replicates).items():
        stated = {"settings": provenance_of(frame).get("common_digest")}
        for problem in frame["dataset_name"].unique() if "dataset_name" in frame else []:
            if (known := stated_in(problem, [frame])) is not None:
                stated[f"problem {problem}"] = _identity(known.source)
        for what, digest in stated.items():
            if isinstance(digest, str):
                digests.setdefault(what, {}).setdefault(digest, []).append(name)
    for what, groups in digests.items():
        if len(groups) > 1:
            attrs = next(iter(next(iter(replicates.values())).values())).attrs
            where = "_".join(str(attrs.get(key, "?")) for key in ("section", "timestamp"))
            found = f"several versions of {what}, by digest ({in_words(groups)})"
            raise InputError(where, found, "the same for all; train the older ones again")


def _identity(source: Source) -> str | None:
    """A text that identifies a version of a problem, independent of the location of its file."""
    if source.digest is None or source.columns is None:
        return source.digest
    return f"{source.digest} {json.dumps(msgspec.to_builtins(source.columns))}"


class _Shared(dict[str, Any]):
    """A mapping that is never copied; pandas deep-copies all attrs whenever a column is selected."""

    def __deepcopy__(self, memo: object) -> _Shared:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _sharing_provenance(frames: Frames) -> Frames:
    """The frames with a provenance that pandas does not copy, which is slow if it describes many problems."""
    shared = {name: frame.copy(deep=False) for name, frame in frames.items()}
    for frame in shared.values():
        if provenance := provenance_of(frame):
            frame.attrs = {**frame.attrs, "provenance": _Shared(provenance)}
    return shared


def comparable_frames(frames: Frames) -> Frames:
    """The frames that have columns, as comparable copies; the same objects if nothing has to be changed."""
    return _best_of(converted_frames(frames))


def converted_frames(frames: Frames) -> Frames:
    """The frames that have columns, each `converted`; a merging summary without the best expert's error gets it."""
    new = {name: converted(frame) for name, frame in frames.items() if len(frame.columns)}
    summary, experts = (new.get(name, pd.DataFrame()) for name in ("summary", "experts"))
    if "dataset_idx" in summary and {"dataset_idx", "dense_mse"} <= set(experts) and BEST not in summary:
        best = summary["dataset_idx"].map(experts.groupby("dataset_idx")["dense_mse"].min())
        new["summary"] = summary.assign(**{BEST: best})
    return new


def converted(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert a frame, with all its trainings, to mean squared errors, epochs from 1, and `time`.

    If anything is changed, the provenance gets `losses`.
    """
    new = frame if frame.index.is_unique else frame.reset_index(drop=True)
    if "dataset_idx" not in new and "dataset_name" in new:
        new = new.assign(dataset_idx=pd.factorize(new["dataset_name"])[0])
    if names := {old: name for old, name in FINAL_LOSSES.items() if old in new and name not in new}:
        new = new.rename(columns=names)
    if loss_measure(frame) == "rmse":
        # Pruned models were evaluated by the scripts themselves, not by pykan, in mean squared errors.
        roots = ~is_pruned(new)
        new = new.assign(**{loss: new[loss].mask(roots, new[loss] ** 2) for loss in LOSSES if loss in new})
    if "dataset_idx" in new:
        new = without_doubles(new)
        new = _with_time(_from_one(new)) if "epoch" in new else new
    if new is not frame:
        new.attrs = {**frame.attrs, "provenance": {**(frame.attrs.get("provenance") or {}), "losses": "mse"}}
    return new


def without_doubles(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop duplicate rows, leaving one row per epoch of a training, or per dataset of a summary.

    Raises:
        InputError: Rows of the same epoch or dataset differ.
    """
    if _has_one_row_per_epoch(frame):
        return frame
    keys: list[Any] = [key for key in (*training_keys(frame), "grid_size", "epoch") if key in frame]
    of_one = keys if "epoch" in frame else ["dataset_idx"] if "merged_dense_mse" in frame else list(frame)
    if not _duplicated(frame, of_one).any():
        return frame
    frame = frame[~_duplicated(frame, list(frame))]
    if (double := _duplicated(frame, of_one)).any():
        which = ", ".join(f"{key} {value}" for key, value in frame.loc[double, of_one].iloc[0].items())
        name = "_".join(str(frame.attrs.get(key, "?")) for key in ("section", "timestamp", "model_type"))
        allowed = "one, or columns that tell trainings apart"
        raise InputError(f"frame {name}", f"several rows of {which}", allowed)
    return frame


def _has_one_row_per_epoch(frame: pd.DataFrame) -> bool:
    """Whether no two rows of a dataset have the same epoch, as in the present format: a fast check first."""
    return "epoch" in frame and not frame[["dataset_idx", "epoch"]].duplicated().any()


def _duplicated(frame: pd.DataFrame, columns: list[Any]) -> pd.Series[bool]:
    """A mask of the rows that equal an earlier row in these columns."""
    chosen = frame[columns]  # frame.duplicated(columns) visits all columns, and copies the attrs for each
    try:
        return chosen.duplicated()
    except TypeError:  # lists are not hashable
        return chosen.map(repr).duplicated()


def _from_one(frame: pd.DataFrame) -> pd.DataFrame:
    """Count epochs from 1 through all grids, if they start at 0 or restart with each grid."""
    if not _has_one_row_per_epoch(frame):
        keys = _training(frame)
        twice, stage = frame[[*keys, "epoch"]].duplicated().any(), [*keys, "grid_size", "epoch"]
        if twice and "grid_size" in frame and not frame[~is_pruned(frame)].duplicated(stage).any():
            rows = frame.assign(last=is_pruned(frame)).sort_values([*keys, "last", "grid_size", "epoch"], kind="stable")
            return frame.assign(epoch=rows.groupby(keys, sort=False, dropna=False).cumcount() + 1)
    return frame.assign(epoch=frame["epoch"] + 1) if frame["epoch"].min() == 0 else frame


def _with_time(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `time` at the end of each epoch, from the times of the stages, if it is missing."""
    if "time" in frame or not {"total_time", "time_per_epoch"} <= set(frame):
        return frame
    keys = _training(frame)
    rows = frame.assign(last=is_pruned(frame)).sort_values([*keys, "last", "epoch"], kind="stable")
    stages = rows.groupby([*keys, *(["grid_size"] if "grid_size" in frame else []), "last"], sort=False, dropna=False)
    total = stages["total_time"].transform("max")
    is_last = stages.cumcount(ascending=False) == 0
    ends = total.where(is_last, 0.0).groupby([rows[key] for key in keys], sort=False, dropna=False).cumsum()
    start = ends.where(is_last, ends + total) - total
    return frame.assign(time=start + total * (stages.cumcount() + 1) / stages["epoch"].transform("size"))


def _training(frame: pd.DataFrame) -> list[str]:
    """The keys of a whole training; a pruned model belongs to the training of the model before pruning."""
    return [key for key in training_keys(frame) if key != "is_pruned"]


def _best_of(frames: Frames) -> Frames:
    """For each dataset, keep only the configuration with the lowest last test loss; pruned models take precedence."""
    best = {}
    for name, frame in frames.items():
        rows = _best_rows(frame)
        best[name] = frame if rows is None else frame[rows]
    return best


def _best_rows(frame: pd.DataFrame) -> pd.Series[bool] | None:
    """A mask of the rows of the chosen training of each dataset; None if there is only one."""
    keys = training_keys(frame)
    if len(keys) == 1 or not {"epoch", "test_loss"} <= set(frame):
        return None
    training = frame.groupby(keys, sort=False, dropna=False).ngroup()
    last = frame.assign(training=training, pruned=is_pruned(frame)).sort_values("epoch", kind="stable")
    last = last.drop_duplicates("training", keep="last")
    last = last.assign(test_loss=last["test_loss"].replace([np.inf, -np.inf], np.nan))
    order = last.sort_values(["dataset_idx", "pruned", "test_loss"], ascending=[True, False, True], kind="stable")
    return training.isin(order.drop_duplicates("dataset_idx")["training"])


def _notes(stored: Frames, frames: Frames, of_original: bool) -> list[str]:
    """Notes on a run's frames: what was converted, and what cannot be."""
    found = []
    measures = {name: loss_measure(frame) for name, frame in stored.items() if has_losses(frame)}
    if roots := [name for name, measure in measures.items() if measure == "rmse"]:
        others = [name for name, measure in measures.items() if measure == "mse"]
        rest = f"; those of {', '.join(others)} were stored as mean squared errors" if others else ""
        found.append(
            f"Losses of {', '.join(roots)} were stored as root mean squared errors, and are squared here{rest}."
        )
    if of_original:
        counted = "" if any(map(is_converted, stored.values())) else " Parameters include four dead ones per edge."
        found.append(
            "Trained by the study's original scripts: the dense MSE of all epochs of a grid is that at its end, on a "
            "domain padded by 5 % on each side, where no model was trained; train losses of Adam were computed before "
            f"the step; times include evaluations.{counted} Epochs are counted from 1, and thresholds are determined "
            "from mean squared errors."
        )
    elif timed := [name for name, frame in frames.items() if "time" in frame and "time" not in stored[name]]:
        found.append(f"The time of {', '.join(timed)} follows from total_time.")
    for name, frame in frames.items():
        if dropped := len(stored[name]) - len(frame):
            found.append(f"{name}: {dropped} duplicate rows were dropped.")
        if (rows := _best_rows(frame)) is not None:
            found.append(_choice(name, frame, frame[rows]))
    return found


def _choice(name: str, frame: pd.DataFrame, best: pd.DataFrame) -> str:
    keys = training_keys(frame)
    if keys[1:] == ["is_pruned"]:
        return f"{name}: the pruned models are compared, if available."
    count = frame.groupby("dataset_idx")[keys].apply(lambda rows: len(rows.drop_duplicates())).max()
    named = best.assign(dataset=best["dataset_name"] if "dataset_name" in best else best["dataset_idx"])
    chosen = named.drop_duplicates("dataset_idx")[["dataset", *keys[1:]]].itertuples(index=False, name=None)
    words = "; ".join(f"{dataset}: {', '.join(map(str, values))}" for dataset, *values in chosen)
    return (
        f"{name} was trained in {count} configurations ({', '.join(keys[1:])}); the one with the lowest last test loss "
        f"is compared: {words}."
    )
