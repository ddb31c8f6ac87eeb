"""The table of section 2.3: the gains of merging."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kanbench.analysis.measures import Measures
from kanbench.analysis.merging import COMPARED_WITH, COUNTS
from kanbench.analysis.ranking import versus
from kanbench.plan.sections import number_of
from kanbench.presentation.tables.table import Table


def merge_table(measures: Measures, notes: list[str]) -> Table:
    """Make the table: errors, sizes, evaluations and gains by dataset, and means of relative errors and gains.

    A gain is an error divided by the merged model's error at its threshold. Means over datasets are geometric. With
    several seeds, errors and gains are geometric means over them, gains have intervals, and counts are medians.
    """
    recorded = {column: name for column, name in COUNTS.items() if column in measures.rows}
    medians = measures.rows[list(recorded)].rename(columns=recorded).groupby(level="dataset_idx").median()
    figures = measures.mean_errors("threshold").join(medians)
    rows = [
        {"dataset": name, **figures.loc[i].to_dict(), **_gains(measures, [i])} for i, name in measures.datasets.items()
    ]
    if measures.comparable:
        gains = _gains(measures, measures.comparable)
        logs = measures.logs_on("final", [i for i in measures.comparable if measures.variances[i]])
        averages = np.exp(measures.relative_logs(logs.dropna(axis="columns")).mean()).to_dict()
        rows.append({"dataset": "geometric mean, relative", **averages, **gains})
    caption = (
        f"Section {number_of(measures.section)}: dense MSE of the experts, their ensemble, the merged model, and the "
        "control, a dense model as large as the merged one. Gain: an error divided by that of the merged model at its "
        "threshold."
    )
    return Table("merge_kan", caption, pd.DataFrame(rows).dropna(axis="columns", how="all"), tuple(notes))


def _gains(measures: Measures, datasets: list[int]) -> dict[str, float]:
    logs = measures.logs_on("threshold", datasets)
    figures: dict[str, float] = {}
    for other in COMPARED_WITH["threshold"]:
        factor = versus(logs, "merged_threshold", other).factor
        if factor is not None:
            name = f"gain_over_{other.removesuffix('_threshold')}"
            figures[name] = factor.value
            if factor.seeds > 1:
                figures |= {f"{name}_low": factor.low, f"{name}_high": factor.high}
    return figures
