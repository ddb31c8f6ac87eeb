"""The training loop: stages of grids, epochs in each, history, threshold. There is no other.

A training is a mapping of settings (`kanbench.settings.training_settings`) and a number of epochs per stage; what
differs between model types is in the settings.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import torch
from kan import KAN

from kanbench.datasets import Dataset, make_dataset
from kanbench.engine import Engine, make_engine
from kanbench.errors import InputError
from kanbench.grids import make_policy
from kanbench.models import Snapshot, build_model, count_parameters, intervals
from kanbench.optimizers import make_optimizer
from kanbench.problems import PROBLEMS
from kanbench.record import CHECKPOINTS, Checkpoint, Report, Row, Stopwatch, Training
from kanbench.settings import canonical_json
from kanbench.stopping import make_stop_rule
from kanbench.threshold import Threshold
from kanbench.unfinished import Unfinished, code_digest

log = logging.getLogger("kanbench")


class Trainer:
    """A model on its way through the grids.

    Parameters
    ----------
    settings : dict
        As `kanbench.settings.training_settings` returns them.
    model : KAN, optional
        Where to begin; by default the model that the settings describe. It is changed; its grids are refined to those
        of the first stage.
    threads : int
        For many samples; results do not depend on it.

    Raises
    ------
    InputError
        The device is not there, or the engine does not run on it.
    """

    def __init__(self, settings: dict[str, Any], model: KAN | None = None, threads: int = 1) -> None:
        self.settings = settings
        self.device, self.threads = resolve_device(settings["device"]), threads
        self.engine_name = resolve_engine(settings["engine"], self.device)
        self.dataset = make_data(settings)
        grids = dict(settings["grids"])
        self.sizes = grids.pop("sizes")
        self.policy = make_policy(**grids)
        if model is None:
            dtype = getattr(torch, settings["dtype"])
            start = {"grid": self.sizes[0], "seed": settings["seed"], "dtype": dtype, "device": self.device}
            model = build_model(**settings["model"], **start)
        else:
            model = self.policy.refine(model, self.sizes[0], self.dataset.train_input)
        self.model = model
        self.engine = self._make_engine(self.model)
        self.epoch = self.evals_of_earlier_stages = 0
        self.optimizer_settings = settings["optimizer"]
        self.optimizer = make_optimizer(**self.optimizer_settings)
        self.threshold = Threshold(**settings["threshold"])
        self.stop_rules = [make_stop_rule(**rule) for rule in settings["stop"]]
        self.evaluate_every = settings["evaluate_every"]
        self.clock = Stopwatch(self.device)
        self._warm_up()

    def _warm_up(self) -> None:
        """Take one step, and one refinement if there will be any, with a model that is thrown away.

        torch imports and compiles on first use (its optimizers alone take seconds), which is not training.
        """
        model = Snapshot.of(self.model).restore()
        optimizer = make_optimizer(**self.optimizer_settings)
        optimizer.restart(self._make_engine(model))
        optimizer.step()
        if len(self.sizes) > 1:
            self.policy.refine(model, model.grid + 1, self.dataset.train_input)

    def train(self, epochs: int, report: Report = lambda row: None, unfinished: Unfinished | None = None) -> Training:
        """Train on every grid for `epochs` steps of the optimizer.

        Parameters
        ----------
        epochs : int
            Per grid.
        report : callable
            Given every row as it is known; when a training goes on, those that are new.
        unfinished : Unfinished, optional
            Where to keep, at the end of stages and every few seconds, what the training can go on from. If a state of
            the same training is there, this one goes on from it, and its result is that of one that was never
            interrupted, times aside.
        """
        key = self._key(epochs) if unfinished else {}
        state = unfinished.find(key, self.device) if unfinished else None
        training = self._begin() if state is None else self._resume(state)
        for epoch in range(self.epoch + 1, epochs * len(self.sizes) + 1):
            if training.stopped:
                break
            self._run_epoch(epoch, epochs, training, report)
            if unfinished and unfinished.due(stage_ends=epoch % epochs == 0 or training.stopped is not None):
                unfinished.keep(key, self._state(training))
        return training

    def _begin(self) -> Training:
        self.policy.begin(self.model, self.dataset.train_input)
        untrained = self._checkpoint(self._row(0, self.sizes[0]))
        if not _is_finite(untrained.row):
            raise InputError(f"the loss of the untrained model is not finite: {untrained.row}")
        return Training(self.device, self.engine_name, untrained, at_threshold=untrained, final=untrained)

    def _run_epoch(self, epoch: int, epochs: int, training: Training, report: Report) -> None:
        """Train for one epoch, and note in `training` what came of it."""
        self.epoch = epoch
        stage, epoch_of_stage = divmod(epoch - 1, epochs)
        with self.clock:
            if epoch_of_stage == 0:
                self._begin_stage(stage)
            if self.policy.update(self.model, epoch_of_stage, self.dataset.train_input):
                self.engine.grids_changed()
            self.optimizer.step()
        if epoch_of_stage == 0:
            counts = [list(intervals(layer)) for layer in self.model.act_fun]
            training.stages.append({"grid_size": self.sizes[stage], "intervals": counts})
        if epoch % self.evaluate_every and epoch < epochs * len(self.sizes):
            return
        row = self._row(epoch, self.sizes[stage])
        if not _is_finite(row):
            training.stopped = f"epoch {epoch} ended with a loss that is not finite"
            return
        training.history.append(row)
        training.final = self._checkpoint(row)
        if self.threshold.update(row["test_loss"]):
            training.at_threshold = training.final
        report(row)
        training.stopped = self._reason_to_stop(row, last_of_stage=epoch_of_stage == epochs - 1)

    def _key(self, epochs: int) -> dict[str, Any]:
        """All that the result depends on, as text."""
        versions = {module.__name__: str(module.__version__) for module in (torch, np)}
        return {
            "settings": canonical_json(self.settings),
            "epochs": str(epochs),
            "model": Snapshot.of(self.model).digest(),
            "device": self.device,
            "engine": self.engine_name,
            "code": code_digest(),
            **versions,
        }

    def _state(self, training: Training) -> dict[str, Any]:
        """All that the rest of the training depends on, and its result so far, in builtin types and tensors."""
        return {
            "epoch": self.epoch,
            "model": vars(Snapshot.of(self.model)),
            "n_evals": [self.evals_of_earlier_stages, self.engine.n_evals],
            "optimizer": self.optimizer.state(),
            "threshold": vars(self.threshold),
            "stop_rules": [vars(rule) for rule in self.stop_rules],
            "columns": self.policy.columns,
            "seconds": self.clock.seconds,
            "history": training.history,
            "stages": training.stages,
            "checkpoints": {name: getattr(training, name).plain() for name in CHECKPOINTS},
            "stopped": training.stopped,
        }

    def _resume(self, state: dict[str, Any]) -> Training:
        """Be where the trainer was that had this state."""
        self.epoch = state["epoch"]
        self.model = Snapshot(**state["model"]).restore()
        self.engine = self._make_engine(self.model)
        self.evals_of_earlier_stages, self.engine.n_evals = state["n_evals"]
        self.optimizer.resume(self.engine, state["optimizer"])
        vars(self.threshold).update(state["threshold"])
        for rule, fields in zip(self.stop_rules, state["stop_rules"], strict=True):
            vars(rule).update(fields)
        self.policy.columns = state["columns"]
        self.clock.seconds = state["seconds"]
        checkpoints = {name: Checkpoint.of_plain(**parts) for name, parts in state["checkpoints"].items()}
        log.info("goes on after epoch %d (%.2f s), where it was interrupted", self.epoch, self.clock.seconds)
        kept = {name: state[name] for name in ("history", "stages", "stopped")}
        return Training(self.device, self.engine_name, **checkpoints, **kept)

    def _begin_stage(self, stage: int) -> None:
        if stage > 0:
            self.model = self.policy.refine(self.model, self.sizes[stage], self.dataset.train_input)
            self.evals_of_earlier_stages += self.engine.n_evals
            self.engine = self._make_engine(self.model)
        self.optimizer.restart(self.engine)

    def _make_engine(self, model: KAN) -> Engine:
        data = self.dataset.train_input, self.dataset.train_label
        return make_engine(self.engine_name, model, *data, self.threads)

    def _reason_to_stop(self, row: Row, last_of_stage: bool) -> str | None:
        # Every rule must see every row.
        return next(filter(None, [rule.update(row, last_of_stage) for rule in self.stop_rules]), None)

    def _row(self, epoch: int, grid: int) -> Row:
        """The history's row for the model as it is; none of this counts as training."""
        data = self.dataset
        return {
            "grid_size": grid,
            "epoch": epoch,
            "train_loss": self._mse(data.train_input, data.train_label),
            "test_loss": self._mse(data.test_input, data.test_label),
            "dense_mse": self._mse(data.dense_input, data.dense_label),
            "time": self.clock.seconds,
            "n_evals": self.evals_of_earlier_stages + self.engine.n_evals,
            "num_params": count_parameters(self.model),
            **self.policy.columns,
        }

    def _mse(self, x: torch.Tensor, y: torch.Tensor) -> float:
        return (self.engine.predict(x) - y).square().mean().item()

    def _checkpoint(self, row: Row) -> Checkpoint:
        return Checkpoint(row, Snapshot.of(self.model))


