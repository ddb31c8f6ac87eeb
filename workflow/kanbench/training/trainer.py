"""The training loop: stages of grids, epochs in each, history, threshold. There is no other.

What is trained is said by `kanbench.plan.settings.Settings` and a number of epochs per stage; all that differs between
model types is in the settings.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from kanbench.engine import Engine, make_engine
from kanbench.errors import InputError
from kanbench.network.initialization import initialize
from kanbench.network.refinement import make_policy
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.devices import resolve_device, resolve_engine
from kanbench.plan.settings import Settings, TrainingSettings, as_dict, canonical_json
from kanbench.problems import PROBLEMS, Array
from kanbench.problems.samples import Dataset, make_dataset
from kanbench.training.early_stopping import make_stop_rule
from kanbench.training.history import Checkpoint, Report, Row, Stopwatch, Training
from kanbench.training.optimizers import make_optimizer
from kanbench.training.resume import Resumable, ResumeState, code_digest
from kanbench.training.threshold import Threshold

log = logging.getLogger("kanbench")


@dataclass
class TrainerState:
    """All that the rest of a training depends on, and its result so far."""

    epoch: int
    network: SplineNetwork
    n_evals: int
    parts: dict[str, dict[str, Any]]
    training: Training


class Trainer:
    """Trains one network through a sequence of grid sizes.

    Args:
        settings (Settings): TrainingSettings where no network is given.
        data (Dataset): The samples that the settings describe (`make_data`).
        network (SplineNetwork, optional): Where to begin; by default the initial model that the settings describe. Its
            grids are refined to those of the first stage.
        threads (int): For many samples; results do not depend on it.

    Raises:
        InputError: The device is not there, or the engine does not run on it.
    """

    def __init__(
        self, settings: Settings, data: Dataset, network: SplineNetwork | None = None, threads: int = 1
    ) -> None:
        self.settings, self.dataset, self.threads = settings, data, threads
        self.device = resolve_device(settings.device)
        self.engine_name = resolve_engine(settings.engine, self.device)
        self.sizes = settings.grids.sizes
        policy = as_dict(settings.grids)
        del policy["sizes"]
        self.policy = make_policy(**policy)
        self.optimizer = make_optimizer(**as_dict(settings.optimizer))
        self.threshold = Threshold(**as_dict(settings.threshold))
        self.stop_rules = [make_stop_rule(**as_dict(rule)) for rule in settings.stop]
        self.clock = Stopwatch(self.device)
        self.epoch = 0
        self._take(self._initial_network() if network is None else self._refined(network, self.sizes[0]), n_evals=0)
        self._warm_up()

    def _initial_network(self) -> SplineNetwork:
        if not isinstance(self.settings, TrainingSettings):
            raise TypeError(f"{type(self.settings).__name__} describe no initial network")
        model = self.settings.model
        return initialize(model.width, self.sizes[0], model.k, self.settings.seed, self.settings.dtype)

    def _refined(self, network: SplineNetwork, grid: int) -> SplineNetwork:
        return self.policy.refine(network, grid, self.dataset.train_input)

    def _take(self, network: SplineNetwork, n_evals: int) -> None:
        """Continue with this network, after so many evaluations."""
        self.evals_of_earlier_engines = n_evals
        self.engine, self.theta = self._make_engine(network), network.parameters()

    def _make_engine(self, network: SplineNetwork) -> Engine:
        data = self.dataset.train_input, self.dataset.train_label
        return make_engine(self.engine_name, network, *data, self.threads, self.device)

    @property
    def network(self) -> SplineNetwork:
        """As it is now."""
        return self.engine.network.with_parameters(self.theta)

    @property
    def n_evals(self) -> int:
        return self.evals_of_earlier_engines + self.engine.n_evals

    @np.errstate(all="ignore")
    def _warm_up(self) -> None:
        """Take one step, and one refinement if there will be any, whose results are thrown away.

        What is imported, compiled or loaded on first use is not training.
        """
        network = self.network
        make_optimizer(**as_dict(self.settings.optimizer)).step(self._make_engine(network), self.theta)
        if len(self.sizes) > 1:
            self._refined(network, network.grid + 1)

    @np.errstate(all="ignore")  # a loss that is not finite ends the training, and says so
    def train(self, epochs: int, report: Report = lambda row: None, resume: ResumeState | None = None) -> Training:
        """Train on every grid for `epochs` steps of the optimizer.

        Args:
            epochs (int): Per grid.
            report (callable): Given every row as soon as it is known; of a training that resumes, those that are new.
            resume (ResumeState, optional): Where to save, at the end of stages and every few seconds, the state from
                which the training can resume. If there is a state of the same training, this one resumes from it, and
                its result is that of one that was never interrupted, times aside.
        """
        key = self._key(epochs) if resume else {}
        state = resume.load(key, TrainerState) if resume else None
        training = self._begin() if state is None else self._resume(state)
        for epoch in range(self.epoch + 1, epochs * len(self.sizes) + 1):
            if training.stopped:
                break
            self._run_epoch(epoch, epochs, training, report)
            if resume and resume.due(stage_ends=epoch % epochs == 0 or training.stopped is not None):
                resume.save(key, self._state(training))
        return training

    def _begin(self) -> Training:
        self.policy.begin(self.network, self.dataset.train_input)
        untrained = Checkpoint(self._row(0, self.sizes[0]), self.network)
        if not _is_finite(untrained.row):
            raise InputError("untrained model", untrained.row, "finite losses")
        return Training(self.device, self.engine_name, untrained, at_threshold=untrained, final=untrained)

    def _run_epoch(self, epoch: int, epochs: int, training: Training, report: Report) -> None:
        """Train for one epoch, and record its result in `training`."""
        self.epoch = epoch
        stage, epoch_of_stage = divmod(epoch - 1, epochs)
        with self.clock:
            if epoch_of_stage == 0:
                if stage > 0:
                    self._take(self._refined(self.network, self.sizes[stage]), self.n_evals)
                self.optimizer.restart()
            if self.policy.updates(epoch_of_stage):
                self._take(self.policy.update(self.network, self.dataset.train_input), self.n_evals)
            self.theta = self.optimizer.step(self.engine, self.theta)
        if epoch_of_stage == 0:
            training.stages.append({"grid_size": self.sizes[stage], "intervals": self.engine.network.intervals})
        if epoch % self.settings.evaluate_every and epoch < epochs * len(self.sizes):
            return
        row = self._row(epoch, self.sizes[stage])
        if not _is_finite(row):
            training.stopped = f"epoch {epoch} ended with a loss that is not finite"
            return
        training.history.append(row)
        training.final = Checkpoint(row, self.network)
        if self.threshold.update(row["test_loss"]):
            training.at_threshold = training.final
        report(row)
        reasons = [rule.update(row, epoch_of_stage == epochs - 1) for rule in self.stop_rules]  # each sees every row
        training.stopped = next(filter(None, reasons), None)

    def _parts(self) -> dict[str, Resumable]:
        """What changes while the trainer trains, beside the network."""
        return {
            "optimizer": self.optimizer,
            "threshold": self.threshold,
            "policy": self.policy,
            "clock": self.clock,
            **{f"stop_rule_{number}": rule for number, rule in enumerate(self.stop_rules)},
        }

    def _key(self, epochs: int) -> dict[str, str]:
        """All that the result depends on, as text."""
        return {
            "settings": canonical_json(self.settings),
            "epochs": str(epochs),
            "network": self.network.digest(),
            "device": self.device,
            "engine": self.engine_name,
            "code": code_digest(),
            **{package: version(package) for package in ("numba", "numpy", "pykan", "scipy", "torch")},
        }

    def _state(self, training: Training) -> TrainerState:
        parts = {name: part.state() for name, part in self._parts().items()}
        return TrainerState(self.epoch, self.network, self.n_evals, parts, training)

    def _resume(self, state: TrainerState) -> Training:
        """Continue where the trainer was that had this state."""
        self.epoch = state.epoch
        self._take(state.network, state.n_evals)
        for name, part in self._parts().items():
            part.resume(state.parts[name])
        log.info("resuming after epoch %d (%.2f s)", self.epoch, self.clock.seconds)
        return state.training

    def _row(self, epoch: int, grid: int) -> Row:
        """The history's row for the network as it is; none of this counts as training."""
        data = self.dataset
        return {
            "grid_size": grid,
            "epoch": epoch,
            "train_loss": self._mse(data.train_input, data.train_label),
            "test_loss": self._mse(data.test_input, data.test_label),
            "dense_mse": self._mse(data.dense_input, data.dense_label),
            "time": self.clock.seconds,
            "n_evals": self.n_evals,
            "num_params": len(self.theta),
            **self.policy.columns,  # type: ignore[typeddict-item]  # mypy knows no unpacking of dicts
        }

    def _mse(self, x: Array, y: Array) -> float:
        return float(np.square(self.engine.predict(self.theta, x) - y).mean())


def make_data(settings: Settings) -> Dataset:
    """The samples that the settings of a training describe."""
    return make_dataset(PROBLEMS[settings.problem], **as_dict(settings.data), dtype=settings.dtype)


def _is_finite(row: Row) -> bool:
    return all(map(math.isfinite, (row["train_loss"], row["test_loss"], row["dense_mse"])))
