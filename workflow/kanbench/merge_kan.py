"""Merge_KAN: experts are selected, merged into one wider model, and the merged model is trained through the grids.

A control shows what the merging is worth: a model of the same size and depth that is trained from scratch through the
same grids, with as many evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from kan import KAN

from kanbench.datasets import Dataset
from kanbench.merging import merge
from kanbench.models import predict
from kanbench.problems import PROBLEMS
from kanbench.record import Report, Training
from kanbench.selection import select_experts
from kanbench.training import Trainer, make_data, resolve_device
from kanbench.unfinished import Unfinished

Settings = dict[str, Any]
Expert = dict[str, Any]


def train_merged(
    settings: Settings,
    experts: Sequence[Expert],
    load: Callable[[int], KAN],
    report: Report = lambda row: None,
    threads: int = 1,
    unfinished: Unfinished | None = None,
) -> tuple[Training, dict[str, Any]]:
    """Select, merge and train.

    Parameters
    ----------
    settings : dict
        As `kanbench.settings.merge_settings` returns them.
    experts : sequence of dict
        What `train_expert` says about each.
    load : callable
        The model of the expert at a position.
    unfinished : Unfinished, optional
        See `kanbench.training.Trainer.train`; the trainings that come before have parts of it.

    Returns
    -------
    training : Training
    merging : dict
        The selected experts and what was measured before the training.
    """
    selected = select_experts(experts, settings["merge"]["n_selected"])
    models = [load(position).to(resolve_device(settings["device"])) for position in selected]
    data = make_data(settings)
    weights = ensemble_weights(models, data, settings["merge"]["weights"])
    ensemble = sum(weight * predict(model, data.dense_input) for weight, model in zip(weights, models, strict=True))

    via, final_weights = [], weights
    for count in settings["merge"]["via"]:
        parts = [unfinished and unfinished.part(f"via_{count}_{first}") for first in range(count)]
        trained = [_trained(settings, models[i::count], data, threads, part) for i, part in enumerate(parts)]
        models = [part.at_threshold.snapshot.restore() for part in trained]
        via += [{key: part.final.row[key] for key in ("n_evals", "num_params", "time")} for part in trained]
        final_weights = ensemble_weights(models, data, settings["merge"]["weights"])
    trainer = Trainer(settings, _merged(settings, models, final_weights), threads)
    training = trainer.train(settings["epochs"], report, unfinished)
    return training, {
        "selected": [
            {**{key: experts[position][key] for key in ("depth", "k", "seed")}, "weight": weight}
            for position, weight in zip(selected, weights, strict=True)
        ],
        "ensemble_dense_mse": (ensemble - data.dense_label).square().mean().item(),
        "initial_dense_mse": training.untrained.row["dense_mse"],
        "initial_num_params": training.untrained.row["num_params"],
        "via": via,
        "width": training.final.snapshot.width,
        "k": training.final.snapshot.k,
    }


def _trained(
    settings: Settings, models: Sequence[KAN], data: Dataset, threads: int, unfinished: Unfinished | None
) -> Training:
    """One model for a group of models, where merging goes in stages: trained on the first grid only."""
    grids = {**settings["grids"], "sizes": settings["grids"]["sizes"][:1]}
    weights = ensemble_weights(models, data, settings["merge"]["weights"])
    trainer = Trainer({**settings, "grids": grids}, _merged(settings, models, weights), threads)
    return trainer.train(settings["epochs"], unfinished=unfinished)


def _merged(settings: Settings, models: Sequence[KAN], weights: Sequence[float]) -> KAN:
    return merge(models, weights, PROBLEMS[settings["problem"]].domain, settings["merge"]["cross_edges"])


def ensemble_weights(models: Sequence[KAN], data: Dataset, how: str) -> list[float]:
    """The weight of every model: the same (`mean`), or those that fit the validation sample best (`least_squares`)."""
    if how == "mean":
        return [1 / len(models)] * len(models)
    outputs = torch.cat([predict(model, data.valid_input) for model in models], dim=1).double().cpu()
    # gelsd takes care of experts that are almost the same
    solution = torch.linalg.lstsq(outputs, data.valid_label.double().cpu(), driver="gelsd").solution
    return solution.squeeze(1).tolist()


def train_control(
    settings: Settings,
    merged: dict[str, Any],
    experts: Sequence[Expert],
    report: Report = lambda row: None,
    threads: int = 1,
    unfinished: Unfinished | None = None,
) -> Training:
    """Train one model from scratch that had as much as the merged one.

    Its depth, its grids and, as nearly as a width allows, the number of its parameters at the last grid are the merged
    model's. It has as many evaluations as the merged model's own training or, with `control: all`, as that and the
    training of all experts; an evaluation of an expert counts by the number of its parameters.

    Parameters
    ----------
    settings : dict
        As `kanbench.settings.control_settings` returns them.
    merged : dict
        `epoch`, `n_evals`, `grid_size` and `num_params` of the merged model when its training ended, and its `width`,
        `k` and `via`.
    unfinished : Unfinished, optional
        See `kanbench.training.Trainer.train`.
    """
    grids = {**settings["grids"], "sizes": [size for size in settings["grids"]["sizes"] if size <= merged["grid_size"]]}
    inputs, *hidden, outputs = merged["width"]
    per_edge = grids["sizes"][-1] + merged["k"] + 2
    width = control_width(inputs, len(hidden), outputs, per_edge, merged["num_params"])
    earlier = [*merged["via"], *(experts if settings["control"] == "all" else [])]
    work = merged["n_evals"] + sum(part["n_evals"] * part["num_params"] for part in earlier) / merged["num_params"]
    epochs = merged["epoch"] * work / max(merged["n_evals"], 1)  # as many evaluations in each
    trainer = Trainer({**settings, "model": {"width": width, "k": merged["k"]}, "grids": grids}, threads=threads)
    return trainer.train(max(1, round(epochs / len(grids["sizes"]))), report, unfinished)


def control_width(inputs: int, depth: int, outputs: int, per_edge: int, num_params: int) -> list[int]:
    """The nodes of every level, with `depth` hidden levels of equal width, for about `num_params` parameters."""

    def count(hidden: int) -> int:
        return per_edge * (inputs * hidden + (depth - 1) * hidden**2 + hidden * outputs)

    hidden = min(range(1, num_params + 1), key=lambda hidden: abs(count(hidden) - num_params))
    return [inputs, *[hidden] * depth, outputs]
