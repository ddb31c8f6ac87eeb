"""The frames of section 2.3, from the records of experts, merged models and controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.sections import section_of
from kanbench.storage.frames import histories, portable
from kanbench.storage.schema import dtypes
from kanbench.storage.training_record import TrainingRecord
from kanbench.training.selection import select_experts

Records = Sequence[TrainingRecord]
NEEDED = {  # the trainings that a frame is made from
    "experts": ("experts",),
    "selected_experts": ("experts", "merged"),
    "grid_history": ("experts", "merged"),
    "summary": ("experts", "merged", "controls"),
}


def build_merge_frame(
    name: str, n_selected: int, experts: Records = (), merged: Records = (), controls: Records = ()
) -> pd.DataFrame:
    """One of the frames of section 2.3: `summary`, `experts`, `selected_experts` or `grid_history`.

    Parameters
    ----------
    name : str
    n_selected : int
        How many experts of a dataset are merged.
    experts, merged, controls : sequences
        The records of trainings; see NEEDED.

    Raises
    ------
    InputError
        The trainings were not made alike, or some are missing.
    """
    given = {"experts": experts, "merged": merged, "controls": controls}
    if missing := [part for part in NEEDED[name] if not given[part]]:
        raise InputError(name, f"no trainings of {', '.join(missing)}", f"all of {', '.join(NEEDED[name])}")
    _check_kinds({"expert": experts, "merge_kan": merged, "control": controls})
    if n_selected < 1:
        raise InputError("n_selected", n_selected, "an integer, at least 1")
    if name == "grid_history":
        frame = histories(merged, merged[0].model_type)
    else:
        frame = pd.DataFrame(
            _experts(experts, n_selected)
            if name == "experts"
            else _selected(experts, merged)
            if name == "selected_experts"
            else _summary(experts, merged, controls)
        )
        types = dtypes(experts[0].section, name)
        frame = portable(frame[list(types)].astype(types))
    frame.attrs.update(_attrs(experts, (experts if name == "experts" else merged)[0], n_selected))
    return frame


def _experts(experts: Records, n_selected: int) -> list[dict[str, Any]]:
    rows = []
    for group in _by_dataset(experts).values():
        selected = select_experts([expert for _, expert in group], n_selected)
        for position, (record, expert) in enumerate(group):
            rows.append({**_dataset(record), **expert, "selected": position in selected})
    return rows


def _selected(experts: Records, merged: Records) -> list[dict[str, Any]]:
    """The selected experts, the best of a dataset first, with their weights in the merged model."""
    rows = []
    for record, merging in _mergings(merged):
        group = {_key(expert): expert for _, expert in _by_dataset(experts)[record.dataset_idx]}
        for rank, chosen in enumerate(merging["selected"], start=1):
            if _key(chosen) not in group:
                key = "depth {depth}, k {k}, seed {seed}".format_map(chosen)
                raise InputError("experts", f"none with {key} on {record.dataset_name}", "all that were merged")
            rows.append({**_dataset(record), **group[_key(chosen)], "rank": rank, "weight": chosen["weight"]})
    return rows


def _summary(experts: Records, merged: Records, controls: Records) -> list[dict[str, Any]]:
    control_of = {record.dataset_idx: record for record in controls}
    rows = []
    for record, merging in _mergings(merged):
        group = [expert for _, expert in _by_dataset(experts)[record.dataset_idx]]
        rows.append(
            {
                **_dataset(record),
                "n_experts_trained": len(group),
                "n_experts_selected": len(merging["selected"]),
                "best_expert_dense_mse": min(expert["dense_mse"] for expert in group),
                "chosen_expert_dense_mse": group[select_experts(group, 1)[0]]["dense_mse"],
                "ensemble_dense_mse": merging["ensemble_dense_mse"],
                "initial_dense_mse": merging["initial_dense_mse"],
                **_outcome("merged", record),
                **_outcome("control", control_of[record.dataset_idx]),
                "initial_num_params": merging["initial_num_params"],
                "via_n_evals": sum(part["n_evals"] for part in merging["via"]),
                "via_time": sum(part["time"] for part in merging["via"]),
                "experts_n_evals": sum(expert["n_evals"] for expert in group),
                "experts_time": sum(expert["train_time"] for expert in group),
            }
        )
    return rows


def _outcome(name: str, record: TrainingRecord) -> dict[str, Any]:
    final = record.checkpoints["final"]
    columns = ("dense_mse", "test_loss", "grid_size", "num_params", "n_evals", "time")
    return {
        f"{name}_threshold_dense_mse": record.checkpoints["at_threshold"]["dense_mse"],
        **{f"{name}_{column}": final[column] for column in columns},
    }


def _by_dataset(experts: Records) -> dict[int, list[tuple[TrainingRecord, dict[str, Any]]]]:
    """The experts of every dataset, with their records; those without are left out."""
    groups: dict[int, list[tuple[TrainingRecord, dict[str, Any]]]] = {}
    for record in sorted(experts, key=lambda record: record.dataset_idx):  # stable: the experts keep their order
        if record.expert is not None:
            groups.setdefault(record.dataset_idx, []).append((record, record.expert))
    return groups


def _mergings(merged: Records) -> list[tuple[TrainingRecord, dict[str, Any]]]:
    ordered = sorted(merged, key=lambda record: record.dataset_idx)
    return [(record, record.merging) for record in ordered if record.merging is not None]


def _key(expert: dict[str, Any]) -> tuple[int, int, int]:
    return expert["depth"], expert["k"], expert["seed"]


def _dataset(record: TrainingRecord) -> dict[str, Any]:
    return {"dataset_idx": record.dataset_idx, "dataset_name": record.dataset_name}


def _attrs(experts: Records, record: TrainingRecord, n_selected: int) -> dict[str, Any]:
    group = next(iter(_by_dataset(experts).values()))
    return {
        **{key: getattr(record, key) for key in ("section", "timestamp", "device")},
        "model_type": section_of(record.section).model_types[0],
        "n_seeds": len({expert["seed"] for _, expert in group}),
        "n_experts": len(group),
        "n_selected": n_selected,
        "provenance": record.provenance,
    }


def _check_kinds(kinds: dict[str, Records]) -> None:
    """Check that trainings are what they are given for, of one run, made alike, and of the same datasets."""
    present = {kind: records for kind, records in kinds.items() if records}
    every = [record for records in present.values() for record in records]
    of_models = [*kinds["merge_kan"], *kinds["control"]]
    for kind, records in present.items():
        _check_one_value(kind, "model_type", [kind, *(record.model_type for record in records)])
        _check_one_value(kind, "provenance", [record.provenance for record in records])
    for key in ("section", "timestamp", "device"):
        _check_one_value(", ".join(present), key, [getattr(record, key) for record in every])
    _check_one_value("merge_kan, control", "seed", [record.provenance.get("seed") for record in of_models])
    datasets = {kind: sorted({record.dataset_idx for record in records}) for kind, records in present.items()}
    if len(set(map(tuple, datasets.values()))) > 1:
        raise InputError(f"datasets of {', '.join(present)}", datasets, "the same for all kinds")
    for kind, part in (("expert", "expert"), ("merge_kan", "merging")):
        if any(getattr(record, part) is None for record in kinds[kind]):
            raise InputError(kind, problem=f"a record without {part!r}; delete it and the training is repeated")


def _check_one_value(where: str, key: str, values: Sequence[Any]) -> None:
    if len(different := set(map(str, values))) > 1:
        raise InputError(f"{key} of {where}", "; ".join(sorted(different)), "the same for all trainings")
