"""Find and load whole runs, of the present format and of earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kanbench.errors import InputError, warn
from kanbench.plan.naming import RESULTS, Run
from kanbench.plan.sections import section_of
from kanbench.storage.derive import Frames
from kanbench.storage.metadata import Metadata, read_metadata
from kanbench.storage.stored_run import StoredRun, stored_runs
from kanbench.storage.values import epochs_of


def list_runs(section: str | None = None, results_dir: str | Path = RESULTS) -> list[Run]:
    """The runs in `results_dir` that have at least one file, by section, time and epochs.

    Looked for in the sections' folders below `results_dir` (`sec1_results` and so on) and in `results_dir` itself.

    Raises:
        InputError: There is no such section or folder.
    """
    if section is not None:
        section_of(section)
    return [stored.run for stored in stored_runs(results_dir) if section in (None, stored.run.section)]


def find_run(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> Run:
    """The names of the run that `open_run` opens."""
    return open_run(section, timestamp, epochs, results_dir).run


def open_run(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    *,
    trusted: bool = False,
    problems: Sequence[str | Path] = (),
) -> StoredRun:
    """Open the latest run of a section that has frames, or the one with this timestamp or this many epochs.

    Args:
        epochs (int or {'most', 'fewest'}, optional): Epochs per grid. The latest run of those with so many.
        trusted, problems: See `StoredRun`.

    Returns:
        StoredRun: Of several with the latest timestamp, the one that was written last. One whose names are of the
            present format (with epochs, but for Section 2.3) stands for one whose names are not.

    Raises:
        InputError: There is none, or the timestamp has runs with different epochs.

    Warns:
        UserWarning: A later run, which has no frames, as one that was interrupted, is passed over.
    """
    runs = stored_runs(results_dir, trusted=trusted, problems=problems)
    return choose_run(runs, section, timestamp, epochs, results_dir)


def choose_run(
    runs: Iterable[StoredRun],
    section: str,
    timestamp: str | None,
    epochs: int | str | None,
    where: str | Path,
    need_frames: bool = True,
) -> StoredRun:
    """The run that `open_run` opens, among those of a folder that have been opened; errors name `where`."""
    section_of(section)
    runs = [stored for stored in runs if stored.run.section == section]
    fitting = [stored for stored in runs if timestamp in (None, stored.run.timestamp)]
    passed_over = [stored for stored in fitting if timestamp is None and need_frames and not stored.has_frames]
    fitting = [stored for stored in fitting if stored not in passed_over] or fitting
    if epochs is not None and fitting:
        passed_over = [stored for stored in passed_over if isinstance(epochs, str) or stored.run.epochs == epochs]
        fitting = _with_epochs(fitting, epochs) or passed_over
    if not fitting:
        there = ", ".join(stored.name for stored in runs) or "none"
        ending = f"_e{epochs or '*'}" if section_of(section).has_epochs else ""
        raise InputError(where, problem=f"no run {section}_{timestamp or '*'}{ending}", found=there)
    latest = fitting[-1].run.timestamp
    if later := [stored.name for stored in passed_over if stored.run.timestamp > latest]:
        warn(f"{', '.join(later)}: no frames; using {section}_{latest}, the latest with frames")
    return _of_the_latest(fitting, any_of_them=timestamp is None)


def _of_the_latest(runs: list[StoredRun], any_of_them: bool) -> StoredRun:
    """The one with the latest timestamp; of several that of the present format, or else, if any will do, the newest."""
    latest = [stored for stored in runs if stored.run.timestamp == runs[-1].run.timestamp]
    present = [s for s in latest if (s.run.epochs is not None) == s.section.has_epochs and s.has_frames]
    latest = present or latest
    if len(latest) > 1 and any_of_them:
        return max(latest, key=lambda stored: max(file.stat().st_mtime_ns for file in stored.files))
    if len({stored.run.epochs for stored in latest}) > 1:
        counts = ", ".join(str(stored.run.epochs) for stored in latest)
        where = f"{latest[0].run.section}_{latest[0].run.timestamp}"
        raise InputError(where, problem="several runs", allowed=f"epochs one of {counts}")
    if len(latest) > 1:
        folders = ", ".join(stored.run.folder for stored in latest)
        raise InputError(latest[0].name, "in several folders", f"results_dir one of {folders}")
    return latest[0]


def _with_epochs(runs: list[StoredRun], epochs: int | str) -> list[StoredRun]:
    if epochs not in ("most", "fewest") and (not isinstance(epochs, int) or epochs_of(epochs) is None):
        raise InputError("epochs", repr(epochs), "an integer, at least 1, 'most' or 'fewest'")
    counts = [_stored_epochs(stored) if stored.run.epochs is None else stored.run.epochs for stored in runs]
    known = {count for count in counts if count is not None}
    if not isinstance(epochs, int) and known:
        epochs = max(known) if epochs == "most" else min(known)
    return [stored for stored, count in zip(runs, counts, strict=True) if count == epochs]


def _stored_epochs(stored: StoredRun) -> int | None:
    """The epochs of a run whose names do not tell; None if nothing tells, or the run cannot be read."""
    try:
        return stored.attrs.get("epochs") if stored.has_frames else None
    except InputError as error:
        warn(f"{stored.name}: left out: {error}")
        return None


def load_run(
    section: str,
    timestamp: str | None = None,
    *,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    load_models: bool = False,
    trusted: bool = False,
) -> tuple[Any, ...]:
    """Load a run, of the present format or of an earlier one; results/README.md has a table of those that are known.

    Args:
        timestamp (str, optional): The latest run that has frames, if it is not given.
        epochs (int or {'most', 'fewest'}, optional): Needed where several runs with this timestamp differ in it.
        load_models (bool): Whether to load the checkpoints too, in the precision they were stored with.
        trusted (bool): Whether to read files with other contents than results have. It may execute code in them.

    Returns:
        results (dict): `{model_type: frame}`, in the order of plots and tables; for section 2.3 `{"summary": frame,
            "experts": …}`. The frames have the attrs of the present format, whatever was stored.
        meta (dict): The attrs on which all frames agree.
        models (dict): Only with `load_models`: `{model_type: {dataset_idx: {'at_threshold': KAN, 'final': KAN}}}`. In
            place of a model that is not pykan's (`.pth`), its state dict.

    Raises:
        InputError: There is no such run, or a file is damaged or refused.

    Warns:
        UserWarning: What is stored contradicts the data, a file's name, the JSON file or another checkpoint of the same
            name; or a later run has no frames. Of a frame in both formats the pickle is read.
    """
    stored = open_run(section, timestamp, epochs, results_dir, trusted=trusted)
    return stored.frames, stored.attrs, *([stored.models()] if load_models else [])


def load_checkpoint_metadata(
    section: str,
    timestamp: str | None = None,
    *,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    trusted: bool = False,
) -> Metadata:
    """The metrics of a run's checkpoints: `{model_type: {dataset_idx: {checkpoint: {...}}}}`; see `load_run`."""
    stored = open_run(section, timestamp, epochs, results_dir, trusted=trusted)
    if (metadata := stored.metadata) is None:
        return read_metadata(stored.run.checkpoint_metadata(), trusted)  # says that it is not there
    return metadata


def load_replicates(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> dict[int | None, Frames]:
    """`{seed: {frame: DataFrame}}`, with every seed that a run was trained with; see `StoredRun.replicates`."""
    return open_run(section, timestamp, epochs, results_dir).replicates
