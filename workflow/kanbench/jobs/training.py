"""Training jobs: make the samples, train, and commit the results, all or nothing."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kanbench.errors import InputError
from kanbench.io.atomic import folder_lock
from kanbench.network.checkpoints import read_checkpoint
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.config import Config, load_config
from kanbench.plan.naming import FileName
from kanbench.plan.sections import check_variant
from kanbench.plan.settings import (
    ControlSettings,
    ExpertSettings,
    MergeSettings,
    Settings,
    TrainingSettings,
    canonical_json,
    control_settings,
    expert_settings,
    make_settings,
    merge_settings,
    training_settings,
)
from kanbench.problems.samples import Dataset
from kanbench.problems.target_scale import scale_of
from kanbench.storage.checkpoints import write_checkpoint
from kanbench.storage.training_record import read_record, training_record, write_record
from kanbench.training.experts import train_expert
from kanbench.training.history import OnEpoch, Row, Training
from kanbench.training.merge_kan import train_control, train_merged
from kanbench.training.resume import ResumeState
from kanbench.training.trainer import Trainer, make_data

More = dict[str, Any]  # additional fields of the training record
# Takes samples, a callback for rows, the number of threads and the resume state.
Train = Callable[[Dataset, OnEpoch, int, ResumeState], tuple[Training, More]]
S = TypeVar("S", bound=Settings)

log = logging.getLogger("kanbench")


@dataclass(frozen=True)
class Source:
    """The source of a training's settings: JSON if given, else a configuration file."""

    given: str | None
    config: Path

    def settings(self, name: FileName, kind: type[S], of_config: Callable[[Config, int | None], S]) -> S:
        """The given settings, or those that `of_config` makes from the configuration; with the seed of the name.

        Raises:
            InputError: The settings are invalid, or the configuration has another variant than the name.
        """
        seed = None if name.run.seed is None else int(name.run.seed)
        if self.given is None:
            config = load_config(self.config)
            check_variant(name.training, name.run.section, config["variant"])
            return of_config(config, seed)
        settings = make_settings(kind, self.given)
        return settings if seed is None else msgspec.structs.replace(settings, seed=seed)


@dataclass(frozen=True)
class Job:
    """One training."""

    name: FileName
    settings: Settings
    train: Train
    epochs: int | None = None  # total
    checkpoints: dict[str, str] = field(default_factory=dict)  # those to write, {checkpoint: base path}


def run_job(job: Job, threads: int = 1) -> None:
    """Train and commit the results.

    Raises:
        InputError: An input cannot be used, or a result cannot be written.
    """
    title = job.name.training
    log.info("%s: %s", title, canonical_json(job.settings))
    data, resume = make_data(job.settings), ResumeState(job.name.run.resume_folder(title))
    with _progress(job.epochs) as on_epoch:
        training, more = job.train(data, on_epoch, threads, resume)
    if training.stopped:
        log.warning("%s: ended early: %s", title, training.stopped)
    _commit(job, data, training, more)
    resume.remove()


def run_jobs(jobs: Iterable[Job], threads: int = 1) -> None:
    """Run jobs one after another; a failed job does not stop the next.

    Raises:
        InputError: The first error of `run_job`; further ones are logged.
    """
    errors = []
    for job in jobs:
        try:
            run_job(job, threads)
        except InputError as error:
            errors.append(error)
    for further in errors[1:]:
        log.error("%s", further)
    if errors:
        raise errors[0]


def _commit(job: Job, data: Dataset, training: Training, more: More) -> None:
    """Write the checkpoints, then the training record, which marks the training as done.

    The lock ensures that if the same training runs twice at the same time, all files are from one of them.
    """
    path = job.name.run.record(job.name.training)
    with folder_lock(Path(path).parent):
        for which, base in job.checkpoints.items():
            checkpoint = getattr(training, which)
            write_checkpoint(checkpoint.network, base, data.train_input)
            log.info("%s: epoch %d  %s", base, checkpoint.row["epoch"], _in_words(checkpoint.row))
        write_record(training_record(job.name, job.settings, training, data, **more), path)


def training_job(name: FileName, source: Source) -> Job:
    """The job of a training of section 2.1 or 2.2."""
    run, (model_type, dataset_idx), epochs = name.run, name.model, int(name.run.epochs or 0)

    def of_config(config: Config, seed: int | None) -> TrainingSettings:
        return training_settings(config, run.section, model_type, dataset_idx, seed)

    settings = source.settings(name, TrainingSettings, of_config)

    def train(data: Dataset, on_epoch: OnEpoch, threads: int, resume: ResumeState) -> tuple[Training, More]:
        if (scale := scale_of(data.dense_label)).is_degenerate:
            log.warning("%s is degenerate: %s", settings.problem, scale.in_words())
        return Trainer(settings, data, threads=threads).train(epochs, on_epoch, resume), {}

    return Job(name, settings, train, epochs * len(settings.grids.sizes), run.checkpoints(model_type, dataset_idx))


