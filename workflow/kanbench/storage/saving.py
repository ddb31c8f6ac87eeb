"""Save frames, checkpoints and their metadata as one run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError, one_line, warn
from kanbench.io.atomic import atomic_folder, folder_lock
from kanbench.io.readers import TRUST
from kanbench.plan.naming import CHECKPOINTS, RESULTS, Run
from kanbench.plan.sections import SECTIONS, is_timestamp, is_variant, new_timestamp, without_variant
from kanbench.storage.attrs import OF_FRAMES, Attrs, agreed, essential
from kanbench.storage.checkpoints import write_checkpoint
from kanbench.storage.comparable import without_doubles
from kanbench.storage.derive import DERIVABLE
from kanbench.storage.frames import with_columns, write_and_compare
from kanbench.storage.metadata import Metadata, read_metadata, write_metadata
from kanbench.storage.stored_names import MAX_DATASETS
from kanbench.storage.stored_run import stored_runs
from kanbench.storage.values import epochs_of, same

FEW = 8  # most rows that a warning lists
PLAIN_TYPES = (NoneType, bool, int, float, str)


def save_run(
    results: dict[str, pd.DataFrame],
    section: str,
    *,
    checkpoints: dict[str, dict[int, dict[str, dict[str, Any]]]] | None = None,
    models: dict[str, dict[int, Any]] | None = None,
    timestamp: str | None = None,
    results_dir: str | Path = RESULTS,
    overwrite: bool = False,
    **metadata: Any,
) -> str:
    """Save frames, checkpoints and their metadata as one run; either all files are written or none.

    Args:
        results (dict): `{model_type: frame}`; for section 2.3 `summary`, `experts`, `selected_experts` and
            `grid_history`. The frames are not modified.
        section (str): A section such as `section2_1`, or a variant such as `section2_1_highd_3d_shallow`.
        checkpoints (dict, optional): `{model_type: {dataset_idx: {'at_threshold': {...}, 'final': {...}}}}`. A KAN
            under the key `model` is written as a pykan checkpoint; everything else goes into the metadata file.
        models (dict, optional): Deprecated: `{model_type: {dataset_idx: KAN}}`, saved as `final` checkpoints without
            metadata.
        timestamp (str, optional): YYYYMMDD_HHMMSS; by default the current time in UTC.
        results_dir (path): The results folder.
        overwrite (bool): Whether to replace an existing run, as a whole.
        **metadata: Attrs that cannot be derived from the columns: epochs, device, lbfgs_threshold_time, … Derivable
            ones are ignored with a warning. Attrs not given here are taken from each frame, so `save_run(results,
            section)` and `save_run(results, **meta)` both keep the attrs that `load_run` returned. If a given
            provenance is a part of a frame's own, the frame's own is kept.

    Returns:
        str: The timestamp.

    Warns:
        UserWarning: Attrs are not part of the format, or rows are duplicates; both are dropped.

    Raises:
        InputError: Rows of the same epoch differ, or something cannot be saved such that `load_run` can read it. An
            existing run is then unchanged.
    """
    known = without_variant(section) if isinstance(section, str) else None
    is_section = known in SECTIONS and (section == known or is_variant(section.removeprefix(f"{known}_")))
    _require(is_section, "section", section, f"{', '.join(SECTIONS)}, or a variant of one")
    given = _given(section, metadata)
    _require(isinstance(results_dir, (str, PathLike)), "results_dir", results_dir, "a folder")
    if not _dict(results, "results", "{name: DataFrame}"):
        raise InputError("save_run", "no frames", "at least one")
    timestamp = new_timestamp() if timestamp is None else timestamp
    is_time = isinstance(timestamp, str) and is_timestamp(timestamp)
    _require(is_time, "timestamp", timestamp, "a date and time as YYYYMMDD_HHMMSS")
    if models is not None:
        warn("models= is deprecated; use checkpoints=", DeprecationWarning)
    _check_names(section, "frame", results)
    attrs = {name: _attrs(section, name, frame, given) for name, frame in results.items()}
    results = {name: _without_doubles(name, frame) for name, frame in results.items()}
    results_dir = os.path.expanduser(results_dir)  # noqa: PTH111 - as in pandas and `stored_files`
    run = Run(section, timestamp, _epochs(section, attrs), results_dir)
    checkpoint_metadata, weights = _separated(section, {} if checkpoints is None else checkpoints)
    for where, model_type, dataset_idx, model in _by_dataset(section, "models", {} if models is None else models):
        _check_model(where, model)
        if (key := (model_type, dataset_idx, "final")) in weights:
            raise InputError(f"save_run: {where}", "a final model, and another one in checkpoints", "one of them")
        weights[key] = model

    def write(new: Run) -> None:
        for name, frame in results.items():
            saved = frame.copy()
            model_type = run.kind.model_type_of(name)
            saved.attrs = {"section": section, "timestamp": timestamp, "model_type": model_type, **attrs[name]}
            for path in new.frame_files(name):
                write_and_compare(saved, path)
            _check_single(name, saved)
        for key, model in weights.items():
            _write_model(new.checkpoint(*key), model)
        if checkpoints is not None:
            write_metadata(checkpoint_metadata, new.checkpoint_metadata())
            read_metadata(new.checkpoint_metadata())

    with folder_lock(run.folder):
        _replace(run, write, overwrite)
    return timestamp


@contextlib.contextmanager
def staged(run: Run) -> Iterator[Run]:
    """Yield the run with a temporary folder; its files move to the run's folder when the block ends without an error.

    Raises:
        InputError: The files cannot be written, or the block raised an error, which then names the final paths.
    """
    with atomic_folder(run.folder, about=f"{run.folder}/{run.name}") as temporary:
        try:
            yield dataclasses.replace(run, folder_override=str(temporary))
        except InputError as error:  # the temporary file that it names no longer exists when a user reads it
            raise error.at(error.where.replace(str(temporary), run.folder)) from error


def _replace(run: Run, write: Callable[[Run], None], overwrite: bool) -> None:
    """Replace the run by the files that `write` makes; the folder must be locked."""
    every = {stored.run: stored.files for stored in stored_runs(run.results)}
    if not overwrite and any(file.run == run for files in every.values() for file in files):
        where = f"{run.folder}/{run.name}"
        raise InputError(where, problem="this run exists", allowed="another timestamp, or overwrite=True")
    with staged(run) as new:
        try:
            write(new)
        except InputError as error:
            if error.allowed != TRUST:  # when saving, trusted=True is no remedy
                raise
            raise InputError(error.where, error.found, "numbers and text", problem=error.problem) from error
        written = {path.name for path in Path(new.folder).iterdir()}
    of_others = {file.path for other, files in every.items() if other != run for file in files}
    for file in every.get(run, []):  # files of the old run
        if file.path.name not in written and file.path not in of_others:
            file.path.unlink()


def _check_names(section: str, word: str, names: Iterable[str]) -> None:
    known = SECTIONS[without_variant(section)]
    allowed = known.frames if word == "frame" else known.model_types
    for name in names:
        _require(name in allowed, word, name, f"{', '.join(allowed)} in {section}")


def _require(fits: bool, where: str, value: Any, allowed: str) -> None:
    if not fits:
        found = one_line(repr(value))[:100] if isinstance(value, PLAIN_TYPES) else type(value).__name__
        raise InputError(f"save_run: {where}", found, allowed)


def _dict(value: Any, where: str, allowed: str) -> dict[Any, Any]:
    _require(isinstance(value, dict), where, value, allowed)
    return value


def _given(section: str, metadata: Attrs) -> Attrs:
    """Check the attrs that the caller passed for all frames."""
    given: Attrs = {}
    for key, value in metadata.items():
        if key in DERIVABLE:
            warn(f"{key} is not stored: derive it with {DERIVABLE[key][0]}")
        elif key in essential(section):
            given[key] = _checked(key, value, key)
            other = key.endswith("_threshold_time") and key != SECTIONS[without_variant(section)].threshold_time
            _require(value is None or not other, key, value, f"None in {section}")
        else:  # meta of load_run may include OF_FRAMES
            _require(key in OF_FRAMES, "metadata", key, f"{', '.join(essential(section))} in {section}")
    return given


def _attrs(section: str, name: str, frame: pd.DataFrame, given: Attrs) -> Attrs:
    """The attrs of a frame, besides section, timestamp and model type: those given, else its own, else None."""
    _require(isinstance(frame, pd.DataFrame), f"results.{name}", frame, "a DataFrame")
    if not frame.columns.is_unique:
        twice = one_line(repr(frame.columns[frame.columns.duplicated()][0]))[:100]
        raise InputError(f"save_run: results.{name}", f"the column {twice} twice", "one")
    known = (*essential(section), *OF_FRAMES, "section", "timestamp", "epochs")
    if others := [str(key) for key in frame.attrs if key not in known]:
        warn(f"results.{name}.attrs: not stored: {', '.join(others)}; stored are {', '.join(essential(section))}")
    attrs: Attrs = {}
    for key in essential(section):
        own, wanted = frame.attrs.get(key), given.get(key)
        part = isinstance(own, dict) and isinstance(wanted, dict) and same(agreed([wanted, own]), wanted)
        attrs[key] = _checked(key, own, f"results.{name}.attrs.{key}") if key not in given or part else wanted
    return attrs


def _without_doubles(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Drop duplicate rows; different rows of the same epoch are refused later, by `_check_single`.

    Warns:
        UserWarning: There are duplicate rows; lists them.
    """
    rows = with_columns(frame).reset_index(drop=True)
    with contextlib.suppress(InputError):
        if "dataset_idx" in rows and len(kept := without_doubles(rows).index) < len(rows):
            double = rows.index.difference(kept)
            named = ", ".join(map(str, double[:FEW])) + (", …" if len(double) > FEW else "")
            warn(f"results.{name}: {len(double)} duplicate rows are stored once: rows {named} (from 0)")
            return frame.iloc[kept]
    return frame


