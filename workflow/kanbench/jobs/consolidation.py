"""From the records of trainings to frames and checkpoint metadata."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.naming import parse
from kanbench.plan.sections import SECTIONS
from kanbench.storage.frames import build_frame, write_frame
from kanbench.storage.merge_frames import build_merge_frame
from kanbench.storage.metadata import build_metadata, write_metadata
from kanbench.storage.training_record import TrainingRecord, read_record

log = logging.getLogger("kanbench")


def consolidate_frame(outputs: Sequence[Path], trainings: Sequence[Path], reference: Sequence[Path]) -> None:
    """Write the frame of a model type, in the format of every output, from the records of its trainings."""
    _write(build_frame(_read(trainings), _read(reference)), outputs)


def consolidate_merge_frame(outputs: Sequence[Path], n_selected: int, **records: Sequence[Path]) -> None:
    """Write one of the frames of section 2.3, which the outputs' names say; see `build_merge_frame`."""
    frames = SECTIONS["section2_3"].frames
    name, *others = {parse(output).frame for output in outputs}
    if name not in frames or others:
        raise InputError(outputs[0], problem="not a frame of section2_3", allowed=f"one of {', '.join(frames)}")
    parts = {part: _read(paths) for part, paths in records.items()}
    _write(build_merge_frame(name, n_selected, **parts), outputs)


def consolidate_metadata(output: Path, trainings: Sequence[Path]) -> None:
    """Write the metrics of the checkpoints of trainings."""
    write_metadata(build_metadata(_read(trainings)), output)
    log.info("%s: %d trainings", output, len(trainings))


def _read(paths: Sequence[Path]) -> list[TrainingRecord]:
    return [read_record(path) for path in paths]


def _write(frame: pd.DataFrame, outputs: Sequence[Path]) -> None:
    for output in outputs:
        write_frame(frame, output)
        log.info("%s: %d rows", output, len(frame))
