"""Runs the benchmark and collects its result.

The result has builtin types only; the command writes it as JSON. Times are in seconds, memory in MiB.

| key | value |
|---|---|
| `kanbench`, `date`, `machine` | version; ISO 8601; CPU, cores, system, threads, versions (None: not installed) |
| `settings` | `seconds`, `memory_limit`, `device`, `engine`, `lm` (its settings), `epochs`, `grids`, `datasets` |
| `peaks` | of one core: `float64` and `float32` in FLOP/s, `bandwidth` in bytes/s; None on CUDA |
| `pairs` | a list of comparisons |
| `growth` | `cells`, comparisons with growing n; `exponents` of ours, by operation |
| `fit` | a list of `n`, `pairs`, `ratio`; `ours`, `pykan`: `opt`, `steps`, seconds, `train_rmse`, `test_rmse` |
| `trainings` | a list of `dataset`, `optimizer`, `ratio`; `ours`, `original`: `seconds`, `epochs`, `best_test_loss` |
| `notes` | what is missing, and why: lines of text |

A comparison has `operation`; `width`, `grid`, `k`, `n`, `dtype`; `pairs`, their number; `ours`, `pykan` and `ratio`
(pykan / ours), each with `median`, `q1`, `q3` and `min`, or None if a side was not run. Some have more:

- loss and gradient, except on CUDA: `roofline` (see `kanbench.benchmark.roofline`), from our fastest measurement
- LM steps: `accepted`, the seconds per step that lowered the loss (`ours`, `pykan`, `ratio`)
- growing n: `memory`, by side the `peak` and the part of it due to `imports`
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from kanbench import __version__
from kanbench.benchmark import PARTS, cases
from kanbench.benchmark.cases import Case
from kanbench.benchmark.contenders import STEPS, Kanbench, LMSteps, Pykan, has_lm
from kanbench.benchmark.fits import compare as compare_fits
from kanbench.benchmark.hardware import machine, measure_peaks, one_thread
from kanbench.benchmark.memory import TooLarge, run_apart
from kanbench.benchmark.report import NAMES, Result, number
from kanbench.benchmark.report import seconds as in_seconds
from kanbench.benchmark.roofline import flops, roofline, traffic
from kanbench.benchmark.timing import FEWEST_PAIRS, exponent, in_a_row, in_turns, repeated, spread
from kanbench.benchmark.trainings import train_original, train_ours
from kanbench.plan.config import Config
from kanbench.plan.devices import resolve_device, resolve_engine
from kanbench.plan.sections import SECTIONS

GROWING_OPERATIONS = ("loss_and_gradient", "lm_step")
TOO_LONG = 60.0  # seconds of one call; larger sizes are left out
SIDES = {"ours": "kanbench", "pykan": "pykan"}
MISSING_LM = "torch-levenberg-marquardt is not installed, so LM is not compared (pip install 'kanbench[benchmark]')."

log = logging.getLogger(__name__)


def run(config: Config, seconds: float, memory_limit: int, quick: bool = False, parts: Sequence[str] = PARTS) -> Result:
    """Run the benchmark on one thread.

    Args:
        config (Config): Its device, engine, settings of LM, and trainings.
        seconds (float): Approximate time per comparison.
        memory_limit (int): MiB that a case of growing n may allocate, on CUDA of GPU memory.
        quick (bool): Run fewer models and sizes of `cases`.
        parts (sequence of str): Which of `PARTS` to run.

    Raises:
        InputError: The device is not available, or a part does not run on it.
    """
    benchmark = Benchmark(config, seconds, memory_limit, quick)
    with one_thread():
        peaks = [measure_peaks()] if benchmark.device == "cpu" else []
        measured = {part: getattr(benchmark, part)() for part in PARTS if part in parts}
        peaks += [measure_peaks() for _ in peaks]  # keep the better one: the machine may have been busy
    best = {key: max(found[key] for found in peaks) for key in peaks[0]} if peaks else None
    for comparison in [*measured.get("pairs", []), *measured.get("growth", {}).get("cells", [])]:
        if best and comparison["operation"] == "loss_and_gradient":
            comparison["roofline"] = _roofline(comparison, best)
    settings = {"seconds": seconds, "memory_limit": memory_limit, "device": benchmark.device, **benchmark.ours}
    settings |= {"epochs": config["epochs"], "grids": config["grids"]["sizes"], "datasets": config["datasets"]}
    return {
        "kanbench": __version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(benchmark.device),
        "settings": settings,
        "peaks": best,
        **measured,
        "notes": benchmark.notes,
    }


class Benchmark:
    """The parts of the benchmark: each is a method that returns its part of the result and may add to `notes`."""

    def __init__(self, config: Config, seconds: float, memory_limit: int, quick: bool = False) -> None:
        self.config, self.seconds, self.memory_limit, self.quick = config, seconds, memory_limit, quick
        self.device = resolve_device(config["device"])
        self.ours = {"engine": resolve_engine(config["engine"], self.device), "lm": config["optimizers"]["lm"]}
        self.with_lm = has_lm()
        self.notes: list[str] = [] if self.with_lm else [MISSING_LM]

    def pairs(self) -> list[Result]:
        """Compare every operation on every model, with 1000 samples."""
        shapes, dtypes = (cases.QUICK_SHAPES, cases.DTYPES[:1]) if self.quick else (cases.SHAPES, cases.DTYPES)
        operations = [operation for operation in NAMES if self.with_lm or operation != "lm_step"]
        comparisons = []
        for width, grid in shapes:
            for dtype in dtypes:
                case = Case(width, grid, dtype=dtype)
                sides = {side: self._side(side, case) for side in SIDES}
                comparisons += [self._compare(operation, case, sides) for operation in operations]
        return comparisons

    def growth(self) -> Result:
        """Compare time and peak memory for growing numbers of samples, as far as each side gets."""
        sizes = cases.QUICK_SIZES if self.quick else cases.SIZES
        growing = [Case(*cases.GROWING, n=n) for n in sizes]
        cells: list[Result] = []
        exponents = {}
        for operation in GROWING_OPERATIONS:
            sides = [side for side in SIDES if side == "ours" or self.with_lm or operation != "lm_step"]
            memory = {side: self._apart(side, operation, growing) for side in sides}
            of_operation = []
            for case in memory["ours"]:
                peaks = {side: found[case] for side, found in memory.items() if case in found}
                contenders = {side: self._side(side, case) for side in peaks}
                of_operation.append(self._compare(operation, case, contenders) | {"memory": peaks})
            cells += of_operation
            if len(of_operation) > 1:
                times = [cell["ours"]["median"] for cell in of_operation]
                exponents[operation] = exponent([cell["n"] for cell in of_operation], times)
        return {"cells": cells, "exponents": exponents}

    def fit(self) -> list[Result]:
        """Compare both `fit` on pykan's tutorial."""
        return compare_fits(self.seconds, self.quick)

    def trainings(self) -> list[Result]:
        """Compare the trainings of section 2.1, on every dataset with every optimizer."""
        return [
            self._train(optimizer, dataset_idx)
            for optimizer in SECTIONS["section2_1"].model_types
            if self.with_lm or optimizer != "lm"
            for dataset_idx in range(len(self.config["datasets"]))
        ]

    def _side(self, side: str, case: Case) -> Kanbench | Pykan:
        return Kanbench(case, **self.ours, device=self.device) if side == "ours" else Pykan(case, self.device)

    def _compare(self, operation: str, case: Case, sides: dict[str, Kanbench | Pykan]) -> Result:
        """Measure the sides alternately; ours comes first in `sides`."""
        steps, fewest = [], FEWEST_PAIRS
        if operation == "lm_step":
            for side in sides.values():
                LMSteps(side)()  # warm-up
            steps, fewest = [LMSteps(side) for side in sides.values()], STEPS  # steps differ: measure all of them
            measures = [in_a_row(measure) for measure in steps]
        else:
            measures = [repeated(getattr(side, operation), self.device) for side in sides.values()]
        ours, *pykan = in_turns(measures, self.seconds, fewest)
        result = {
            "operation": operation,
            **asdict(case),
            "width": list(case.width),
            "pairs": len(ours),
            "ours": spread(ours),
            "pykan": spread(pykan[0]) if pykan else None,
            "ratio": spread(np.divide(pykan[0], ours)) if pykan else None,
        }
        if steps:
            result["accepted"] = _per_accepted([side.seconds for side in steps], [side.accepted for side in steps])
        log.info("%s", _in_words(result))
        return result

    def _apart(self, side: str, operation: str, growing: Sequence[Case]) -> dict[Case, Result]:
        """Measure the peak memory of cases with increasing n, up to the first that takes too much time or memory."""
        found: dict[Case, Result] = {}
        for case in growing:
            if not (reason := _too_long(found, case)):
                try:
                    found[case] = run_apart(side, operation, case, self.memory_limit, self.ours, self.device)
                except TooLarge:
                    reason = f"need more than {self.memory_limit} MiB"
            if reason:
                note = f"{NAMES[operation]}, {SIDES[side]}: not run from {case.n:,} samples on, which {reason}."
                log.info(note)
                self.notes.append(note)
                break
            log.info("%s, %s, n = %d: %.0f MiB", NAMES[operation], SIDES[side], case.n, found[case]["peak"])
        return found

    def _train(self, optimizer: str, dataset_idx: int) -> Result:
        result: Result = {"dataset": self.config["datasets"][dataset_idx], "optimizer": optimizer}
        for side, train in (("ours", train_ours), ("original", train_original)):
            result[side] = train(self.config, optimizer, dataset_idx)
        result["ratio"] = result["original"]["seconds"] / result["ours"]["seconds"]
        log.info("%s, %s: %s times as fast", result["dataset"], optimizer, number(result["ratio"]))
        return result


