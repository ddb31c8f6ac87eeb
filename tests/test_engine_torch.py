"""The torch engine against the reference engine, on models of every kind that it takes, on every device that is here."""


import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models_at_random import BASE_FUNCTIONS, MODELS, assert_same, random_model, reference_and, sample

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_CUDA)])
def device(request):
    return request.param


def engines(model, x, y, device):
    return reference_and("torch", model.to(device), x.to(device), y.to(device))


@MODELS
@given(
    hidden=st.lists(st.integers(1, 6), min_size=0, max_size=3),
    k=st.integers(1, 5),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    base=st.sampled_from(sorted(BASE_FUNCTIONS)),
    dense=st.sampled_from([0.3, 0.8, 1.0]),
)
def test_float64(device, hidden, k, grid, seed, n, base, dense):
    model = random_model(hidden, k, grid, seed, base=base, dense=dense)
    x, y = sample(model, n, seed)
    assert_same(*engines(model, x, y, device), x.to(device))
