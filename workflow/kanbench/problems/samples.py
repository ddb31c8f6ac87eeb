"""Train, test, dense and validation samples of a problem.

They are drawn as by pykan and torch, but without global state, or are the rows of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kanbench.problems.registry import Array, Interval, Problem
from kanbench.problems.tables import TableProblem
from kanbench.problems.torch_random import TorchGenerator, sobol


@dataclass(frozen=True)
class Dataset:
    """Samples: inputs of shape (n, d), targets of shape (n, outputs), and the domain of each input."""

    train_input: Array
    train_label: Array
    test_input: Array
    test_label: Array
    dense_input: Array
    dense_label: Array
    valid_input: Array
    valid_label: Array
    domain: tuple[Interval, ...]


def make_dataset(
    problem: Problem,
    train_num: int,
    test_num: int,
    dense_num: int,
    seed: int,
    dtype: Any = np.float64,
    valid_num: int = 0,
) -> Dataset:
    """Draw the samples of a problem.

    The train and test inputs are the float32 numbers that pykan's `create_dataset` draws for the same seed and sizes,
    for any `dtype`, so results can be compared with pykan and between precisions. Targets are evaluated at these
    inputs in `dtype`. The validation inputs are the generator's next numbers. The dense inputs are the first
    `dense_num` points of a scrambled Sobol sequence in the domain.

    For a table, the samples are its rows, and the sizes are ignored.

    Raises:
        InputError: The target fails, or is not finite at every sample.
    """
    if isinstance(problem, TableProblem):
        return _rows(problem, seed, dtype)
    train_input, test_input, valid_input = _uniform_inputs(problem, train_num, test_num, valid_num, seed)
    low, high = np.array(problem.domain, float).T
    dense_input = low + (high - low) * sobol(dense_num, problem.dim, seed)
    inputs = (train_input, test_input, dense_input, valid_input)
    samples = [x.astype(dtype) for x in inputs]
    arrays = [array for x in samples for array in (x, problem.values(x))]
    return Dataset(*arrays, domain=problem.domain)  # type: ignore[arg-type, misc]  # length unknown to mypy


def _rows(problem: TableProblem, seed: int, dtype: Any) -> Dataset:
    rows = problem.parts(seed)
    samples = {
        f"{part}_{name}": array[rows[part]].astype(dtype)
        for part in rows
        for name, array in (("input", problem.inputs), ("label", problem.outputs))
    }
    return Dataset(**samples, domain=problem.domain)


def _uniform_inputs(problem: Problem, train_num: int, test_num: int, valid_num: int, seed: int) -> list[Array]:
    """Draw as `kan.utils.create_dataset` does: per variable the train, then the test inputs; validation inputs last."""
    generator = TorchGenerator(seed)

    def draw(num: int, low: float, high: float) -> Array:
        return generator.rand(num) * np.float32(high - low) + np.float32(low)

    columns = [(draw(train_num, *interval), draw(test_num, *interval)) for interval in problem.domain]
    valid = [draw(valid_num, *interval) for interval in problem.domain]
    return [np.stack(sample, axis=1) for sample in (*zip(*columns, strict=True), valid)]
