"""The frames of section 2.3, from the records of experts, merged models and controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kanbench.errors import InputError
from kanbench.plan.sections import section_of
from kanbench.storage.frames import check_same, check_settings, histories, portable
from kanbench.storage.problems import with_problems
from kanbench.storage.schema import dtypes
from kanbench.storage.training_record import TrainingRecord, made_alike, of_several
from kanbench.training.selection import select_experts

Records = Sequence[TrainingRecord]
Row = dict[str, Any]
Groups = dict[int, list[Row]]
NEEDED = {  # the trainings from which each frame is made
    "experts": ("experts",),
    "selected_experts": ("experts", "merged"),
    "grid_history": ("experts", "merged"),
    "summary": ("experts", "merged", "controls"),
}


def build_merge_frame(
    name: str, n_selected: int, experts: Records = (), merged: Records = (), controls: Records = ()
) -> pd.DataFrame:
    """Build a frame of section 2.3.

    Args:
        name (str): A key of NEEDED.
        n_selected (int): The number of experts merged on each dataset.

    Raises:
        InputError: The trainings were made with different settings, or some of those in NEEDED are missing.
    """
    given = {"experts": experts, "merged": merged, "controls": controls}
    if missing := [part for part in NEEDED[name] if not given[part]]:
        raise InputError(name, f"no trainings of {', '.join(missing)}", f"all of {', '.join(NEEDED[name])}")
    _check_kinds({"expert": experts, "merge_kan": merged, "control": controls})
    if n_selected < 1:
        raise InputError("n_selected", n_selected, "an integer, at least 1")
    groups, merged = _by_dataset(experts), sorted(merged, key=lambda record: record.dataset_idx)
    if name == "grid_history":
        frame = histories(merged, merged[0].model_type)
    else:
        if name == "experts":
            rows = _experts(groups, n_selected)
        else:
            rows = _selected(groups, merged) if name == "selected_experts" else _summary(groups, merged, controls)
        types = dtypes(experts[0].section, name)
        frame = portable(pd.DataFrame(rows, columns=list(types)).astype(types))
    of_frame = experts if name == "experts" else merged
    record = of_frame[0]
    group = next(iter(groups.values()))
    frame.attrs.update({key: getattr(record, key) for key in ("section", "timestamp", "device")})
    frame.attrs["model_type"] = section_of(record.section).model_type_of(name)
    frame.attrs["n_seeds"] = len({expert["seed"] for expert in group})
    provenance = with_problems(of_several(of_frame), of_frame)
    frame.attrs.update(n_experts=len(group), n_selected=n_selected, provenance=provenance)
    return frame


def _by_dataset(experts: Records) -> Groups:
    """The rows of experts, from their records, by dataset."""
    groups: Groups = {}
    for record in sorted(experts, key=lambda record: record.dataset_idx):  # stable, so experts keep their order
        groups.setdefault(record.dataset_idx, []).append({**_dataset(record), **(record.expert or {})})
    return groups


def _experts(groups: Groups, n_selected: int) -> list[Row]:
    chosen = [(group, select_experts(group, n_selected)) for group in groups.values()]
    return [{**expert, "selected": i in selected} for group, selected in chosen for i, expert in enumerate(group)]


def _selected(groups: Groups, merged: Records) -> list[Row]:
    """The selected experts with their weights in the merged model; for each dataset, the best first."""
    rows = []
    for record in merged:
        group = {_key(expert): expert for expert in groups[record.dataset_idx]}
        for rank, chosen in enumerate((record.merging or {})["selected"], start=1):
            if _key(chosen) not in group:
                key = "depth {depth}, k {k}, seed {seed}".format_map(chosen)
                raise InputError("experts", f"none with {key} on {record.dataset_name}", "all that were merged")
            rows.append({**group[_key(chosen)], "rank": rank, "weight": chosen["weight"]})
    return rows


def _summary(groups: Groups, merged: Records, controls: Records) -> list[Row]:
    control_of = {record.dataset_idx: record for record in controls}
    return [
        {
            **_dataset(record),
            **summary_of_experts(groups[record.dataset_idx]),
            "n_experts_selected": len(merging["selected"]),
            **{key: merging[key] for key in ("ensemble_dense_mse", "initial_dense_mse", "initial_num_params")},
            **_outcome("merged", record),
            **_outcome("control", control_of[record.dataset_idx]),
            "via_n_evals": sum(part["n_evals"] for part in merging["via"]),
            "via_flops": sum(part["flops"] for part in merging["via"]),
            "via_time": sum(part["time"] for part in merging["via"]),
        }
        for record, merging in ((record, record.merging or {}) for record in merged)
    ]


def summary_of_experts(group: list[Row]) -> Row:
    """The columns of the summary about all experts of a dataset."""
    return {
        "n_experts_trained": len(group),
        "best_expert_dense_mse": min(expert["dense_mse"] for expert in group),
        "chosen_expert_dense_mse": group[select_experts(group, 1)[0]]["dense_mse"],
        "experts_n_evals": sum(expert["n_evals"] for expert in group),
        "experts_flops": sum(expert["flops"] for expert in group),
        "experts_time": sum(expert["train_time"] for expert in group),
    }


def _outcome(name: str, record: TrainingRecord) -> Row:
    final = record.checkpoints["final"]
    columns = ("dense_mse", "test_loss", "grid_size", "num_params", "n_evals", "flops", "time")
    return {
        f"{name}_threshold_dense_mse": record.checkpoints["at_threshold"]["dense_mse"],
        **{f"{name}_{column}": final[column] for column in columns},
    }


def _key(expert: Row) -> tuple[int, int, int]:
    return expert["depth"], expert["k"], expert["seed"]


def _dataset(record: TrainingRecord) -> Row:
    return {"dataset_idx": record.dataset_idx, "dataset_name": record.dataset_name}


def _check_kinds(kinds: dict[str, Records]) -> None:
    """Check that trainings have the expected kind, belong to one run, and agree in settings and datasets."""
    present = {kind: records for kind, records in kinds.items() if records}
    for kind, records in present.items():
        check_same(f"model_type of {kind}", [kind, *(record.model_type for record in records)])
        check_same(f"provenance of {kind}", [made_alike(record.provenance) for record in records])
    for key in ("section", "timestamp", "device"):
        every = [getattr(record, key) for records in present.values() for record in records]
        check_same(f"{key} of {', '.join(present)}", every)
    of_models = [*kinds["merge_kan"], *kinds["control"]]
    check_same("seed of merge_kan, control", [record.provenance.get("seed") for record in of_models])
    check_settings(record for records in present.values() for record in records)
    datasets = {kind: sorted({record.dataset_idx for record in records}) for kind, records in present.items()}
    if len(set(map(tuple, datasets.values()))) > 1:
        raise InputError(f"datasets of {', '.join(present)}", datasets, "the same for all kinds")
    for kind, part in (("expert", "expert"), ("merge_kan", "merging")):
        if any(getattr(record, part) is None for record in kinds[kind]):
            raise InputError(kind, problem=f"a record without {part!r}; delete it and the training is repeated")
