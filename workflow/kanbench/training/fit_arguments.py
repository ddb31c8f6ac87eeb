"""Checks the arguments of `kanbench.fit`, which are those of pykan's `MultKAN.fit`, and turns them into settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kanbench.errors import InputError, one_line
from kanbench.network.spline_network import SplineNetwork
from kanbench.plan.settings import (
    AdamSettings,
    Data,
    KnotInsertionGrids,
    LBFGSSettings,
    LMSettings,
    Settings,
    ThresholdRule,
    Timing,
    UpdatedGrids,
)
from kanbench.problems import Array, Interval
from kanbench.problems.samples import Dataset

LBFGS = LBFGSSettings(lr=1.0, max_iter=20, max_eval=25, history_size=10)  # the settings of `MultKAN.fit`
# Measured on exp(sin πx + y²): 1000 samples, 20 steps on G = 3, seeds 1 to 12, grids updated from the sixth step. With
# these settings, all 12 models [2, 1, 1] ended within a quarter of the best, and the geometric mean of the training
# losses of [2, 5, 1] was 1.8e-3. With the pipeline's damping (0.1, not scaled), it was 5 models and 2.4e-3.
LM = LMSettings(damping=0.3, attempts=10, geodesic_acceleration=True, scaling="marquardt")
ADAM_LR = 0.02
OPTIMIZERS = ("LM", "LBFGS", "Adam")
KEYS = ("train_input", "train_label", "test_input", "test_label")  # of pykan's datasets
# Arguments of `MultKAN.fit` that configure what `fit` does not do: penalties, symbolic functions, figures.
WITHOUT_EFFECT = {
    *("lamb_l1", "lamb_entropy", "lamb_coef", "lamb_coefdiff", "reg_metric", "singularity_avoiding", "y_th"),
    *("in_vars", "out_vars", "beta", "save_fig_freq", "img_folder"),
}


@dataclass(frozen=True)
class Samples:
    """Training and test samples in float64: inputs of shape (n, d), labels of shape (n, outputs).

    Attributes:
        test (pair of arrays or None): None if no test sample was given.
        flat (bool): Whether the labels were given as a vector.
    """

    train: tuple[Array, Array]
    test: tuple[Array, Array] | None
    flat: bool

    @property
    def domain(self) -> list[Interval]:
        """The range of every training input, widened by 1 on both sides if it is a single number."""
        inputs = self.train[0]
        ends = [(float(low), float(high)) for low, high in zip(inputs.min(0), inputs.max(0), strict=True)]
        return [(low, high) if high > low else (low - 1.0, low + 1.0) for low, high in ends]

    def check(self, network: SplineNetwork) -> None:
        """Raise `InputError` unless the network has as many inputs and outputs."""
        for name, found, allowed in (
            ("inputs", self.train[0].shape[1], network.width[0]),
            ("labels", self.train[1].shape[1], network.width[-1]),
        ):
            if found != allowed:
                raise InputError(f"fit: {name}", f"{found} columns", f"{allowed}, for a network {network.width}")

    def dataset(self, dtype: Any) -> Dataset:
        """Make the dataset of a training; one training sample stands in for the dense and a missing test sample."""
        train = x, y = tuple(part.astype(dtype) for part in self.train)
        one, none = (x[:1], y[:1]), (x[:0], y[:0])
        test = tuple(part.astype(dtype) for part in self.test) if self.test else one
        names = (f"{sample}_{part}" for sample in ("train", "test", "dense", "valid") for part in ("input", "label"))
        samples = dict(zip(names, (*train, *test, *one, *none), strict=True))
        return Dataset(**samples, domain=tuple(self.domain))


def samples_of(data: Any, y: Any, x_test: Any, y_test: Any) -> Samples:
    """Read samples from a pykan dataset, or from inputs and labels.

    Raises:
        InputError: Samples are missing, not numbers, not finite, or their shapes do not match.
    """
    if isinstance(data, Mapping):
        for name, given in (("y", y), ("x_test", x_test), ("y_test", y_test)):
            if given is not None:
                raise InputError(f"fit: {name}", "given together with a dataset", "a dataset, or inputs and labels")
        if missing := [key for key in KEYS if key not in data]:
            raise InputError("fit: dataset", f"no {', '.join(missing)}", ", ".join(KEYS))
        given = {f"dataset[{key!r}]": data[key] for key in KEYS}
    else:
        given = {"x": data, "y": y, "x_test": x_test, "y_test": y_test}
        if y is None:
            raise InputError("fit: y", "none", "a dataset with the keys of pykan, or inputs and labels")
        if (x_test is None) != (y_test is None):
            raise InputError("fit: x_test, y_test", "one of the two", "both or none")
    names, values = list(given), list(given.values())
    train = _pair(names[:2], values[:2])
    test = _pair(names[2:], values[2:]) if values[2] is not None else None
    if test:
        for name, one, other in zip(names[2:], test, train, strict=True):
            if one.shape[1] != other.shape[1]:
                raise InputError(
                    f"fit: {name}", f"{one.shape[1]} columns", f"{other.shape[1]}, as in the training sample"
                )
    return Samples(train, test, np.ndim(values[1]) == 1)


def _pair(names: Sequence[str], values: Sequence[Any]) -> tuple[Array, Array]:
    inputs, labels = (_columns(name, value) for name, value in zip(names, values, strict=True))
    if len(inputs) != len(labels):
        raise InputError(f"fit: {names[1]}", f"{len(labels)} rows", f"{len(inputs)}, as many as {names[0]}")
    return inputs, labels


def _columns(name: str, value: Any) -> Array:
    """Convert to float64 of shape (n, columns); a vector becomes one column."""
    array = as_numbers(f"fit: {name}", value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise InputError(f"fit: {name}", f"shape {array.shape}", "an array of samples by columns, not empty")
    if not np.isfinite(array).all():
        raise InputError(f"fit: {name}", f"{np.count_nonzero(~np.isfinite(array))} numbers that are not finite", "none")
    return array


def as_numbers(where: str, value: Any) -> Array:
    """Convert array-likes, and torch tensors on any device, to a float64 array.

    Raises:
        InputError: The value is not an array of numbers.
    """
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"type {array.dtype}")
        return array.astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(where, one_line(error)[:100], "an array of numbers") from None


def check_neutral(lamb: Any, batch: int, save_fig: bool, n: int, others: Mapping[str, Any]) -> None:
    """Raise `InputError` if arguments of `MultKAN.fit` ask for what `fit` does not do, or are unknown."""
    if unknown := others.keys() - WITHOUT_EFFECT:
        raise InputError("fit", problem=f"unknown argument {min(unknown)}")
    for name, found, neutral, allowed in (
        ("lamb", lamb, lamb == 0, "0, no penalty"),
        ("batch", batch, batch == -1 or batch >= n, f"-1 or an integer >= {n}, the whole sample"),
        ("save_fig", save_fig, not save_fig, "False; plot the trained model"),
    ):
        if not neutral:
            raise InputError(f"fit: {name}", found, allowed)


def settings_of(network: SplineNetwork, opt: str, lr: float | None, targets: str, grids: Any, n: int) -> Settings:
    """Make the settings of a training on n samples, which is timed once."""
    if targets not in ("raw", "standardized"):
        raise InputError("fit: targets", repr(targets), "raw, standardized")
    return Settings(
        problem="fit",
        seed=0,
        device="cpu",
        dtype=str(network.dtype),  # type: ignore[arg-type]  # the engine refuses others
        engine="compiled",
        data=Data(train_num=n, test_num=n, dense_num=1, seed=0),
        targets=targets,  # type: ignore[arg-type]
        optimizer=_optimizer(opt, lr),
        grids=grids,
        threshold=ThresholdRule(patience=2, tolerance=0.05),
        stop=(),
        evaluate_every=1,
        timing=Timing(repeats=1, seconds=0),
    )


def _optimizer(opt: str, lr: float | None) -> AdamSettings | LBFGSSettings | LMSettings:
    if lr is not None and not (isinstance(lr, int | float) and 0 < lr < np.inf):
        raise InputError("fit: lr", lr, "a number greater than 0")
    if opt == "Adam":
        return AdamSettings(lr=ADAM_LR if lr is None else lr)
    if opt == "LBFGS":
        return LBFGSSettings(lr or LBFGS.lr, LBFGS.max_iter, LBFGS.max_eval, LBFGS.history_size)
    if opt != "LM":
        raise InputError("fit: opt", one_line(opt), ", ".join(OPTIMIZERS))
    if lr not in (None, 1):  # pykan's default
        raise InputError("fit: lr", lr, "none for LM, which has no learning rate")
    return LM


def count(name: str, value: Any, least: int = 1) -> int:
    """Check an integer argument, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"fit: {name}", one_line(value), f"an integer, at least {least}")
    return int(value)


