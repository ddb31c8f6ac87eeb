"""Grid updates: pykan's, and where pykan's would fail."""

import dataclasses

import numpy as np
import pytest
import torch

from kanbench.network.evaluation import Activations, evaluate
from kanbench.network.grid_update import update_grids
from kanbench.network.initialization import initialize
from kanbench.network.pykan import from_pykan, to_pykan, update_grid
from kanbench.network.refinement import GridUpdates
from kanbench.network.splines import basis_matrix

X = np.random.default_rng(0).uniform(-1, 1, (300, 2)) * [1, 0.3]


def pykans(network):
    model = to_pykan(network)
    model.update_grid(torch.tensor(X.astype(network.dtype)))
    return from_pykan(model)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])  # conditioned like 1e3
def test_they_are_pykans(k, dtype, tolerance):
    network = initialize([2, 4, 3, 1], 4, k, seed=2, dtype=dtype)
    ours, theirs = update_grids(network, X), pykans(network)
    assert ours.dtype == dtype and ours.intervals == network.intervals
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_allclose(np.array(one.knots), np.array(other.knots), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(np.array(one.coef), np.array(other.coef), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(evaluate(ours, X), evaluate(theirs, X), rtol=tolerance, atol=tolerance)


def test_what_the_new_splines_can_represent_stays():
    """Of splines that are one cubic polynomial, all of it."""
    network = initialize([1, 1], 4, 3)
    layer = network.layers[0]
    inner = np.linspace(-1, 1, 50)
    coef = np.linalg.lstsq(basis_matrix(inner, layer.knots[0], 3), inner**3 - inner, rcond=None)[0][None]
    network = dataclasses.replace(network, layers=(dataclasses.replace(layer, coef=(coef,)),))
    x = np.random.default_rng(1).uniform(-0.7, 0.9, (200, 1))
    updated = update_grids(network, x)
    assert updated.layers[0].knots[0][[3, -4]] == pytest.approx([x.min(), x.max()], rel=1e-12)
    np.testing.assert_allclose(evaluate(updated, x), evaluate(network, x), atol=1e-12)


def test_a_node_whose_samples_are_one_number_or_none_keeps_its_grid():
    network = initialize([3, 2, 1], 4)
    x = np.c_[X[:, 0], np.full(300, 0.5), np.full(300, np.nan)]
    before, after = network.layers[0], update_grids(network, x).layers[0]
    assert not np.array_equal(before.knots[0], after.knots[0])
    for node in (1, 2):
        assert np.array_equal(before.knots[node], after.knots[node])
        assert np.array_equal(before.coef[node], after.coef[node])


def test_fixed_base_functions_stay_fixed():
    """pykan does not know of them."""
    network = initialize([2, 2, 1], 4, domain=[(0, 100), (-1, 1)])
    x = X * [50, 1] + [50, 0]
    for updated in (update_grids(network, x), update_grid(network, x)):
        assert updated.layers[0].fixed_base.tolist() == [True, False]
        assert updated.n_parameters == network.n_parameters


def test_only_the_first_grid_is_updated():
    policy, network = GridUpdates(update_every=5, start=1, stop=20), initialize([2, 2, 1], 4)
    assert [epoch for epoch in range(60) if policy.updates(epoch)] == [5, 10, 15]
    refined = policy.refine(network, 8, Activations.of(network, X))
    np.testing.assert_allclose(evaluate(refined, X), evaluate(network, X), atol=1e-12)
    assert not any(policy.updates(epoch) for epoch in range(60))
