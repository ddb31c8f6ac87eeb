"""Sweep a setting: train with several values and seeds, and compare by relative test loss."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.plan.config import Config, check, merge
from kanbench.plan.sections import section_with
from kanbench.plan.settings import TrainingSettings, training_settings
from kanbench.training.trainer import Trainer, make_data

# Keys that cannot be swept: the sweep sets them itself, or they do not affect the models.
FIXED = (
    "data.dense_num",
    "data.seed",
    "datasets",
    "device",
    "engine",
    "merge_kan.seeds",
    "problems",
    "sections",
    "seeds",
    "table",
    "threads",
    "timestamp",
    "timing",
    "variant",
)


def with_value(config: Config, key: str, value: Any) -> Config:
    """`config` with another value for a key such as `optimizers.adam.lr`.

    Raises:
        InputError: The key does not exist, or the value is invalid.
    """
    for part in reversed(key.split(".")):
        value = {part: value}
    return check(merge(config, value))


def sweep(
    config: Config, model_type: str, key: str, values: Sequence[Any], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Train `model_type` on all datasets with each value and seed; all settings are checked before the first training.

    A seed determines the initial model and the samples. Choose other seeds than the configured ones, so that the
    setting is not tuned on the reported results.

    Yields:
        dict: For each training, when it has ended: `model_type`, the value (under its key), `seed`, `dataset`, test
            loss relative to the variance of the test targets, number of parameters and time (s), at the threshold and
            at the end.

    Raises:
        InputError: The key, a value or a seed is invalid; or two values give the same trainings.
    """
    if any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED):
        raise InputError("sweep", key, f"a key that changes the models; not {', '.join(FIXED)}")
    if len(set(seeds)) < len(seeds):
        raise InputError("sweep: --seeds", list(seeds), "no duplicates")
    changed = [(in_words(value), with_value(config, key, value)) for value in values]
    _check_different(key, [(value, (of["epochs"], _settings(of, model_type))) for value, of in changed])
    # The dense MSE is not used, and takes longer than training with Adam. Times need not be precise.
    once = {"merge_kan": {"seeds": 1}, "timing": {"repeats": 1}}
    changes = {seed: {"seeds": [seed], "data": {"seed": seed, "dense_num": 1}, **once} for seed in seeds}
    configs = [(value, seed, check(merge(of, over))) for value, of in changed for seed, over in changes.items()]
    for value, seed, of in configs:
        for dataset, settings in zip(of["datasets"], _settings(of, model_type), strict=True):
            data = make_data(settings)
            training = Trainer(settings, data).train(of["epochs"])
            variance = float(data.test_label.var(ddof=1))
            at_threshold, final = training.at_threshold.row, training.final.row
            yield {
                "model_type": model_type,
                key: value,
                "seed": seed,
                "dataset": dataset,
                "relative_test_loss": at_threshold["test_loss"] / variance,
                "relative_final_test_loss": final["test_loss"] / variance,
                "threshold_num_params": at_threshold["num_params"],
                "final_num_params": final["num_params"],
                "threshold_time": at_threshold["time"],
                "final_time": final["time"],
            }


def in_words(value: Any) -> Any:
    """A value as shown in tables: lists and mappings as text."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _settings(config: Config, model_type: str) -> list[TrainingSettings]:
    """The settings of the trainings on all datasets."""
    datasets = range(len(config["datasets"]))
    return [training_settings(config, section_with(model_type), model_type, dataset_idx) for dataset_idx in datasets]


def _check_different(key: str, trained: Sequence[tuple[Any, object]]) -> None:
    """Raise `InputError` if two values give the same trainings, which indicates a wrong key or value."""
    for (value, of_one), (other, of_other) in itertools.combinations(trained, 2):
        if of_one == of_other:
            same = f"{value} and {other}, which give the same trainings"
            found = f"{value} twice" if value == other else same
            raise InputError(f"sweep: {key}", found, "values that change these trainings")


def table(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """The relative test loss by value and dataset, as the geometric mean over seeds.

    Two columns summarize the datasets. The mean is the unexplained share of the variance, and is dominated by unsolved
    problems. The geometric mean also rewards improvements on solved problems.
    """
    with np.errstate(divide="ignore"):  # a loss may be 0
        logs = rows.assign(log=np.log(rows["relative_test_loss"])).pivot_table("log", key, "dataset", sort=False)
    losses = logs.apply(np.exp)
    return losses.assign(mean=losses.mean(axis="columns"), geometric_mean=np.exp(logs.mean(axis="columns")))


def as_text(rows: pd.DataFrame, model_type: str, key: str) -> str:
    """The table as text, below a heading that explains its numbers."""
    return (
        f"{model_type}: test loss at the threshold / variance of the target,\n"
        f"geometric mean over the seeds {rows['seed'].unique().tolist()}, by {key}\n"
        f"{table(rows, key).to_string(float_format='{:.3g}'.format)}"
    )


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write the rows, one per training, as CSV.

    Raises:
        InputError: The file cannot be written.
    """
    with atomic_write(path) as partial:
        rows.to_csv(partial, index=False)