def grids_of(
    network: SplineNetwork, grids: Sequence[int] | None, update: bool, number: int, start: int, stop: int
) -> KnotInsertionGrids | UpdatedGrids:
    """Make the grid policy of a training.

    Args:
        grids (sequence of int, optional): By default the model keeps its grids.
        update (bool): Whether the first grid is updated as in `MultKAN.fit`: `number` times before step `stop`, not
            before step `start`.

    Raises:
        InputError: A grid does not refine the one before it, or there are fewer steps than updates.
    """
    present = {n for layer in network.intervals for n in layer}
    sizes: tuple[int, ...] = (min(present),)  # every node keeps its own grid
    if grids is not None:
        sizes = tuple(count("grids", size) for size in grids)
        if not sizes or sizes != tuple(sorted(set(sizes))) or sizes[0] < max(present):
            allowed = f"increasing integers >= {max(present)}, the grid of the model"
            raise InputError("fit: grids", list(sizes), allowed)
    if not update:
        return KnotInsertionGrids(sizes)
    stop = count("stop_grid_update_step", stop)
    every = stop // count("grid_update_num", number)
    if not every:
        raise InputError("fit: grid_update_num", number, f"up to {stop}, stop_grid_update_step")
    return UpdatedGrids(sizes, every, max(0, count("start_grid_update_step", start, -1)), stop)
