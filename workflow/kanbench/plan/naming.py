"""Names of runs and files: all naming patterns of the project.

A file name fully specifies its content:

    results/sec1_results/section2_1_20260101_000000_e10_adam.pkl
                         └─ section ┘└─ timestamp ─┘└ epochs └ model type

The section may be a variant: section2_1_highd_3d_shallow_20260101_000000_e10_adam.pkl.

The Snakefile imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kanbench.errors import InputError
from kanbench.plan.sections import (
    CONTROL,
    EXPERT,
    FRAMES,
    MODEL_TYPES,
    SECTIONS,
    TIMESTAMP,
    VARIANT,
    Section,
    is_timestamp,
    without_variant,
)

RESULTS = "results"
SEEDS = "seeds"  # results/seeds/: the frames of replicates
PIN = f"{RESULTS}/timestamp"  # the timestamp of the current run
TABLES = "tables"  # results/tables/{run name}/{table}.csv
STATEMENTS = "summary"  # the table of answers; every run has one
PAGE = "report.html"  # results/report.html: the summary of one run of each section

EPOCHS = r"[1-9]\d*"
NUMBER = r"0|[1-9]\d*"
MAX_SEED = 2**32 - 1  # numpy's limit

CHECKPOINTS = ("at_threshold", "final")
CHECKPOINT_FILES = ("config.yml", "state", "cache_data")  # what pykan's saveckpt writes, after `{base}_`
FRAME_FORMATS = ("pkl", "parquet")
CHECKPOINT_METADATA = "checkpoint_metadata"
TABLE_FORMATS = ("csv", "tex", "md", "html")


@dataclass(frozen=True)
class Run:
    """A section at a timestamp and epoch count, and the paths of its files.

    The fields may be Snakemake wildcards (`Run("section2_1", "{timestamp}", "{epochs}")`); the paths are then patterns.
    A run with a `seed` is a replicate: the same trainings with another seed than the first. Replicates have frames, in
    parquet only, and no checkpoints.
    """

    section: str  # one of SECTIONS, or the name of a variant
    timestamp: str
    epochs: int | str | None = None  # per grid; None for names without an epoch count (section 2.3)
    results: str = RESULTS  # the parent of the sections' folders
    folder_override: str | None = None  # the folder of the run's files, if not the section's own
    seed: int | str | None = None  # of a replicate

    @property
    def kind(self) -> Section:
        """The section, without its variant."""
        return SECTIONS[without_variant(self.section)]

    @property
    def _stem(self) -> str:
        return f"{self.section}_{self.timestamp}" + ("" if self.epochs is None else f"_e{self.epochs}")

    @property
    def _suffix(self) -> str:
        return "" if self.seed is None else f"_s{self.seed}"

    @property
    def name(self) -> str:
        return self._stem + self._suffix

    @property
    def folder(self) -> str:
        if self.folder_override is not None:
            return self.folder_override
        return f"{self.results}/{self.kind.folder if self.seed is None else SEEDS}"

    def replicate(self, seed: int | str | None) -> Run:
        """The replicate with this seed; the run itself for None."""
        return dataclasses.replace(self, seed=seed, folder_override=self.folder_override if seed is None else None)

    @property
    def frame_formats(self) -> tuple[str, ...]:
        return FRAME_FORMATS if self.seed is None else ("parquet",)

    def frame(self, frame: str, suffix: str | None = None) -> str:
        """The path of a frame.

        Args:
            frame (str): A model type, or a frame of section 2.3.
            suffix (str, optional): By default the first of `frame_formats`.
        """
        return f"{self.folder}/{self.name}_{frame}.{suffix or self.frame_formats[0]}"

    def frame_files(self, frame: str) -> list[str]:
        """The paths of a frame, in every format."""
        return [self.frame(frame, suffix) for suffix in self.frame_formats]

    def checkpoint_metadata(self) -> str:
        return f"{self.folder}/{self.name}_{CHECKPOINT_METADATA}.pkl"

    def checkpoint(self, model_type: str, dataset_idx: int | str, checkpoint: str) -> str:
        """The base path of a checkpoint, as `KAN.loadckpt` takes it."""
        return f"{self.folder}/{self.training(model_type, dataset_idx)}_{checkpoint}"

    def checkpoints(self, model_type: str, dataset_idx: int | str) -> dict[str, str]:
        """The base paths of the checkpoints of a training, `{checkpoint: base}`; replicates have none."""
        kept = CHECKPOINTS if self.seed is None else ()
        return {checkpoint: self.checkpoint(model_type, dataset_idx, checkpoint) for checkpoint in kept}

    def checkpoint_files(self, model_type: str, dataset_idx: int | str) -> list[str]:
        bases = self.checkpoints(model_type, dataset_idx).values()
        return [f"{base}_{file}" for base in bases for file in CHECKPOINT_FILES]

    def training(self, model_type: str, dataset_idx: int | str) -> str:
        """The name of a training, and of its log and benchmark."""
        return f"{self._stem}_{model_type}_{dataset_idx}{self._suffix}"

    def expert(self, dataset_idx: int | str, depth: int | str, k: int | str, seed: int | str) -> str:
        """The name of the training of an expert of section 2.3; `seed` is the expert's."""
        return f"{self._stem}_{EXPERT}_{dataset_idx}_d{depth}_k{k}_s{seed}"

    def experts_job(self, dataset_idx: int | str, seed: int | str) -> str:
        """The name of the job that trains the experts of one seed on a dataset."""
        return f"{self._stem}_{EXPERT}_{dataset_idx}_s{seed}"

    def record(self, training: str) -> str:
        """The training record of the training with this name."""
        return f"{self.results}/trainings/{training}.json"

    def expert_checkpoint(self, training: str) -> str:
        """The base path of an expert's checkpoint: an input of merging, not a result of the run."""
        return f"{self.results}/trainings/{training}"

    def resume_folder(self, training: str) -> str:
        """The folder of the resume state of the training with this name."""
        return f"{self.results}/unfinished/{training}"

    def log(self, job: str) -> str:
        """The log of a training or a consolidation."""
        return f"{self.results}/logs/{job}.log"

    def benchmark(self, training: str) -> str:
        return f"{self.results}/benchmarks/{training}.tsv"

    @property
    def table_folder(self) -> str:
        return f"{self.results}/{TABLES}/{self.name}"

    def table_files(self, *formats: str, names: Iterable[str] | None = None) -> list[str]:
        """The table files of the run, in the given formats or all; by default of the tables that every run has."""
        names = (self.kind.table, STATEMENTS) if names is None else names
        return [f"{self.table_folder}/{name}.{suffix}" for name in names for suffix in formats or TABLE_FORMATS]

    @property
    def figure_folder(self) -> str:
        return f"{self.results}/figures/{self.name}"

    def deliverables(self, n_datasets: int, model_types: Iterable[str] | None = None) -> list[str]:
        """All files that the pipeline makes for this run; for all model types of the section, or for these."""
        model_types = self.kind.model_types if model_types is None else tuple(model_types)
        frames = self.kind.frame_names or model_types
        return [
            *(file for frame in frames for file in self.frame_files(frame)),
            *([self.checkpoint_metadata()] if self.seed is None else []),
            *(f for model_type in model_types for i in range(n_datasets) for f in self.checkpoint_files(model_type, i)),
        ]