def _too_long(found: dict[Case, Result], case: Case) -> str | None:
    """Say why a case would take too long, extrapolating in proportion to n; None if it would not."""
    if found:
        smaller, result = list(found.items())[-1]
        if (expected := result["seconds"] * case.n / smaller.n) > TOO_LONG:
            return f"would take about {expected:.0f} s"
    return None


def _roofline(comparison: Result, peaks: dict[str, float]) -> Result:
    needed, dtype = {key: comparison[key] for key in ("width", "grid", "k", "n")}, comparison["dtype"]
    moved = traffic(**needed, itemsize=np.dtype(dtype).itemsize)
    return roofline(flops(**needed), moved, comparison["ours"]["min"], peaks[dtype], peaks["bandwidth"])


def _per_accepted(times: Sequence[Sequence[float]], accepted: Sequence[Sequence[bool]]) -> Result:
    """Seconds per step that lowered the loss, by side, and their ratio; None if no step did."""
    result: Result = dict.fromkeys(("ours", "pykan", "ratio"))
    for side, seconds, taken in zip(("ours", "pykan"), times, accepted, strict=False):
        result[side] = sum(seconds) / sum(taken) if any(taken) else None
    if result["ours"] and result["pykan"]:
        result["ratio"] = result["pykan"] / result["ours"]
    return result


def _in_words(result: Result) -> str:
    what = (
        f"{NAMES[result['operation']]}, {result['width']}, G = {result['grid']}, n = {result['n']}, {result['dtype']}"
    )
    ratio = f", {number(result['ratio']['median'])} times as fast" if result["ratio"] else ""
    return f"{what}: {in_seconds(result['ours']['median'])}{ratio} ({result['pairs']} measurements)"
