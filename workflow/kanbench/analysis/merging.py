"""Section 2.3: the errors of experts, ensemble, merged model and control, and their comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from kanbench.analysis.measures import Measures, measures_of
from kanbench.analysis.notes import of_seed, seeds_note, targets_notes
from kanbench.analysis.statements import Statement, compare_two, join_names
from kanbench.errors import InputError
from kanbench.network.merge import ACCURACY
from kanbench.storage.attrs import provenance_of
from kanbench.storage.comparable import Replicates
from kanbench.storage.derive import datasets_of

ERRORS = {  # columns of the frame `summary` → names in tables
    "best_expert_dense_mse": "best_expert",
    "chosen_expert_dense_mse": "chosen_expert",
    "ensemble_dense_mse": "ensemble",
    "initial_dense_mse": "merged_initial",
    "merged_threshold_dense_mse": "merged_threshold",
    "merged_dense_mse": "merged_final",
    "control_threshold_dense_mse": "control_threshold",
    "control_dense_mse": "control_final",
}
COUNTS = {
    "n_experts_trained": "experts",
    "n_experts_selected": "selected_experts",
    "merged_num_params": "merged_params",
    "control_num_params": "control_params",
    **{f"{who}_{what}": f"{who}_{what}" for who in ("experts", "merged", "control") for what in ("n_evals", "flops")},
}
COMPARED_WITH = {  # moment of the merged model → references
    "initial": ("best_expert", "chosen_expert", "ensemble"),
    "threshold": ("best_expert", "chosen_expert", "ensemble", "control_threshold"),
    "final": ("best_expert", "chosen_expert", "ensemble", "control_final"),
}


def measure_merging(replicates: Replicates) -> Measures:
    """Collect the errors of section 2.3; seeds without a frame `summary` are left out.

    Raises:
        InputError: The run has no frame `summary`.
    """
    first = next(iter(replicates.values()))
    if "summary" not in first:
        raise InputError("frames", ", ".join(first), problem="no frame 'summary'")
    finished = {seed: frames["summary"] for seed, frames in replicates.items() if "summary" in frames}
    plain = [frame.set_index("dataset_idx") for frame in finished.values()]
    for frame in plain:
        frame.attrs = {}  # concat compares attrs
    rows = pd.concat(dict(enumerate(plain)), names=["seed"])
    errors = dict.fromkeys(COMPARED_WITH, rows.reindex(columns=list(ERRORS)).rename(columns=ERRORS))
    measures = measures_of(
        first["summary"].attrs["section"], finished, datasets_of(finished.values()), rows, errors, [*finished.values()]
    )
    dtype = str(provenance_of(first["summary"]).get("dtype"))
    return _without_rounding(measures, ACCURACY.get(dtype, ACCURACY["float64"]))


def _without_rounding(measures: Measures, accuracy: float) -> Measures:
    """Give the merged model before training the ensemble's error where they differ by rounding errors only.

    The two are the same function, up to `accuracy` times the standard deviation σ of the target. Then, by the triangle
    inequality, their root mean squared errors a and b satisfy |a - b| ≤ accuracy σ. Without this, a comparison of small
    errors would count rounding errors as better or worse.
    """
    logs = measures.logs["initial"].copy()
    variances = pd.Series(measures.variances, dtype=float).loc[logs.index.get_level_values("dataset_idx")]
    merged, ensemble = (np.exp(logs[name] / 2) for name in ("merged_initial", "ensemble"))
    is_equal = (merged - ensemble).abs() <= accuracy * np.sqrt(variances.to_numpy())
    logs["merged_initial"] = logs["merged_initial"].mask(is_equal, logs["ensemble"])
    return replace(measures, logs={**measures.logs, "initial": logs})


def merge_notes(measures: Measures, replicates: Replicates) -> list[str]:
    """Notes on missing and failed data, to be read before the statements."""
    found = [seeds_note(measures.seeds), *targets_notes(measures)]
    if unfinished := [seed for seed in replicates if seed not in measures.seeds]:
        plural = "s" if len(unfinished) > 1 else ""
        found.append(f"Not finished, and left out: seed{plural} {join_names(unfinished)}.")
    if lacking := [column for column in (*ERRORS, *COUNTS) if column not in measures.rows]:
        found.append(f"Not recorded in this run: {join_names(lacking)}; what needs it is left out.")
    recorded = [name for column, name in ERRORS.items() if column in measures.rows]
    logs = measures.logs["final"][recorded]
    for (position, i), is_missing in zip(logs.index, logs.isna().to_numpy(dtype=bool), strict=True):
        if missing := list(logs.columns[is_missing]):
            where = f"{measures.labels[i]}{of_seed(measures, position)}"
            found.append(f"No finite error on {where}: {join_names(missing)}.")
    return found


def merge_statements(measures: Measures) -> list[Statement]:
    """Compare the merged model with experts, ensemble and control, over all datasets and on each."""
    return [
        compare_two(measures, moment, f"merged_{moment}", other, i)
        for moment, others in COMPARED_WITH.items()
        for other in others
        for i in (None, *measures.datasets)
    ]
