"""What figures are drawn from: the frames of a run and of its repetitions, its metadata, and its models on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from kanbench.network.checkpoint_config import read_model_config
from kanbench.network.checkpoints import NoSumOfSplinesError, read_checkpoint
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.naming import CHECKPOINTS, RESULTS, Run
from kanbench.plan.sections import Section, section_of
from kanbench.problems.poisson import PROBLEMS, Problem
from kanbench.storage.derive import Frames, threshold_rows
from kanbench.storage.metadata import Metadata
from kanbench.storage.runs import open_run
from kanbench.storage.stored_names import StoredFile
from kanbench.storage.stored_run import StoredRun

Note = Callable[[str], None]  # is given a line for every part of a figure that is left out


class FigureUnavailableError(Exception):
    """A figure, or a part of it, that a run does not have the data for; the text says what is missing."""


@dataclass
class Source:
    """One run.

    Attributes
    ----------
    run : Run
    replicates : dict
        `{seed: {name of a frame: frame}}`; the first are the run's own frames, the others those of other seeds.
    metadata : dict or None
        Of the run's checkpoints, where it is there.
    files : list of StoredFile
        The run's files.
    """

    run: Run
    replicates: dict[int | None, Frames]
    metadata: Metadata | None
    files: list[StoredFile]

    @property
    def section(self) -> Section:
        return section_of(self.run.section)

    @property
    def results(self) -> Frames:
        """The frames of the run itself."""
        return next(iter(self.replicates.values()))

    @property
    def seeds(self) -> int:
        return len(self.replicates)

    @cached_property
    def model_types(self) -> list[str]:
        """Those that have any rows, in the order of plots."""
        if self.section.frame_names:
            return [name for name in self.section.model_types if "grid_history" in self.results]
        return [name for name, frame in self.results.items() if {"dataset_idx", "epoch"} <= set(frame) and len(frame)]

    @cached_property
    def datasets(self) -> dict[int, str]:
        """The names of the datasets, by their index."""
        names: dict[int, str] = {}
        for frame in self.results.values():
            if "dataset_idx" in frame:
                named = frame["dataset_name"] if "dataset_name" in frame else frame["dataset_idx"].astype(str)
                pairs = zip(frame["dataset_idx"], named, strict=True)
                names |= {int(index): str(name) for index, name in dict(pairs).items()}
        return dict(sorted(names.items()))

    def index(self, dataset: str) -> int:
        return next(index for index, name in self.datasets.items() if name == dataset)

    def frames(self, model_type: str) -> list[pd.DataFrame]:
        """The rows of a model type's epochs, of every seed that has some."""
        name = self._frame_name(model_type)
        return [frames[name] for frames in self.replicates.values() if name in frames and len(frames[name])]

    def _frame_name(self, model_type: str) -> str:
        return "grid_history" if self.section.frame_names else model_type

    def thresholds(self, model_type: str, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of one of `frames` at the interpolation threshold, by dataset.

        Those of the run itself are in its checkpoints' metadata; where there are none, and for other seeds, they are
        found in the frame, by the rule's default tolerance and patience.
        """
        stored = (self.metadata or {}).get(model_type, {})
        epochs = {i: kept["at_threshold"]["epoch"] for i, kept in stored.items() if "at_threshold" in kept}
        if epochs and frame is self.results.get(self._frame_name(model_type)):
            return frame[frame["epoch"] == frame["dataset_idx"].map(epochs)].set_index("dataset_idx")
        return threshold_rows(frame) if "test_loss" in frame else frame.iloc[:0].set_index("dataset_idx")

    @cached_property
    def checkpoints(self) -> dict[tuple[str, int], dict[str, Path]]:
        """`{checkpoint: base}` of the models in pykan's format, by model type and dataset."""
        found: dict[tuple[str, int], dict[str, Path]] = {}
        for (model_type, dataset_idx, checkpoint), file in StoredRun(self.run, tuple(self.files)).model_files.items():
            if file.kind == "checkpoint":
                found.setdefault((model_type, dataset_idx), {})[checkpoint] = file.base
        return found

    def model(self, model_type: str, dataset_idx: int) -> tuple[str, SplineNetwork]:
        """Which model is drawn, and the model: that at the threshold, or the final one where only that is there.

        Raises
        ------
        FigureUnavailableError
            There is none in pykan's format, or it is no sum of splines.
        """
        found = self.checkpoints.get((model_type, dataset_idx), {})
        checkpoint = next((name for name in (*CHECKPOINTS, *found) if name in found), None)
        if checkpoint is None:
            raise FigureUnavailableError("it has no checkpoint that pykan reads")
        try:
            return checkpoint, read_checkpoint(found[checkpoint])
        except NoSumOfSplinesError as error:
            raise FigureUnavailableError(str(error)) from error

    @cached_property
    def order(self) -> int | None:
        """The order of the models' splines, where a checkpoint tells one for all layers."""
        for file in self.files:
            if file.kind == "checkpoint" and file.suffix == "config.yml":
                order = read_model_config(file.path)["k"]
                return order if isinstance(order, int) else None
        return None


def load_source(
    section: str,
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> Source:
    """Find a run, and load all but its models; see `kanbench.load_run` for the parameters."""
    stored = open_run(section, timestamp, epochs, results_dir)
    return Source(stored.run, stored.replicates, stored.metadata, list(stored.files))


def problem_of(dataset: str) -> Problem:
    """The problem of this name.

    Raises
    ------
    FigureUnavailableError
        It is none of kanbench's, so that its target is not known.
    """
    if dataset not in PROBLEMS:
        raise FigureUnavailableError(f"the target of {dataset} is not known: it is none of kanbench.problems")
    return PROBLEMS[dataset]
