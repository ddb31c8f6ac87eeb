"""Notes on the data, to be read before the statements: what is missing, failed, or cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd

from kanbench.analysis.measures import Measures
from kanbench.analysis.moments import EQUAL_COMPUTE, iso_compute
from kanbench.analysis.statements import Statement, join_names
from kanbench.analysis.uncertainty import ENOUGH_SEEDS
from kanbench.errors import InputError
from kanbench.io.numbers import factor_text
from kanbench.plan.labels import model_label, problem_labels
from kanbench.plan.sections import section_of
from kanbench.storage.comparable import Replicates
from kanbench.storage.derive import Frames, is_pruned, threshold_rows
from kanbench.storage.metadata import Metadata

NEEDED = {
    "dense_mse": "dense MSE",
    "test_loss": "test loss",
    "flops": "floating-point operations",
    "time": "time",
    "n_evals": "number of evaluations",
}


def notes(measures: Measures, replicates: Replicates, metadata: Metadata | None = None) -> list[str]:
    """Collect the notes of a section that compares model types."""
    first = next(iter(replicates.values()))
    missing = [name for name in section_of(measures.section).model_types if name not in measures.model_types]
    return [
        seeds_note(measures.seeds),
        *([f"Missing in this run: {join_names(map(model_label, missing))}."] if missing else []),
        *_missing_columns(measures, replicates),
        *_other_rule(measures, first, metadata),
        *targets_notes(measures),
        *_trainings(measures),
        *_equal_compute(measures, first, metadata),
    ]


def seeds_note(seeds: tuple[int | None, ...]) -> str:
    """Say how many seeds were run, and what that means for the numbers."""
    more = f" Deciding a difference takes at least {ENOUGH_SEEDS} seeds."
    if len(seeds) == 1:
        which = "" if seeds[0] is None else f" ({seeds[0]})"
        return f"One seed was run{which}: the variation between seeds is not known.{more}"
    text = (
        f"{len(seeds)} seeds were run ({join_names(seeds)}). Errors and factors are geometric means over them, so a "
        "factor is the ratio of two errors; their 95 % intervals are Student's t intervals of the logarithm. Other "
        "figures are medians."
    )
    return text if len(seeds) >= ENOUGH_SEEDS else text + more


def targets_notes(measures: Measures) -> list[str]:
    """Name the targets whose relative errors are not known or say little."""
    variances = {label: measures.variances[i] for i, label in measures.labels.items()}
    of_kind = {
        "Degenerate: {}. At most points, the target deviates from its mean by less than a hundredth of its largest "
        "deviation: a constant fits there, and the error is due to a few points.": [
            measures.labels[i]
            for i, scale in measures.scales.items()
            if scale is not None and scale.is_degenerate and not scale.is_constant
        ],
        "Not in averages: {}. The target is constant up to rounding, so there is no relative error.": [
            name for name, variance in variances.items() if variance == 0
        ],
        "The target of {} is not among the problems of this version: its variance is not known, and relative errors "
        "are left out. Ratios of errors need no variance.": [n for n, v in variances.items() if v is None],
    }
    return [text.format(join_names(names)) for text, names in of_kind.items() if names]


def of_seed(measures: Measures, position: int) -> str:
    """Such as `, seed 3`; empty if there is only one seed."""
    return "" if len(measures.seeds) == 1 else f", seed {measures.seeds[position]}"


def _missing_columns(measures: Measures, replicates: Replicates) -> list[str]:
    found = []
    for column, words in NEEDED.items():
        lacking = {m for frames in replicates.values() for m, frame in frames.items() if column not in frame}
        if lacking:
            is_everywhere = len(lacking) == len(measures.model_types)
            which = "" if is_everywhere else f" for {join_names(map(model_label, sorted(lacking)))}"
            found.append(f"Not recorded in this run{which}: {words}; what needs it is left out.")
    return found


def _other_rule(measures: Measures, first: Frames, metadata: Metadata | None) -> list[str]:
    """With several seeds, note a non-default threshold rule of the first, because the others' use the default."""
    for model_type, checkpoints in (metadata or {}).items() if len(measures.seeds) > 1 else ():
        if model_type not in first or "test_loss" not in first[model_type]:
            continue
        found = threshold_rows(first[model_type])["epoch"]
        recorded = {i: named.get("at_threshold", {}).get("epoch") for i, named in checkpoints.items()}
        if any(recorded.get(i) not in (None, epoch) for i, epoch in zip(found.index, found, strict=True)):
            return [
                "The first seed's thresholds were found with a non-default rule; those of the other seeds are found "
                "here with the default rule."
            ]
    return []


