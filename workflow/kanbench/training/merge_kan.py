"""Merge_KAN: select experts, merge them into one wider model, and train that through the grids.

A control shows what merging is worth: a model of the same size and depth, trained from scratch through the same grids
with as many floating-point operations.

With standardized targets, experts are selected, weighted and merged in training units. Merging is then invariant to
affine changes of the target: the result for c f + d is the same as for f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from kanbench.network.evaluation import evaluate
from kanbench.network.merge import merge_networks
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.settings import ControlSettings, MergeSettings, Model, with_model
from kanbench.problems import Array
from kanbench.problems.samples import Dataset
from kanbench.training.history import OnEpoch, Training
from kanbench.training.resume import ResumeState
from kanbench.training.selection import select_experts
from kanbench.training.trainer import Trainer, in_target_units, in_training_units, target_units

Expert = dict[str, Any]  # as returned by `train_expert`


def train_merged(
    settings: MergeSettings,
    experts: Sequence[Expert],
    load: Callable[[int], SplineNetwork],
    data: Dataset,
    on_epoch: OnEpoch = lambda row: None,
    threads: int = 1,
    resume: ResumeState | None = None,
) -> tuple[Training, dict[str, Any]]:
    """Select experts, merge them, and train the merged model.

    Args:
        experts (sequence of dict): As returned by `train_expert`.
        load (callable): Returns the network of the expert at a position of `experts`.
        data, on_epoch, threads, resume: See `kanbench.training.trainer.Trainer` and its `train`. Intermediate models
            are trained with parts of `resume`.

    Returns:
        training (Training): Of the merged model.
        merging (dict): The selected experts with their weights, the dense MSEs of their ensemble and of the merged
            model before its training, and the cost of intermediate models.
    """
    selected = select_experts(experts, settings.merge.n_selected)
    units = target_units(settings, data)
    networks = [in_training_units(load(position), units) for position in selected]
    label = units.of(data.valid_label)

    def weights_of(group: Sequence[SplineNetwork]) -> list[float]:
        return ensemble_weights(group, data.valid_input, label, settings.merge.weights)

    weights = weights_of(networks)
    ensemble = (_outputs(networks, data.dense_input) @ weights).reshape(data.dense_label.shape)
    ensemble = units.scale * ensemble + units.offset

    grids = msgspec.structs.replace(settings.grids, sizes=settings.grids.sizes[:1])
    first_grid = msgspec.structs.replace(settings, grids=grids)  # intermediate models train on it only
    via, final_weights = [], weights
    for count in settings.merge.intermediate_models:
        trained = []
        for i in range(count):
            group, part = networks[i::count], resume and resume.part(f"via_{count}_{i}")
            trained.append(
                _trainer(first_grid, group, weights_of(group), data, threads).train(settings.epochs, resume=part)
            )
        networks = [in_training_units(training.at_threshold.network, units) for training in trained]
        rows = [training.final.row for training in trained]
        via += [{"n_evals": row["n_evals"], "flops": row["flops"], "time": row["time"]} for row in rows]
        final_weights = weights_of(networks)
    training = _trainer(settings, networks, final_weights, data, threads).train(settings.epochs, on_epoch, resume)
    return training, {
        "selected": [
            {**{key: experts[position][key] for key in ("depth", "k", "seed")}, "weight": weight}
            for position, weight in zip(selected, weights, strict=True)
        ],
        "ensemble_dense_mse": float(np.square(ensemble - data.dense_label).mean()),
        "initial_dense_mse": training.untrained.row["dense_mse"],
        "initial_num_params": training.untrained.row["num_params"],
        "via": via,
        "width": training.final.network.width,
        "k": training.final.network.order,
    }


def _trainer(
    settings: MergeSettings, networks: Sequence[SplineNetwork], weights: Sequence[float], data: Dataset, threads: int
) -> Trainer:
    """Make the trainer of a merged model; `networks` are in training units."""
    merged = merge_networks(networks, weights, data.domain, settings.merge.cross_edges)
    return Trainer(settings, data, in_target_units(merged, target_units(settings, data)), threads)


def _outputs(networks: Sequence[SplineNetwork], x: np.ndarray) -> np.ndarray:
    """Evaluate every network on x; shape (n · outputs, networks)."""
    return np.stack([evaluate(network, x).ravel() for network in networks], axis=1)


def ensemble_weights(networks: Sequence[SplineNetwork], x: Array, label: Array, how: str) -> list[float]:
    """Weight the networks of an ensemble.

    Args:
        x, label (arrays of shapes (n, d) and (n, outputs)): The validation sample.
        how (str): `mean` for equal weights, or `least_squares` for the fit to the sample. Of several least-squares
            solutions, as with almost equal experts, the one of minimum norm is taken.
    """
    if how == "mean":
        return [1 / len(networks)] * len(networks)
    return np.linalg.lstsq(_outputs(networks, x), label.astype(float).ravel(), rcond=None)[0].tolist()


def train_control(
    settings: ControlSettings,
    merged: Mapping[str, Any],
    experts: Sequence[Expert],
    data: Dataset,
    on_epoch: OnEpoch = lambda row: None,
    threads: int = 1,
    resume: ResumeState | None = None,
) -> Training:
    """Train the control: a model from scratch with the size and the budget of the merged model.

    It has the merged model's depth and grids and, as nearly as the width allows, as many parameters on the last grid.
    Its budget is the floating-point operations of training the merged model and the intermediate ones and, with
    `control_budget: all`, the experts. A trial run of one epoch per grid tells how many epochs that is.

    Args:
        merged (dict): `flops`, `grid_size` and `num_params` of the merged model when its training ended, and
            its `width`, `k` and `via`.
        data, on_epoch, threads, resume: See `kanbench.training.trainer.Trainer` and its `train`.
    """
    sizes = tuple(size for size in settings.grids.sizes if size <= merged["grid_size"])
    inputs, *hidden, outputs = merged["width"]
    per_edge = sizes[-1] + merged["k"] + 2
    width = control_width(inputs, len(hidden), outputs, per_edge, merged["num_params"])
    earlier = [*merged["via"], *(experts if settings.control_budget == "all" else [])]
    work = merged["flops"] + sum(part["flops"] for part in earlier)
    alone = with_model(settings, Model(tuple(width), merged["k"]), sizes)
    trial = Trainer(alone, data, threads=threads).train(1).final.row["flops"]  # one epoch per grid
    return Trainer(alone, data, threads=threads).train(max(1, round(work / max(trial, 1))), on_epoch, resume)


def control_width(inputs: int, depth: int, outputs: int, per_edge: int, num_params: int) -> list[int]:
    """Choose the width of a network with `depth` equal hidden layers and about `num_params` parameters.

    Args:
        per_edge (int): Parameters of one edge.
    """

    def count(hidden: int) -> int:
        return per_edge * (inputs * hidden + (depth - 1) * hidden**2 + hidden * outputs)

    hidden = min(range(1, num_params + 1), key=lambda hidden: abs(count(hidden) - num_params))
    return [inputs, *[hidden] * depth, outputs]
