"""Find and load whole runs, of the present format and of earlier ones."""

from __future__ import annotations

import dataclasses
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

from kanbench.derive import Frames
from kanbench.errors import InputError
from kanbench.naming import EPOCHLESS, FRAME_FORMATS, RESULTS, Run, without_variant
from kanbench.reading import clear_errors, read_bytes, read_json, read_tensors
from kanbench.storage.attrs import complete
from kanbench.storage.frames import read_frame
from kanbench.storage.metadata import Metadata, read_metadata
from kanbench.storage.values import epochs_of
from kanbench.stored_names import StoredFile, in_order, section_of, stored_files

Models = dict[str, dict[int, dict[str, Any]]]


def files_by_run(results_dir: str | Path = RESULTS) -> dict[Run, list[StoredFile]]:
    """The files of every run in a folder, by section, time and epochs.

    A metadata file whose name has no epochs belongs to the run with the same timestamp, whose names have some. So do
    checkpoints and their metrics, if there is one such run with frames only; they come after the run's own.
    """
    by_run: dict[Run, list[StoredFile]] = defaultdict(list)
    for file in stored_files(results_dir):
        by_run[file.run].append(file)
    same_time: dict[Run, list[Run]] = defaultdict(list)
    for run in by_run:
        same_time[dataclasses.replace(run, epochs=None)].append(run)
    for run in [run for run, files in by_run.items() if not has_frames(files)]:
        beside = [r for r in same_time[dataclasses.replace(run, epochs=None)] if r != run and r in by_run]
        if all(file.kind == "meta" for file in by_run[run]):
            owners = beside if run.epochs is None else []
        else:
            owners = [other for other in beside if has_frames(by_run[other])]
            if run.epochs is not None or len(owners) != 1:
                continue
        files = by_run.pop(run)
        for owner in owners:
            by_run[owner] += files
    return dict(sorted(by_run.items(), key=lambda item: _when(item[0])))


def has_frames(files: list[StoredFile]) -> bool:
    return any(file.kind == "frame" for file in files)


def _when(run: Run) -> tuple:
    return run.section, run.timestamp, run.epochs or 0, run.folder


def list_runs(section: str | None = None, results_dir: str | Path = RESULTS) -> list[Run]:
    """The runs in `results_dir` that have at least one file, by section, time and epochs.

    Looked for in the sections' folders below `results_dir` (`sec1_results` and so on) and in `results_dir` itself.

    Raises
    ------
    InputError
        There is no such section or folder.
    """
    if section is not None:
        section_of(section)
    return [run for run in files_by_run(results_dir) if section in (None, run.section)]


def find_run(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    *,
    with_frames: bool = True,
) -> Run:
    """The latest run of a section, or the one with this timestamp or this many epochs.

    Parameters
    ----------
    section : str
    timestamp : str, optional
    epochs : int or {'most', 'fewest'}, optional
        Epochs per grid. The latest run of those with so many.
    results_dir : path
    with_frames : bool
        Whether runs without frames, as one has that was interrupted, are passed over where others have some. One whose
        timestamp is given never is.

    Returns
    -------
    Run
        Of several with the latest timestamp, the one that was written last. One whose names are of the present format
        (with epochs, but for Section 2.3) stands for one whose names are not.

    Raises
    ------
    InputError
        There is none, or the timestamp has runs with different epochs.

    Warns
    -----
    UserWarning
        A later run is passed over.
    """
    section_of(section)
    files = files_by_run(results_dir)
    runs = [run for run in files if run.section == section]
    fitting = [run for run in runs if timestamp in (None, run.timestamp)]
    passed_over = [run for run in fitting if timestamp is None and with_frames and not has_frames(files[run])]
    fitting = [run for run in fitting if run not in passed_over] or fitting
    if epochs is not None and fitting:
        passed_over = [run for run in passed_over if isinstance(epochs, str) or run.epochs == epochs]
        fitting = _with_epochs(fitting, epochs) or passed_over
    if not fitting:
        there = ", ".join(run.name for run in runs) or "none"
        wanted = f"{section}_{timestamp or '*'}" + (
            "" if without_variant(section) in EPOCHLESS else f"_e{epochs or '*'}"
        )
        raise InputError(f"{results_dir}: no run {wanted}; there: {there}")
    if later := [run.name for run in passed_over if run.timestamp > fitting[-1].timestamp]:
        taken = f"{section}_{fitting[-1].timestamp}, the latest with frames, is taken"
        warnings.warn(f"{', '.join(later)}: no frames; {taken}", UserWarning, stacklevel=3)
    return _of_the_latest(fitting, files, any_of_them=timestamp is None)