def _trainings(measures: Measures) -> list[str]:
    """Name trainings without epochs, with fewer epochs than the others, or with errors that are not finite."""
    ends = measures.rows.index.isin(["final"], level="moment")
    rows = measures.rows[ends].droplevel("moment")
    trained = rows[~is_pruned(rows)]  # pruning comes after the epochs
    epochs, most = rows["epoch"], trained["epoch"].max()
    final, found = measures.logs["final"], []
    for (position, i), errors in zip(final.index, final.to_dict("records"), strict=True):
        for model_type, error in errors.items():
            where = f"{model_label(str(model_type))} on {measures.labels[i]}{of_seed(measures, position)}"
            last = epochs.get((position, i, model_type))
            if last is None:
                found.append(f"{where}: no epochs; the training failed at once or was not run.")
                continue
            if last < most:
                found.append(f"{where}: ended early, after epoch {last} of {most}.")
            if "dense_mse" in measures.rows and pd.isna(error):
                found.append(f"{where}: its last dense MSE is not finite.")
    return found


def _equal_compute(measures: Measures, first: Frames, metadata: Metadata | None) -> list[str]:
    failed: dict[str, InputError] = {}
    known = {moment for position, moment, *_ in measures.rows.index if position == 0}
    for by in (by for moment, by in EQUAL_COMPUTE.items() if moment not in known):
        try:
            iso_compute(first, metadata, by)
        except InputError as error:
            failed[by] = error
    if len(failed) == len(EQUAL_COMPUTE):
        return [f"Nothing is compared at equal compute ({'; '.join(dict.fromkeys(map(str, failed.values())))})."]
    found = [
        f"Nothing is compared at equal compute by {by} ({error}), so no winner at equal compute is decided."
        for by, error in failed.items()
    ]
    reference, there = model_label(str(section_of(measures.section).reference)), measures.rows.index
    told = [moment for moment in EQUAL_COMPUTE if moment in measures.logs]
    for moment, model_type in product(told, measures.model_types):
        late: dict[str, list[int | None]] = {}
        for (i, name), (position, seed) in product(measures.labels.items(), enumerate(measures.seeds)):
            if (position, "final", i, model_type) in there and (position, moment, i, model_type) not in there:
                late.setdefault(name, []).append(seed)
        if late:
            several = len(measures.seeds) > 1
            where = [
                name + f" (seed{'s' if len(seeds) > 1 else ''} {join_names(seeds)})" * several
                for name, seeds in late.items()
            ]
            found.append(
                f"{model_label(model_type)} has no epoch within the {EQUAL_COMPUTE[moment]} of {reference}'s threshold "
                f"on {join_names(where)}: {'these seeds are' if several else 'it is'} not compared there."
            )
    return found


def differences(measures: Measures, said: Iterable[Statement]) -> list[str]:
    """Say where the answers at equal compute by flops and by time differ, and how long a flop takes."""
    found, labels = [], problem_labels(measures.datasets.values())
    for one in said:
        is_told = one.is_ranking or one.dataset is None  # on one problem, the ranking says it all
        if one.comparison == "iso_flops" and one.differs and one.counterpart and is_told:
            pair = "" if one.is_ranking else f"between {model_label(one.one[0])} and {model_label(str(one.other))} "
            where = f"on {labels[one.dataset]}" if one.dataset else f"{pair}over all problems"
            best, other = (join_names(map(model_label, both.best)) for both in (one, one.counterpart))
            found.append(f"{where} {best} by flops, {other} by time")
    if not found:
        return []
    times = {model_label(name): factor_text(value) for name, value in _flop_times(measures).items()}
    why = ", ".join(f"{value} times as long with {name}" for name, value in times.items())
    why = f" A flop takes {why} as with {model_label(str(section_of(measures.section).reference))}." if why else ""
    return [f"At equal compute, flops and time disagree, so these are not decided: {'; '.join(found)}.{why}"]


def _flop_times(measures: Measures) -> dict[str, float]:
    """Time per flop relative to the reference, by model type, as the geometric mean over trainings."""
    rows = measures.rows[measures.rows.index.isin(["final"], level="moment") & measures.rows["flops"].gt(0)]
    each = rows.assign(seconds=np.log(rows["time"] / rows["flops"]))
    each = each.pivot_table("seconds", ["seed", "dataset_idx"], "model_type").dropna()
    reference = section_of(measures.section).reference
    if reference not in each or each.empty:
        return {}
    means = np.exp(each.sub(each[reference], axis="index").mean())
    return {str(name): float(means[name]) for name in measures.model_types if name in means and name != reference}
