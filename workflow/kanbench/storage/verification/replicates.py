"""Check frames against training records, and the frames of replicates also against the first seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.plan.naming import Run
from kanbench.plan.sections import CONTROL
from kanbench.storage.derive import Frames
from kanbench.storage.frames import build_frame, read_frame
from kanbench.storage.merge_frames import NEEDED, build_merge_frame
from kanbench.storage.stored_run import StoredRun
from kanbench.storage.training_record import TrainingRecord, read_record
from kanbench.storage.verification.frames import check_frame, check_frames_of_run
from kanbench.storage.verification.report import CheckedRun


def check_replicates(stored: StoredRun, first: CheckedRun) -> None:
    """Check the existing replicates of a run; `first` is the run itself."""
    section, report = first.run.kind, first.report
    for replicate, files in stored.replicate_files.items():
        frames: Frames = {}
        for file in files:
            if file.name not in section.frames:
                report.fault(file.path, allowed=f"a frame of {', '.join(section.frames)}")
                continue
            with report.collecting():
                frame = read_frame(file.path)
                if check_frame(replicate, file.name, frame, report):
                    frames[file.name] = frame
        checked = CheckedRun(replicate, frames, first.datasets, report)
        check_frames_of_run(checked, first.dataset_names)
        for training in check_records(checked):
            with report.collecting():
                _check_settings(first.run, checked, training)


def check_records(checked: CheckedRun) -> list[TrainingRecord]:
    """Rebuild the frames from their training records, and compare; return the records."""
    found: dict[str, TrainingRecord] = {}
    for name in checked.frames:
        with checked.report.collecting():
            found |= _check_against_records(checked, name)
    return list(found.values())


def _check_against_records(checked: CheckedRun, name: str) -> dict[str, TrainingRecord]:
    run, frame = checked.run, checked.frames[name]
    parts = {part: [run.record(training) for training in names] for part, names in _trainings(checked, name).items()}
    paths = [path for part in parts.values() for path in part]
    if not paths or not all(Path(path).exists() for path in paths):
        checked.report.note(f"{run.frame(name)}: not compared with its training records: some are missing")
        return {}
    read = {path: read_record(path) for path in paths}
    records = {part: [read[path] for path in paths] for part, paths in parts.items()}
    n_selected: Any = frame.attrs.get("n_selected")
    if run.kind.frame_names and not isinstance(n_selected, int):  # already reported by the check of experts
        return read
    try:
        built = build_merge_frame(name, n_selected, **records) if run.kind.frame_names else build_frame(**records)
    except InputError as error:  # names trainings; add the frame
        raise error.at(f"{run.frame(name)}: {error.where}") from error
    checked.report.compare_frames(run.frame(name), frame, built, "the frame built from its training records")
    return read


def _trainings(checked: CheckedRun, name: str) -> dict[str, list[str]]:
    """The names of the trainings from which a frame is made, by argument name; empty if unknown."""
    run, section = checked.run, checked.run.kind

    def of(model_type: str) -> list[str]:
        return [run.training(model_type, index) for index in checked.datasets]

    if section.reference is not None:
        return {"trainings": of(name), "reference": of(section.reference)}
    if "experts" not in checked.frames:  # this frame has the experts' seeds
        return {}
    experts = checked.frames["experts"][["dataset_idx", "depth", "k", "seed"]].itertuples(index=False, name=None)
    trained = [run.expert(*numbers) for numbers in experts]
    parts = {"experts": trained, "merged": of(section.model_types[0]), "controls": of(CONTROL)}
    return {part: parts[part] for part in NEEDED[name]}


def _check_settings(run: Run, replicate: CheckedRun, training: TrainingRecord) -> None:
    """Check that a training's settings differ from those with the first seed only in the seed."""
    which = training.model_type, training.dataset_idx
    first = Path(run.record(run.training(*which)))
    if first.exists() and {**read_record(first).settings, "seed": None} != {**training.settings, "seed": None}:
        path = replicate.run.record(replicate.run.training(*which))
        replicate.report.fault(path, "its settings differ from those with the first seed in more than the seed")
