"""Check that the frames of section 2.3 agree: the experts, those that were merged, and the summary."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from kanbench.plan.naming import Run
from kanbench.storage.derive import Frames
from kanbench.storage.values import same
from kanbench.storage.verification.findings import Findings
from kanbench.training.selection import select_experts

KEYS = ["dataset_idx", "depth", "k", "seed"]  # which expert it is
OF_FINAL = ("dense_mse", "test_loss", "grid_size", "num_params", "n_evals", "time")


def check_merging(run: Run, frames: Frames, findings: Findings) -> None:
    """Check the frames, which have their columns, against that of all experts."""
    experts = frames.get("experts")
    if experts is None:
        return
    _check_datasets(run, frames, findings)
    _check_experts(run, experts, findings)
    if "selected_experts" in frames:
        _check_selected(run, frames["selected_experts"], experts, findings)
    if "summary" in frames:
        _check_summary(run, frames["summary"], experts, frames.get("grid_history"), findings)


def _check_datasets(run: Run, frames: Frames, findings: Findings) -> None:
    """The same in all frames; a training that ended in its first epoch has no history."""
    wanted = frames["experts"]["dataset_idx"].unique().tolist()
    for name, frame in frames.items():
        found = (frame["dataset_idx"] if name == "summary" else frame["dataset_idx"].unique()).tolist()
        if found != wanted and not (name == "grid_history" and set(found) <= set(wanted)):
            there = ", ".join(map(str, found)) or "none"
            findings.fault(run.frame(name), f"found datasets {there}; allowed: {', '.join(map(str, wanted))}")


def _check_experts(run: Run, experts: pd.DataFrame, findings: Findings) -> None:
    path, attrs = run.frame("experts"), experts.attrs
    for index, group in experts.groupby("dataset_idx"):
        found = {
            "n_experts": len(group),
            "n_selected": int(group["selected"].sum()),
            "n_seeds": group["seed"].nunique(),
        }
        for key, value in found.items():
            if attrs.get(key) != value:
                findings.fault(path, f"dataset {index}: {key} is {value}, in the attrs {attrs.get(key)}")
        best = select_experts(group.to_dict("records"), found["n_selected"])
        if sorted(best) != np.flatnonzero(group["selected"]).tolist():
            findings.fault(path, f"dataset {index}: selected: not those that valid_loss and dependencies say")


def _check_selected(run: Run, chosen: pd.DataFrame, experts: pd.DataFrame, findings: Findings) -> None:
    path = run.frame("selected_experts")
    wanted, found = (frame.sort_values(KEYS) for frame in (experts[experts["selected"]], chosen))
    if not same(found[KEYS].to_numpy(), wanted[KEYS].to_numpy()):
        findings.fault(path, "not the experts that are selected in the frame of all")
    else:
        shared = chosen.columns.intersection(experts.columns)
        differing = [name for name in shared if not same(found[name].tolist(), wanted[name].tolist())]
        if differing:
            findings.fault(path, f"{', '.join(differing)} differ from those in the frame of all experts")
    for index, group in chosen.groupby("dataset_idx"):
        in_order = group["valid_loss"].fillna(math.inf).is_monotonic_increasing
        if group["rank"].tolist() != list(range(1, len(group) + 1)) or not in_order:
            findings.fault(path, f"dataset {index}: rank: not 1 to {len(group)}, in the order of valid_loss")
        if not group["weight"].any():
            findings.fault(path, f"dataset {index}: weight: found 0 for all; allowed: another number for one at least")


def _check_summary(
    run: Run, summary: pd.DataFrame, experts: pd.DataFrame, history: pd.DataFrame | None, findings: Findings
) -> None:
    """Check what the experts and the history of the merged model tell, where the summary has it."""
    rows = summary.drop_duplicates("dataset_idx").set_index("dataset_idx")
    wanted = {index: _of_experts(group) for index, group in experts.groupby("dataset_idx")}
    if history is not None:
        for index, last in history.groupby("dataset_idx")[list(OF_FINAL)].last().to_dict("index").items():
            wanted.setdefault(index, {}).update({f"merged_{key}": value for key, value in last.items()})
    for index in rows.index.intersection(list(wanted)):
        for column in rows.columns.intersection(list(wanted[index])):
            found, value = rows.loc[index, column], wanted[index][column]
            if not math.isclose(found, value):
                findings.fault(run.frame("summary"), f"dataset {index}: {column} is {found}, by other frames {value}")


def _of_experts(group: pd.DataFrame) -> dict[str, float]:
    """What the summary says about the experts of a dataset."""
    chosen = select_experts(group.to_dict("records"), 1)[0]
    return {
        "n_experts_trained": len(group),
        "n_experts_selected": group["selected"].sum(),
        "best_expert_dense_mse": group["dense_mse"].min(),
        "chosen_expert_dense_mse": group["dense_mse"].iloc[chosen],
        "experts_n_evals": group["n_evals"].sum(),
        "experts_time": group["train_time"].sum(),
    }
