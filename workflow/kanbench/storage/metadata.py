"""Checkpoint metadata: the metrics of all checkpoints of a run in one small file, without weights."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.io.readers import check_depth, parser_errors, read_bytes, safely_first
from kanbench.io.untrusted.numpy_notes import metadata_of_pickle
from kanbench.io.untrusted.pickle_machine import refusals
from kanbench.plan.sections import section_of
from kanbench.storage.training_record import TrainingRecord
from kanbench.storage.values import builtin

MAX_METADATA = 1 << 26  # bytes: 64 MiB; a run has a few kilobytes
METRICS = ("epoch", "time", "train_loss", "test_loss", "dense_mse", "grid_size", "num_params")

Metadata = dict[str, dict[int, dict[str, dict[str, Any]]]]


def build_metadata(trainings: Sequence[TrainingRecord]) -> Metadata:
    """The metadata `{model_type: {dataset_idx: {'at_threshold': {...}, 'final': {...}}}}` of trainings."""
    metadata: Metadata = {}
    section = section_of(trainings[0].section)
    for record in sorted(trainings, key=lambda record: record.dataset_idx):
        metadata.setdefault(record.model_type, {})[record.dataset_idx] = {
            name: {**{metric: row[metric] for metric in METRICS}, section.label: record.model_type}
            for name, row in record.checkpoints.items()
        }
    return {model_type: metadata[model_type] for model_type in section.model_types if model_type in metadata}


def write_metadata(metadata: Metadata, path: str | Path) -> None:
    """Write checkpoint metadata as a pickle that loads without pandas, numpy or torch."""
    with atomic_write(path) as partial:
        partial.write_bytes(pickle.dumps(metadata, protocol=4))


def read_metadata(path: str | Path, trusted: bool = False) -> Metadata:
    """Read checkpoint metadata; numpy scalars become Python numbers.

    Args:
        trusted (bool): Whether also to read what is otherwise refused (may execute code in the file).

    Raises:
        InputError: The file is damaged, or contains other things than metrics by model type, dataset and checkpoint.
    """
    metadata = read_plain(path, trusted)
    levels: list[Any] = [metadata]
    for _ in range(4):
        if not all(isinstance(level, dict) for level in levels):
            raise InputError(path, "other content", "{model type: {dataset: {checkpoint: {metric: value}}}}")
        levels = [below for level in levels for below in level.values()]
    return metadata


def read_plain(path: str | Path, trusted: bool = False) -> Any:
    """Read a pickle of builtin values and numpy scalars; see `read_metadata`."""
    content = read_bytes(path, MAX_METADATA)

    def safely() -> Any:
        with parser_errors(path), refusals(path):
            return metadata_of_pickle(content)

    def anything() -> Any:
        with parser_errors(path):
            return builtin(pickle.loads(content))

    values = safely_first(safely, anything, trusted)
    check_depth(path, values)
    return values
