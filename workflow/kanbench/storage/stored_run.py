"""A stored run: its files, which are read on demand."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from kanbench.errors import InputError, warn
from kanbench.io.readers import read_bytes, read_json, read_tensors
from kanbench.network.checkpoint_config import read_model_config
from kanbench.network.checkpoints import read_checkpoint
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.naming import CHECKPOINTS, FRAME_FORMATS, RESULTS, Run
from kanbench.plan.sections import SECTIONS, Section, section_of, without_variant
from kanbench.storage.attrs import Attrs, agreed, complete, is_converted, provenance_of
from kanbench.storage.comparable import Comparable, comparable
from kanbench.storage.conventions import (
    ORIGINAL,
    LossMeasure,
    has_losses,
    is_original,
    last_test_loss,
    loss_measure,
    original_measure,
    recomputed_measure,
)
from kanbench.storage.derive import Frames, at_threshold, datasets_of
from kanbench.storage.frames import read_frame, with_columns
from kanbench.storage.metadata import Metadata, read_metadata
from kanbench.storage.problems import inputs_of_problem
from kanbench.storage.stored_names import StoredFile, order_names, stored_files
from kanbench.storage.values import epochs_of

Models = dict[str, dict[int, dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run in a results folder. Each file is read at most once, on first access.

    Attributes:
        run (Run): The names.
        files (tuple of StoredFile): The files of the run, of any format, without those of replicates.
        trusted (bool): Whether also to read files with other contents than results have (may execute code in them).
        replicate_files (dict): The existing frames of replicates, by `run.replicate(seed)`.
        problems (sequence of path): The user's Python files, which may be executed; see `problem_of_run`.
    """

    run: Run
    files: tuple[StoredFile, ...]
    trusted: bool = False
    replicate_files: dict[Run, list[StoredFile]] = field(default_factory=dict)
    problems: Sequence[str | Path] = ()
    _networks: dict[Path, SplineNetwork] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def path(self) -> str:
        """The common beginning of the paths of its files."""
        return f"{self.run.folder}/{self.run.name}"

    @property
    def section(self) -> Section:
        return section_of(self.run.section)

    @property
    def has_present_names(self) -> bool:
        """Whether its names are of the present format: a known section, and epochs if the section has them."""
        known = without_variant(self.run.section) in SECTIONS
        return known and (self.run.epochs is not None) == self.section.has_epochs

    def of_kind(self, *kinds: str) -> list[StoredFile]:
        """Its files of these kinds; see `StoredFile.kind`."""
        return [file for file in self.files if file.kind in kinds]

    @property
    def has_frames(self) -> bool:
        return bool(self.of_kind("frame"))

    @cached_property
    def json_file(self) -> Path | None:
        """The JSON file with the run's metadata; not one of a run with the same timestamp but other epochs."""
        for file in self.of_kind("meta"):
            epochs = epochs_of(read_json(file.path).get("epochs"))
            if file.run.epochs is not None or epochs in (None, self.run.epochs) or self.run.epochs is None:
                return file.path
        return None

    @cached_property
    def _loaded(self) -> tuple[Frames, Attrs]:
        by_format = sorted(self.of_kind("frame"), key=lambda file: FRAME_FORMATS.index(file.suffix), reverse=True)
        paths = {file.name: file.path for file in by_format}  # of two formats, the pickle wins
        if not paths:
            found = "its results are a pickled dict, which inspect shows" if self.of_kind("dict") else "no frames"
            raise InputError(self.path, problem=found, allowed="a run with at least one frame")
        frames = {n: with_columns(read_frame(paths[n], self.trusted)) for n in order_names(paths, self.run.section)}
        attrs = complete(self.run, frames, read_json(self.json_file) if self.json_file else {})
        if not any(map(is_original, frames.values())):
            return frames, attrs
        for name, frame in frames.items():
            if not is_converted(frame):  # some are, if a conversion was interrupted
                losses = {"losses": self._original_measure(name, frame)} if has_losses(frame) else {}
                frame.attrs["provenance"] = {"format": ORIGINAL, **losses}
        return frames, agreed([frame.attrs for frame in frames.values()])

    def _original_measure(self, name: str, frame: pd.DataFrame) -> LossMeasure:
        """The loss measure of an original frame: the expected one, unless all checkpoints contradict it."""
        model_type, found = self.section.model_type_of(name), set[LossMeasure | None]()
        expected = original_measure(model_type, frame)
        for (of_type, index, checkpoint), file in self.model_files.items():
            if (of_type, checkpoint, file.kind) == (model_type, "final", "checkpoint"):
                with contextlib.suppress(InputError):  # skip unreadable models
                    found.add(recomputed_measure(self.network(file.base), *last_test_loss(frame, index)))
        measured = [measure for measure in found if measure is not None]
        if len(measured) != 1 or measured[0] == expected:
            return expected
        warn(f"{self.name}_{name}: its losses are {measured[0]}, not {expected}, according to its checkpoints")
        return measured[0]

    @property
    def is_original(self) -> bool:
        """Whether the study's original scripts stored this run; see `kanbench.storage.conventions`."""
        return any(map(is_original, self.frames.values()))

    @cached_property
    def loss_measures(self) -> dict[str, LossMeasure]:
        """The measure of the stored `train_loss` and `test_loss`, `mse` or `rmse`, by model type."""
        of_histories = {m: self.section.history_of(m) for m in self.section.model_types}
        frames = {m: self.frames[name] for m, name in of_histories.items() if name in self.frames}
        others = {} if self.section.frame_names else {n: f for n, f in self.frames.items() if n not in of_histories}
        return {m: loss_measure(frame) for m, frame in {**frames, **others}.items() if has_losses(frame)}

    @property
    def frames(self) -> Frames:
        """`{name: frame}`, in the order of plots and tables, with the attrs of the present format.

        Raises:
            InputError: There are no frames, or one is damaged or refused.
        """
        return self._loaded[0]

    @property
    def attrs(self) -> Attrs:
        """The attrs on which all frames agree."""
        return self._loaded[1]

    @cached_property
    def metadata(self) -> Metadata | None:
        """The metrics of its checkpoints; None if there is no such file."""
        files = self.of_kind("metadata")
        return read_metadata(files[0].path, self.trusted) if files else None

    @cached_property
    def replicates(self) -> dict[int | None, Frames]:
        """`{seed: {name: frame}}`: the run itself first, then its replicates, ordered by seed.

        The first seed is None if it is not recorded, as in earlier formats. Until all trainings of a seed have
        finished, some or all of its frames are missing. A replicate with the seed of the run itself is ignored.
        """
        replicates: dict[int | None, Frames] = {_seed(self.frames): self.frames}
        for other, files in self.replicate_files.items():
            if (seed := int(other.seed or 0)) not in replicates:
                found = {file.name: with_columns(read_frame(file.path)) for file in files}
                frames = {name: found[name] for name in order_names(found, self.run.section)}
                complete(other, frames, {})
                replicates[seed] = frames
        return replicates

    @cached_property
    def comparable(self) -> Comparable:
        """Its frames made comparable; see `kanbench.storage.comparable`."""
        return comparable(self.replicates)

    @property
    def compared(self) -> Frames:
        """The comparable frames of the run itself, without replicates."""
        return next(iter(self.comparable.replicates.values()))

    @property
    def compared_metadata(self) -> Metadata | None:
        """The metrics of its checkpoints, if they belong to the thresholds of `compared`; else None."""
        return self.metadata if self.comparable.has_thresholds else None

    @property
    def last_change(self) -> int:
        """The latest modification time of its files and those of its replicates, in nanoseconds."""
        others = [file for files in self.replicate_files.values() for file in files]
        return max(file.stat().st_mtime_ns for file in [*self.files, *others])

    @cached_property
    def model_types(self) -> list[str]:
        """The model types that have rows, in the order of plots."""
        if self.section.frame_names:
            return list(self.section.model_types) if "grid_history" in self.compared else []
        return [name for name, frame in self.compared.items() if {"dataset_idx", "epoch"} <= set(frame) and len(frame)]

    @cached_property
    def datasets(self) -> dict[int, str]:
        """The names of the datasets in its frames, by index."""
        return datasets_of(self.compared.values())

    @property
    def inputs(self) -> dict[str, int | None]:
        """The number of inputs of each dataset's problem, by name; None if unknown."""
        return {name: inputs_of_problem(name, self.compared.values()) for name in self.datasets.values()}

    def histories(self, model_type: str) -> list[pd.DataFrame]:
        """The comparable histories of a model type, one for each seed that has rows."""
        name = self.section.history_of(model_type)
        every = self.comparable.replicates.values()
        return [frames[name] for frames in every if name in frames and len(frames[name])]

    def thresholds(self, model_type: str, history: pd.DataFrame) -> pd.DataFrame:
        """The rows of one of `histories` at the interpolation threshold, by dataset.

        For the run itself, the checkpoints' metadata have the thresholds. Without metadata, and for replicates, they
        are determined from the frame, with the rule's default tolerance and patience.
        """
        if not {"test_loss", "epoch"} <= set(history):
            return history.iloc[:0].set_index("dataset_idx")
        own = history is self.compared.get(self.section.history_of(model_type))
        checkpoints = (self.compared_metadata or {}).get(model_type, {}) if own else {}
        return at_threshold(history, checkpoints).set_index("dataset_idx")

    @cached_property
    def model_files(self) -> dict[tuple[str, int, str], StoredFile]:
        """The file with each model's state, by model type, dataset and checkpoint.

        Warns:
            UserWarning: Several files of the same model differ; names the one used.
        """

        def rank(file: StoredFile) -> tuple[bool, bool, bool]:
            """Prefer models that are complete, of the run itself, and with names of the present format."""
            return file.base in whole, file.run == self.run, file.base == Path(file.run.checkpoint(*file.model))

        chosen: dict[tuple[str, int, str], StoredFile] = {}
        states = [file for file in self.of_kind("checkpoint", "weights") if file.suffix in ("state", "")]
        configs = {file.base for file in self.of_kind("checkpoint") if file.suffix == "config.yml"}
        whole = {file.base for file in states if file.kind == "weights" or file.base in configs}
        incomplete = {file.base: file for file in self.of_kind("checkpoint") if file.base not in whole}
        states = [file for file in states if file.base in whole] + list(incomplete.values())
        for file in sorted(states, key=rank):
            other = chosen.get(file.model)
            if other and other.base in whole and read_bytes(other.path) != read_bytes(file.path):
                warn(f"{other.path}: differs from {file.path.name}, which is used")
            chosen[file.model] = file
        return {key: chosen[key] for key in sorted(chosen)}

    def checkpoints(self, model_type: str, dataset_idx: int) -> dict[str, Path]:
        """`{checkpoint: base path}` of a training's models in pykan's format, the one at the threshold first."""
        found = {
            checkpoint: file.base
            for (of_type, index, checkpoint), file in self.model_files.items()
            if (of_type, index) == (model_type, dataset_idx) and file.kind == "checkpoint"
        }
        return {name: found[name] for name in (*CHECKPOINTS, *found) if name in found}

    def network(self, base: Path) -> SplineNetwork:
        """Read the model of one of `checkpoints`.

        Raises:
            InputError: A file is damaged or refused.
            NoSumOfSplinesError: The model is not a sum of splines.
        """
        if base not in self._networks:
            self._networks[base] = read_checkpoint(base)
        return self._networks[base]

    def configs(self) -> Iterator[Mapping[str, Any]]:
        """Read the configurations of all models in pykan's format, one after the other, without unreadable ones."""
        for file in self.of_kind("checkpoint"):
            if file.suffix == "config.yml":
                with contextlib.suppress(InputError):
                    yield read_model_config(file.path)

    def models(self) -> Models:
        """Load all models, as `KAN` or, for models other than pykan's, as state dicts; see `load_run`.

        Warns:
            UserWarning: A model cannot be read, and is omitted.
        """
        from kanbench.network.pykan import load_checkpoint

        models: Models = {}
        for (model_type, dataset_idx, name), file in self.model_files.items():
            try:
                if file.kind == "weights":
                    model = read_tensors(file.path, self.trusted)
                else:
                    model = load_checkpoint(file.base, trusted=self.trusted)
                    model.save_act = True  # pykan's default: plot, prune and others need the activations
            except InputError as error:
                warn(f"left out: {error}")
                continue
            models.setdefault(model_type, {}).setdefault(dataset_idx, {})[name] = model
        return {model_type: models[model_type] for model_type in order_names(models, self.run.section)}


