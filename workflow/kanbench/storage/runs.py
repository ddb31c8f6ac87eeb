"""Find and load whole runs, of the present and of earlier formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kanbench.errors import InputError, warn
from kanbench.plan.naming import RESULTS, Run
from kanbench.plan.sections import section_of
from kanbench.storage.derive import Frames
from kanbench.storage.metadata import Metadata, read_metadata
from kanbench.storage.stored_names import HINT
from kanbench.storage.stored_run import StoredRun, stored_runs
from kanbench.storage.values import epochs_of


def list_runs(section: str | None = None, results_dir: str | Path = RESULTS) -> list[Run]:
    """List the runs in a results folder, ordered by section, timestamp and epochs.

    Runs are searched in `results_dir` and its folders of sections (`sec1_results` and so on); a run has at least one
    file.

    Args:
        section (str, optional): Only runs of this section.

    Raises:
        InputError: The section or folder does not exist.
    """
    if section is not None:
        section_of(section)
    return [stored.run for stored in stored_runs(results_dir) if section in (None, stored.run.section)]


def runs_in(
    results_dir: str | Path = RESULTS, *, trusted: bool = False, problems: Sequence[str | Path] = ()
) -> list[StoredRun]:
    """All runs in a results folder, as `stored_runs`, for what needs at least one.

    Raises:
        InputError: The folder does not exist, cannot be read, or has no runs.
    """
    runs = stored_runs(results_dir, trusted=trusted, problems=problems)
    if not runs:
        raise InputError(results_dir, problem=f"no runs ({HINT})")
    return runs


def find_run(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> Run:
    """Find the run that `open_run` opens, and return its names; arguments and errors as there."""
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
    """Open the latest run of a section that has frames, optionally with a given timestamp or number of epochs.

    Args:
        section (str): A section or variant.
        timestamp (str, optional): YYYYMMDD_HHMMSS.
        epochs (int or {'most', 'fewest'}, optional): Epochs per grid; the latest run with this number is opened.
        trusted, problems: See `StoredRun`.

    Returns:
        StoredRun: If several runs have the latest timestamp, the one written last. Runs with names of the present
            format (with epochs, except in Section 2.3) take precedence.

    Raises:
        InputError: There is no such run, or the timestamp has runs with different epochs.

    Warns:
        UserWarning: A later run is skipped because it has no frames, for example because it was interrupted.
    """
    runs = runs_in(results_dir, trusted=trusted, problems=problems)
    return choose_run(runs, section, timestamp, epochs, results_dir)


def choose_run(
    runs: Iterable[StoredRun],
    section: str,
    timestamp: str | None,
    epochs: int | str | None,
    where: str | Path,
    need_frames: bool = True,
) -> StoredRun:
    """Choose the run that `open_run` opens from the runs of a folder; errors name `where`."""
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
    """The run with the latest timestamp; of several, one of the present format, else the newest if `any_of_them`."""
    latest = [stored for stored in runs if stored.run.timestamp == runs[-1].run.timestamp]
    present = [s for s in latest if (s.run.epochs is not None) == s.section.has_epochs and s.has_frames]
    latest = present or latest
    if len(latest) > 1 and any_of_them:
        return max(latest, key=lambda stored: max(file.stat().st_mtime_ns for file in stored.files))
    if len({stored.run.epochs for stored in latest}) > 1:
        counts = ", ".join(str(stored.run.epochs) for stored in latest)
        where = f"{latest[0].run.section}_{latest[0].run.timestamp}"
        raise InputError(where, problem="several runs", allowed=f"epochs (--epochs) one of {counts}")
    if len(latest) > 1:
        folders = ", ".join(stored.run.folder for stored in latest)
        raise InputError(latest[0].name, "in several folders", f"results_dir (--results-dir) one of {folders}")
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
    """The epochs of a run without epochs in its names; None if unknown, or if the run cannot be read."""
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
    """Load a run of the present or of an earlier format; results/README.md lists the known formats.

    If a frame is stored in both formats, the pickle is read.

    Args:
        section (str): A section or variant, such as `section2_1`.
        timestamp (str, optional): By default that of the latest run with frames.
        epochs (int or {'most', 'fewest'}, optional): Required if several runs have this timestamp but different epochs.
        results_dir (path): The results folder.
        load_models (bool): Whether to load the checkpoints too, in their stored precision.
        trusted (bool): Whether also to read files with other contents than results have (may execute code in them).

    Returns:
        results (dict): `{model_type: frame}`, in the order of plots and tables; for section 2.3 `{"summary": frame,
            "experts": …}`. The frames have the attrs of the present format.
        meta (dict): The attrs on which all frames agree.
        models (dict): Only with `load_models`: `{model_type: {dataset_idx: {'at_threshold': KAN, 'final': KAN}}}`.
            Models other than pykan's (`.pth`) are returned as state dicts.

    Raises:
        InputError: The run does not exist, or a file is damaged or refused.

    Warns:
        UserWarning: Stored information contradicts the data, a file name, the JSON file or another checkpoint of the
            same name; or a later run has no frames.
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
    """Load the metrics of a run's checkpoints; arguments and errors as for `load_run`.

    Returns:
        dict: `{model_type: {dataset_idx: {checkpoint: {metric: value}}}}`.
    """
    stored = open_run(section, timestamp, epochs, results_dir, trusted=trusted)
    if (metadata := stored.metadata) is None:
        return read_metadata(stored.run.checkpoint_metadata(), trusted)  # raises: the file is missing
    return metadata


def load_replicates(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> dict[int | None, Frames]:
    """Load the frames of all seeds of a run, `{seed: {frame: DataFrame}}`; see `StoredRun.replicates`."""
    return open_run(section, timestamp, epochs, results_dir).replicates
