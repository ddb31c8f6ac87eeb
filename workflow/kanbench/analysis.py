"""What is derived from frames and never stored: iso-compute, and tables of a run."""

from __future__ import annotations

import pandas as pd

from kanbench.errors import InputError
from kanbench.naming import SECTIONS
from kanbench.storage.metadata import Metadata

Frames = dict[str, pd.DataFrame]


def iso_compute(results: Frames, metadata: Metadata) -> pd.DataFrame:
    """Every model type at its last epoch that ended within the reference time.

    The reference time of a dataset is the time at which the section's reference model type reached its threshold.

    Returns
    -------
    DataFrame
        Rows of the frames, indexed by `dataset_idx` and `model_type`. A model type whose first epoch took longer has
        no row.
    """
    section = next(iter(results.values())).attrs["section"]
    if SECTIONS[section].reference not in metadata:
        raise InputError(f"{section}: no {SECTIONS[section].reference}, the reference, among {', '.join(metadata)}")
    reference = metadata[SECTIONS[section].reference]
    times = {dataset_idx: checkpoints["at_threshold"]["time"] for dataset_idx, checkpoints in reference.items()}
    rows = []
    for model_type, frame in zip(results, _without_attrs(results), strict=True):
        within = frame[frame["time"] <= frame["dataset_idx"].map(times)]
        rows.append(within.groupby("dataset_idx").tail(1).assign(model_type=model_type))
    return pd.concat(rows).set_index(["dataset_idx", "model_type"])


def _without_attrs(results: Frames) -> list[pd.DataFrame]:
    """Copies that `concat` takes: it compares attrs, and ours differ."""
    copies = [frame.copy() for frame in results.values()]
    for frame in copies:
        frame.attrs = {}
    return copies


def summary(results: Frames, metadata: Metadata) -> pd.DataFrame:
    """Time and dense MSE at the threshold, at equal compute and at the end, by dataset and model type."""
    iso = iso_compute(results, metadata)
    # A training that failed in its first epoch has no rows, but the other model types have the dataset's name.
    named = pd.concat([frame[["dataset_idx", "dataset_name"]] for frame in _without_attrs(results)])
    names = dict(named.drop_duplicates().itertuples(index=False))
    rows = []
    for model_type in results:
        for dataset_idx, checkpoints in metadata[model_type].items():
            at_threshold, final = checkpoints["at_threshold"], checkpoints["final"]
            key = (dataset_idx, model_type)
            rows.append(
                {
                    "dataset_idx": dataset_idx,
                    "dataset": names.get(dataset_idx, str(dataset_idx)),
                    "model_type": model_type,
                    "threshold_epoch": at_threshold["epoch"],
                    "threshold_time": at_threshold["time"],
                    "threshold_test_loss": at_threshold["test_loss"],
                    "threshold_dense_mse": at_threshold["dense_mse"],
                    "iso_compute_dense_mse": iso["dense_mse"].get(key),
                    "final_time": final["time"],
                    "final_dense_mse": final["dense_mse"],
                }
            )
    table = pd.DataFrame(rows).sort_values("dataset_idx", kind="stable")
    return table.drop(columns="dataset_idx").set_index(["dataset", "model_type"])


def merge_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """The dense MSE of experts, ensemble, merged model and control, by dataset, from the frame of section 2.3."""
    columns = {
        "best_expert_dense_mse": "best_expert",
        "ensemble_dense_mse": "ensemble",
        "initial_dense_mse": "merged_initial",
        "merged_threshold_dense_mse": "merged_at_threshold",
        "merged_dense_mse": "merged_final",
        "control_threshold_dense_mse": "control_at_threshold",
        "control_dense_mse": "control_final",
        "merged_num_params": "merged_params",
        "control_num_params": "control_params",
    }
    return summary.set_index("dataset_name")[list(columns)].rename(columns=columns)
