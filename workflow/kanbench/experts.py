"""Experts: small models that are trained on their own, and later merged."""

from __future__ import annotations

from typing import Any

from kan import KAN
from torch import Tensor

from kanbench.attribution import node_scores
from kanbench.models import predict
from kanbench.record import Report, Training
from kanbench.training import Trainer
from kanbench.unfinished import Unfinished


def train_expert(
    settings: dict[str, Any],
    report: Report = lambda row: None,
    threads: int = 1,
    unfinished: Unfinished | None = None,
) -> tuple[Training, dict[str, Any]]:
    """Train one expert.

    Parameters
    ----------
    settings : dict
        As `kanbench.settings.expert_settings` returns them.
    unfinished : Unfinished, optional
        See `kanbench.training.Trainer.train`.

    Returns
    -------
    training : Training
        Its `final` model is the expert.
    expert : dict
        What the selection and the frames need to know about it.
    """
    trainer = Trainer(settings, threads=threads)
    training = trainer.train(settings["epochs"], report, unfinished)
    model, data, row = training.final.snapshot.restore(), trainer.dataset, training.final.row
    return training, {
        "depth": len(settings["model"]["width"]) - 2,
        "k": settings["model"]["k"],
        "seed": settings["seed"],
        **{key: row[key] for key in ("train_loss", "test_loss", "dense_mse", "num_params", "n_evals")},
        "valid_loss": (predict(model, data.valid_input) - data.valid_label).square().mean().item(),
        "dependencies": dependencies(model, data.train_input, settings["dependency_threshold"]),
        "steps": row["epoch"],
        "train_time": row["time"],
    }


def dependencies(model: KAN, x: Tensor, threshold: float) -> str:
    """The inputs that a model depends on, as text: those whose attribution score over x is at least `threshold`."""
    scores = node_scores(model, x)[0].tolist()
    return ",".join(str(i) for i, score in enumerate(scores) if score >= threshold)
