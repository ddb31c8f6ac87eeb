"""Check frames against what was handed over, and those of other seeds by themselves and against the first seed's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from kanbench.plan.naming import Run
from kanbench.plan.sections import CONTROL
from kanbench.storage.derive import Frames
from kanbench.storage.frames import build_frame, read_frame
from kanbench.storage.merge_frames import build_merge_frame
from kanbench.storage.stored_names import stored_replicates
from kanbench.storage.training_record import TrainingRecord, read_record
from kanbench.storage.verification.findings import Findings
from kanbench.storage.verification.frames import check_frame, check_frames_of_run


def check_replicates(run: Run, first: Frames, datasets: list[int], findings: Findings) -> None:
    """Check what is there of a run's other seeds.

    Parameters
    ----------
    first : dict
        The frames of the run itself.
    datasets : list of int
        The run's.
    """
    for replicate, files in stored_replicates(run).items():
        frames: Frames = {}
        for file in files:
            if file.name not in run.kind.frames:
                findings.fault(file.path, f"allowed: a frame of {', '.join(run.kind.frames)}")
                continue
            with findings.faults_of_reading():
                frames[file.name] = read_frame(file.path)
        frames = {name: frame for name, frame in frames.items() if check_frame(replicate, name, frame, findings)}
        check_frames_of_run(replicate, frames, findings)
        for name, frame in frames.items():
            _check_seed(replicate, name, frame, findings)
            _check_datasets(replicate, name, frame, first, findings)
        for training in check_records(replicate, frames, datasets, findings):
            with findings.faults_of_reading():
                _check_settings(run, replicate, training, findings)


def check_records(run: Run, frames: Frames, datasets: list[int], findings: Findings) -> list[TrainingRecord]:
    """Compare the frames of a run, or of a replicate, with what its trainings handed over; return that."""
    found: dict[str, TrainingRecord] = {}
    for name in frames:
        with findings.faults_of_checking(run.frame(name)):
            found |= _check_against_records(run, name, frames, datasets, findings)
    return list(found.values())


def _check_seed(replicate: Run, name: str, frame: pd.DataFrame, findings: Findings) -> None:
    provenance = frame.attrs.get("provenance")
    seed = provenance.get("seed", replicate.seed) if isinstance(provenance, dict) else replicate.seed
    if seed != replicate.seed:
        findings.fault(replicate.frame(name), f"its provenance says seed {seed!r}, its name {replicate.seed}")


def _check_datasets(replicate: Run, name: str, frame: pd.DataFrame, first: Frames, findings: Findings) -> None:
    def named(frame: pd.DataFrame) -> set[tuple[int, str]]:
        return set(frame[["dataset_idx", "dataset_name"]].itertuples(index=False, name=None))

    known = dict(pair for other in first.values() for pair in named(other))
    for index, dataset in sorted(named(frame)):
        if known.get(index, dataset) != dataset:
            findings.fault(
                replicate.frame(name), f"dataset {index} is {dataset}, with the first seed it is {known[index]}"
            )


def _check_against_records(
    run: Run, name: str, frames: Frames, datasets: list[int], findings: Findings
) -> dict[str, TrainingRecord]:
    """Build the frame anew from what its trainings handed over, and compare; return that by its path."""
    trainings = _trainings(run, name, frames, datasets)
    paths = [run.record(training) for part in trainings.values() for training in part]
    if not paths or not all(Path(path).exists() for path in paths):
        findings.note(f"{run.frame(name)}: not compared with what its trainings handed over: some of it is gone")
        return {}
    read = {path: read_record(path) for path in paths}
    parts = {part: [read[run.record(training)] for training in names] for part, names in trainings.items()}
    if run.kind.frame_names:
        built = build_merge_frame(name, frames[name].attrs.get("n_selected"), **parts)
    else:
        built = build_frame(**parts)
    findings.compare_frames(run.frame(name), frames[name], built, "the handed-over frame")
    return read


def _trainings(run: Run, name: str, frames: Frames, datasets: list[int]) -> dict[str, list[str]]:
    """The names of the trainings that a frame is made from, by what they are given for; none if they are not known."""
    section = run.kind

    def of(model_type: str) -> list[str]:
        return [run.training(model_type, index) for index in datasets]

    if not section.frame_names:
        return {"trainings": of(name), "reference": of(section.reference)}
    if "experts" not in frames:  # which tells their seeds
        return {}
    experts = frames["experts"][["dataset_idx", "depth", "k", "seed"]].itertuples(index=False, name=None)
    parts = {"experts": [run.expert(*numbers) for numbers in experts]}
    if name != "experts":
        parts["merged"] = of(section.model_types[0])
    if name == "summary":
        parts["controls"] = of(CONTROL)
    return parts


def _check_settings(run: Run, replicate: Run, training: TrainingRecord, findings: Findings) -> None:
    """But for the seed, a training has the settings of that with the first seed."""
    which = training["model_type"], training["dataset_idx"]
    first = Path(run.record(run.training(*which)))
    if first.exists() and _but_seed(read_record(first)) != _but_seed(training):
        path = replicate.record(replicate.training(*which))
        findings.fault(path, "its settings differ from those with the first seed, not in the seed alone")


def _but_seed(training: TrainingRecord) -> dict[str, Any]:
    return {key: value for key, value in training["settings"].items() if key != "seed"}