def _of_the_latest(runs: list[Run], files: dict[Run, list[StoredFile]], any_of_them: bool) -> Run:
    """The one with the latest timestamp; of several that of the present format, or else, if any will do, the newest.

    In the present format, names have epochs, but for Section 2.3.
    """
    latest = [run for run in runs if run.timestamp == runs[-1].timestamp]
    named = without_variant(latest[0].section) not in EPOCHLESS
    latest = [run for run in latest if (run.epochs is not None) == named and has_frames(files[run])] or latest
    if len(latest) > 1 and any_of_them:
        return max(latest, key=lambda run: max(file.stat().st_mtime_ns for file in files[run]))
    if len({run.epochs for run in latest}) > 1:
        counts = ", ".join(str(run.epochs) for run in latest)
        raise InputError(f"{latest[0].section}_{latest[0].timestamp}: several runs; allowed: epochs one of {counts}")
    if len(latest) > 1:
        folders = ", ".join(run.folder for run in latest)
        raise InputError(f"{latest[0].name}: found in several folders; allowed: results_dir one of {folders}")
    return latest[0]


def _with_epochs(runs: list[Run], epochs: int | str) -> list[Run]:
    if epochs not in ("most", "fewest") and (not isinstance(epochs, int) or epochs_of(epochs) is None):
        raise InputError(f"epochs: found {epochs!r}; allowed: a whole number from 1 on, 'most' or 'fewest'")
    counts = {run: run.epochs if run.epochs is not None else _stored_epochs(run) for run in runs}
    known = {count for count in counts.values() if count is not None}
    if not isinstance(epochs, int) and known:
        epochs = max(known) if epochs == "most" else min(known)
    return [run for run, count in counts.items() if count == epochs]


def _stored_epochs(run: Run) -> int | None:
    """The epochs of a run whose names do not tell; None if nothing tells, or the run cannot be read."""
    files = files_by_run(run.results)[run]
    if not has_frames(files):
        return None
    try:
        return load_files(run, files)[1].get("epochs")
    except InputError as error:
        warnings.warn(f"{run.name}: left out: {error}", UserWarning, stacklevel=5)
        return None


def load_run(
    section: str,
    timestamp: str | None = None,
    *,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    load_models: bool = False,
    trusted: bool = False,
) -> tuple:
    """Load a run, of the present format or of an earlier one; results/README.md has a table of those that are known.

    Parameters
    ----------
    section : str
    timestamp : str, optional
        The latest run that has frames, if it is not given.
    epochs : int or {'most', 'fewest'}, optional
        Needed where several runs with this timestamp differ in it.
    results_dir : path
        The folder of the sections' folders, or of the files themselves.
    load_models : bool
        Whether to load the checkpoints too, in the precision they were stored with.
    trusted : bool
        Whether to read files with other contents than results have. That may run code of their author.

    Returns
    -------
    results : dict
        `{model_type: frame}`, in the order of plots and tables; for section 2.3 `{"summary": frame, "experts": …}`.
        The frames have the attrs of the present format, whatever was stored.
    meta : dict
        The attrs on which all frames agree.
    models : dict
        Only with `load_models`: `{model_type: {dataset_idx: {'at_threshold': KAN, 'final': KAN}}}`. In place of a
        model that is not pykan's (`.pth`), its state dict: the class that it belongs to is not kanbench's.

    Raises
    ------
    InputError
        There is no such run, or a file is damaged or refused.

    Warns
    -----
    UserWarning
        What is stored contradicts the data, a file's name, the JSON file or another checkpoint of the same name; says
        which is right. Or a later run has no frames. Of a frame in both formats the pickle is read; `verify` and
        `migrate` compare the two.
    """
    run = find_run(section, timestamp, epochs, results_dir)
    files = files_by_run(results_dir)[run]
    results, meta = load_files(run, files, trusted)
    return (results, meta, _load_models(run, files, trusted)) if load_models else (results, meta)