def _check_single(name: str, frame: pd.DataFrame) -> None:
    """Raise `InputError` if rows of the same epoch differ."""
    rows = with_columns(frame)
    if "dataset_idx" in rows:
        try:
            without_doubles(rows)
        except InputError as error:
            raise error.at(f"save_run: results.{name}") from error


def _epochs(section: str, attrs: dict[str, Attrs]) -> int | None:
    """The epochs that all frames share, for file names; None if the section's names have none."""
    if not SECTIONS[without_variant(section)].has_epochs:
        return None
    found = {of_frame["epochs"] for of_frame in attrs.values()}
    if None in found or len(found) > 1:
        counts = ", ".join(sorted(map(str, found)))
        raise InputError("save_run: epochs", counts, f"{ALLOWED['epochs'][1]}, the same for all frames")
    return found.pop()


SECONDS = (lambda v: type(v) in (int, float) and 0 <= v < float("inf"), "seconds")
ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {  # for attrs; None is allowed too
    "epochs": (lambda v: isinstance(v, int) and epochs_of(v) is not None, "an integer, at least 1"),
    "device": (lambda v: isinstance(v, str), "text"),
    "lbfgs_threshold_time": SECONDS,
    "baseline_threshold_time": SECONDS,
    "provenance": (lambda v: isinstance(v, dict), "a dict"),
}


