"""Samples against pykan's `create_dataset`, and what a low-discrepancy sample must be."""

import numpy as np
import pytest
import torch
from kan.utils import create_dataset
from scipy.stats import qmc

from kanbench.network.pykan import global_random_state_kept
from kanbench.problems import PROBLEMS, Problem
from kanbench.problems.samples import make_dataset

SIN = PROBLEMS["poisson_2d_sin"]


def numpy_target(x):
    """The problem's target for pykan, which has tensors."""
    return torch.from_numpy(SIN.target(x.numpy()))


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_train_and_test_samples_are_those_of_pykan(seed, dtype):
    ours = make_dataset(SIN, 50, 30, 10, seed, dtype)
    with global_random_state_kept():
        theirs = create_dataset(numpy_target, n_var=2, train_num=50, test_num=30, seed=seed)
    for part in ("train_input", "test_input"):
        np.testing.assert_array_equal(getattr(ours, part), theirs[part].numpy().astype(dtype), strict=True)
    for part in ("train_label", "test_label"):  # ours is evaluated in `dtype`, theirs in float32
        label = getattr(ours, part)
        assert label.dtype == dtype
        np.testing.assert_allclose(label.astype(np.float32), theirs[part].numpy(), rtol=1e-5, atol=1e-4, strict=True)


def test_validation_samples_are_what_the_generator_draws_next():
    few, many = (make_dataset(SIN, 20, 30, 10, 3, valid_num=count) for count in (0, 25))
    assert few.valid_input.shape == (0, 2) and few.valid_label.shape == (0, 1)
    for part in ("train_input", "train_label", "test_input", "test_label", "dense_input", "dense_label"):
        np.testing.assert_array_equal(getattr(few, part), getattr(many, part), strict=True)
    drawn = torch.rand(2 * (20 + 30) + 2 * 25, generator=torch.Generator().manual_seed(3)).numpy()
    expected = np.stack([drawn[-50:-25], drawn[-25:]], axis=1) * np.float32(2) - np.float32(1)
    np.testing.assert_array_equal(many.valid_input, expected.astype(float), strict=True)


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
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    unit = (first + 1) / 2
    random = np.random.default_rng(0).random((1024, 2))
    assert qmc.discrepancy(unit) < qmc.discrepancy(random) / 20


def test_no_global_random_state_is_touched():
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    make_dataset(SIN, 10, 10, 10, 0, valid_num=10)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
