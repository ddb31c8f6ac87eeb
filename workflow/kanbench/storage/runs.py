"""Whole runs: save, find and load them."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.naming import (
    CHECKPOINTS,
    EPOCHLESS,
    FRAME_FORMATS,
    RESULTS,
    SECTIONS,
    Run,
    is_timestamp,
    new_timestamp,
    parse,
)
from kanbench.storage.frames import read_frame, write_frame
from kanbench.storage.metadata import Metadata, read_metadata, write_metadata

TRAINED = ("epochs", "device", "lbfgs_threshold_time", "baseline_threshold_time", "provenance")
ESSENTIAL = {  # the attrs of a section's frames, beside section, timestamp and model_type
    "section2_1": TRAINED,
    "section2_2": TRAINED,
    "section2_3": ("device", "n_seeds", "n_experts", "n_selected", "provenance"),
}
DERIVABLE = {  # what the user may be used to passing → how to get it from a frame
    "grids": "df['grid_size'].unique()",
    "num_datasets": "df['dataset_idx'].nunique()",
    "dataset_names": "df['dataset_name'].unique()",
    "num_params": "df['num_params']",
    "optimizers": "df['optimizer'].unique()",
    "approaches": "df['approach'].unique()",
    "total_epochs": "df.groupby('dataset_idx')['epoch'].max()",
    "final_grid": "df.groupby('dataset_idx')['grid_size'].last()",
}


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
    """Save frames, checkpoints and their metadata as one run.

    Parameters
    ----------
    results : dict
        A frame for every model type; for section 2.3 `summary`, `experts`, `selected_experts` and `grid_history`.
        The frames are not changed.
    section : str
        `section2_1`, `section2_2` or `section2_3`.
    checkpoints : dict, optional
        `{model_type: {dataset_idx: {'at_threshold': {...}, 'final': {...}}}}`; a KAN under the key `model` is written
        as a checkpoint of pykan's, everything else goes into the metadata file.
    models : dict, optional
        Deprecated: `{model_type: {dataset_idx: KAN}}`, saved as `final` checkpoints without metadata.
    timestamp : str, optional
        YYYYMMDD_HHMMSS; now, if it is not given.
    results_dir : path
        The folder that holds `sec1_results` and so on.
    overwrite : bool
        Whether a run that is there already may be replaced.
    **metadata
        What the frames' columns do not tell: epochs, device, lbfgs_threshold_time, …  What they do tell is refused
        with a warning.

    Returns
    -------
    timestamp : str
    """
    attrs = _attrs(section, metadata)
    timestamp = timestamp or new_timestamp()
    if not is_timestamp(timestamp):
        raise InputError(f"timestamp: found {timestamp!r}; allowed: a date and time as YYYYMMDD_HHMMSS")
    run = Run(section, timestamp, attrs.get("epochs"), str(results_dir))
    if not overwrite and _files_of(run):
        raise InputError(f"{run.folder}/{run.name}: this run exists; allowed: another timestamp, or overwrite=True")
    if models is not None:
        warnings.warn("models= is deprecated; use checkpoints=", DeprecationWarning, stacklevel=2)
    frames, model_types = SECTIONS[section].frames, SECTIONS[section].model_types
    for word, names, allowed in (
        ("frame", results, frames),
        ("model type", [*(checkpoints or {}), *(models or {})], model_types),
    ):
        for name in names:
            if name not in allowed:
                raise InputError(f"save_run: found {word} {name!r}; allowed in {section}: {', '.join(allowed)}")
    checkpoint_metadata, weights = _separated(checkpoints or {})
    weights += [(m, i, "final", model) for m, per_dataset in (models or {}).items() for i, model in per_dataset.items()]
    for model_type, dataset_idx, _, model in weights:
        if model.cache_data is None:
            raise InputError(f"{model_type}, dataset {dataset_idx}: no cache_data; evaluate the model once first")

    for name, frame in results.items():
        saved = frame.copy()
        model_type = name if name in model_types else model_types[0]
        saved.attrs = {"section": section, "timestamp": timestamp, "model_type": model_type, **attrs}
        for suffix in FRAME_FORMATS:
            write_frame(saved, run.frame(name, suffix))
    for model_type, dataset_idx, name, model in weights:
        _write_model(run.checkpoint(model_type, dataset_idx, name), model)
    if checkpoints is not None:
        write_metadata(checkpoint_metadata, run.checkpoint_metadata())
    return timestamp


def _attrs(section: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The attrs that a section's frames share, None where nothing was given."""
    _check_section(section)
    attrs: dict[str, Any] = dict.fromkeys(ESSENTIAL[section])
    for key, value in metadata.items():
        if key in DERIVABLE:
            warnings.warn(f"{key} is not stored: derive it with {DERIVABLE[key]}", UserWarning, stacklevel=3)
        elif key in attrs:
            attrs[key] = _plain(value, key)
        else:
            raise InputError(f"save_run: unknown metadata {key!r}; allowed in {section}: {', '.join(attrs)}")
    epochs = attrs.get("epochs", 1)
    if not isinstance(epochs, int) or epochs < 1:
        raise InputError(f"save_run: epochs: found {epochs!r}; allowed: a whole number, at least 1")
    return attrs