def load_files(run: Run, files: list[StoredFile], trusted: bool = False) -> tuple[Frames, dict[str, Any]]:
    """The frames and the meta of a run, whose files `files_by_run` found; see `load_run`."""
    paths: dict[str, Path] = {}
    for suffix in FRAME_FORMATS:
        for file in files:
            if file.kind == "frame" and file.suffix == suffix:
                paths.setdefault(file.name, file.path)
    if not paths:
        raise InputError(f"{run.folder}/{run.name}: no frames; allowed: a run with at least one")
    results = {name: read_frame(paths[name], trusted) for name in in_order(paths, run.section)}
    beside = metadata_file(run, files)
    stored = read_json(beside) if beside else {}
    with clear_errors(f"{run.folder}/{run.name}"):  # columns may hold anything
        return results, complete(run, results, stored)


def metadata_file(run: Run, files: list[StoredFile]) -> Path | None:
    """The JSON file whose metadata are read: not that of a run with the same timestamp and other epochs."""
    for file in files:
        if file.kind == "meta":
            epochs = epochs_of(read_json(file.path).get("epochs"))
            if file.run.epochs is not None or epochs in (None, run.epochs) or run.epochs is None:
                return file.path
    return None


def model_files(run: Run, files: list[StoredFile]) -> dict[tuple[str, int, str], StoredFile]:
    """The file of every model's state, by model type, dataset and checkpoint.

    Warns
    -----
    UserWarning
        There are several, which differ; says which is taken.
    """

    def rank(file: StoredFile) -> tuple[bool, bool]:
        """Of several with one name, the run's own is taken, and that whose name is of the present format."""
        present = file.run.checkpoint(file.name, file.dataset_idx, file.checkpoint or "final")
        return file.run == run, file.base == Path(present)

    chosen: dict[tuple, StoredFile] = {}
    there = [f for f in files if f.kind == "weights" or (f.kind == "checkpoint" and f.suffix == "state")]
    for file in sorted(there, key=rank):
        key = file.name, file.dataset_idx, file.checkpoint or "final"
        if key in chosen and read_bytes(chosen[key].path) != read_bytes(file.path):
            warnings.warn(f"{chosen[key].path}: {file.path.name} differs, and is taken", UserWarning, stacklevel=4)
        chosen[key] = file
    return dict(sorted(chosen.items(), key=lambda item: item[0]))


def _load_models(run: Run, files: list[StoredFile], trusted: bool) -> Models:
    from kanbench.network.pykan import load_checkpoint

    models: Models = defaultdict(lambda: defaultdict(dict))
    for (model_type, dataset_idx, name), file in model_files(run, files).items():
        models[model_type][dataset_idx][name] = (
            read_tensors(file.path, trusted) if file.kind == "weights" else load_checkpoint(file.base, trusted=trusted)
        )
    return {model_type: dict(models[model_type]) for model_type in in_order(models, run.section)}


def load_checkpoint_metadata(
    section: str,
    timestamp: str | None = None,
    *,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    trusted: bool = False,
) -> Metadata:
    """The metrics of every checkpoint of a run: `{model_type: {dataset_idx: {checkpoint: {...}}}}`.

    See `load_run` for the parameters.
    """
    run = find_run(section, timestamp, epochs, results_dir)
    path = next((file.path for file in files_by_run(results_dir)[run] if file.kind == "metadata"), None)
    return read_metadata(path or run.checkpoint_metadata(), trusted)
