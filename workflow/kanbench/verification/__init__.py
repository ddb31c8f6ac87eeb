"""Check whole runs of the present format: that every file is there, and that all say the same."""

from __future__ import annotations

from pathlib import Path

from kanbench.config import Config
from kanbench.errors import InputError
from kanbench.naming import CHECKPOINTS, FRAME_FORMATS, SECTIONS, Run
from kanbench.storage.frames import read_frame
from kanbench.storage.metadata import read_metadata
from kanbench.storage.runs import files_by_run
from kanbench.verification.findings import Findings
from kanbench.verification.frames import check_frame, check_frames_of_run
from kanbench.verification.metadata import check_metadata
from kanbench.verification.models import check_checkpoint
from kanbench.verification.replicates import check_replicates


def verify(run: Run, config: Config | None = None, report=lambda done, total: None) -> Findings:
    """Check a run.

    Parameters
    ----------
    run : Run
        As `kanbench.find_run` returns it.
    config : dict, optional
        The configuration that it may have been made with. It describes the samples of the losses where the hand-over
        files of the trainings (`results/trainings`) are gone.
    report : callable
        Is told how many checkpoints have been read, and of how many.

    Returns
    -------
    Findings
        What is wrong, and what could not be checked.

    Raises
    ------
    InputError
        It is not a run of the present format.
    """
    if run.section not in SECTIONS or (run.epochs is None) == bool(SECTIONS[run.section].reference):
        raise InputError(
            f"{run.name}: found a run of an earlier format; allowed: one of {', '.join(SECTIONS)} (migrate makes one)"
        )
    findings = Findings()
    frames = _read_frames(run, findings)
    metadata = None
    if Path(run.checkpoint_metadata()).exists():
        with findings.faults_of_reading():
            metadata = read_metadata(run.checkpoint_metadata())
    datasets = _datasets(run, frames, metadata)
    for path in run.deliverables(len(datasets)):
        if not Path(path).exists():
            findings.fault(path, "missing")
    frames = {name: frame for name, frame in frames.items() if check_frame(run, name, frame, findings)}
    check_frames_of_run(run, frames, findings)
    check_replicates(run, frames, datasets, findings)
    if metadata is not None:
        check_metadata(run, metadata, frames, datasets, findings)
        rows = [(m, i, c) for m in metadata for i in metadata[m] for c in CHECKPOINTS if c in metadata[m][i]]
        for done, (model_type, dataset_idx, checkpoint) in enumerate(rows, start=1):
            row = metadata[model_type][dataset_idx][checkpoint]
            if Path(f"{run.checkpoint(model_type, dataset_idx, checkpoint)}_state").exists():
                check_checkpoint(run, model_type, dataset_idx, checkpoint, row, frames, config, findings)
            report(done, len(rows))
    return findings


def _read_frames(run: Run, findings: Findings) -> dict:
    """The frames that can be read; the two formats of each are compared."""
    frames = {}
    for name in SECTIONS[run.section].frames:
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


def _datasets(run: Run, frames: dict, metadata: dict | None) -> list[int]:
    """The indices up to the largest that anything names."""
    found = {int(i) for frame in frames.values() if "dataset_idx" in frame for i in frame["dataset_idx"].unique()}
    found |= {i for per_dataset in (metadata or {}).values() for i in per_dataset if isinstance(i, int)}
    files = files_by_run(run.results).get(run, [])
    found |= {file.dataset_idx for file in files if file.dataset_idx is not None}
    return list(range(max(found, default=0) + 1))
