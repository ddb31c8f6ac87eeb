"""A training as a job: its samples are made once, it is trained, and its results are committed, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.io.atomic import folder_lock
from kanbench.network.checkpoints import read_checkpoint
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.config import Config, load_config
from kanbench.plan.naming import FileName
from kanbench.plan.settings import control_settings, expert_settings, merge_settings, training_settings
from kanbench.plan.targets import check_variant
from kanbench.problems.samples import Dataset
from kanbench.problems.target_scale import scale_of
from kanbench.storage.checkpoints import write_checkpoint
from kanbench.storage.training_record import read_record, training_record, write_record
from kanbench.training.experts import train_expert
from kanbench.training.history import Report, Row, Training
from kanbench.training.merge_kan import train_control, train_merged
from kanbench.training.resume import ResumeState
from kanbench.training.trainer import Trainer, make_data

Settings = dict[str, Any]
More = dict[str, Any]  # what the consolidation has to know beside the training

log = logging.getLogger("kanbench")


@dataclass(frozen=True)
class Source:
    """Where the settings of a training come from: given as they are, or else from a configuration file."""

    given: Settings | None
    config: Path

    def settings(self, title: str, name: FileName, of_config: Callable[[Config, int | None], Settings]) -> Settings:
        """Those that were given, or what `of_config` says for the configuration and the seed in the name.

        Raises
        ------
        InputError
            They are of another seed or variant than the name.
        """
        seed = name.run.seed
        if self.given is None:
            config = load_config(self.config)
            check_variant(title, name.run, config["variant"])
            return of_config(config, seed)
        if seed not in (None, self.given["seed"]):
            raise InputError(title, f"settings with seed {self.given['seed']}", f"with seed {seed}")
        return self.given


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes
    ----------
    title : str
        The name of its files, as text; `name` is what that says.
    settings : dict
        What is trained.
    train : callable
        Trains, given the samples, where to report rows, threads and the place of a state to resume from.
    checkpoints : dict
        `{which: base}`, those that are written.
    epochs : int or None
        In all, if that is known before.
    """

    title: str
    name: FileName
    settings: Settings
    train: Callable[[Dataset, Report, int, ResumeState], tuple[Training, More]]
    checkpoints: dict[str, str] = field(default_factory=dict)
    epochs: int | None = None


def run_job(job: Job, threads: int = 1) -> None:
    """Train, and commit the results.

    Raises
    ------
    InputError
        Something cannot be read, trained or written.
    """
    log.info("%s: %s", job.title, json.dumps(job.settings, sort_keys=True))
    data, resume = make_data(job.settings), ResumeState(job.name.run.resume_folder(job.title))
    with _progress(job.epochs) as report:
        training, more = job.train(data, report, threads, resume)
    if training.stopped:
        log.warning("%s: ended early: %s", job.title, training.stopped)
    _commit(job, data, training, more)
    resume.remove()


def _commit(job: Job, data: Dataset, training: Training, more: More) -> None:
    """Write the checkpoints, and then the training record, which says that the training is done.

    Where the same training runs twice at once, the files are those of one of them.
    """
    path = job.name.run.record(job.title)
    with folder_lock(Path(path).parent):
        for which, base in job.checkpoints.items():
            checkpoint = getattr(training, which)
            write_checkpoint(checkpoint.network, base, data.train_input)
            log.info("%s: epoch %d  %s", base, checkpoint.row["epoch"], _in_words(checkpoint.row))
        write_record(training_record(job.name, job.settings, training, **more), path)


def training_job(title: str, name: FileName, source: Source) -> Job:
    """A training of section 2.1 or 2.2."""
    which = name.run.section, name.model_type, name.dataset_idx
    settings = source.settings(title, name, lambda config, seed: training_settings(config, *which, seed))

    def train(data, report, threads, resume):
        if (scale := scale_of(data.dense_label)).is_degenerate:
            log.warning("%s is degenerate: %s", settings["problem"], scale.in_words())
        return Trainer(settings, data, threads=threads).train(name.run.epochs, report, resume), {}

    checkpoints = name.run.checkpoints(name.model_type, name.dataset_idx)
    return Job(title, name, settings, train, checkpoints, name.run.epochs * len(settings["grids"]["sizes"]))