def _checked(key: str, value: Any, where: str) -> Any:
    value = _plain(value, where)
    if value is not None and key in ALLOWED:
        _require(ALLOWED[key][0](value), where, value, ALLOWED[key][1])
    return value


def _plain(value: Any, key: str) -> Any:
    """Convert a value to builtin types, which all formats preserve."""
    if isinstance(value, dict):
        return {name: _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, key) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    _require(isinstance(value, PLAIN_TYPES), key, value, "numbers, text, lists and dicts of them")
    return value


def _separated(section: str, checkpoints: dict[Any, Any]) -> tuple[Metadata, dict[tuple[str, int, str], Any]]:
    """Split checkpoints into metrics, and models by (model type, dataset, checkpoint)."""
    metadata: Metadata = {}
    models = {}
    for where, model_type, dataset_idx, per_name in _by_dataset(section, "checkpoints", checkpoints):
        for name, content in _dict(per_name, where, "{checkpoint: {metric: value}}").items():
            _require(name in CHECKPOINTS, f"{where}: checkpoint", name, ", ".join(CHECKPOINTS))
            _dict(content, f"{where}.{name}", "{metric: value}, with the KAN as 'model'")
            metrics = {key: _plain(value, key) for key, value in content.items() if key != "model"}
            metadata.setdefault(model_type, {}).setdefault(dataset_idx, {})[name] = metrics
            if content.get("model") is not None:
                models[model_type, dataset_idx, name] = content["model"]
                _check_model(f"{where}.{name}.model", content["model"])
    return metadata, models


def _by_dataset(section: str, argument: str, content: dict[Any, Any]) -> Iterator[tuple[str, str, int, Any]]:
    """Iterate over `checkpoints` or `models`: (place for errors, model type, dataset, value)."""
    _check_names(section, "model type", _dict(content, argument, "{model_type: {dataset_idx: …}}"))
    for model_type, per_dataset in content.items():
        where = f"{argument}.{model_type}"
        for index, of_dataset in _dict(per_dataset, where, "{dataset_idx: …}").items():
            is_integer = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
            fits = is_integer and 0 <= index < MAX_DATASETS
            _require(fits, f"{where}: dataset", index, f"0 to {MAX_DATASETS - 1}")
            yield f"{where}.{index}", model_type, int(index), of_dataset


def _check_model(where: str, model: Any) -> None:
    from kanbench.network.pykan import is_kan  # here: takes seconds to import, because of torch

    _require(is_kan(model), where, model, "a KAN")
    if model.cache_data is None:
        raise InputError(f"save_run: {where}", "no cache_data", "a KAN that has been evaluated")


def _write_model(base: str, model: Any) -> None:
    from kanbench.network.pykan import load_checkpoint

    write_checkpoint(model, base, model.cache_data)
    load_checkpoint(base)