def make_data(settings: dict[str, Any]) -> Dataset:
    """The samples that the settings of a training describe."""
    problem, dtype = PROBLEMS[settings["problem"]], getattr(torch, settings["dtype"])
    return make_dataset(problem, **settings["data"], dtype=dtype, device=resolve_device(settings["device"]))


def _is_finite(row: Row) -> bool:
    return all(math.isfinite(row[loss]) for loss in ("train_loss", "test_loss", "dense_mse"))


def resolve_device(device: str) -> str:
    """`cpu` or `cuda` for a configured device.

    Raises
    ------
    InputError
        CUDA is asked for and torch cannot use it.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        why = "torch sees no CUDA device" if torch.version.cuda else "this build of torch has no CUDA"
        raise InputError(f"device: found 'cuda', but {why}; allowed here: auto, cpu")
    return ("cuda" if has_cuda else "cpu") if device == "auto" else device


def resolve_engine(engine: str, device: str) -> str:
    """The name of the engine for a configured one: by default the fastest that the device has.

    Raises
    ------
    InputError
        The engine does not run on the device.
    """
    if engine == "compiled" and device == "cuda":
        raise InputError("engine: found 'compiled', which runs on a CPU; allowed on cuda: auto, torch, reference")
    return {"cpu": "compiled", "cuda": "torch"}[device] if engine == "auto" else engine
