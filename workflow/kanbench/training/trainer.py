"""The training loop, shared by all model types: stages of grids, epochs in each, history, threshold.

`kanbench.plan.settings.Settings` and a number of epochs per stage define a training; model types differ in their
settings alone.
"""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from kanbench.engine import CountingEngine, make_engine
from kanbench.engine.flops import knot_insertion
from kanbench.errors import InputError
from kanbench.io.made_by import code_digest
from kanbench.network.initialization import initialize
from kanbench.network.refinement import KnotInsertion, make_policy
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.devices import resolve_device, resolve_engine
from kanbench.plan.settings import Settings, TrainingSettings, as_dict, canonical_json
from kanbench.problems import Array
from kanbench.problems.files import find_problem
from kanbench.problems.samples import Dataset, make_dataset
from kanbench.problems.target_scale import TargetUnits
from kanbench.training.early_stopping import make_stop_rule
from kanbench.training.history import Checkpoint, OnEpoch, Row, Stopwatch, Training
from kanbench.training.optimizers import Optimizer, make_optimizer
from kanbench.training.resume import Resumable, ResumeState
from kanbench.training.threshold import Threshold

log = logging.getLogger("kanbench")


@dataclass
class TrainerState:
    """All that the rest of a training depends on, and its result so far."""

    epoch: int
    network: SplineNetwork  # in training units
    n_evals: int
    flops: int
    parts: dict[str, dict[str, Any]]
    training: Training