@dataclass(frozen=True)
class FileName:
    """The parts of a file name; None for those it does not have."""

    run: Run
    frame: str | None = None
    model_type: str | None = None  # of a training or checkpoint; in section 2.3 also `expert` and `control`
    dataset_idx: int | None = None
    expert: tuple[int, int, int] | None = None  # hidden layers, order and seed

    @property
    def model(self) -> tuple[str, int]:
        """Model type and dataset of a training or checkpoint.

        Raises:
            InputError: It is the name of something else.
        """
        if self.model_type is None or self.dataset_idx is None:
            raise InputError(self.run.name, problem="no training", allowed="…_MODELTYPE_DATASET")
        return self.model_type, self.dataset_idx

    @property
    def training(self) -> str:
        """The name of the training."""
        model_type, dataset_idx = self.model
        if self.expert is not None:
            return self.run.expert(dataset_idx, *self.expert)
        return self.run.training(model_type, dataset_idx)


_RUN = rf"(?P<section>({'|'.join(SECTIONS)})(_{VARIANT})?)_(?P<timestamp>{TIMESTAMP})(_e(?P<epochs>{EPOCHS}))?"
_SEED = rf"_s(?P<run_seed>{NUMBER})"
_TRAINING = rf"(?P<model_type>{'|'.join(MODEL_TYPES)})_(?P<dataset_idx>{NUMBER})"
NUMBERS = ("epochs", "run_seed", "dataset_idx", "depth", "k", "seed")  # groups of the patterns
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        rf"{_RUN}_(?P<frame>{'|'.join(FRAMES)})\.({'|'.join(FRAME_FORMATS)})",
        rf"{_RUN}{_SEED}_(?P<frame>{'|'.join(FRAMES)})\.parquet",
        rf"{_RUN}_{CHECKPOINT_METADATA}\.pkl",
        rf"{_RUN}_{_TRAINING}_({'|'.join(CHECKPOINTS)})_({'|'.join(map(re.escape, CHECKPOINT_FILES))})",
        rf"{_RUN}_{_TRAINING}({_SEED})?(\.json)?",
        rf"{_RUN}_(?P<model_type>{CONTROL})_(?P<dataset_idx>{NUMBER})({_SEED})?(\.json)?",
        rf"{_RUN}_(?P<model_type>{EXPERT})_(?P<dataset_idx>{NUMBER})"
        rf"_d(?P<depth>{NUMBER})_k(?P<k>{NUMBER})_s(?P<seed>{NUMBER})(\.json|_config\.yml|_state|_cache_data)?",
    )
]


