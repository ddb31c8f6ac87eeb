"""Save frames, checkpoints and their metadata as one run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kanbench.derive import DERIVABLE
from kanbench.errors import InputError
from kanbench.files import one_at_a_time
from kanbench.naming import (
    CHECKPOINTS,
    FRAME_FORMATS,
    RESULTS,
    SECTIONS,
    Run,
    is_timestamp,
    is_variant,
    new_timestamp,
    without_variant,
)
from kanbench.storage.attrs import essential
from kanbench.storage.frames import write_frame
from kanbench.storage.metadata import Metadata, write_metadata
from kanbench.storage.runs import files_by_run
from kanbench.storage.staging import staged
from kanbench.storage.values import epochs_of


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
    """Save frames, checkpoints and their metadata as one run: all of its files, or none.

    Parameters
    ----------
    results : dict
        A frame for every model type; for section 2.3 `summary`, `experts`, `selected_experts` and `grid_history`.
        The frames are not changed.
    section : str
        `section2_1`, `section2_2` or `section2_3`, or a variant of one, as `section2_1_highd_3d_shallow`.
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
        Whether a run that is there already may be replaced, as a whole.
    **metadata
        What the frames' columns do not tell: epochs, device, lbfgs_threshold_time, …  What they do tell is refused
        with a warning.

    Returns
    -------
    timestamp : str
    """
    attrs = _attrs(section, metadata)
    if not results:
        raise InputError("save_run: found no frames; allowed: at least one")
    timestamp = timestamp or new_timestamp()
    if not is_timestamp(timestamp):
        raise InputError(f"timestamp: found {timestamp!r}; allowed: a date and time as YYYYMMDD_HHMMSS")
    run = Run(section, timestamp, attrs.get("epochs"), str(results_dir))
    if models is not None:
        warnings.warn("models= is deprecated; use checkpoints=", DeprecationWarning, stacklevel=2)
    _check_names(section, results, [*(checkpoints or {}), *(models or {})])
    checkpoint_metadata, weights = _separated(checkpoints or {})
    weights += [(m, i, "final", model) for m, per_dataset in (models or {}).items() for i, model in per_dataset.items()]
    for model_type, dataset_idx, _, model in weights:
        if model.cache_data is None:
            raise InputError(f"{model_type}, dataset {dataset_idx}: no cache_data; evaluate the model once first")

    def write(new: Run) -> None:
        for name, frame in results.items():
            saved = frame.copy()
            model_type = name if name in run.kind.model_types else run.kind.model_types[0]
            saved.attrs = {"section": section, "timestamp": timestamp, "model_type": model_type, **attrs}
            for suffix in FRAME_FORMATS:
                write_frame(saved, new.frame(name, suffix))
        for model_type, dataset_idx, name, model in weights:
            _write_model(new.checkpoint(model_type, dataset_idx, name), model)
        if checkpoints is not None:
            write_metadata(checkpoint_metadata, new.checkpoint_metadata())

    with one_at_a_time(run.folder):
        _replace(run, write, overwrite)
    return timestamp


def _replace(run: Run, write: Callable[[Run], None], overwrite: bool) -> None:
    """Put what `write` writes in the place of the run; no other process does so at the same time."""
    if not overwrite and any(Path(run.folder).glob(f"{run.name}_*")):
        raise InputError(f"{run.folder}/{run.name}: this run exists; allowed: another timestamp, or overwrite=True")
    every = files_by_run(run.results)
    with staged(run) as new:
        write(new)
        written = {path.name for path in Path(new.folder).iterdir()}
    of_others = {file.path for other, files in every.items() if other != run for file in files}
    for file in every.get(run, []):  # of the run that was there before
        if file.path.name not in written and file.path not in of_others:
            file.path.unlink()


def _check_names(section: str, results: Iterable[str], trained: Iterable[str]) -> None:
    known = SECTIONS[without_variant(section)]
    for word, names, allowed in (
        ("frame", results, known.frames),
        ("model type", trained, known.model_types),
    ):
        for name in names:
            if name not in allowed:
                raise InputError(f"save_run: found {word} {name!r}; allowed in {section}: {', '.join(allowed)}")


def _attrs(section: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """The attrs that a section's frames share, None where nothing was given."""
    known = without_variant(section)
    if known not in SECTIONS or (section != known and not is_variant(section.removeprefix(f"{known}_"))):
        raise InputError(f"section: found {section!r}; allowed: {', '.join(SECTIONS)}, or a variant of one")
    attrs: dict[str, Any] = dict.fromkeys(essential(section))
    for key, value in metadata.items():
        if key in DERIVABLE:
            warnings.warn(f"{key} is not stored: derive it with {DERIVABLE[key][0]}", UserWarning, stacklevel=3)
        elif key in attrs:
            attrs[key] = _plain(value, key)
        else:
            raise InputError(f"save_run: unknown metadata {key!r}; allowed in {section}: {', '.join(attrs)}")
    epochs = attrs.get("epochs", 1)
    if not isinstance(epochs, int) or epochs_of(epochs) is None:
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