def expert_job(title: str, name: FileName, source: Source) -> Job:
    """An expert of section 2.3."""
    settings = source.settings(title, name, lambda config, _: expert_settings(config, name.dataset_idx, *name.expert))

    def train(data, report, threads, resume):
        training, expert = train_expert(settings, data, report, threads, resume)
        return training, {"expert": expert}

    return Job(title, name, settings, train, {"final": name.run.expert_checkpoint(title)}, settings["epochs"])


def merge_job(title: str, name: FileName, source: Source, experts: Sequence[Path]) -> Job:
    """The merged model of a dataset, of the experts whose training records these are."""
    told = read_experts(name, experts)
    settings = source.settings(title, name, lambda config, seed: merge_settings(config, name.dataset_idx, seed))

    def load(position: int) -> SplineNetwork:
        try:
            return read_checkpoint(experts[position].with_suffix(""))
        except InputError as error:
            raise InputError(f"{error}; train this expert again") from error

    def train(data, report, threads, resume):
        training, merging = train_merged(settings, told, load, data, report, threads, resume)
        return training, {"merging": merging}

    checkpoints = name.run.checkpoints(name.model_type, name.dataset_idx)
    return Job(title, name, settings, train, checkpoints, settings["epochs"] * len(settings["grids"]["sizes"]))


def control_job(title: str, name: FileName, source: Source, merged: Path, experts: Sequence[Path]) -> Job:
    """The control of a merged model, whose training record this is, and of its experts."""
    told, record = read_experts(name, experts), read_record(merged)
    if record.merging is None or record.dataset_idx != name.dataset_idx:
        raise InputError(merged, problem=f"allowed: the merged model of dataset {name.dataset_idx}")
    settings = source.settings(title, name, lambda config, seed: control_settings(config, name.dataset_idx, seed))
    outcome = record.checkpoints["final"] | {key: record.merging[key] for key in ("width", "k", "via")}

    def train(data, report, threads, resume):
        training = train_control(settings, outcome, told, data, report, threads, resume)
        return training, {"width": training.final.network.width}

    return Job(title, name, settings, train)


def read_experts(name: FileName, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What the training records of experts say of them.

    Raises
    ------
    InputError
        One is none, or of another dataset.
    """
    records = [read_record(path) for path in paths]
    experts = []
    for path, record in zip(paths, records, strict=True):
        if record.expert is None or record.dataset_idx != name.dataset_idx:
            raise InputError(path, problem=f"allowed: experts of dataset {name.dataset_idx}")
        experts.append(record.expert)
    return experts


@contextlib.contextmanager
def _progress(epochs: int | None) -> Iterator[Report]:
    """A function that shows a row of the history: in a bar on a terminal, as a line in a log."""

    def report_line(row: Row) -> None:
        log.info("epoch %d/%s  %s", row["epoch"], epochs or "?", _in_words(row))

    if not sys.stderr.isatty():
        yield report_line
        return
    from tqdm import tqdm  # takes a tenth of a second to import

    with tqdm(total=epochs, unit="epoch") as bar:

        def report(row: Row) -> None:
            bar.set_postfix_str(f"grid {row['grid_size']}  {_losses(row)}", refresh=False)
            bar.update(row["epoch"] - bar.n)

        yield report


def _in_words(row: Row) -> str:
    return f"grid {row['grid_size']}  {_losses(row)}  {row['time']:.2f} s"


def _losses(row: Row) -> str:
    return "  ".join(f"{name} {row[name]:.3e}" for name in ("train_loss", "test_loss", "dense_mse"))