def _match(path: str | Path) -> re.Match[str] | None:
    name, folder = Path(path).name, Path(path).parent.name
    return next(filter(None, (pattern.fullmatch(name) for pattern in _PATTERNS)), re.fullmatch(_RUN, folder))


def is_name(path: str | Path) -> bool:
    """Whether a path has the form of a name that `parse` reads."""
    return _match(path) is not None


def parse(path: str | Path) -> FileName:
    """Parse the name of a file or a training, or of a file in a run's folder of tables or figures.

    Raises:
        InputError: It is not a name of the project, or its parts do not fit together.
    """
    match = _match(path)
    if match is None:
        allowed = (
            "SECTION_YYYYMMDD_HHMMSS_eEPOCHS_…, in section2_3 without _eEPOCHS, such as …_adam.pkl, …_lm_0 or "
            "…_lm_0_final_state; results/README.md lists the files"
        )
        raise InputError(path, allowed=allowed, problem="no such result")
    found = match.groupdict()
    numbers = {part: int(found[part]) for part in NUMBERS if found.get(part)}
    run = Run(found["section"], found["timestamp"], numbers.get("epochs"), seed=numbers.get("run_seed"))
    frame, model_type = found.get("frame"), found.get("model_type")
    if not is_timestamp(run.timestamp):
        raise InputError(path, f"{run.timestamp!r}", "a date and time as YYYYMMDD_HHMMSS")
    others = () if run.kind.has_epochs else (EXPERT, CONTROL)
    for word, value, known in (
        ("frame", frame, run.kind.frames),
        ("model type", model_type, run.kind.model_types + others),
    ):
        if value and value not in known:
            raise InputError(path, f"{word} {value!r}", f"{', '.join(known)} in {run.section}")
    if (run.epochs is not None) != run.kind.has_epochs:
        allowed = f"{run.section}_{run.timestamp}{'_eEPOCHS' if run.kind.has_epochs else '_…, without epochs'}"
        raise InputError(path, f"{run.epochs or 'no'} epochs", allowed)
    seed = max(numbers.get("seed", 0), numbers.get("run_seed", 0))
    if seed > MAX_SEED:
        raise InputError(path, f"seed {seed}", f"0 to {MAX_SEED}")
    expert = (numbers["depth"], numbers["k"], numbers["seed"]) if "depth" in numbers else None
    return FileName(run, frame, model_type, numbers.get("dataset_idx"), expert)
