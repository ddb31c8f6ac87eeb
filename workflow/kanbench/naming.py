"""Names of sections, model types, runs and files: every pattern of the project in one place.

A file name is a complete specification of what is in it:

    results/sec1_results/section2_1_20260101_000000_e10_adam.pkl
                         └─ section ┘└─ timestamp ─┘└ epochs └ model type

This module imports the standard library only; the Snakefile reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kanbench.errors import InputError

RESULTS = "results"
TRAININGS = "trainings"  # what a training hands to the consolidation: results/trainings/
PIN = f"{RESULTS}/timestamp"  # the timestamp of the current run

TIMESTAMP_FORMAT = "%Y%m%d_%H%M%S"
TIMESTAMP = r"\d{8}_\d{6}"
EPOCHS = r"[1-9]\d*"
DATASET_IDX = r"0|[1-9]\d*"

CHECKPOINTS = ("at_threshold", "final")
CHECKPOINT_FILES = ("config.yml", "state", "cache_data")  # what pykan's saveckpt writes, after `{base}_`
FRAME_FORMATS = ("pkl", "parquet")
CHECKPOINT_METADATA = "checkpoint_metadata"


@dataclass(frozen=True)
class Section:
    """One question, and what its files are called.

    Attributes
    ----------
    folder : str
        Below `results/`.
    model_types : tuple of str
        In the order of plots and tables.
    label : str
        The column of the frames, and the key of the checkpoint metadata, that holds the model type.
    reference : str or None
        The model type whose threshold time the others are measured against.
    threshold_time : str or None
        The attribute that holds that time.
    """

    folder: str
    model_types: tuple[str, ...]
    label: str
    reference: str | None = None
    threshold_time: str | None = None


SECTIONS = {
    "section2_1": Section("sec1_results", ("adam", "lbfgs", "lm"), "optimizer", "lbfgs", "lbfgs_threshold_time"),
    "section2_2": Section(
        "sec2_results",
        ("adaptive_only", "adaptive_regular", "baseline"),
        "approach",
        "baseline",
        "baseline_threshold_time",
    ),
    "section2_3": Section("sec3_results", ("merge_kan",), "approach"),
}
MODEL_TYPES = tuple(model_type for section in SECTIONS.values() for model_type in section.model_types)


@dataclass(frozen=True)
class Run:
    """One section at one timestamp and epoch count, and the paths of its files.

    The fields may be Snakemake wildcards (`Run("section2_1", "{timestamp}", "{epochs}")`); the paths are then patterns.

    Attributes
    ----------
    epochs : int, str or None
        Epochs per grid; None where the name has no epoch count (section 2.3).
    results : str
        The folder that holds the sections' folders.
    """

    section: str
    timestamp: str
    epochs: int | str | None = None
    results: str = RESULTS

    @property
    def name(self) -> str:
        return f"{self.section}_{self.timestamp}" + ("" if self.epochs is None else f"_e{self.epochs}")

    @property
    def folder(self) -> str:
        return f"{self.results}/{SECTIONS[self.section].folder}"

    def frame(self, model_type: str, suffix: str = "pkl") -> str:
        return f"{self.folder}/{self.name}_{model_type}.{suffix}"

    def checkpoint_metadata(self) -> str:
        return f"{self.folder}/{self.name}_{CHECKPOINT_METADATA}.pkl"

    def checkpoint(self, model_type: str, dataset_idx: int | str, checkpoint: str) -> str:
        """The base that `KAN.loadckpt` takes."""
        return f"{self.folder}/{self.training(model_type, dataset_idx)}_{checkpoint}"

    def checkpoint_files(self, model_type: str, dataset_idx: int | str) -> list[str]:
        return [
            f"{self.checkpoint(model_type, dataset_idx, checkpoint)}_{file}"
            for checkpoint in CHECKPOINTS
            for file in CHECKPOINT_FILES
        ]

    def training(self, model_type: str, dataset_idx: int | str) -> str:
        """The name of one training, which its log and its benchmark bear too."""
        return f"{self.name}_{model_type}_{dataset_idx}"

    def history(self, model_type: str, dataset_idx: int | str) -> str:
        return f"{self.results}/{TRAININGS}/{self.training(model_type, dataset_idx)}.json"

    def log(self, job: str) -> str:
        """The log of a training or a consolidation."""
        return f"{self.results}/logs/{job}.log"

    def benchmark(self, model_type: str, dataset_idx: int | str) -> str:
        return f"{self.results}/benchmarks/{self.training(model_type, dataset_idx)}.tsv"

    def deliverables(self, n_datasets: int) -> list[str]:
        """Every file of the run that the pipeline promises."""
        model_types = SECTIONS[self.section].model_types
        return [
            *(self.frame(model_type, suffix) for model_type in model_types for suffix in FRAME_FORMATS),
            self.checkpoint_metadata(),
            *(f for model_type in model_types for i in range(n_datasets) for f in self.checkpoint_files(model_type, i)),
        ]


@dataclass(frozen=True)
class FileName:
    """What a file name says. `model_type` is None for the metadata, `dataset_idx` for the frames too."""

    run: Run
    model_type: str | None = None
    dataset_idx: int | None = None


_RUN = rf"(?P<section>{'|'.join(SECTIONS)})_(?P<timestamp>{TIMESTAMP})(_e(?P<epochs>{EPOCHS}))?"
_TRAINING = rf"(?P<model_type>{'|'.join(MODEL_TYPES)})_(?P<dataset_idx>{DATASET_IDX})"
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        rf"{_RUN}_(?P<model_type>{'|'.join(MODEL_TYPES)})\.({'|'.join(FRAME_FORMATS)})",
        rf"{_RUN}_{CHECKPOINT_METADATA}\.pkl",
        rf"{_RUN}_{_TRAINING}_({'|'.join(CHECKPOINTS)})_({'|'.join(map(re.escape, CHECKPOINT_FILES))})",
        rf"{_RUN}_{_TRAINING}(\.json)?",
    )
]


def parse(path: str | Path) -> FileName:
    """Read a file name, or the name of a training.

    Raises
    ------
    InputError
        The name is not one of the project's.
    """
    name = Path(path).name
    for match in filter(None, (pattern.fullmatch(name) for pattern in _PATTERNS)):
        found = match.groupdict()
        if not is_timestamp(found["timestamp"]):
            raise InputError(f"{path}: found {found['timestamp']!r}; allowed: a date and time as YYYYMMDD_HHMMSS")
        section, model_type, index = found["section"], found.get("model_type"), found.get("dataset_idx")
        allowed = SECTIONS[section].model_types
        if model_type is not None and model_type not in allowed:
            raise InputError(f"{path}: found model type {model_type!r}; allowed in {section}: {', '.join(allowed)}")
        epochs = found["epochs"] and int(found["epochs"])
        run = Run(section, found["timestamp"], epochs)
        return FileName(run, model_type, None if index is None else int(index))
    raise InputError(
        f"{path}: no such result; allowed: SECTION_YYYYMMDD_HHMMSS_eEPOCHS_ followed by MODELTYPE.pkl, "
        f"MODELTYPE.parquet, {CHECKPOINT_METADATA}.pkl or "
        f"MODELTYPE_DATASET_({'|'.join(CHECKPOINTS)})_({'|'.join(CHECKPOINT_FILES)}), "
        f"with SECTION one of {', '.join(SECTIONS)} and MODELTYPE one of {', '.join(MODEL_TYPES)}"
    )


def check_target(target: str, rules: Iterable[str], sections: Iterable[str], n_datasets: int) -> None:
    """Check that `target` is one of `rules`, or the path of a file of a run of one of `sections`.

    Raises
    ------
    InputError
        Says which part of the name is wrong.
    """
    if target in rules:
        return
    if "/" not in target and "." not in target:
        raise InputError(f"target: found {target!r}; allowed: {', '.join(rules)}, or the path of a file of a run")
    name = parse(target)
    run = name.run
    if run.section not in sections:
        raise InputError(f"{target}: found section {run.section!r}; allowed: {', '.join(sections)}")
    if run.epochs is None:
        raise InputError(f"{target}: found no epochs; allowed: {run.section}_{run.timestamp}_eEPOCHS_…")
    if name.dataset_idx is not None and name.dataset_idx >= n_datasets:
        raise InputError(f"{target}: found dataset {name.dataset_idx}; allowed: 0 to {n_datasets - 1}")
    histories = [run.history(name.model_type, name.dataset_idx)] if name.dataset_idx is not None else []
    allowed = run.deliverables(n_datasets) + histories
    if target not in allowed:
        right = next((file for file in allowed if Path(file).name == Path(target).name), None)
        raise InputError(f"{target}: no such result; allowed: {right or run.folder + '/…'}")


def new_timestamp() -> str:
    return datetime.now().strftime(TIMESTAMP_FORMAT)


def is_timestamp(text: str) -> bool:
    """Whether `text` is a date and time that exist, as YYYYMMDD_HHMMSS."""
    try:
        return bool(re.fullmatch(TIMESTAMP, text)) and bool(datetime.strptime(text, TIMESTAMP_FORMAT))
    except ValueError:
        return False
