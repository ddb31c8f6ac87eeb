"""A network evaluated plainly against pykan's forward."""

import numpy as np
import pytest
import torch

from kanbench.network import evaluation
from kanbench.network.evaluation import activations, base_function, edge_values, evaluate
from kanbench.network.pykan import to_pykan
from support.models_at_random import random_model, sample

SHAPES = [([5], 3, 5), ([4, 3], 2, 8), ([], 1, 4), ([3, 3, 3], 5, 3)]


def assert_near(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("base", ["silu", "identity", "zero"])
@pytest.mark.parametrize(("hidden", "k", "grid"), SHAPES, ids=str)
def test_networks_are_pykans(hidden, k, grid, base):
    network = random_model(hidden, k, grid, seed=k, base=base)
    x, _ = sample(network, 400, seed=1)
    model = to_pykan(network)
    model.save_act = True
    assert_near(evaluate(network, x), model(torch.from_numpy(x)).detach().numpy())
    levels = activations(network, x)
    assert [level.shape[1] for level in levels] == network.width
    inputs, edges = ([part.detach().numpy() for part in parts] for parts in (model.acts, model.spline_postacts))
    for level, theirs in zip(levels, inputs, strict=True):
        assert_near(level, theirs)
    for number, theirs in enumerate(edges):  # (n, outputs, inputs)
        assert_near(edge_values(network, number, inputs[number]), theirs.transpose(0, 2, 1))


def test_float32_networks_are_evaluated_in_float64():
    network = random_model([4, 3], 3, 6, seed=2, dtype=np.float32)
    x, _ = sample(network, 100, seed=1)
    values = evaluate(network, x)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, evaluate(network.astype(np.float64), x.astype(np.float64)))


def test_many_samples_are_evaluated_in_chunks(monkeypatch):
    network = random_model([4, 3], 3, 6, seed=2)
    x, _ = sample(network, 101, seed=1)
    at_once = evaluate(network, x)
    for chunk in (1, 12 * 10, 12 * 101):
        monkeypatch.setattr(evaluation, "CHUNK", chunk)
        np.testing.assert_array_equal(evaluate(network, x), at_once)
    assert evaluate(network, x[:0]).shape == (0, 1)


def test_base_functions():
    x = np.array([-1e9, -800.0, -700, -30, -1, -0.0, 1, 30, 800, 1e9])
    with np.errstate(all="raise", under="ignore"):
        silu = base_function("silu", x)
    np.testing.assert_allclose(silu, torch.nn.functional.silu(torch.from_numpy(x)).numpy(), rtol=1e-14, atol=1e-298)
    np.testing.assert_array_equal(base_function("identity", x), x)
    np.testing.assert_array_equal(base_function("zero", x), 0)