def _seed(frames: Frames) -> int | None:
    """The seed in the provenance of frames; None if not recorded. Frames of experts have none: each has its own."""
    seeds = [provenance_of(frame).get("seed") for frame in frames.values()]
    return next((seed for seed in seeds if isinstance(seed, int) and not isinstance(seed, bool)), None)


def stored_runs(
    results_dir: str | Path = RESULTS, *, trusted: bool = False, problems: Sequence[str | Path] = ()
) -> list[StoredRun]:
    """All runs in a results folder, ordered by section, timestamp and epochs.

    A JSON file without epochs in its name belongs to the runs with the same timestamp that have epochs in their names.
    So do checkpoints and their metrics, if exactly one such run has frames; they come after the run's own files.

    Raises:
        InputError: The folder does not exist or cannot be read.
    """
    by_run: dict[Run, list[StoredFile]] = defaultdict(list)
    for file in stored_files(results_dir):
        by_run[file.run].append(file)
    runs = {run: files for run, files in by_run.items() if run.seed is None}
    same_time: dict[Run, list[Run]] = defaultdict(list)
    for run in runs:
        same_time[replace(run, epochs=None)].append(run)
    with_frames = {run for run, files in runs.items() if any(file.kind == "frame" for file in files)}
    for run in [run for run in runs if run not in with_frames]:
        owners = [other for other in same_time[run] if other != run and other in runs]  # none if it has epochs
        if not (only_json := all(file.kind == "meta" for file in runs[run])):
            owners = [other for other in owners if other in with_frames]
        if only_json or len(owners) == 1:
            files = runs.pop(run)
            for owner in owners:
                runs[owner] += files
    seeds = sorted((run for run in by_run if run.seed is not None), key=lambda run: int(run.seed or 0))
    return [
        StoredRun(run, tuple(runs[run]), trusted, {r: by_run[r] for r in seeds if r == run.replicate(r.seed)}, problems)
        for run in sorted(runs, key=lambda run: (run.section, run.timestamp, run.epochs or 0, run.folder))
    ]
