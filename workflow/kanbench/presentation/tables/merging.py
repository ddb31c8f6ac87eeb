"""Section 2.3: what merging gained, as a table and as statements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kanbench.analysis.measures import Replicates, log_errors, variances
from kanbench.analysis.notes import seeds_note, targets_notes
from kanbench.analysis.ranking import versus
from kanbench.analysis.words import (
    MOMENTS,
    Statement,
    against,
    listed,
    numbers_of,
    problems,
    question_of,
    sure,
    sure_if_seeds,
)
from kanbench.errors import InputError
from kanbench.presentation.tables.table import Table

ERRORS = {  # columns of the frame `summary` → of the table
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
    "experts_n_evals": "experts_n_evals",
    "merged_n_evals": "merged_n_evals",
    "control_n_evals": "control_n_evals",
}
WORDS = {
    "best_expert": "the best expert",
    "chosen_expert": "the expert with the best validation loss",
    "ensemble": "the ensemble",
    "control_threshold": "the control",
    "control_final": "the control",
}
AGAINST = {  # what the merged model is compared with, by moment
    "initial": ("best_expert", "chosen_expert", "ensemble"),
    "threshold": ("best_expert", "chosen_expert", "ensemble", "control_threshold"),
    "final": ("best_expert", "chosen_expert", "ensemble", "control_final"),
}


@dataclass(frozen=True)
class MergeMeasures:
    """What was measured in section 2.3.

    Attributes
    ----------
    section : str
    seeds : tuple
        Of the replicates.
    datasets : dict
        `{dataset_idx: name}`.
    variances : dict
        `{dataset_idx: variance of the target}`; 0 if it is constant, None if the problem is not known.
    rows : DataFrame
        The frames `summary`, indexed by `seed` (its position) and `dataset_idx`.
    unfinished : tuple
        Seeds that are left out, because their frame `summary` is not there.
    """

    section: str
    seeds: tuple[int | None, ...]
    datasets: dict[int, str]
    variances: dict[int, float | None]
    rows: pd.DataFrame
    unfinished: tuple[int | None, ...]

    @property
    def logs(self) -> pd.DataFrame:
        """Logarithms of the errors by seed and dataset, one column for each of `ERRORS`; nan where there is none."""
        index = pd.MultiIndex.from_product([range(len(self.seeds)), self.datasets], names=["seed", "dataset_idx"])
        errors = self.rows.reindex(index=index, columns=list(ERRORS)).rename(columns=ERRORS)
        return log_errors(errors, self.variances)


def measure_merging(replicates: Replicates) -> MergeMeasures:
    """Collect the errors of section 2.3.

    Parameters
    ----------
    replicates : dict
        `{seed: {"summary": frame, …}}`.

    Raises
    ------
    InputError
        The run has no frame `summary`.
    """
    first = next(iter(replicates.values()))
    if "summary" not in first:
        raise InputError(f"no frame 'summary' among {', '.join(first)}; allowed", problem="a run that has one")
    finished = {seed: frames["summary"] for seed, frames in replicates.items() if "summary" in frames}
    plain = [pd.DataFrame(frame).set_index("dataset_idx") for frame in finished.values()]
    for frame in plain:
        frame.attrs = {}  # concat compares attrs
    rows = pd.concat(dict(enumerate(plain)), names=["seed"])
    names = rows.get("dataset_name", rows.index.get_level_values("dataset_idx"))
    datasets = dict(sorted({int(i): str(name) for (_, i), name in zip(rows.index, names, strict=True)}.items()))
    return MergeMeasures(
        section=first["summary"].attrs["section"],
        seeds=tuple(finished),
        datasets=datasets,
        variances=variances(datasets),
        rows=rows,
        unfinished=tuple(seed for seed in replicates if seed not in finished),
    )


def merge_notes(measures: MergeMeasures) -> list[str]:
    """What a reader has to know before the statements."""
    found = [seeds_note(measures.seeds), *targets_notes(measures.datasets, measures.variances)]
    if measures.unfinished:
        found.append(f"Not finished, and left out: seed {listed(measures.unfinished)}.")
    lacking = [column for column in (*ERRORS, *COUNTS) if column not in measures.rows]
    if lacking:
        found.append(f"Not recorded in this run: {listed(lacking)}; what needs it is left out.")
    logs = measures.logs
    for (position, i), row in logs[[name for column, name in ERRORS.items() if column in measures.rows]].iterrows():
        missing = list(row.index[row.isna()])
        if missing:
            seed = "" if len(measures.seeds) == 1 else f", seed {measures.seeds[position]}"
            found.append(f"No finite error on {measures.datasets[i]}{seed}: {listed(missing)}.")
    return found


def merge_table(measures: MergeMeasures, notes: Iterable[str]) -> Table:
    """Errors, sizes, evaluations and gains by dataset, and the geometric means of relative errors and gains.

    A gain is how many times larger an error is than that of the merged model at its threshold. With several seeds
    figures are medians over them, and gains have intervals.
    """
    rows = [{"dataset": name, **_figures(measures, [i])} for i, name in measures.datasets.items()]
    comparable = [i for i in measures.datasets if measures.variances[i] != 0]
    if comparable:
        rows.append({"dataset": "geometric mean, relative", **_averages(measures, comparable)})
    frame = pd.DataFrame(rows).dropna(axis="columns", how="all")
    caption = (
        f"{measures.section}: dense MSE of the experts, their ensemble, the merged model, and the control, a dense "
        "model as large as the merged one; gain: how many times larger an error is than that of the merged model at "
        "its threshold."
    )
    return Table("merge_kan", caption, frame, tuple(notes))


def _figures(measures: MergeMeasures, datasets: list[int]) -> dict[str, float]:
    rows = measures.rows[measures.rows.index.get_level_values("dataset_idx").isin(datasets)]
    figures = {name: rows[column].median() for column, name in (ERRORS | COUNTS).items() if column in rows}
    return figures | _gains(measures, datasets)


def _averages(measures: MergeMeasures, datasets: list[int]) -> dict[str, float]:
    logs, figures = measures.logs, {}
    known = [i for i in datasets if measures.variances[i]]
    logs = logs[logs.index.get_level_values("dataset_idx").isin(known)]
    scale = np.log([measures.variances[i] for i in logs.index.get_level_values("dataset_idx")])
    relative = logs.sub(scale, axis="index")
    for name in logs.columns[logs.notna().all()]:
        figures[name] = float(np.exp(relative[name].groupby(level="seed").mean()).median())
    return figures | _gains(measures, datasets)


def _gains(measures: MergeMeasures, datasets: list[int]) -> dict[str, float]:
    logs, figures = measures.logs, {}
    logs = logs[logs.index.get_level_values("dataset_idx").isin(datasets)]
    for other in AGAINST["threshold"]:
        factor = versus(logs, "merged_threshold", other).factor
        if factor is not None:
            name = f"gain_over_{other.removesuffix('_threshold')}"
            figures[name] = factor.value
            if factor.seeds > 1:
                figures[f"{name}_low"], figures[f"{name}_high"] = factor.low, factor.high
    return figures


def merge_statements(measures: MergeMeasures) -> list[Statement]:
    """Whether the merged model beats the experts, their ensemble and the control, over all datasets and on each."""
    found, logs = [], measures.logs
    comparable = [i for i in measures.datasets if measures.variances[i] != 0]
    for moment, others in AGAINST.items():
        for other in others:
            for datasets, name in [(comparable, None), *(([i], n) for i, n in measures.datasets.items())]:
                part = logs[logs.index.get_level_values("dataset_idx").isin(datasets)]
                found.append(_statement(measures, part, moment, other, name))
    return found


def _statement(measures: MergeMeasures, logs: pd.DataFrame, moment: str, other: str, dataset: str | None) -> Statement:
    result = versus(logs, f"merged_{moment}", other)
    where, words = f", on {dataset}" if dataset else "", WORDS[other]
    if result.factor is None:
        text = f"the merged model and {words} cannot be compared: no problem on which both have an error."
        short = text
    else:
        size = f"{against(result.factor, f'that of {words}')}{sure(result.factor)}"
        if dataset:
            text = f"the error of the merged model is {size}."
        else:
            equal = f", an equal one on {len(result.equal)}" if result.equal else ""
            of = problems(len(result.better), len(result.datasets))
            text = (
                f"the merged model has a lower error than {words} on {of}{equal}; its geometric mean of relative error "
                f"is {size}."
            )
        short = f"merged: {against(result.factor, words)}{sure_if_seeds(result.factor)}"
    return Statement(
        question_of(measures.section),
        moment,
        f"{MOMENTS[moment]}{where}, {text}",
        short,
        numbers_of(result.factor, one=f"merged_{moment}", other=other, better=len(result.better)),
        dataset,
    )