def _plain(value: Any, key: str) -> Any:
    """A value of numpy's as one of Python's, so that it survives every format."""
    if isinstance(value, dict):
        return {name: _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, key) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f"save_run: {key}: found {type(value).__name__}; allowed: numbers, text, lists and dicts of them")


def _separated(checkpoints: dict[str, dict[int, dict[str, dict[str, Any]]]]) -> tuple[Metadata, list[tuple]]:
    """The metrics, and the models as (model type, dataset, checkpoint, model)."""
    metadata: Metadata = {}
    models = []
    for model_type, per_dataset in checkpoints.items():
        for dataset_idx, per_name in per_dataset.items():
            for name, content in per_name.items():
                if name not in CHECKPOINTS:
                    raise InputError(f"save_run: found checkpoint {name!r}; allowed: {', '.join(CHECKPOINTS)}")
                metrics = {key: _plain(value, key) for key, value in content.items() if key != "model"}
                metadata.setdefault(model_type, {}).setdefault(int(dataset_idx), {})[name] = metrics
                if content.get("model") is not None:
                    models.append((model_type, int(dataset_idx), name, content["model"]))
    return metadata, models


def _write_model(base: str, model: Any) -> None:
    from kanbench.storage.checkpoints import write_checkpoint  # torch and pykan take seconds to import

    write_checkpoint(model, base, model.cache_data)


def _files_of(run: Run) -> list[Path]:
    return sorted(Path(run.folder).glob(f"{run.name}_*"))


def list_runs(section: str | None = None, results_dir: str | Path = RESULTS) -> list[Run]:
    """The runs in `results_dir` that have at least one file, by section, time and epochs."""
    if section is not None:
        _check_section(section)
    found = set()
    for name in SECTIONS if section is None else [section]:
        for path in Path(Run(name, "", results=str(results_dir)).folder).glob(f"{name}_*"):
            with contextlib.suppress(InputError):  # other files may lie there
                found.add(dataclasses.replace(parse(path).run, results=str(results_dir)))
    return sorted(found, key=lambda run: (run.section, run.timestamp, run.epochs or 0))


def _check_section(section: str) -> None:
    if section not in SECTIONS:
        raise InputError(f"section: found {section!r}; allowed: {', '.join(SECTIONS)}")


