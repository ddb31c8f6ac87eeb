"""Train, test, dense and validation samples of a problem. The generators are their own: no global state is touched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kanbench.problems import Problem


@dataclass(frozen=True)
class Dataset:
    """Inputs of shape (n, d) and targets of shape (n, 1) of the samples."""

    train_input: Tensor
    train_label: Tensor
    test_input: Tensor
    test_label: Tensor
    dense_input: Tensor
    dense_label: Tensor
    valid_input: Tensor
    valid_label: Tensor


def make_dataset(
    problem: Problem,
    train_num: int,
    test_num: int,
    dense_num: int,
    seed: int,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    valid_num: int = 0,
) -> Dataset:
    """Sample `problem`.

    The train and test inputs are the float32 numbers that pykan's `create_dataset` draws for the same seed and sizes,
    whatever `dtype` is, so that results compare with pykan's and between precisions; the targets are evaluated at
    these inputs in `dtype`. The validation inputs are what the same generator draws next. The dense inputs are the
    first `dense_num` points of a scrambled Sobol sequence in the problem's domain.
    """
    train_input, test_input, valid_input = _uniform_inputs(problem, train_num, test_num, valid_num, seed)
    inputs = (train_input, test_input, _dense_inputs(problem, dense_num, seed), valid_input)
    samples = [x.to(dtype) for x in inputs]
    pairs = [tensor.to(device) for x in samples for tensor in (x, problem.target(x))]
    return Dataset(*pairs)


def _uniform_inputs(problem: Problem, train_num: int, test_num: int, valid_num: int, seed: int) -> list[Tensor]:
    """The draws of `kan.utils.create_dataset`, for each variable first the train, then the test inputs; then others."""
    generator = torch.Generator().manual_seed(seed)

    def draw(num: int, low: float, high: float) -> Tensor:
        return torch.rand(num, generator=generator, dtype=torch.float32) * (high - low) + low

    columns = [(draw(train_num, *interval), draw(test_num, *interval)) for interval in problem.domain]
    valid = [draw(valid_num, *interval) for interval in problem.domain]
    return [torch.stack(sample, dim=1) for sample in (*zip(*columns, strict=True), valid)]


def _dense_inputs(problem: Problem, num: int, seed: int) -> Tensor:
    sobol = torch.quasirandom.SobolEngine(problem.dim, scramble=True, seed=seed)
    low, high = torch.tensor(problem.domain, dtype=torch.float64).T
    return low + (high - low) * sobol.draw(num, dtype=torch.float64)
