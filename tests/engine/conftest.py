"""What the tests of several engines share."""

import pytest

from support.models_at_random import random_model, sample


@pytest.fixture
def network():
    return random_model([3, 2], 3, 6, seed=5)


@pytest.fixture
def data(network):
    return sample(network, 50, seed=1)
