"""Verify runs of the present format: all files are present, valid and consistent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from kanbench.errors import InputError
from kanbench.plan.config import Config
from kanbench.plan.naming import FRAME_FORMATS
from kanbench.plan.sections import SECTIONS
from kanbench.storage.attrs import is_converted
from kanbench.storage.conventions import is_original
from kanbench.storage.derive import Frames
from kanbench.storage.frames import read_frame
from kanbench.storage.metadata import Metadata
from kanbench.storage.problems import problem_of_run
from kanbench.storage.stored_names import MAX_DATASETS, model_types_there, parse_stored
from kanbench.storage.stored_run import StoredRun
from kanbench.storage.verification.frames import check_frame, check_frames_of_run
from kanbench.storage.verification.merging import check_merging
from kanbench.storage.verification.metadata import check_metadata
from kanbench.storage.verification.models import check_checkpoint
from kanbench.storage.verification.replicates import check_records, check_replicates
from kanbench.storage.verification.report import CheckedRun, VerificationReport

__all__ = ["VerificationReport", "verify"]


def verify(
    stored: StoredRun, config: Config | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> VerificationReport:
    """Check each file of a run by itself, then compare the valid ones with each other.

    Args:
        config (dict, optional): The configuration that the run may have been made with; it defines the samples of
            losses if the training records (`results/trainings`) are missing.
        progress (callable): Called with the number of checkpoints read, and the total.

    Raises:
        InputError: The run is not of the present format.
    """
    run = stored.run
    if not stored.has_present_names:
        raise InputError(
            run.name, "a run of an earlier format", f"one of {', '.join(SECTIONS)}; see python -m kanbench migrate"
        )
    if stored.of_kind("dict") and not stored.has_frames:
        raise InputError(run.name, "a pickled dict of results", "frames")
    found = VerificationReport()
    read, metadata = _read_frames(stored, found), None
    if any(map(is_original, read.values())):
        raise InputError(
            run.name, "a run of the study's original scripts", "a run of kanbench; see python -m kanbench migrate"
        )
    if Path(run.checkpoint_metadata()).exists():
        with found.collecting():
            metadata = stored.metadata
    names = {*read, *(metadata or {}), *(file.name for file in stored.files)}
    model_types, datasets = model_types_there(run, names), _datasets(stored, read, metadata)
    is_old = any(map(is_converted, read.values()))
    for path in run.deliverables(len(datasets), model_types):
        if not Path(path).exists():
            if is_old and (file := parse_stored(path)) and file.checkpoint == "at_threshold":
                found.note(f"{run.name}: no models at some thresholds: the run was converted, and they were not kept")
            else:
                found.fault(path, "missing")
    _check_others(stored, datasets, found)
    sound = {name: frame for name, frame in read.items() if check_frame(run, name, frame, found)}
    checked = CheckedRun(run, sound, datasets, found, is_old)
    check_frames_of_run(checked)
    check_merging(checked)
    check_records(checked)
    check_replicates(stored, checked)
    checkpoints = [] if metadata is None else check_metadata(checked, metadata, model_types)
    known = partial(problem_of_run, frames=sound.values(), files=stored.problems, trusted=stored.trusted)
    for done, checkpoint in enumerate(checkpoints, start=1):
        check_checkpoint(checked, checkpoint, config, known)
        progress(done, len(checkpoints))
    return found


def _read_frames(stored: StoredRun, found: VerificationReport) -> Frames:
    """Read all readable frames, and compare the two formats of each."""
    run, frames = stored.run, {}
    for name in run.kind.frames:
        both = {}
        for suffix in FRAME_FORMATS:
            if Path(run.frame(name, suffix)).exists():
                with found.collecting():
                    both[suffix] = read_frame(run.frame(name, suffix))
        if len(both) == len(FRAME_FORMATS):
            found.compare_frames(run.frame(name, "parquet"), both["parquet"], both["pkl"], "the pickled frame")
        if both:
            frames[name] = next(iter(both.values()))
    return frames


def _datasets(stored: StoredRun, frames: Frames, metadata: Metadata | None) -> list[int]:
    """All indices up to the largest one in frames and metadata or, without these, in checkpoints."""
    indices = {int(i) for frame in frames.values() if "dataset_idx" in frame for i in frame["dataset_idx"].unique()}
    keys = {index for per_dataset in (metadata or {}).values() for index in per_dataset}
    indices |= {index for index in keys if isinstance(index, int) and 0 <= index < MAX_DATASETS}
    indices = indices or {file.dataset_idx for file in stored.files if file.dataset_idx is not None}
    return list(range(max(indices, default=0) + 1))


def _check_others(stored: StoredRun, datasets: list[int], found: VerificationReport) -> None:
    """Check other files with the run's name: those that `load_run` would read are faults; old formats are allowed."""
    run = stored.run
    for path in sorted(Path(run.folder).glob(f"{run.name}[_.]*")):
        file = parse_stored(path)
        if file is None or file.run.seed is not None:
            found.note(f"{path}: not a file of this run")
        elif file.run.name == run.name and file.kind in ("frame", "checkpoint", "weights"):
            names = run.kind.frames if file.kind == "frame" else run.kind.model_types
            if file.name not in names or file.dataset_idx not in (None, *datasets):
                found.fault(path, "not a file of this run")
