"""The table `published`: published figures on the problems, and ours."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kanbench.analysis.published import Against
from kanbench.plan.sections import number_of
from kanbench.plan.tables import PUBLISHED
from kanbench.presentation.tables.table import Table


def published_table(section: str, compared: Sequence[Against], sentences: Sequence[str]) -> Table:
    """Make the table: one row per published figure, with ours for every model type."""
    rows = [
        {
            "dataset": one.figure.problem,
            "measure": one.figure.measure,
            "set_up": one.figure.set_up,
            "published": one.figure.value,
            **one.ours,
            "factor": one.factor,
            "source": one.figure.source,
        }
        for one in compared
    ]
    caption = (
        f"Section {number_of(section)}: published figures and ours, geometric means over the seeds: relative L2 of the "
        "dense sample at the threshold; test RMSE at the end of the grid; train MSE at the end. Factor: the published "
        "figure divided by our best."
    )
    return Table(PUBLISHED, caption, pd.DataFrame(rows), tuple(sentences))