def find_run(
    section: str, timestamp: str | None = None, epochs: int | None = None, results_dir: str | Path = RESULTS
) -> Run:
    """The latest run of a section, or the one with this timestamp or this many epochs.

    Of several runs with the latest timestamp, the one that was written last.

    Raises
    ------
    InputError
        There is none, or the timestamp has runs with different epochs.
    """
    runs = list_runs(section, results_dir)
    fitting = [r for r in runs if timestamp in (None, r.timestamp) and epochs in (None, r.epochs)]
    if not fitting:
        there = ", ".join(run.name for run in runs) or "none"
        wanted = Run(section, timestamp or "*", None if section in EPOCHLESS else epochs or "*").name
        raise InputError(f"{results_dir}: no run {wanted}; there: {there}")
    same_time = [run for run in fitting if run.timestamp == fitting[-1].timestamp]
    if len(same_time) > 1 and timestamp is None:
        return max(same_time, key=lambda run: max(path.stat().st_mtime_ns for path in _files_of(run)))
    if len(same_time) > 1:
        counts = ", ".join(str(run.epochs) for run in same_time)
        raise InputError(f"{section}_{same_time[0].timestamp}: several runs; allowed: epochs one of {counts}")
    return same_time[0]


def load_run(
    section: str,
    timestamp: str | None = None,
    *,
    epochs: int | None = None,
    results_dir: str | Path = RESULTS,
    load_models: bool = False,
) -> tuple:
    """Load a run.

    Parameters
    ----------
    section : str
    timestamp : str, optional
        The latest run, if it is not given.
    epochs : int, optional
        Needed where several runs with this timestamp differ in it.
    results_dir : path
    load_models : bool
        Whether to load the checkpoints too, in the precision they were stored with.

    Returns
    -------
    results : dict
        `{model_type: frame}`, in the order of plots and tables; for section 2.3 `{"summary": frame, "experts": …}`.
    meta : dict
        The attrs on which all frames agree.
    models : dict
        Only with `load_models`: `{model_type: {dataset_idx: {'at_threshold': KAN, 'final': KAN}}}`.
    """
    run = find_run(section, timestamp, epochs, results_dir)
    results = {}
    for name in SECTIONS[section].frames:
        path = next((p for suffix in FRAME_FORMATS if Path(p := run.frame(name, suffix)).exists()), None)
        if path is not None:
            results[name] = read_frame(path)
    if not results:
        raise InputError(f"{run.folder}/{run.name}: no frames; allowed: a run with at least one")
    meta = _agreed([frame.attrs for frame in results.values()])
    if not load_models:
        return results, meta
    return results, meta, _load_models(run)


def _agreed(dicts: list[dict[str, Any]]) -> dict[str, Any]:
    first, *others = dicts
    agreed = {}
    for key, value in first.items():
        if isinstance(value, dict) and all(isinstance(other.get(key), dict) for other in others):
            agreed[key] = _agreed([value, *(other[key] for other in others)])
        elif all(key in other and other[key] == value for other in others):
            agreed[key] = value
    return agreed


def _load_models(run: Run) -> dict[str, dict[int, dict[str, Any]]]:
    from kanbench.models import load_checkpoint

    models: dict[str, dict[int, dict[str, Any]]] = {}
    names = {parse(path) for path in Path(run.folder).glob(f"{run.name}_*_config.yml")}
    order = SECTIONS[run.section].model_types
    for name in sorted(names, key=lambda name: (order.index(name.model_type), name.dataset_idx)):
        bases = {c: run.checkpoint(name.model_type, name.dataset_idx, c) for c in CHECKPOINTS}
        models.setdefault(name.model_type, {})[name.dataset_idx] = {
            checkpoint: load_checkpoint(base)
            for checkpoint, base in bases.items()
            if Path(f"{base}_config.yml").exists()
        }
    return models


def load_checkpoint_metadata(
    section: str, timestamp: str | None = None, *, epochs: int | None = None, results_dir: str | Path = RESULTS
) -> Metadata:
    """The metrics of every checkpoint of a run: `{model_type: {dataset_idx: {checkpoint: {...}}}}`."""
    return read_metadata(find_run(section, timestamp, epochs, results_dir).checkpoint_metadata())
