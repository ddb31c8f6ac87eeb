"""The frames of section 2.3, from what the trainings of experts, merged models and controls hand over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.sections import SECTIONS, without_variant
from kanbench.storage.frames import COLUMNS, history, portable
from kanbench.storage.training_record import TrainingRecord
from kanbench.training.selection import select_experts

EXPERT_COLUMNS = (
    "depth",
    "k",
    "seed",
    "train_loss",
    "valid_loss",
    "test_loss",
    "dense_mse",
    "dependencies",
    "num_params",
    "n_evals",
    "steps",
    "train_time",
)


def build_merge_frame(
    name: str,
    n_selected: int,
    experts: Sequence[TrainingRecord] = (),
    merged: Sequence[TrainingRecord] = (),
    controls: Sequence[TrainingRecord] = (),
) -> pd.DataFrame:
    """One of the frames of section 2.3: `summary`, `experts`, `selected_experts` or `grid_history`.

    Parameters
    ----------
    name : str
    n_selected : int
        How many experts of a dataset are merged.
    experts, merged, controls : sequences
        What the trainings handed over. Every frame but `experts` needs the merged models, `summary` the controls too.

    Raises
    ------
    InputError
        The trainings were not made alike, or some are missing.
    """
    build, *needed = {
        "experts": (lambda: _experts(experts, n_selected), experts),
        "selected_experts": (lambda: _selected(experts, merged, n_selected), experts, merged),
        "grid_history": (lambda: _grid_history(merged), experts, merged),
        "summary": (lambda: _summary(experts, merged, controls, n_selected), experts, merged, controls),
    }[name]
    if not all(needed):
        raise InputError(name, f"trainings of {sum(map(bool, needed))} kinds", f"of {len(needed)}")
    _check_kinds({"expert": experts, "merge_kan": merged, "control": controls})
    if n_selected < 1:
        raise InputError("n_selected", n_selected, "a whole number, at least 1")
    frame = build()
    frame.attrs = _attrs(experts, (experts if name == "experts" else merged)[0], n_selected)
    return portable(frame)


def _experts(experts: Sequence[TrainingRecord], n_selected: int) -> pd.DataFrame:
    rows = []
    for group in _by_dataset(experts).values():
        selected = select_experts([training["expert"] for training in group], n_selected)
        for position, training in enumerate(group):
            row = {column: training["expert"][column] for column in EXPERT_COLUMNS}
            rows.append({**_dataset(training), **row, "selected": position in selected})
    return pd.DataFrame(rows)


def _selected(experts: Sequence[TrainingRecord], merged: Sequence[TrainingRecord], n_selected: int) -> pd.DataFrame:
    """The selected experts, the best of a dataset first, with their weights in the merged model."""
    chosen = [
        {**_dataset(training), "rank": rank, **expert}
        for training in sorted(merged, key=lambda t: t["dataset_idx"])
        for rank, expert in enumerate(training["merging"]["selected"], start=1)
    ]
    keys = ["dataset_idx", "dataset_name", "depth", "k", "seed"]
    return pd.DataFrame(chosen).merge(_experts(experts, n_selected).drop(columns="selected"), on=keys, how="left")


def _grid_history(merged: Sequence[TrainingRecord]) -> pd.DataFrame:
    parts = [history(training) for training in sorted(merged, key=lambda t: t["dataset_idx"])]
    frame = pd.concat(parts, ignore_index=True).astype(COLUMNS)
    return frame.assign(approach=merged[0]["model_type"])


def _summary(
    experts: Sequence[TrainingRecord],
    merged: Sequence[TrainingRecord],
    controls: Sequence[TrainingRecord],
    n_selected: int,
) -> pd.DataFrame:
    by_dataset = _by_dataset(experts)
    control_of = {training["dataset_idx"]: training for training in controls}
    rows = []
    for training in sorted(merged, key=lambda t: t["dataset_idx"]):
        group = [expert["expert"] for expert in by_dataset[training["dataset_idx"]]]
        merging, best = training["merging"], group[select_experts(group, 1)[0]]
        rows.append(
            {
                **_dataset(training),
                "n_experts_trained": len(group),
                "n_experts_selected": len(merging["selected"]),
                "best_expert_dense_mse": min(expert["dense_mse"] for expert in group),
                "chosen_expert_dense_mse": best["dense_mse"],
                "ensemble_dense_mse": merging["ensemble_dense_mse"],
                "initial_dense_mse": merging["initial_dense_mse"],
                **_outcome("merged", training),
                **_outcome("control", control_of[training["dataset_idx"]]),
                "initial_num_params": merging["initial_num_params"],
                "via_n_evals": sum(part["n_evals"] for part in merging["via"]),
                "via_time": sum(part["time"] for part in merging["via"]),
                "experts_n_evals": sum(expert["n_evals"] for expert in group),
                "experts_time": sum(expert["train_time"] for expert in group),
            }
        )
    return pd.DataFrame(rows)


def _outcome(name: str, training: TrainingRecord) -> dict[str, Any]:
    at_threshold, final = training["checkpoints"]["at_threshold"], training["checkpoints"]["final"]
    return {
        f"{name}_threshold_dense_mse": at_threshold["dense_mse"],
        f"{name}_dense_mse": final["dense_mse"],
        f"{name}_test_loss": final["test_loss"],
        f"{name}_grid_size": final["grid_size"],
        f"{name}_num_params": final["num_params"],
        f"{name}_n_evals": final["n_evals"],
        f"{name}_time": final["time"],
    }


def _by_dataset(experts: Sequence[TrainingRecord]) -> dict[int, list[TrainingRecord]]:
    groups: dict[int, list[TrainingRecord]] = {}
    for training in sorted(experts, key=lambda t: t["dataset_idx"]):  # stable: the experts keep their order
        groups.setdefault(training["dataset_idx"], []).append(training)
    return groups


def _dataset(training: TrainingRecord) -> dict[str, Any]:
    return {key: training[key] for key in ("dataset_idx", "dataset_name")}


def _attrs(experts: Sequence[TrainingRecord], training: TrainingRecord, n_selected: int) -> dict[str, Any]:
    group = next(iter(_by_dataset(experts).values()))
    return {
        **{key: training[key] for key in ("section", "timestamp", "device")},
        "model_type": SECTIONS[without_variant(training["section"])].model_types[0],
        "n_seeds": len({expert["expert"]["seed"] for expert in group}),
        "n_experts": len(group),
        "n_selected": n_selected,
        "provenance": training["provenance"],
    }


def _check_kinds(kinds: dict[str, Sequence[TrainingRecord]]) -> None:
    """Check that trainings are what they are given for, of one run, made alike, and of the same datasets."""
    present = {kind: trainings for kind, trainings in kinds.items() if trainings}
    for kind, trainings in present.items():
        for key, values in (
            ("model_type", {training["model_type"] for training in trainings} | {kind}),
            ("provenance", {str(training["provenance"]) for training in trainings}),
        ):
            if len(values) > 1:
                raise InputError(kind, problem=f"the trainings have different {key}: {'; '.join(sorted(values))}")
    for key in ("section", "timestamp", "device"):
        found = {training[key] for trainings in present.values() for training in trainings}
        if len(found) > 1:
            raise InputError(
                ", ".join(present), problem=f"the trainings have different {key}: {'; '.join(sorted(found))}"
            )
    seeds = {training["provenance"].get("seed") for kind in ("merge_kan", "control") for training in kinds[kind]}
    if len(seeds) > 1:
        raise InputError(
            "merge_kan, control", problem=f"the trainings have different seed: {'; '.join(map(str, sorted(seeds)))}"
        )
    datasets = {kind: sorted({training["dataset_idx"] for training in part}) for kind, part in present.items()}
    if len(set(map(tuple, datasets.values()))) > 1:
        raise InputError("the trainings have different datasets", allowed="the same of every kind", problem=datasets)
