"""`kanbench.fit` compared with pykan's `fit` on its tutorial: exp(sin πx + y²) on [-1, 1]², [2, 1, 1], G = 3, seed 1.

Both sides do the same number of steps and grid updates, evaluate the test loss after every step, and draw no progress
bar. The whole call is timed, not only the steps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from kan import KAN
from kan.utils import create_dataset
from torch import Tensor

from kanbench.benchmark.report import Result, number
from kanbench.benchmark.timing import in_turns, seconds_of, spread
from kanbench.benchmark.trainings import pykan_undisturbed
from kanbench.training.fit import fit

STEPS = 20  # as in the tutorial
MORE_STEPS = 200  # of pykan's L-BFGS, compared with STEPS of LM
TEST_NUM = 1000
SIZES = (1000, 10_000, 100_000)
QUICK_SIZES = (1000,)
TOO_LONG = 200.0  # seconds; samples for which pykan is expected to take longer are left out
Dataset = dict[str, Tensor]

log = logging.getLogger(__name__)


def tutorial(n: int) -> Dataset:
    """Draw the tutorial's dataset with n training samples."""
    return create_dataset(
        lambda x: torch.exp(torch.sin(torch.pi * x[:, [0]]) + x[:, [1]] ** 2), train_num=n, test_num=TEST_NUM
    )


class Side:
    """A callable that trains a new model and returns the seconds; `losses` are its final root mean squared errors."""

    def __init__(self, train: Callable[..., Any], data: Dataset, **settings: Any) -> None:
        self.train, self.data, self.settings = train, data, settings
        self.losses: list[tuple[float, float]] = []

    def __call__(self) -> float:
        model = KAN(width=[2, 1, 1], grid=3, k=3, seed=1, auto_save=False)
        seconds = seconds_of(lambda: self.train(model, self.data, **self.settings))
        with torch.no_grad():
            self.losses.append((self._rmse(model, "train"), self._rmse(model, "test")))
        return seconds

    def _rmse(self, model: KAN, sample: str) -> float:
        return float((model(self.data[f"{sample}_input"]) - self.data[f"{sample}_label"]).square().mean().sqrt())

    def found(self, seconds: list[float]) -> Result:
        train, test = zip(*self.losses, strict=True)
        return {**spread(seconds), "train_rmse": spread(train)["median"], "test_rmse": spread(test)["median"]}


def of_pykan(model: KAN, data: Dataset, **settings: Any) -> Any:
    """Call pykan's own `fit` with `save_act` on, as in the tutorial; `fit` switches it off."""
    return model.fit(data, log=10**9, **settings)


def compare(seconds: float, quick: bool) -> list[Result]:
    """Run the comparisons: each has `n`, `pairs`, `ratio`, and for `ours` and `pykan` `opt`, `steps`, times and losses.

    Args:
        seconds (float): Approximate time per comparison.
    """
    with pykan_undisturbed():
        Side(fit, tutorial(100), opt="LM", steps=6, log=0)()  # warm-up
        Side(of_pykan, tutorial(100), opt="LBFGS", steps=1)()
        results: list[Result] = []
        for n in QUICK_SIZES if quick else SIZES:
            if results and results[-1]["pykan"]["median"] * n / results[-1]["n"] > TOO_LONG:
                break
            results.append(_compare(n, ("LBFGS", STEPS), ("LBFGS", STEPS), seconds))
        more = STEPS if quick else MORE_STEPS
        return [*results, _compare(SIZES[0], ("LM", STEPS), ("LBFGS", more), seconds)]


def _compare(n: int, ours: tuple[str, int], pykan: tuple[str, int], seconds: float) -> Result:
    data = tutorial(n)
    sides = {
        "ours": Side(fit, data, opt=ours[0], steps=ours[1], log=0),
        "pykan": Side(of_pykan, data, opt=pykan[0], steps=pykan[1]),
    }
    times = in_turns(list(sides.values()), seconds)
    result: Result = {"n": n, "pairs": len(times[0])}
    result["ratio"] = spread([theirs / own for own, theirs in zip(*times, strict=True)])
    for (name, side), (opt, steps), measured in zip(sides.items(), (ours, pykan), times, strict=True):
        result[name] = {"opt": opt, "steps": steps, **side.found(measured)}
    log.info("fit, %s against %s, n = %d: %s times as fast", ours, pykan, n, number(result["ratio"]["median"]))
    return result
