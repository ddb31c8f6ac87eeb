"""A result of `kanbench.benchmark.run` as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]

NAMES = {"loss_and_gradient": "loss and gradient", "predict": "prediction", "lm_step": "LM step"}
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_text(result: Result) -> str:
    """For a terminal: aligned columns."""
    return _join(result, "{}:", _aligned)


def as_markdown(result: Result) -> str:
    return _join(result, "**{}**", _piped)


def _join(result: Result, title: str, draw: Any) -> str:
    drawn = (f"{title.format(table.title)}\n\n{draw([table.header, *table.rows])}" for table in tables(result))
    return "\n\n".join([_introduction(result), *drawn, *result["notes"]])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _piped(rows: Sequence[Sequence[str]]) -> str:
    header, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|---" * len(rows[0]) + "|", *others])


def _introduction(result: Result) -> str:
    machine, peaks = result["machine"], result["peaks"]
    packages = ("python", "numpy", "torch", "numba", "pykan", "torch-levenberg-marquardt")
    versions = ", ".join(f"{name} {machine[name]}" for name in packages if machine[name])
    limits = ""
    if peaks:
        flops = ", ".join(f"{_number(peaks[dtype] / 1e9)} GFLOP/s in {dtype}" for dtype in ("float64", "float32"))
        limits = f"Measured peaks of one core: {flops}, {_number(peaks['bandwidth'] / 1e9)} GB/s. "
    device = machine.get("gpu") or f"{machine['cpu']}, one thread"  # results of earlier versions have no such key
    return (
        f"kanbench {result['kanbench']}, engine `{result['settings']['engine']}`; {device}; {versions}. {limits}"
        "× is how many times as fast kanbench is: median of the pairs (quartiles)."
    )


def tables(result: Result) -> Iterator[Table]:
    """Those of the parts that were run."""
    if "pairs" in result:
        yield _pairs(result["pairs"])
    if "growth" in result:
        yield _growth(result["growth"])
    compared = [*result.get("pairs", []), *result.get("growth", {}).get("cells", [])]
    limited = [comparison for comparison in compared if "roofline" in comparison]
    if limited:
        yield _limits(limited)
    if "trainings" in result:
        yield _trainings(result)


def _pairs(comparisons: Sequence[Result]) -> Table:
    operations = list(dict.fromkeys(comparison["operation"] for comparison in comparisons))
    header = ["width", "G", "dtype"]
    by_model: dict[tuple[str, ...], list[str]] = {}
    for comparison in comparisons:
        model = str(comparison["width"]), str(comparison["grid"]), comparison["dtype"]
        row = by_model.setdefault(model, list(model))
        row += [_seconds(comparison["ours"]["median"]), _times(comparison["ratio"])]
        if "accepted" in comparison:
            row.append(_number(comparison["accepted"]["ratio"]))
    for operation in operations:
        header += [NAMES[operation], "×"]
        if operation == "lm_step":
            header.append("× per accepted step")
    return Table(f"Against pykan, {comparisons[0]['n']} samples", header, list(by_model.values()))


def _growth(growth: Result) -> Table:
    exponents = ", ".join(f"{value:.2f} for {NAMES[name]}" for name, value in growth["exponents"].items())
    header = ["operation", "samples", "kanbench", "peak MiB", "pykan", "peak MiB", "×"]
    rows = []
    for cell in growth["cells"]:
        pykan, memory = cell["pykan"], cell["memory"]
        rows.append(
            [
                NAMES[cell["operation"]],
                f"{cell['n']:,}",
                _seconds(cell["ours"]["median"]),
                f"{memory['ours']['peak']:.0f}",
                _seconds(pykan["median"]) if pykan else NOTHING,
                f"{memory['pykan']['peak']:.0f}" if pykan else NOTHING,
                _times(cell["ratio"]),
            ]
        )
    model = f"{growth['cells'][0]['width']}, G = {growth['cells'][0]['grid']}, {growth['cells'][0]['dtype']}"
    imports = growth["cells"][0]["memory"]["ours"]["imports"]
    # On a GPU there are no imports; its peaks are of tensors.
    of_peaks = f"{imports:.0f} MiB of every peak are imports" if imports else "peaks are of tensors on the GPU"
    title = f"Growth with the sample, {model} (exponent of kanbench's time: {exponents}; {of_peaks})"
    return Table(title, header, rows)


def _limits(comparisons: Sequence[Result]) -> Table:
    header = ["width", "G", "samples", "dtype", "GFLOP/s", "of peak", "GB/s", "of peak", "bound", "of the limit"]
    rows = []
    for comparison in comparisons:
        found = comparison["roofline"]
        rows.append(
            [
                str(comparison["width"]),
                str(comparison["grid"]),
                f"{comparison['n']:,}",
                comparison["dtype"],
                _number(found["flops_per_second"] / 1e9),
                f"{found['share_of_peak_flops']:.1%}",
                _number(found["bytes_per_second"] / 1e9),
                f"{found['share_of_bandwidth']:.1%}",
                found["bound"],
                f"{found['share_of_limit']:.1%}",
            ]
        )
    return Table("Share of the hardware's limit, loss and gradient", header, rows)


def _trainings(result: Result) -> Table:
    header = [
        "optimizer",
        "dataset",
        "kanbench",
        "original procedure",
        "×",
        "best test loss",
        "of the original",
    ]
    rows, trainings = [], result["trainings"]
    for optimizer in dict.fromkeys(training["optimizer"] for training in trainings):
        of_optimizer = [training for training in trainings if training["optimizer"] == optimizer]
        for training in of_optimizer:
            losses = [f"{training[side]['best_test_loss']:.1e}" for side in ("ours", "original")]
            rows.append([optimizer, training["dataset"], *_sums([training]), *losses])
        rows.append([optimizer, "all", *_sums(of_optimizer), "", ""])
    rows.append(["all", "all", *_sums(trainings), "", ""])
    title = f"Whole trainings of Section 2.1 (epochs on each grid: {result['settings']['epochs']})"
    return Table(title, header, rows)


def _sums(trainings: Sequence[Result]) -> list[str]:
    ours, original = (sum(training[side]["seconds"] for training in trainings) for side in ("ours", "original"))
    return [_seconds(ours), _seconds(original), _number(original / ours)]


def _times(ratio: Result | None) -> str:
    if ratio is None:
        return NOTHING
    return f"{_number(ratio['median'])} ({_number(ratio['q1'])}–{_number(ratio['q3'])})"


def _seconds(seconds: float) -> str:
    return f"{_number(seconds)} s" if seconds >= 1 else f"{_number(1e3 * seconds)} ms"


def _number(value: float | None) -> str:
    """Two digits at least, and no exponent."""
    if value is None:
        return NOTHING
    decimals = max(0, 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"