def expert_job(name: FileName, expert: tuple[int, int, int], source: Source) -> Job:
    """The job of an expert of section 2.3; `expert` is its number of hidden layers, order and seed."""
    _, dataset_idx = name.model
    settings = source.settings(name, ExpertSettings, lambda config, _: expert_settings(config, dataset_idx, *expert))

    def train(data: Dataset, on_epoch: OnEpoch, threads: int, resume: ResumeState) -> tuple[Training, More]:
        training, known = train_expert(settings, data, on_epoch, threads, resume)
        return training, {"expert": known}

    return Job(name, settings, train, settings.epochs, {"final": name.run.expert_checkpoint(name.training)})


def merge_job(name: FileName, source: Source, experts: Sequence[Path]) -> Job:
    """The job of a dataset's merged model; `experts` are the training records of the experts."""
    model_type, dataset_idx = name.model
    known = read_experts(dataset_idx, experts)
    settings = source.settings(name, MergeSettings, lambda config, seed: merge_settings(config, dataset_idx, seed))

    def load(position: int) -> SplineNetwork:
        try:
            return read_checkpoint(experts[position].with_suffix(""))
        except InputError as error:
            problem = f"{error.problem or 'damaged'}; train this expert again"
            raise InputError(error.where, error.found, error.allowed, problem=problem) from error

    def train(data: Dataset, on_epoch: OnEpoch, threads: int, resume: ResumeState) -> tuple[Training, More]:
        training, merging = train_merged(settings, known, load, data, on_epoch, threads, resume)
        return training, {"merging": merging}

    epochs = settings.epochs * len(settings.grids.sizes)
    return Job(name, settings, train, epochs, name.run.checkpoints(model_type, dataset_idx))


def control_job(name: FileName, source: Source, merged: Path, experts: Sequence[Path]) -> Job:
    """The job of a control; `merged` and `experts` are the training records of the merged model and the experts."""
    _, dataset_idx = name.model
    known, record = read_experts(dataset_idx, experts), read_record(merged)
    if record.merging is None or record.dataset_idx != dataset_idx:
        raise InputError(merged, "another training", f"the merged model of dataset {dataset_idx}")
    settings = source.settings(name, ControlSettings, lambda config, seed: control_settings(config, dataset_idx, seed))
    outcome = record.checkpoints["final"] | {key: record.merging[key] for key in ("width", "k", "via")}

    def train(data: Dataset, on_epoch: OnEpoch, threads: int, resume: ResumeState) -> tuple[Training, More]:
        training = train_control(settings, outcome, known, data, on_epoch, threads, resume)
        return training, {"width": training.final.network.width}

    return Job(name, settings, train)


def read_experts(dataset_idx: int, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the `expert` field, made by `train_expert`, from training records of experts.

    Raises:
        InputError: A record is not of an expert, or of another dataset.
    """
    experts = []
    for path in paths:
        record = read_record(path)
        if record.expert is None or record.dataset_idx != dataset_idx:
            raise InputError(path, "another training", f"experts of dataset {dataset_idx}")
        experts.append(record.expert)
    return experts


@contextlib.contextmanager
def _progress(epochs: int | None) -> Iterator[OnEpoch]:
    """Yield a callback that shows rows of the history: as a progress bar on a terminal, else as log lines."""

    def report_line(row: Row) -> None:
        log.info("epoch %d/%s  %s", row["epoch"], epochs or "?", _in_words(row))

    if not sys.stderr.isatty():
        yield report_line
        return
    from tqdm import tqdm  # here: takes 0.1 s to import

    with tqdm(total=epochs, unit="epoch") as bar:

        def on_epoch(row: Row) -> None:
            bar.set_postfix_str(_losses(row), refresh=False)
            bar.update(row["epoch"] - bar.n)

        yield on_epoch


def _in_words(row: Row) -> str:
    return f"{_losses(row)}  {row['time']:.2f} s"


def _losses(row: Row) -> str:
    losses = f"train_loss {row['train_loss']:.3e}  test_loss {row['test_loss']:.3e}  dense_mse {row['dense_mse']:.3e}"
    return f"grid {row['grid_size']}  {losses}"
