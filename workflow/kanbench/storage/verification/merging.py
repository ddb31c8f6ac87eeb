"""Check that the frames of section 2.3 agree: experts, selected experts, history and summary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from kanbench.storage.merge_frames import summary_of_experts
from kanbench.storage.values import same
from kanbench.storage.verification.report import CheckedRun
from kanbench.training.selection import select_experts

KEYS = ["dataset_idx", "depth", "k", "seed"]  # columns that identify an expert
OF_FINAL = ["dense_mse", "test_loss", "grid_size", "num_params", "n_evals", "flops", "time"]


def check_merging(checked: CheckedRun) -> None:
    """Check the frames of a run against the frame of all experts."""
    experts = checked.frames.get("experts")
    if experts is None:
        return
    _check_datasets(checked, experts)
    _check_experts(checked, experts)
    for name, check in (("selected_experts", _check_selected), ("summary", _check_summary)):
        if name in checked.frames:
            check(checked, checked.frames[name], experts)


def _check_datasets(checked: CheckedRun, experts: pd.DataFrame) -> None:
    """Check that all frames have the same datasets; a training that ended in its first epoch has no history."""
    wanted = experts["dataset_idx"].unique().tolist()
    for name, frame in checked.frames.items():
        found = (frame["dataset_idx"] if name == "summary" else frame["dataset_idx"].unique()).tolist()
        if found != wanted and not (name == "grid_history" and set(found) <= set(wanted)):
            there, allowed = (", ".join(map(str, indices)) or "none" for indices in (found, wanted))
            checked.report.fault(f"{checked.run.frame(name)}: datasets", found=there, allowed=allowed)


def _check_experts(checked: CheckedRun, experts: pd.DataFrame) -> None:
    for index, group in experts.groupby("dataset_idx"):
        where, n_selected = f"{checked.run.frame('experts')}: dataset {index}", int(group["selected"].sum())
        counts = {"n_experts": len(group), "n_selected": n_selected, "n_seeds": group["seed"].nunique()}
        for key, value in counts.items():
            if not same(experts.attrs.get(key), value):
                checked.report.fault(where, f"{key} is {value}, in the attrs {experts.attrs.get(key)}")
        if sorted(select_experts(_rows(group), n_selected)) != np.flatnonzero(group["selected"]).tolist():
            checked.report.fault(where, "selected: not the experts that follow from valid_loss and dependencies")


def _check_selected(checked: CheckedRun, chosen: pd.DataFrame, experts: pd.DataFrame) -> None:
    path, report = checked.run.frame("selected_experts"), checked.report
    wanted, found = (frame.sort_values(KEYS) for frame in (experts[experts["selected"]], chosen))
    if not same(found[KEYS].to_numpy(), wanted[KEYS].to_numpy()):
        report.fault(path, "not the experts that are selected in the frame experts")
    else:
        shared = chosen.columns.intersection(experts.columns)
        if differing := [name for name in shared if not same(found[name].tolist(), wanted[name].tolist())]:
            report.fault(path, f"{', '.join(differing)} differ from those in the frame experts")
    for index, group in chosen.groupby("dataset_idx"):
        in_order = group["valid_loss"].fillna(math.inf).is_monotonic_increasing
        if group["rank"].tolist() != list(range(1, len(group) + 1)) or not in_order:
            report.fault(f"{path}: dataset {index}", f"rank: not 1 to {len(group)}, in the order of valid_loss")
        if not group["weight"].any():
            report.fault(f"{path}: dataset {index}: weight", found="0 for all", allowed="at least one that is not 0")


def _check_summary(checked: CheckedRun, summary: pd.DataFrame, experts: pd.DataFrame) -> None:
    """Check the columns of the summary that follow from the experts and the merged model's history."""
    rows = summary.drop_duplicates("dataset_idx").set_index("dataset_idx")
    wanted: dict[Any, dict[Any, Any]] = {}
    for index, group in experts.groupby("dataset_idx"):
        wanted[index] = {**summary_of_experts(_rows(group)), "n_experts_selected": group["selected"].sum()}
    if (history := checked.frames.get("grid_history")) is not None:
        final = (
            history.groupby("dataset_idx")[[name for name in OF_FINAL if name in history]].last().add_prefix("merged_")
        )
        for index in final.index:
            wanted.setdefault(index, {}).update(final.loc[index])
    for index in rows.index.intersection(list(wanted)):
        for column in rows.columns.intersection(list(wanted[index])):
            found, value = rows.loc[index, column], wanted[index][column]
            if not math.isclose(found, value):
                where = f"{checked.run.frame('summary')}: dataset {index}"
                checked.report.fault(where, f"{column} is {found}, but {value} by the other frames")


def _rows(group: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in group.to_dict("records")]
