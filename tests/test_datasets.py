"""Samples against pykan's `create_dataset`, and what a low-discrepancy sample must be."""

import numpy as np
import pytest
import torch
from kan.utils import create_dataset
from scipy.stats import qmc

from kanbench.datasets import make_dataset
from kanbench.models import global_random_state_kept
from kanbench.problems import PROBLEMS, Problem

SIN = PROBLEMS["poisson_2d_sin"]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_train_and_test_samples_are_those_of_pykan(seed, dtype):
    ours = make_dataset(SIN, 50, 30, 10, seed, dtype)
    with global_random_state_kept():
        theirs = create_dataset(SIN.target, n_var=2, train_num=50, test_num=30, seed=seed)
    for part in ("train_input", "test_input"):
        assert getattr(ours, part).dtype == dtype
        assert torch.equal(getattr(ours, part), theirs[part].to(dtype))
    for part in ("train_label", "test_label"):  # ours is evaluated in `dtype`, theirs in float32
        torch.testing.assert_close(getattr(ours, part).float(), theirs[part], rtol=1e-5, atol=1e-4)


def test_the_domain_is_the_problems_own():
    problem = Problem("shifted", lambda x: x[:, [0]], ((0, 2), (10, 11), (-3, -1)))
    data = make_dataset(problem, 40, 40, 512, 0)
    for sample in (data.train_input, data.test_input, data.dense_input):
        for column, (low, high) in zip(sample.T, problem.domain, strict=True):
            assert low <= column.min() < column.max() <= high
    assert data.dense_input[:, 1].min() < 10.01
    assert data.dense_input[:, 1].max() > 10.99


def test_the_dense_sample_is_seeded_and_of_low_discrepancy():
    first, again, other = (make_dataset(SIN, 1, 1, 1024, seed).dense_input for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    unit = (first.numpy() + 1) / 2
    random = np.random.default_rng(0).random((1024, 2))
    assert qmc.discrepancy(unit) < qmc.discrepancy(random) / 20


def test_no_global_random_state_is_touched():
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    make_dataset(SIN, 10, 10, 10, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
