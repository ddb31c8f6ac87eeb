"""Whether the losses of a frame are mean squared errors (MSE) or root mean squared errors (RMSE).

The provenance of a frame records it. Frames of kanbench have MSE. The study's original scripts (the folder `madoc` of
https://github.com/MadocCottle/pykan) stored no provenance; their frames are recognized by epochs that start at 0, or by
columns that only they have. For models trained by pykan's `fit` they stored the RMSE that it returns, and for models
trained by their own loops the MSE.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd

from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import PROBLEMS
from kanbench.problems.samples import Dataset, make_dataset
from kanbench.storage.attrs import is_converted, provenance_of
from kanbench.storage.derive import is_pruned

LossMeasure = Literal["mse", "rmse"]

ORIGINAL = "original"  # the `format` in the provenance of frames that the original scripts stored
LOSSES = ("train_loss", "test_loss")
FINAL_LOSSES = {f"final_{loss}": loss for loss in LOSSES}  # the original names for losses at the end of a stage
OWN_LOOPS = ("lm", "mlp", "siren")  # model types that the original scripts trained without pykan's `fit`
N_SAMPLES = 1000  # train samples, and test samples, in the original scripts
CLOSE = 0.01  # relative tolerance between a recorded and a recomputed loss


def is_original(frame: pd.DataFrame) -> bool:
    """Whether the original scripts stored a frame."""
    provenance = provenance_of(frame)
    if "format" in provenance:
        return provenance["format"] == ORIGINAL
    if is_converted(frame) or "engine" in provenance:
        return False
    return not set(FINAL_LOSSES).isdisjoint(frame) or ("epoch" in frame and bool(frame["epoch"].min() == 0))


def loss_measure(frame: pd.DataFrame) -> LossMeasure:
    """The measure of `train_loss` and `test_loss` in a frame, from its provenance."""
    return "rmse" if provenance_of(frame).get("losses") == "rmse" else "mse"


def original_measure(model_type: str, frame: pd.DataFrame) -> LossMeasure:
    """The expected loss measure of a frame that the original scripts stored."""
    labels = {model_type, *(frame["optimizer"].astype(str).str.lower() if "optimizer" in frame else ())}
    return "mse" if labels.intersection(OWN_LOOPS) else "rmse"


def has_losses(frame: pd.DataFrame) -> bool:
    return len(frame) > 0 and not {*LOSSES, *FINAL_LOSSES}.isdisjoint(frame)


def last_test_loss(frame: pd.DataFrame, dataset_idx: int) -> tuple[str, float]:
    """The name of a dataset and the last test loss of the model trained on it; ("", nan) if there is none."""
    rows = frame[frame["dataset_idx"] == dataset_idx] if "dataset_idx" in frame else frame
    rows = rows[~is_pruned(rows)]  # pruned rows belong to another model
    column = next((name for name in ("test_loss", "final_test_loss") if name in rows), None)
    if rows.empty or column is None or "dataset_name" not in rows:
        return "", math.nan
    rows = rows.sort_values([name for name in ("grid_size", "epoch") if name in rows] or [column], kind="stable")
    return str(rows["dataset_name"].iloc[-1]), float(rows[column].iloc[-1])


def recomputed_measure(network: SplineNetwork, dataset: str, test_loss: float) -> LossMeasure | None:
    """Find out the measure of a recorded test loss by evaluating the model on the original scripts' samples.

    Returns:
        'mse', 'rmse' or None: None if undecided: the problem is unknown, the loss is near 1, or the loss is of another
            model.
    """
    if not is_of_problem(network, dataset):
        return None
    mse = original_loss(network, dataset, "test_loss")
    near: dict[LossMeasure, bool] = {"mse": _near(test_loss, mse), "rmse": _near(test_loss, np.sqrt(mse))}
    return next((measure for measure, fits in near.items() if fits), None) if sum(near.values()) == 1 else None


def original_loss(network: SplineNetwork, dataset: str, loss: str) -> float:
    """The mean squared error of a model on the original scripts' samples, as `train_loss` or `test_loss`."""
    from kanbench.network.evaluation import evaluate  # here: imports numba, rarely needed to read runs

    data = original_samples(dataset)
    pairs = {"train_loss": (data.train_input, data.train_label), "test_loss": (data.test_input, data.test_label)}
    x, y = pairs[loss]
    return float(np.mean((evaluate(network, x) - y) ** 2))


def is_of_problem(network: SplineNetwork, dataset: str) -> bool:
    """Whether the problem is known and the model has its numbers of inputs and outputs."""
    return dataset in PROBLEMS and (network.width[0], network.width[-1]) == (PROBLEMS[dataset].dim, 1)


def is_same_loss(recorded: object, computed: float, dataset: str) -> bool:
    """Whether a recorded mean squared error equals a computed one, up to single precision.

    The original targets were rounded to single precision, which changes more than the last digits of a small loss.
    """
    rounding = 2 * float(np.finfo(np.float32).eps) * float(np.sqrt(np.mean(original_samples(dataset).test_label ** 2)))
    tolerance = max(1e-5 * computed, 2 * np.sqrt(computed) * rounding + rounding**2)
    return isinstance(recorded, (int, float)) and abs(recorded - computed) <= tolerance


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * abs(other)


@lru_cache
def original_samples(dataset: str) -> Dataset:
    """The train and test samples of the original scripts: pykan's `create_dataset` with its default seed."""
    return make_dataset(PROBLEMS[dataset], N_SAMPLES, N_SAMPLES, 1, seed=0)
