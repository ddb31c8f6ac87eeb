"""Convert runs of the study's original scripts to the present format: frames, checkpoints and their metadata.

The original scripts saved only the final model of a training; their `at_threshold` model is a copy of it, stored with
the metrics of the threshold. Here the metadata describe the model that the file contains. Thresholds of converted runs
are determined from their frames.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from kanbench.errors import InputError
from kanbench.io.readers import read_bytes
from kanbench.io.torch_file import read_arrays, write_arrays
from kanbench.network.checkpoint_config import read_model_config
from kanbench.network.spline_network import SplineNetwork
from kanbench.storage.attrs import is_converted
from kanbench.storage.comparable import converted_frames
from kanbench.storage.conventions import (
    LOSSES,
    ORIGINAL,
    has_losses,
    is_of_problem,
    is_same_loss,
    loss_measure,
    original_loss,
)
from kanbench.storage.derive import is_pruned, training_keys
from kanbench.storage.metadata import METRICS, Metadata
from kanbench.storage.schema import COLUMNS
from kanbench.storage.stored_names import StoredFile, order_names
from kanbench.storage.stored_run import StoredRun
from kanbench.storage.values import builtin

PRUNED = "_pruned_"  # in the file names of pruned models; other files of `kan_pruning` are from before pruning
OF_SUMMARY = {"dense_mse": "merged_dense_mse", "num_params": "merged_num_params"}
FLOATS = {column.name for column in COLUMNS if column.dtype == "float64"}
COUNTED = {"summary": OF_SUMMARY["num_params"]}  # the column with the number of parameters, if not `num_params`


class ConvertedRun:
    """A run of the original scripts, converted to the present format: frames, and metadata of checkpoints."""

    def __init__(self, stored: StoredRun) -> None:
        self.stored = stored
        self.recorded = stored.metadata or {}
        self.frames = converted_frames(stored.frames)

    def frame(self, name: str) -> pd.DataFrame:
        """A frame with mean squared errors and present names, and a provenance that records the conversion."""
        frame = self.stored.frames[name]
        if is_converted(frame):  # by an interrupted conversion
            return frame
        new, label = self.frames.get(name, frame), self.stored.section.label
        if label in new or {"train_loss", "grid_size"} <= set(new):
            new = new.assign(**{label: self.stored.section.model_type_of(name)})
        if "dependencies" in new:
            inputs = [str(given).strip("()[] ,").replace(" ", "") for given in new["dependencies"]]
            new = new.assign(dependencies=inputs)
        new = self._with_live_parameters(name, new)
        new = new.astype({n: "float64" for n in new if n in FLOATS and new[n].dtype == object})
        order = list(dict.fromkeys(column.name for column in COLUMNS))
        new = new[[*(column for column in order if column in new), *(column for column in new if column not in order)]]
        were = {"losses_were": loss_measure(frame)} if has_losses(frame) else {}
        new.attrs = {**frame.attrs, "provenance": {"converted_from": ORIGINAL, "losses": "mse", **were}}
        return new

    def _with_live_parameters(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        column, model_type = COUNTED.get(name, "num_params"), self.stored.section.model_type_of(name)
        if name == "experts" or not {column, "dataset_idx"} <= set(frame):
            return frame
        dead = frame["dataset_idx"].map(lambda index: self._dead_parameters(model_type, index))
        dead = dead.mask(is_pruned(frame), 0)  # the count is for models before pruning
        return frame.assign(**{column: frame[column] - dead})

    def _dead_parameters(self, model_type: str, index: int) -> int:
        """The dead parameters that pykan counts, four per edge; 0 unless the checkpoint confirms the count."""
        if (network := self._network(model_type, index, "final")) is None:
            return 0
        edges = sum(layer.mask.size for layer in network.layers)
        counted = self._history(model_type, index).get("num_params", self._of_summary(index, "merged_num_params"))
        return 4 * edges if len(counted) and counted.iloc[-1] == network.n_parameters + 4 * edges else 0

    def metadata(self) -> Metadata:
        """The metadata of all models, with or without a file; those with a file are described by its content."""
        recorded = {
            (m, i, name) for m, per_dataset in self.recorded.items() for i in per_dataset for name in per_dataset[i]
        }
        found: Metadata = {}
        for model_type, index, name in sorted({*self.stored.model_files, *recorded}, key=str):
            if row := self._row(model_type, index, name):
                found.setdefault(model_type, {}).setdefault(index, {})[name] = row
        return {model_type: found[model_type] for model_type in order_names(found, self.stored.run.section)}

    def _row(self, model_type: str, index: int, name: str) -> dict[str, Any]:
        """The metadata of a model, from its record and the last row of its history, with recomputed losses."""
        is_last = name == "final" or self._is_copy_of_final(model_type, index, name)
        row = dict(self.recorded.get(model_type, {}).get(index, {}).get("final" if is_last else name, {}))
        row.pop("grid_idx", None)
        numbers = {key for key, value in row.items() if isinstance(value, (int, float))}
        if self.stored.loss_measures.get(model_type) == "rmse":
            row |= {loss: row[loss] ** 2 for loss in LOSSES if loss in numbers}
        if "epoch" in numbers:
            row["epoch"] += 1  # originally counted from 0
        history = self._history(model_type, index)
        if is_last and len(history):
            last = {key: value for key, value in history.iloc[-1].items() if key in METRICS}
            row = {**last, **row, **{key: last[key] for key in ("epoch", "time") if key in last}}
        merged = {key: self._of_summary(index, column) for key, column in OF_SUMMARY.items()}
        row |= {key: values.iloc[0] for key, values in merged.items() if len(values)}
        if isinstance(row.get("num_params"), (int, float, np.number)):
            row["num_params"] -= self._dead_parameters(model_type, index)
        for loss, value in self._losses(model_type, index, name).items():
            if not is_same_loss(row.get(loss), value, self.stored.datasets[index]):
                row[loss] = value  # recorded train losses of Adam are those before the step
        return builtin({**row, self.stored.section.label: model_type}) if row else {}

    def _losses(self, model_type: str, index: int, name: str) -> dict[str, float]:
        """The losses of a model on the original scripts' samples; empty if model or problem are unknown."""
        network, dataset = self._network(model_type, index, name), self.stored.datasets.get(index, "")
        if network is None or not is_of_problem(network, dataset):
            return {}
        return {loss: original_loss(network, dataset, loss) for loss in LOSSES}

    def _network(self, model_type: str, index: int, name: str) -> SplineNetwork | None:
        """The model of this name; None if it is missing or cannot be read (its files are copied all the same)."""
        file = self.stored.model_files.get((model_type, index, name))
        if file is not None and file.kind == "checkpoint":
            with contextlib.suppress(InputError):
                return self.stored.network(file.base)
        return None

    def _of_summary(self, index: int, column: str) -> pd.Series[Any]:
        """A dataset's value in the frame `summary`, as a series; empty without such a frame or column."""
        summary = self.frames.get("summary", pd.DataFrame())
        return summary[summary["dataset_idx"] == index][column] if column in summary else pd.Series(dtype=float)

    def _is_copy_of_final(self, model_type: str, index: int, name: str) -> bool:
        one, final = (self._network(model_type, index, which) for which in (name, "final"))
        return one is not None and final is not None and one.digest() == final.digest()

    def _history(self, model_type: str, index: int) -> pd.DataFrame:
        """The history of the training that a model is from; of several configurations, the recorded one."""
        frame = self.frames.get(self.stored.section.history_of(model_type), pd.DataFrame())
        recorded = self.recorded.get(model_type, {}).get(index, {}).get("final", {})
        file = self.stored.model_files.get((model_type, index, "final"))
        which = {**recorded, "is_pruned": file is not None and PRUNED in file.base.name}
        rows = frame[frame["dataset_idx"] == index] if "dataset_idx" in frame else frame.iloc[:0]
        for key in training_keys(frame)[1:]:
            rows = rows[rows[key] == which.get(key)]
        return rows


def portable_file(file: StoredFile) -> bytes | None:
    """Make a file of a checkpoint readable by plain pykan on any machine; None if it already is.

    pykan writes numpy scalars into the configuration as Python objects, which its own loader refuses, and leaves
    tensors on the device of the training.
    """
    config_path = Path(f"{file.base}_config.yml")
    try:
        config = read_model_config(config_path)
    except InputError:  # unreadable: it can only be copied
        return None
    on_cpu = str(config.get("device")) == "cpu"
    if file.suffix == "config.yml":
        if on_cpu and b"!!" not in read_bytes(config_path):
            return None
        return yaml.safe_dump({**builtin(config), "device": "cpu", "auto_save": False}).encode()
    if on_cpu:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / file.suffix
        write_arrays(path, read_arrays(file.path))
        return path.read_bytes()
