"""Consolidate training records into frames and checkpoint metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.naming import parse
from kanbench.plan.sections import SECTIONS
from kanbench.storage.frames import build_frame, check_same, write_frame
from kanbench.storage.merge_frames import build_merge_frame
from kanbench.storage.metadata import build_metadata, write_metadata
from kanbench.storage.training_record import TrainingRecord, read_record

T = TypeVar("T")

log = logging.getLogger("kanbench")


def consolidate_frame(outputs: Sequence[Path], trainings: Sequence[Path], reference: Sequence[Path]) -> None:
    """Write the frame of a model type from its training records, in the formats of the outputs.

    Trainings with several seeds give a frame per seed; the names of the outputs contain the seeds.

    Args:
        outputs (sequence of path): The files to write.
        trainings (sequence of path): The records of the model type's trainings.
        reference (sequence of path): The records of the section's reference.

    Raises:
        InputError: A file cannot be read or written, or outputs, trainings and references do not fit together.
    """
    trained, compared = _read(trainings), _read(reference)
    records, references = _grouped(trained, _seed), _grouped(compared, _seed)
    if len(records) == 1:
        _write(build_frame(trained, compared), outputs)
        return
    frames = _grouped(outputs, lambda output: parse(output).run.seed)
    seeds = [sorted(groups, key=str) for groups in (frames, records, references)]
    check_same("seeds of outputs, trainings and references", seeds)
    for seed, files in frames.items():
        _write(build_frame(records[seed], references[seed]), files)


def consolidate_merge_frame(outputs: Sequence[Path], n_selected: int, **records: Sequence[Path]) -> None:
    """Write the frame of section 2.3 that the outputs' names state; see `build_merge_frame`.

    Raises:
        InputError: A file cannot be read or written, or the names are not of one frame.
    """
    frames = SECTIONS["section2_3"].frames
    name, *others = {parse(output).frame for output in outputs}
    if name not in frames or others:
        raise InputError(outputs[0], problem="not a frame of section2_3", allowed=f"one of {', '.join(frames)}")
    parts = {part: _read(paths) for part, paths in records.items()}
    _write(build_merge_frame(name, n_selected, **parts), outputs)


def consolidate_metadata(output: Path, trainings: Sequence[Path]) -> None:
    """Write the checkpoint metadata of trainings."""
    write_metadata(build_metadata(_read(trainings)), output)
    log.info("%s: %d trainings", output, len(trainings))


def _seed(record: TrainingRecord) -> object:
    return record.provenance.get("seed")


def _grouped(items: Iterable[T], key: Callable[[T], object]) -> dict[object, list[T]]:
    groups: dict[object, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _read(paths: Sequence[Path]) -> list[TrainingRecord]:
    return [read_record(path) for path in paths]


def _write(frame: pd.DataFrame, outputs: Sequence[Path]) -> None:
    for output in outputs:
        write_frame(frame, output)
        log.info("%s: %d rows", output, len(frame))
