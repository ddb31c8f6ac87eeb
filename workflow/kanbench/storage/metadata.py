"""Checkpoint metadata: the metrics of every checkpoint of a run in one small file, without weights."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.files import whole_file
from kanbench.naming import SECTIONS
from kanbench.storage.handover import Handover

METRICS = ("epoch", "time", "train_loss", "test_loss", "dense_mse", "grid_size", "num_params")

Metadata = dict[str, dict[int, dict[str, dict[str, Any]]]]


def build_metadata(trainings: Sequence[Handover]) -> Metadata:
    """`{model_type: {dataset_idx: {'at_threshold': {...}, 'final': {...}}}}`, without weights."""
    metadata: Metadata = {}
    for training in sorted(trainings, key=lambda t: t["dataset_idx"]):
        label = SECTIONS[training["section"]].label
        metadata.setdefault(training["model_type"], {})[training["dataset_idx"]] = {
            name: {**{metric: row[metric] for metric in METRICS}, label: training["model_type"]}
            for name, row in training["checkpoints"].items()
        }
    order = SECTIONS[trainings[0]["section"]].model_types
    return {model_type: metadata[model_type] for model_type in order if model_type in metadata}


def write_metadata(metadata: Metadata, path: str | Path) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(pickle.dumps(metadata, protocol=4))


def read_metadata(path: str | Path) -> Metadata:
    try:
        return pickle.loads(Path(path).read_bytes())
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
