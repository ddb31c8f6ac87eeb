"""Experts: small models that are trained separately and merged later."""

from __future__ import annotations

from typing import Any

import numpy as np

from kanbench.network.attribution import node_scores
from kanbench.network.evaluation import deviations, evaluate
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.settings import ExpertSettings
from kanbench.problems import Array
from kanbench.problems.samples import Dataset
from kanbench.training.history import OnEpoch, Training
from kanbench.training.resume import ResumeState
from kanbench.training.trainer import Trainer, in_training_units


def train_expert(
    settings: ExpertSettings,
    data: Dataset,
    on_epoch: OnEpoch = lambda row: None,
    threads: int = 1,
    resume: ResumeState | None = None,
) -> tuple[Training, dict[str, Any]]:
    """Train one expert.

    Args:
        data, on_epoch, threads, resume: See `kanbench.training.trainer.Trainer` and its `train`.

    Returns:
        training (Training): Its `final` network is the expert.
        expert (dict): The expert's row of the frame `experts`, without `selected`, and its `valid_loss`, the mean
            squared error on the validation sample.
    """
    trainer = Trainer(settings, data, threads=threads)
    training = trainer.train(settings.epochs, on_epoch, resume)
    network, row = training.final.network, training.final.row
    return training, {
        "depth": len(settings.model.width) - 2,
        "k": settings.model.k,
        "seed": settings.seed,
        "train_loss": row["train_loss"],
        "test_loss": row["test_loss"],
        "dense_mse": row["dense_mse"],
        "num_params": row["num_params"],
        "n_evals": row["n_evals"],
        "flops": row["flops"],
        "valid_loss": float(np.square(evaluate(network, data.valid_input) - data.valid_label).mean()),
        "dependencies": dependencies(
            in_training_units(network, trainer.units), data.train_input, settings.dependency_threshold
        ),
        "steps": row["epoch"],
        "train_time": row["time"],
    }


def dependencies(network: SplineNetwork, x: Array, threshold: float) -> str:
    """List the inputs that a network depends on, such as `0,2`.

    Args:
        x (array of shape (n, d)): The sample that the attribution scores are computed on.
        threshold (float): The least attribution score of an input that counts.
    """
    scores = node_scores(deviations(network, x))[0].tolist()
    return ",".join(str(i) for i, score in enumerate(scores) if score >= threshold)
