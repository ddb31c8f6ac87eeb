"""Whole runs: save, find and load them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.naming import (
    CHECKPOINTS,
    FRAME_FORMATS,
    RESULTS,
    SECTIONS,
    FileName,
    Run,
    is_timestamp,
    new_timestamp,
    parse,
)
from kanbench.storage.frames import read_frame, write_frame
from kanbench.storage.metadata import Metadata, read_metadata, write_metadata

ESSENTIAL = (
    "epochs",
    "device",
    "lbfgs_threshold_time",
    "baseline_threshold_time",
    "n_seeds",
    "n_experts",
    "n_selected",
    "provenance",
)
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
        A frame for every model type. The frames are not changed.
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
    metadata = _essential(metadata)
    if section not in SECTIONS:
        raise InputError(f"section: found {section!r}; allowed: {', '.join(SECTIONS)}")
    timestamp = timestamp or new_timestamp()
    if not is_timestamp(timestamp):
        raise InputError(f"timestamp: found {timestamp!r}; allowed: a date and time as YYYYMMDD_HHMMSS")
    run = Run(section, timestamp, metadata.get("epochs"), str(results_dir))
    if not overwrite and _files_of(run):
        raise InputError(f"{run.folder}/{run.name}: this run exists; allowed: another timestamp, or overwrite=True")
    if models is not None:
        warnings.warn("models= is deprecated; use checkpoints=", DeprecationWarning, stacklevel=2)

    for model_type, frame in results.items():
        saved = frame.copy()
        saved.attrs = {"section": section, "timestamp": timestamp, **metadata, "model_type": model_type}
        for suffix in FRAME_FORMATS:
            write_frame(saved, run.frame(model_type, suffix))
    for model_type, per_dataset in (models or {}).items():
        for dataset_idx, model in per_dataset.items():
            _write_model(run, model_type, dataset_idx, "final", model)
    if checkpoints is not None:
        _write_checkpoints(run, checkpoints)
    return timestamp


def _essential(metadata: dict[str, Any]) -> dict[str, Any]:
    derivable = [key for key in metadata if key in DERIVABLE]
    for key in derivable:
        warnings.warn(f"{key} is not stored: derive it with {DERIVABLE[key]}", UserWarning, stacklevel=3)
    essential = {key: _plain(value) for key, value in metadata.items() if key not in derivable}
    for key in essential:
        if key not in ESSENTIAL:
            raise InputError(f"save_run: unknown metadata {key!r}; allowed: {', '.join(ESSENTIAL)}")
    return essential


def _plain(value: Any) -> Any:
    """A value of numpy's or torch's as one of Python's, so that it survives every format."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) or hasattr(value, "item") else value


def _write_checkpoints(run: Run, checkpoints: dict[str, dict[int, dict[str, dict[str, Any]]]]) -> None:
    metadata: Metadata = {}
    for model_type, per_dataset in checkpoints.items():
        for dataset_idx, per_name in per_dataset.items():
            for name, content in per_name.items():
                if content.get("model") is not None:
                    _write_model(run, model_type, dataset_idx, name, content["model"])
                metrics = {key: _plain(value) for key, value in content.items() if key != "model"}
                metadata.setdefault(model_type, {}).setdefault(int(dataset_idx), {})[name] = metrics
    write_metadata(metadata, run.checkpoint_metadata())


def _write_model(run: Run, model_type: str, dataset_idx: int, name: str, model: Any) -> None:
    from kanbench.storage.checkpoints import write_checkpoint  # torch and pykan take seconds to import

    if model.cache_data is None:
        raise InputError(f"{model_type}, dataset {dataset_idx}: the model has no cache_data; evaluate it once first")
    write_checkpoint(model, run.checkpoint(model_type, dataset_idx, name), model.cache_data)


def _files_of(run: Run) -> list[Path]:
    return sorted(Path(run.folder).glob(f"{run.name}_*"))


def list_runs(section: str | None = None, results_dir: str | Path = RESULTS) -> list[Run]:
    """The runs in `results_dir` that have at least one frame, by section and time."""
    found = set()
    for name in SECTIONS if section is None else [section]:
        for path in Path(Run(name, "", results=str(results_dir)).folder).glob(f"{name}_*"):
            run = _run_of_frame(path)
            if run is not None:
                found.add(Run(run.section, run.timestamp, run.epochs, str(results_dir)))
    return sorted(found, key=lambda run: (run.section, run.timestamp, run.epochs or 0))


def _run_of_frame(path: Path) -> Run | None:
    try:
        name: FileName = parse(path)
    except InputError:
        return None
    return name.run if name.model_type is not None and name.dataset_idx is None else None


def find_run(
    section: str, timestamp: str | None = None, epochs: int | None = None, results_dir: str | Path = RESULTS
) -> Run:
    """The latest run of a section, or the one with this timestamp or this many epochs.

    Raises
    ------
    InputError
        There is none, or the timestamp has runs with different epochs.
    """
    if section not in SECTIONS:
        raise InputError(f"section: found {section!r}; allowed: {', '.join(SECTIONS)}")
    runs = list_runs(section, results_dir)
    fitting = [r for r in runs if timestamp in (None, r.timestamp) and epochs in (None, r.epochs)]
    if not fitting:
        there = ", ".join(run.name for run in runs) or "none"
        wanted = f"{section}_{timestamp or '*'}_e{epochs or '*'}"
        raise InputError(f"{results_dir}: no run {wanted}; there: {there}")
    same_time = [run for run in fitting if run.timestamp == fitting[-1].timestamp]
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
        `{model_type: frame}`, in the order of plots and tables.
    meta : dict
        The attrs on which all frames agree.
    models : dict
        Only with `load_models`: `{model_type: {dataset_idx: {'at_threshold': KAN, 'final': KAN}}}`.
    """
    run = find_run(section, timestamp, epochs, results_dir)
    paths = {model_type: Path(run.frame(model_type)) for model_type in SECTIONS[section].model_types}
    results = {model_type: read_frame(path) for model_type, path in paths.items() if path.exists()}
    meta = _agreed([frame.attrs for frame in results.values()])
    if not load_models:
        return results, meta
    models = {model_type: _load_models(run, model_type, frame) for model_type, frame in results.items()}
    return results, meta, models


def _agreed(dicts: list[dict[str, Any]]) -> dict[str, Any]:
    first, *others = dicts
    agreed = {}
    for key, value in first.items():
        if isinstance(value, dict) and all(isinstance(other.get(key), dict) for other in others):
            agreed[key] = _agreed([value, *(other[key] for other in others)])
        elif all(key in other and other[key] == value for other in others):
            agreed[key] = value
    return agreed


def _load_models(run: Run, model_type: str, frame: pd.DataFrame) -> dict[int, dict[str, Any]]:
    from kanbench.models import load_checkpoint

    return {
        int(dataset_idx): {
            name: load_checkpoint(base)
            for name in CHECKPOINTS
            if Path(f"{(base := run.checkpoint(model_type, dataset_idx, name))}_config.yml").exists()
        }
        for dataset_idx in frame["dataset_idx"].unique()
    }


def load_checkpoint_metadata(
    section: str, timestamp: str | None = None, *, epochs: int | None = None, results_dir: str | Path = RESULTS
) -> Metadata:
    """The metrics of every checkpoint of a run: `{model_type: {dataset_idx: {checkpoint: {...}}}}`."""
    return read_metadata(find_run(section, timestamp, epochs, results_dir).checkpoint_metadata())
