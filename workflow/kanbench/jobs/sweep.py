"""Choosing a setting by measurement: trainings over values and seeds, compared by relative test loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.plan.config import Config, check, merge
from kanbench.plan.sections import section_with
from kanbench.plan.settings import training_settings
from kanbench.training.trainer import Trainer, make_data


def with_value(config: Config, key: str, value: Any) -> Config:
    """`config` with another value for a key such as `optimizers.adam.lr`.

    Raises:
        InputError: There is no such key, or the value is not allowed.
    """
    for part in reversed(key.split(".")):
        value = {part: value}
    return check(merge(config, value))


def sweep(config: Config, model_type: str, key: str, values: Sequence[Any], seeds: Sequence[int]) -> pd.DataFrame:
    """Train `model_type` on every dataset with every value and seed.

    A seed determines the initial model and the samples. Choose seeds other than the configured ones, so that the
    setting is not tuned on what is reported with it.

    Returns:
        DataFrame: One row per training: the value (under its key), `seed`, `dataset`, test loss relative to the
            variance of the test targets, parameters and time, at the interpolation threshold and at the end.
    """
    if key in ("seeds", "data.seed", "data.dense_num", "merge_kan.seeds", "timing.repeats"):
        raise InputError("sweep", key, "a key that the sweep does not set itself")
    # The dense MSE is not looked at, and takes longer than training with Adam; nor are times compared closely.
    once = {"merge_kan": {"seeds": 1}, "timing": {"repeats": 1}}
    changes = {seed: {"seeds": [seed], "data": {"seed": seed, "dense_num": 1}, **once} for seed in seeds}
    changed = [(value, with_value(config, key, value)) for value in values]
    configs = [(value, seed, check(merge(of, over))) for value, of in changed for seed, over in changes.items()]
    rows = []
    for value, seed, of in configs:
        for dataset_idx, dataset in enumerate(of["datasets"]):
            settings = training_settings(of, section_with(model_type), model_type, dataset_idx)
            data = make_data(settings)
            training = Trainer(settings, data).train(of["epochs"])
            variance = float(data.test_label.var(ddof=1))
            at_threshold, final = training.at_threshold.row, training.final.row
            rows.append(
                {
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
            )
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """The relative test loss by value and dataset, as the geometric mean over seeds.

    Two columns sum up the datasets: their mean, the share of the variance that stays unexplained, which an unsolved
    problem dominates; and their geometric mean, which rewards what is gained on solved ones as well.
    """
    logs = rows.assign(log=np.log(rows["relative_test_loss"])).pivot_table("log", key, "dataset", sort=False)
    losses = logs.apply(np.exp)
    return losses.assign(mean=losses.mean(axis="columns"), geometric_mean=np.exp(logs.mean(axis="columns")))


def as_text(rows: pd.DataFrame, model_type: str, key: str, seeds: Sequence[int]) -> str:
    """The table, and above it what its numbers are."""
    return (
        f"{model_type}: test loss at the threshold / variance of the target,\n"
        f"geometric mean over the seeds {seeds}, by {key}\n"
        f"{table(rows, key).to_string(float_format='{:.3g}'.format)}"
    )


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write a row for every training as CSV."""
    with atomic_write(path) as partial:
        rows.to_csv(partial, index=False)
