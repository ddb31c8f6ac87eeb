"""What is derived from frames and never stored: iso-compute, and tables of a run."""

from __future__ import annotations

import pandas as pd

from kanbench.derive import Frames, threshold_rows
from kanbench.errors import InputError
from kanbench.storage.metadata import Metadata
from kanbench.stored_names import section_of


def iso_compute(results: Frames, metadata: Metadata | None = None) -> pd.DataFrame:
    """Every model type at its last epoch that ended within the reference time.

    The reference time of a dataset is the time at which the section's reference model type reached its threshold.

    Parameters
    ----------
    results : dict
        Frames with a column `time`.
    metadata : dict, optional
        That of the checkpoints; without it the threshold is found in the reference's frame.

    Returns
    -------
    DataFrame
        Rows of the frames, indexed by `dataset_idx` and `model_type`. A model type whose first epoch took longer has
        no row.

    Raises
    ------
    InputError
        The reference, or a frame's column `time`, is missing.
    """
    section = next(iter(results.values())).attrs["section"]
    times = _reference_times(section, results, metadata)
    rows = []
    for model_type, frame in zip(results, _without_attrs(results), strict=True):
        if "time" not in frame:
            raise InputError(f"{section}: {model_type} has no column 'time'; allowed: frames that have one")
        within = frame[frame["time"] <= frame["dataset_idx"].map(times)]
        rows.append(within.groupby("dataset_idx").tail(1).assign(model_type=model_type))
    return pd.concat(rows).set_index(["dataset_idx", "model_type"])


def _reference_times(section: str, results: Frames, metadata: Metadata | None) -> dict[int, float]:
    reference, found = section_of(section).reference, results if metadata is None else metadata
    if reference is None:
        raise InputError(f"{section}: has no reference; allowed: sections that compare model types")
    if reference not in found:
        raise InputError(f"{section}: no {reference}, the reference, among {', '.join(found)}")
    if metadata is not None:
        return {i: checkpoints["at_threshold"]["time"] for i, checkpoints in metadata[reference].items()}
    if "time" not in results[reference]:
        raise InputError(f"{section}: {reference} has no column 'time'; allowed: frames that have one")
    return threshold_rows(results[reference])["time"].to_dict()


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
        for dataset_idx, checkpoints in metadata.get(model_type, {}).items():
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
