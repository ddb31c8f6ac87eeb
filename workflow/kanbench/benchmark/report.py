"""Formats a result of `kanbench.benchmark.run` as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tabulate import tabulate

Result = dict[str, Any]
TextTable = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # title, header and rows

NAMES = {"loss_and_gradient": "loss and gradient", "predict": "prediction", "lm_step": "LM step"}
NOTHING = "–"


def as_text(result: Result, markdown: bool = False) -> str:
    """Format a result for a terminal, with aligned columns, or as Markdown."""
    title, style = ("**{}**", "github") if markdown else ("{}:", "plain")
    drawn = [
        f"{title.format(name)}\n\n{tabulate(rows, header, style, disable_numparse=True)}"
        for name, header, rows in tables(result)
    ]
    return "\n\n".join([_introduction(result), *drawn, *result["notes"]])


def _introduction(result: Result) -> str:
    machine, peaks = result["machine"], result["peaks"]
    packages = ("python", "numpy", "torch", "numba", "pykan", "torch-levenberg-marquardt")
    versions = ", ".join(f"{name} {machine[name]}" for name in packages if machine[name])
    limits = ""
    if peaks:
        flops = ", ".join(f"{number(peaks[dtype] / 1e9)} GFLOP/s in {dtype}" for dtype in ("float64", "float32"))
        limits = f"Measured peaks of one core: {flops}, {number(peaks['bandwidth'] / 1e9)} GB/s. "
    device = machine.get("gpu") or f"{machine['cpu']}, one thread"  # results of earlier versions lack the key
    return (
        f"kanbench {result['kanbench']}, engine `{result['settings']['engine']}`; {device}; {versions}. {limits}"
        "× is how many times as fast kanbench is: median of the pairs (quartiles)."
    )


def tables(result: Result) -> Iterator[TextTable]:
    """Yield the tables of the parts that were run."""
    if "pairs" in result:
        yield _pairs(result["pairs"])
    if "growth" in result:
        yield _growth(result["growth"])
    compared = [*result.get("pairs", []), *result.get("growth", {}).get("cells", [])]
    if limited := [comparison for comparison in compared if "roofline" in comparison]:
        yield _limits(limited)
    if "fit" in result:
        yield _fits(result["fit"])
    if "trainings" in result:
        yield _trainings(result["trainings"], result["settings"]["epochs"])


def _pairs(comparisons: Sequence[Result]) -> TextTable:
    by_model: dict[tuple[str, ...], list[str]] = {}
    for comparison in comparisons:
        model = str(comparison["width"]), str(comparison["grid"]), comparison["dtype"]
        row = by_model.setdefault(model, list(model))
        row += [seconds(comparison["ours"]["median"]), _times(comparison["ratio"])]
        if "accepted" in comparison:
            row.append(number(comparison["accepted"]["ratio"]))
    header = ["width", "G", "dtype"]
    for operation in dict.fromkeys(comparison["operation"] for comparison in comparisons):
        header += [NAMES[operation], "×", *(["× per accepted step"] if operation == "lm_step" else [])]
    return f"Against pykan, {comparisons[0]['n']} samples", header, list(by_model.values())


def _growth(growth: Result) -> TextTable:
    header = ["operation", "samples", "kanbench", "peak MiB", "pykan", "peak MiB", "×"]
    rows = []
    for cell in growth["cells"]:
        row = [NAMES[cell["operation"]], number(cell["n"])]
        for side in ("ours", "pykan"):
            there = cell[side] is not None
            row.append(seconds(cell[side]["median"]) if there else NOTHING)
            row.append(number(cell["memory"][side]["peak"]) if there else NOTHING)
        rows.append([*row, _times(cell["ratio"])])
    first = growth["cells"][0]
    exponents = ", ".join(f"{number(value)} for {NAMES[name]}" for name, value in growth["exponents"].items())
    imports = first["memory"]["ours"]["imports"]
    # On a GPU there are no imports; its peaks are of tensors.
    peaks = f"{number(imports)} MiB of every peak are imports" if imports else "peaks are of tensors on the GPU"
    model = f"{first['width']}, G = {first['grid']}, {first['dtype']}"
    return f"Growth with the sample, {model} (exponent of kanbench's time: {exponents}; {peaks})", header, rows


def _limits(comparisons: Sequence[Result]) -> TextTable:
    header = ["width", "G", "samples", "dtype", "GFLOP/s", "of peak", "GB/s", "of peak", "bound", "of the limit"]
    rows = []
    for comparison in comparisons:
        found = comparison["roofline"]
        case = [str(comparison["width"]), str(comparison["grid"]), number(comparison["n"]), comparison["dtype"]]
        flops = number(found["flops_per_second"] / 1e9), f"{found['share_of_peak_flops']:.1%}"
        traffic = number(found["bytes_per_second"] / 1e9), f"{found['share_of_bandwidth']:.1%}"
        rows.append([*case, *flops, *traffic, found["bound"], f"{found['share_of_limit']:.1%}"])
    return "Share of the hardware's limit, loss and gradient", header, rows


def _fits(comparisons: Sequence[Result]) -> TextTable:
    header = ["samples", "kanbench", "train, test RMSE", "time", "pykan", "train, test RMSE", "time", "×"]
    rows = []
    for comparison in comparisons:
        row = [number(comparison["n"])]
        for side in (comparison["ours"], comparison["pykan"]):
            losses = f"{side['train_rmse']:.3e}, {side['test_rmse']:.3e}"
            row += [f"{side['opt']}, {side['steps']} steps", losses, seconds(side["median"])]
        rows.append([*row, _times(comparison["ratio"])])
    return "`fit` against pykan's, on its tutorial ([2, 1, 1], G = 3, float32)", header, rows


def _trainings(trainings: Sequence[Result], epochs: int) -> TextTable:
    header = ["optimizer", "dataset", "kanbench", "original procedure", "×", "best test loss", "of the original"]
    rows = []
    for optimizer in dict.fromkeys(training["optimizer"] for training in trainings):
        of_optimizer = [training for training in trainings if training["optimizer"] == optimizer]
        for training in of_optimizer:
            losses = [f"{training[side]['best_test_loss']:.1e}" for side in ("ours", "original")]
            rows.append([optimizer, training["dataset"], *_sums([training]), *losses])
        rows.append([optimizer, "all", *_sums(of_optimizer), "", ""])
    rows.append(["all", "all", *_sums(trainings), "", ""])
    return f"Whole trainings of Section 2.1 (epochs on each grid: {epochs})", header, rows


def _sums(trainings: Sequence[Result]) -> list[str]:
    ours, original = (sum(training[side]["seconds"] for training in trainings) for side in ("ours", "original"))
    return [seconds(ours), seconds(original), number(original / ours)]


def _times(ratio: Result | None) -> str:
    if ratio is None:
        return NOTHING
    return f"{number(ratio['median'])} ({number(ratio['q1'])}–{number(ratio['q3'])})"


def seconds(value: float) -> str:
    """Format a time in s or ms."""
    return f"{number(value)} s" if value >= 1 else f"{number(1e3 * value)} ms"


def number(value: float | None) -> str:
    """Format a number with at least two digits and no exponent."""
    if value is None:
        return NOTHING
    decimals = max(0, 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"
