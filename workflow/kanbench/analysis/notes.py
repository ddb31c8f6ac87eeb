"""What a reader has to know of the data before the statements: what is missing, failed, or cannot be compared."""

from __future__ import annotations

import pandas as pd

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import iso_compute
from kanbench.analysis.statements import join_names
from kanbench.analysis.uncertainty import ENOUGH_SEEDS
from kanbench.errors import InputError
from kanbench.plan.sections import section_of
from kanbench.problems.target_scale import target_scale
from kanbench.storage.comparable import Replicates
from kanbench.storage.derive import Frames, is_pruned, threshold_rows
from kanbench.storage.metadata import Metadata

COLUMNS = {"dense_mse": "dense MSE", "test_loss": "test loss", "time": "time", "n_evals": "number of evaluations"}


def notes(measures: Measures, replicates: Replicates, metadata: Metadata | None = None) -> list[str]:
    """Sentences about a section that compares model types."""
    first = next(iter(replicates.values()))
    missing = [name for name in section_of(measures.section).model_types if name not in measures.model_types]
    return [
        seeds_note(measures.seeds),
        *([f"Missing in this run: {join_names(missing)}."] if missing else []),
        *_missing_columns(measures, replicates),
        *_other_rule(measures, first, metadata),
        *targets_notes(measures),
        *_trainings(measures),
        *_equal_compute(measures, first, metadata),
    ]


def seeds_note(seeds: tuple[int | None, ...]) -> str:
    """How many seeds there are, and what that means."""
    if len(seeds) == 1:
        which = "" if seeds[0] is None else f" ({seeds[0]})"
        return f"One seed was run{which}: nothing is known about how results differ from seed to seed."
    text = (
        f"{len(seeds)} seeds were run ({join_names(seeds)}): figures are medians over them, factors are medians of the "
        "seeds' own factors, and intervals are bootstrap intervals of these medians, at 95 %."
    )
    if len(seeds) >= ENOUGH_SEEDS:
        return text
    coverage = 100 * (1 - 2.0 ** (1 - len(seeds)))
    return (
        f"{text} With so few seeds an interval holds the true median with a probability of {coverage:.0f} % at most: a "
        f"difference counts as decided from {ENOUGH_SEEDS} seeds on."
    )


def targets_notes(measures: Measures) -> list[str]:
    """Targets on which relative errors say little or are not known."""
    variances = {name: measures.variances[i] for i, name in measures.datasets.items()}
    of_kind = {
        "Degenerate: {}. At most points the target is nearer to its mean than a hundredth of the largest distance, so "
        "that a constant is as good there, and the error is that at a few points.": [
            name for name, variance in variances.items() if variance and target_scale(name).is_degenerate
        ],
        "Not in averages: {}. The target is constant but for rounding (its variance is below 1e-12), so that there is "
        "no relative error.": [name for name, variance in variances.items() if variance == 0],
        "The target of {} is not among the problems of this version: its variance is not known, and errors relative to "
        "it are left out. Ratios of errors need no variance.": [n for n, v in variances.items() if v is None],
    }
    return [text.format(join_names(names)) for text, names in of_kind.items() if names]


def of_seed(measures: Measures, position: int) -> str:
    """', seed 3', where there are several."""
    return "" if len(measures.seeds) == 1 else f", seed {measures.seeds[position]}"


def _missing_columns(measures: Measures, replicates: Replicates) -> list[str]:
    found = []
    for column, words in COLUMNS.items():
        lacking = {m for frames in replicates.values() for m, frame in frames.items() if column not in frame}
        if lacking:
            which = "" if len(lacking) == len(measures.model_types) else f" for {join_names(sorted(lacking))}"
            found.append(f"Not recorded in this run{which}: {words}; what needs it is left out.")
    return found


def _other_rule(measures: Measures, first: Frames, metadata: Metadata | None) -> list[str]:
    """With several seeds: the thresholds of the other seeds are found by the default rule."""
    for model_type, checkpoints in (metadata or {}).items() if len(measures.seeds) > 1 else ():
        if model_type not in first or "test_loss" not in first[model_type]:
            continue
        found = threshold_rows(first[model_type])["epoch"]
        recorded = {i: named.get("at_threshold", {}).get("epoch") for i, named in checkpoints.items()}
        if any(recorded.get(i) not in (None, epoch) for i, epoch in zip(found.index, found, strict=True)):
            return [
                "The first seed's thresholds were found by another rule than the default one, by which those of the "
                "other seeds are found here."
            ]
    return []


def _trainings(measures: Measures) -> list[str]:
    """Trainings without epochs, with fewer than the others, and with errors that are not finite."""
    ends = measures.rows.index.isin(["final"], level="moment")
    rows = measures.rows[ends].droplevel("moment")
    trained = rows[~is_pruned(rows)]  # pruning comes after the epochs
    epochs, most = rows["epoch"], trained["epoch"].max()
    final, found = measures.logs["final"], []
    for (position, i), errors in zip(final.index, final.to_dict("records"), strict=True):
        for model_type, error in errors.items():
            where = f"{model_type} on {measures.datasets[i]}{of_seed(measures, position)}"
            last = epochs.get((position, i, model_type))
            if last is None:
                found.append(f"{where}: no epochs; the training failed at once, or there was none.")
                continue
            if last < most:
                found.append(f"{where}: ended early, after epoch {last} of {most}.")
            if "dense_mse" in measures.rows and pd.isna(error):
                found.append(f"{where}: its last dense MSE is not finite.")
    return found


def _equal_compute(measures: Measures, first: Frames, metadata: Metadata | None) -> list[str]:
    try:
        iso_compute(first, metadata)
    except InputError as error:
        return [f"Nothing is compared at equal compute ({error})."]
    reference, there, found = section_of(measures.section).reference, measures.rows.index, []
    for position in range(len(measures.seeds)):
        for model_type in measures.model_types:
            late = [
                name
                for i, name in measures.datasets.items()
                if (position, "final", i, model_type) in there and (position, "iso_compute", i, model_type) not in there
            ]
            if late:
                found.append(
                    f"{model_type} has no epoch within the time of {reference}'s threshold on {join_names(late)}"
                    f"{of_seed(measures, position)}: it is not compared there at equal compute."
                )
    return found
