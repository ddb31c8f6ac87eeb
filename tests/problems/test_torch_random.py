"""The numbers are torch's, and nothing global is touched."""

import numpy as np
import pytest
import torch

from kanbench.problems.torch_random import TorchGenerator, linspace, sobol

SEEDS = (0, 1, 42, 2**32 - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_is_torchs(seed):
    ours, theirs = TorchGenerator(seed), torch.Generator().manual_seed(seed)
    for shape in ((1,), (3, 5, 2), (0,), (623,), (1001,), (50, 40)):  # the generator makes 624 numbers at once
        for high in (2, 10, 2**28 - 1):
            expected = torch.randint(high, shape, generator=theirs)
            np.testing.assert_array_equal(ours.randint(high, *shape), expected.numpy(), strict=True)
        expected = torch.rand(shape, generator=theirs)
        np.testing.assert_array_equal(ours.rand(*shape), expected.numpy(), strict=True)


@pytest.mark.parametrize("ends", [(-1, 1), (0, 1), (-0.3, 2.7), (100, 101)], ids=str)
def test_linspace_is_torchs(ends):
    for intervals in range(1, 301):
        expected = torch.linspace(*ends, intervals + 1, dtype=torch.float32).numpy()
        np.testing.assert_array_equal(linspace(*ends, intervals + 1), expected, strict=True)


@pytest.mark.parametrize("dimension", [*range(1, 11), 21, 33, 64, 65, 100])
def test_sobol_points_are_torchs(dimension):
    for seed in SEEDS:
        for count in (1, 2, 3, 100):
            engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)
            expected = engine.draw(count, dtype=torch.float64).numpy()
            np.testing.assert_array_equal(sobol(count, dimension, seed), expected, strict=True)


def test_many_sobol_points_are_torchs():
    expected = torch.quasirandom.SobolEngine(3, scramble=True, seed=7).draw(2**16 + 5, dtype=torch.float64)
    np.testing.assert_array_equal(sobol(2**16 + 5, 3, 7), expected.numpy(), strict=True)


def test_there_are_no_more_dimensions_than_direction_numbers():
    with pytest.raises(ValueError, match="21202 dimensions"):
        sobol(2, 21202, 0)


def test_nothing_global_is_touched():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    TorchGenerator(3).rand(1000)
    sobol(10, 2, 3)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