class Trainer:
    """Trains one network through a sequence of grid sizes.

    Training works on standardized targets (in training units), unless `data.targets` is `raw`. Returned networks and
    losses are in the targets' own units: scale and offset are folded into the output layer and its bias.

    Args:
        settings (Settings): TrainingSettings if no network is given.
        data (Dataset): The samples that the settings describe (`make_data`).
        network (SplineNetwork, optional): The initial network, in the targets' own units, whose grids are refined to
            those of the first stage. By default a new one is made from the settings.
        threads (int): Helps with many samples; results do not depend on it.

    Raises:
        InputError: The device is not available, the engine does not run on it, or the network's number of outputs
            differs from that of the labels.
    """

    def __init__(
        self, settings: Settings, data: Dataset, network: SplineNetwork | None = None, threads: int = 1
    ) -> None:
        self.settings, self.dataset, self.threads = settings, data, threads
        self.device = resolve_device(settings.device)
        self.engine_name = resolve_engine(settings.engine, self.device)
        self.sizes = settings.grids.sizes
        self.units = target_units(settings, data)
        self.label = self.units.of(data.train_label)
        self.samples = (
            (data.train_input, self.label),
            (data.test_input, self.units.of(data.test_label)),
            (data.dense_input, self.units.of(data.dense_label)),
        )
        self.threshold = Threshold(**as_dict(settings.threshold))
        self.stop_rules = [make_stop_rule(**as_dict(rule)) for rule in settings.stop]
        self.clock = Stopwatch(self.device, threads)
        self.first = self._first_network(network)
        self._start()
        self._warm_up()

    def _first_network(self, network: SplineNetwork | None) -> SplineNetwork:
        """Make the network of the first stage, in training units."""
        self.policy, settings = self._make_policy(), self.settings
        if network is not None:
            if network.width[-1] != (outputs := self.label.shape[1]):
                raise InputError("network", f"{network.width[-1]} outputs", f"{outputs}, those of the labels")
            self._take(in_training_units(network, self.units))
            return self._refined(self.sizes[0])
        if not isinstance(settings, TrainingSettings):
            raise TypeError(f"{type(settings).__name__} describe no initial network")
        model, domain = settings.model, self.dataset.domain
        return initialize(model.width, self.sizes[0], model.k, settings.seed, settings.dtype, domain=domain)

    def _make_policy(self) -> KnotInsertion:
        grids = self.settings.grids
        settings = msgspec.structs.asdict(grids)
        del settings["sizes"]
        return make_policy(str(grids.__struct_config__.tag), **settings)

    def _make_optimizer(self) -> Optimizer:
        return make_optimizer(**as_dict(self.settings.optimizer))

    def _start(self) -> None:
        """Reset to the first network, with all counters at zero."""
        self.epoch, self.policy, self.optimizer = 0, self._make_policy(), self._make_optimizer()
        self._take(self.first)
        self.policy.begin(self.first, self.engine.activations(self.theta))
        self.engine.flops = 0

    def _take(self, network: SplineNetwork, n_evals: int = 0, flops: int = 0) -> None:
        """Continue with this network, and add to its counters."""
        self.engine, self.theta = self._make_engine(network), network.parameters()
        self.engine.n_evals += n_evals
        self.engine.flops += flops

    def _make_engine(self, network: SplineNetwork) -> CountingEngine:
        x = self.dataset.train_input
        return make_engine(self.engine_name, network, x, self.label, self.threads, self.device)

    def _refined(self, grid: int) -> SplineNetwork:
        return self.policy.refine(self._network, grid, self.engine.activations(self.theta))

    @property
    def network(self) -> SplineNetwork:
        """The current network, in the targets' own units."""
        return in_target_units(self._network, self.units)

    @property
    def _network(self) -> SplineNetwork:
        """The current network, in training units."""
        return self.engine.network.with_parameters(self.theta)

    @np.errstate(all="ignore")
    def _warm_up(self) -> None:
        """Take one step, and one refinement if there will be any, and discard the results.

        This keeps imports, compilation and loading on first use out of the measured time.
        """
        self.theta = self.optimizer.step(self.engine, self.theta)
        if len(self.sizes) > 1:
            self._refined(self._network.grid + 1)
        self._start()

    @np.errstate(all="ignore")  # a loss that is not finite ends the training, and the result says so
    def train(self, epochs: int, on_epoch: OnEpoch = lambda row: None, resume: ResumeState | None = None) -> Training:
        """Train on every grid for `epochs` steps of the optimizer.

        Args:
            epochs (int): Per grid.
            on_epoch (callable): Called with every new row of the history.
            resume (ResumeState, optional): Saves the state at the end of stages and every few seconds. If it has a
                state of the same training, training resumes from there; except for times, the result is the same as
                without the interruption.

        Raises:
            InputError: The losses of the untrained model are not finite.
        """
        key = self._key(epochs) if resume else {}
        state = resume.load(key, TrainerState) if resume else None
        training = self._begin() if state is None else self._resume(state)
        for epoch in range(self.epoch + 1, epochs * len(self.sizes) + 1):
            if training.stopped:
                break
            self._run_epoch(epoch, epochs, training, on_epoch)
            if resume and resume.due(stage_ends=epoch % epochs == 0 or training.stopped is not None):
                resume.save(key, self._state(training))
        self._repeat(epochs, training)
        return training

    def _begin(self) -> Training:
        untrained = Checkpoint(self._row(0, self.sizes[0]), self.network)
        if not _is_finite(untrained.row):
            raise InputError("untrained model", untrained.row, "finite losses")
        return Training(self.device, self.engine_name, self.clock.clock, untrained, untrained, untrained)

    def _run_epoch(self, epoch: int, epochs: int, training: Training, on_epoch: OnEpoch) -> None:
        """Train for one epoch, and record its result in `training`."""
        with self.clock:
            self._advance(epoch, epochs)
        stage, epoch_of_stage = divmod(epoch - 1, epochs)
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
        on_epoch(row)
        reasons = [rule.update(row, epoch_of_stage == epochs - 1) for rule in self.stop_rules]  # each sees every row
        training.stopped = next(filter(None, reasons), None)

    def _advance(self, epoch: int, epochs: int) -> None:
        """Run the timed part of an epoch: refinement, grid update and step, without evaluation."""
        self.epoch = epoch
        stage, epoch_of_stage = divmod(epoch - 1, epochs)
        if epoch_of_stage == 0:
            if stage > 0:
                self._regrid(self._refined(self.sizes[stage]))
            self.optimizer.restart()
        if self.policy.updates(epoch_of_stage):
            self._regrid(self.policy.update(self._network, self.engine.activations(self.theta)))
        self.theta = self.optimizer.step(self.engine, self.theta)

    def _regrid(self, network: SplineNetwork) -> None:
        """Continue with a refinement of the current network, and count its operations."""
        inserted = knot_insertion(self.engine.network, network)
        self._take(network, self.engine.n_evals, self.engine.flops + inserted)

    def _repeat(self, epochs: int, training: Training) -> None:
        """Repeat a short training to time it, and record the shortest time of every epoch.

        Training is deterministic, so a repetition takes the same steps; it skips the evaluations for the history.
        """
        timing, theta, least, spent = self.settings.timing, self.theta, self.clock.epochs, self.clock.total
        while training.timings < timing.repeats and spent < timing.seconds:
            ran, self.clock = self.epoch, Stopwatch(self.device, self.threads)
            self._start()
            for epoch in range(1, ran + 1):
                with self.clock:
                    self._advance(epoch, epochs)
            if not np.array_equal(self.theta, theta, equal_nan=True):
                log.warning("a repetition gave a different history; the times of the first training are kept")
                return
            least = [*map(min, least, self.clock.epochs)]
            training.timings, spent = training.timings + 1, spent + self.clock.total
        ends = [0.0, *itertools.accumulate(least)]
        for row in (*training.history, training.at_threshold.row, training.final.row):
            row["time"] = ends[row["epoch"]]

    def _parts(self) -> dict[str, Resumable]:
        """The parts whose state changes during training, besides the network."""
        return {
            "optimizer": self.optimizer,
            "threshold": self.threshold,
            "policy": self.policy,
            "clock": self.clock,
            **{f"stop_rule_{number}": rule for number, rule in enumerate(self.stop_rules)},
        }

    def _key(self, epochs: int) -> dict[str, str]:
        """Identify the training by all that its result depends on."""
        return {
            "settings": canonical_json(self.settings),
            "epochs": str(epochs),
            "network": self.first.digest(),
            "device": self.device,
            "engine": self.engine_name,
            "code": code_digest(),
            **{package: version(package) for package in ("numba", "numpy", "pykan", "scipy", "torch")},
        }

    def _state(self, training: Training) -> TrainerState:
        parts = {name: part.state() for name, part in self._parts().items()}
        return TrainerState(self.epoch, self._network, self.engine.n_evals, self.engine.flops, parts, training)

    def _resume(self, state: TrainerState) -> Training:
        """Restore a state; return the result so far."""
        self.epoch = state.epoch
        self._take(state.network, state.n_evals)
        self.engine.flops = state.flops
        for name, part in self._parts().items():
            part.resume(state.parts[name])
        log.info("resuming after epoch %d (%.2f s)", self.epoch, self.clock.total)
        return state.training

    def _row(self, epoch: int, grid: int) -> Row:
        """Evaluate the current network for the history; not counted as training."""
        train_loss, test_loss, dense_mse = (self._mse(x, y) for x, y in self.samples)
        return {
            "grid_size": grid,
            "epoch": epoch,
            "train_loss": train_loss,
            "test_loss": test_loss,
            "dense_mse": dense_mse,
            "time": self.clock.total,
            "n_evals": self.engine.n_evals,
            "flops": self.engine.flops,
            "num_params": len(self.theta),
            **self.policy.columns,  # type: ignore[typeddict-item]  # mypy knows no unpacking of dicts
        }

    def _mse(self, x: Array, y: Array) -> float:
        """Mean squared error in the targets' own units."""
        return float(np.square(self.engine.predict(self.theta, x) - y, dtype=float).mean()) * self.units.scale**2


def target_units(settings: Settings, data: Dataset) -> TargetUnits:
    """Choose the units in which a training works: standardized, or the targets' own."""
    return TargetUnits.standardizing(data.train_label) if settings.targets == "standardized" else TargetUnits()


def in_training_units(network: SplineNetwork, units: TargetUnits) -> SplineNetwork:
    """Convert a network from the targets' own units to training units."""
    return network.scaled(1 / units.scale, -units.offset / units.scale)


def in_target_units(network: SplineNetwork, units: TargetUnits) -> SplineNetwork:
    """Convert a network from training units to the targets' own units."""
    return network.scaled(units.scale, units.offset)


def make_data(settings: Settings) -> Dataset:
    """Make the samples that the settings of a training describe."""
    problem = find_problem(settings.problem, settings.source)
    return make_dataset(problem, **as_dict(settings.data), dtype=settings.dtype)


def _is_finite(row: Row) -> bool:
    return all(map(math.isfinite, (row["train_loss"], row["test_loss"], row["dense_mse"])))
