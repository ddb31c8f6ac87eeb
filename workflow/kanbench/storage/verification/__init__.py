"""Check whole runs of the present format: that every file is there, and that all say the same."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from kanbench.errors import InputError
from kanbench.io.readers import clear_errors
from kanbench.plan.config import Config
from kanbench.plan.naming import CHECKPOINTS, FRAME_FORMATS, Run
from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.storage.frames import read_frame
from kanbench.storage.metadata import read_metadata
from kanbench.storage.stored_names import MAX_DATASETS, StoredFile, model_types_there, parse_stored
from kanbench.storage.stored_run import stored_runs
from kanbench.storage.verification.findings import Findings
from kanbench.storage.verification.frames import check_frame, check_frames_of_run
from kanbench.storage.verification.metadata import check_metadata
from kanbench.storage.verification.models import check_checkpoint
from kanbench.storage.verification.replicates import check_records, check_replicates


def verify(run: Run, config: Config | None = None, report=lambda done, total: None) -> Findings:
    """Check a run.

    Parameters
    ----------
    run : Run
        As `kanbench.find_run` returns it.
    config : dict, optional
        The configuration that it may have been made with. It describes the samples of the losses where the record
        files of the trainings (`results/trainings`) are gone.
    report : callable
        Is told how many checkpoints have been read, and of how many.

    Returns
    -------
    Findings
        What is wrong, and what could not be checked, other files with the run's name among it.

    Raises
    ------
    InputError
        It is not a run of the present format.
    """
    if without_variant(run.section) not in SECTIONS or (run.epochs is None) == bool(run.kind.reference):
        raise InputError(run.name, "a run of an earlier format", f"one of {', '.join(SECTIONS)} (migrate makes one)")
    findings = Findings()
    frames = _read_frames(run, findings)
    metadata = None
    if Path(run.checkpoint_metadata()).exists():
        with findings.faults_of_reading():
            metadata = read_metadata(run.checkpoint_metadata())
    files = next((list(stored.files) for stored in stored_runs(run.results) if stored.run == run), [])
    names = {*frames, *(metadata or {}), *(file.name for file in files)}
    with clear_errors(f"{run.folder}/{run.name}"):
        model_types, datasets = model_types_there(run, names), _datasets(run, frames, metadata, files)
    for path in run.deliverables(len(datasets), model_types):
        if not Path(path).exists():
            findings.fault(path, "missing")
    _check_others(run, datasets, findings)
    frames = {name: frame for name, frame in frames.items() if _is_sound(run, name, frame, findings)}
    with findings.faults_of_checking(f"{run.folder}/{run.name}"):
        check_frames_of_run(run, frames, findings)
        check_records(run, frames, datasets, findings)
        check_replicates(run, frames, datasets, findings)
    if metadata is not None:
        with findings.faults_of_checking(run.checkpoint_metadata()):
            check_metadata(run, metadata, frames, model_types, datasets, findings)
        rows = [(m, i, c) for m in metadata for i in metadata[m] for c in CHECKPOINTS if c in metadata[m][i]]
        for done, (model_type, dataset_idx, checkpoint) in enumerate(rows, start=1):
            row = metadata[model_type][dataset_idx][checkpoint]
            base = run.checkpoint(model_type, dataset_idx, checkpoint)
            if Path(f"{base}_state").exists():
                with findings.faults_of_checking(base):
                    check_checkpoint(run, model_type, dataset_idx, checkpoint, row, frames, config, findings)
            report(done, len(rows))
    return findings


def _check_others(run: Run, datasets: list[int], findings: Findings) -> None:
    """Check what else bears the run's name. A fault is what `load_run` takes for a part of the run.

    What a run of an earlier format has, and migration leaves where it is, is neither a fault nor noted.
    """
    for path in sorted(Path(run.folder).glob(f"{run.name}[_.]*")):
        file = parse_stored(path)
        if file is None or file.run.seed is not None:
            findings.note(f"{path}: not a file of this run")
        elif file.run.name == run.name and file.kind in ("frame", "checkpoint", "weights"):
            names = run.kind.frames if file.kind == "frame" else run.kind.model_types
            if file.name not in names or file.dataset_idx not in (None, *datasets):
                findings.fault(path, "not a file of this run")


def _is_sound(run: Run, name: str, frame: pd.DataFrame, findings: Findings) -> bool:
    """Whether a frame is one that others can be compared with; its columns may hold anything."""
    sound = False
    with findings.faults_of_checking(run.frame(name)):
        sound = check_frame(run, name, frame, findings)
    return sound


def _read_frames(run: Run, findings: Findings) -> dict:
    """The frames that can be read; the two formats of each are compared."""
    frames = {}
    for name in run.kind.frames:
        read = {}
        for suffix in FRAME_FORMATS:
            if Path(run.frame(name, suffix)).exists():
                with findings.faults_of_reading():
                    read[suffix] = read_frame(run.frame(name, suffix))
        if len(read) == len(FRAME_FORMATS):
            findings.compare_frames(run.frame(name, "parquet"), read["parquet"], read["pkl"])
        if read:
            frames[name] = next(iter(read.values()))
    return frames


def _datasets(run: Run, frames: dict, metadata: dict | None, files: list[StoredFile]) -> list[int]:
    """The indices up to the largest that the frames and the metadata name, or, without these, the checkpoints."""
    found = {int(i) for frame in frames.values() if "dataset_idx" in frame for i in frame["dataset_idx"].unique()}
    found |= {i for per_dataset in (metadata or {}).values() for i in per_dataset if isinstance(i, int)}
    found = found or {file.dataset_idx for file in files if file.dataset_idx is not None}
    if not all(0 <= index < MAX_DATASETS for index in found):
        raise InputError(run.name, f"dataset {max(found)}", f"0 to {MAX_DATASETS - 1}")
    return list(range(max(found, default=0) + 1))
