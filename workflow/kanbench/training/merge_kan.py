"""Merge_KAN: experts are selected, merged into one wider model, and the merged model is trained through the grids.

A control shows what the merging is worth: a model of the same size and depth that is trained from scratch through the
same grids, with as many evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from kanbench.network.evaluation import evaluate
from kanbench.network.merge import merge
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.settings import ControlSettings, MergeSettings, Model, with_model
from kanbench.problems import PROBLEMS
from kanbench.problems.samples import Dataset
from kanbench.training.history import Report, Training
from kanbench.training.resume import ResumeState
from kanbench.training.selection import select_experts
from kanbench.training.trainer import Trainer

Expert = dict[str, Any]  # what `train_expert` says of one


def train_merged(
    settings: MergeSettings,
    experts: Sequence[Expert],
    load: Callable[[int], SplineNetwork],
    data: Dataset,
    report: Report = lambda row: None,
    threads: int = 1,
    resume: ResumeState | None = None,
) -> tuple[Training, dict[str, Any]]:
    """Select, merge and train.

    Args:
        experts (sequence of dict): What `train_expert` says about each.
        load (callable): The network of the expert at a position.
        data, report, threads, resume: See `kanbench.training.trainer.Trainer`, and its `train`; the trainings that come
            before have parts of `resume`.

    Returns:
        training (Training)
        merging (dict): The selected experts and what was measured before the training.
    """
    selected = select_experts(experts, settings.merge.n_selected)
    networks = [load(position) for position in selected]
    weights = ensemble_weights(networks, data, settings.merge.weights)
    ensemble = _outputs(networks, data.dense_input) @ weights

    grids = msgspec.structs.replace(settings.grids, sizes=settings.grids.sizes[:1])
    first_grid = msgspec.structs.replace(settings, grids=grids)  # all that is trained of what is merged in stages
    via, final_weights = [], weights
    for count in settings.merge.via:
        trained = []
        for i in range(count):
            group, part = networks[i::count], resume and resume.part(f"via_{count}_{i}")
            own = ensemble_weights(group, data, settings.merge.weights)
            trained.append(_trainer(first_grid, group, own, data, threads).train(settings.epochs, resume=part))
        networks = [training.at_threshold.network for training in trained]
        rows = [training.final.row for training in trained]
        via += [{"n_evals": row["n_evals"], "num_params": row["num_params"], "time": row["time"]} for row in rows]
        final_weights = ensemble_weights(networks, data, settings.merge.weights)
    training = _trainer(settings, networks, final_weights, data, threads).train(settings.epochs, report, resume)
    return training, {
        "selected": [
            {**{key: experts[position][key] for key in ("depth", "k", "seed")}, "weight": weight}
            for position, weight in zip(selected, weights, strict=True)
        ],
        "ensemble_dense_mse": float(np.square(ensemble - data.dense_label[:, 0]).mean()),
        "initial_dense_mse": training.untrained.row["dense_mse"],
        "initial_num_params": training.untrained.row["num_params"],
        "via": via,
        "width": training.final.network.width,
        "k": training.final.network.order,
    }


def _trainer(
    settings: MergeSettings, networks: Sequence[SplineNetwork], weights: Sequence[float], data: Dataset, threads: int
) -> Trainer:
    """Begins with one network in the place of several."""
    merged = merge(networks, weights, PROBLEMS[settings.problem].domain, settings.merge.cross_edges)
    return Trainer(settings, data, merged, threads)


def _outputs(networks: Sequence[SplineNetwork], x: np.ndarray) -> np.ndarray:
    """Of every network, shape (n, networks)."""
    return np.hstack([evaluate(network, x) for network in networks])


def ensemble_weights(networks: Sequence[SplineNetwork], data: Dataset, how: str) -> list[float]:
    """The weight of every network: the same (`mean`), or those that fit the validation sample best (`least_squares`).

    The least squares are those of smallest norm, for experts that are almost the same.
    """
    if how == "mean":
        return [1 / len(networks)] * len(networks)
    outputs, label = _outputs(networks, data.valid_input), data.valid_label[:, 0].astype(float)
    return np.linalg.lstsq(outputs, label, rcond=None)[0].tolist()


def train_control(
    settings: ControlSettings,
    merged: Mapping[str, Any],
    experts: Sequence[Expert],
    data: Dataset,
    report: Report = lambda row: None,
    threads: int = 1,
    resume: ResumeState | None = None,
) -> Training:
    """Train one model from scratch that had as much as the merged one.

    Its depth, its grids and, as nearly as a width allows, the number of its parameters at the last grid are the merged
    model's. It has as many evaluations as the merged model's own training or, with `control: all`, as that and the
    training of all experts; an evaluation of an expert counts by the number of its parameters.

    Args:
        merged (dict): `epoch`, `n_evals`, `grid_size` and `num_params` of the merged model when its training ended, and
            its `width`, `k` and `via`.
        data, report, threads, resume: See `kanbench.training.trainer.Trainer`, and its `train`.
    """
    sizes = tuple(size for size in settings.grids.sizes if size <= merged["grid_size"])
    inputs, *hidden, outputs = merged["width"]
    per_edge = sizes[-1] + merged["k"] + 2
    width = control_width(inputs, len(hidden), outputs, per_edge, merged["num_params"])
    earlier = [*merged["via"], *(experts if settings.control == "all" else [])]
    work = merged["n_evals"] + sum(part["n_evals"] * part["num_params"] for part in earlier) / merged["num_params"]
    epochs = merged["epoch"] * work / max(merged["n_evals"], 1)  # as many evaluations in each
    alone = with_model(settings, Model(tuple(width), merged["k"]), sizes)
    return Trainer(alone, data, threads=threads).train(max(1, round(epochs / len(sizes))), report, resume)


def control_width(inputs: int, depth: int, outputs: int, per_edge: int, num_params: int) -> list[int]:
    """The nodes of every level, with `depth` hidden levels of equal width, for about `num_params` parameters."""

    def count(hidden: int) -> int:
        return per_edge * (inputs * hidden + (depth - 1) * hidden**2 + hidden * outputs)

    hidden = min(range(1, num_params + 1), key=lambda hidden: abs(count(hidden) - num_params))
    return [inputs, *[hidden] * depth, outputs]
