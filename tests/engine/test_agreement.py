"""The compiled and the torch engine against the reference engine, on networks of every kind that they take."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kanbench.engine import make_engine
from kanbench.network.evaluation import Activations
from kanbench.network.initialization import initialize
from kanbench.network.refinement import refine
from kanbench.network.spline_network import BASE_FUNCTIONS
from support.models_at_random import (
    MODELS,
    assert_float32,
    assert_same,
    jacobian_of,
    random_model,
    reference_and,
    sample,
)

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=["compiled", "torch", pytest.param("torch on cuda", marks=NO_CUDA)])
def where(request):
    """Name and device of an engine, as arguments of `make_engine`."""
    name, _, device = request.param.partition(" on ")
    return {"name": name, "device": device or "cpu"}


@MODELS
@given(
    hidden=st.lists(st.integers(1, 6), max_size=3),
    k=st.integers(1, 5),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    base=st.sampled_from(sorted(BASE_FUNCTIONS)),
    dense=st.sampled_from([0.3, 0.8, 1.0]),
)
def test_float64(where, hidden, k, grid, seed, n, base, dense):
    """But for networks whose splines are met in their tails only: compiled basis functions are right to eps of 1."""
    network = random_model(hidden, k, grid, seed, base=base, dense=dense)
    x, y = sample(network, n, seed)
    reference, engine = reference_and(network=network, x=x, y=y, **where)
    if where["name"] == "compiled":
        jacobian = jacobian_of(reference.linearize(network.parameters() + 0.1))
        assume(not 0 < np.abs(jacobian).max(initial=0) < 1e-3)
        reference = make_engine("reference", network, x, y)
    assert_same(reference, engine, x)


@pytest.mark.slow
@settings(MODELS, max_examples=15)
@given(
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    k=st.integers(1, 3),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_float32(where, hidden, k, grid, seed):
    network = random_model(hidden, k, grid, seed, np.float32)
    x, y = sample(network, 40, seed)
    # The torch engine forms the gradient from sums by knot span, in float32: errors of 1.4e-5 have been met.
    tolerance = 1e-5 if where["name"] == "compiled" else 5e-5
    assert_float32(network=network, x=x, y=y, tolerance=tolerance, **where)


@pytest.mark.parametrize(
    "fixed",
    [{"scale_sp"}, {"scale_base"}, {"scale_sp", "scale_base"}, {"coef", "scale_sp"}],
    ids=lambda f: "+".join(sorted(f)),
)
def test_parameters_that_are_held_fixed(fixed, data, where):
    network, (x, y) = random_model([3], 3, 4, seed=6, fixed=fixed), data
    assert_same(*reference_and(network=network, x=x, y=y, **where), x)


def test_large_grid_and_narrow_intervals(data, where):
    network, (x, y) = random_model([4], 3, 100, seed=3), data

    def narrowed(t, c):
        return t[0] + (t[-1] - t[0]) * np.concatenate([[0], np.linspace(0.1, 0.9, len(t) - 2) ** 9, [1]]), c

    rows = [[narrowed(*node) for node in zip(layer.knots, layer.coef, strict=True)] for layer in network.layers]
    network = network.with_rows(rows)
    assert network.grid > 50
    assert_same(*reference_and(network=network, x=x, y=y, **where), x)


def test_refined_grids(data, where):
    """Nodes of many different numbers of intervals, whose new knots are where samples are."""
    x, y = data
    coarse = initialize([2, 4, 1], 5)
    network = refine(coarse, [[7, 30], [5, 12, 6, 20]], Activations.of(coarse, x))
    assert network.intervals == [[7, 30], [5, 12, 6, 20]]
    assert_same(*reference_and(network=network, x=x, y=y, **where), x)


def test_layers_with_orders_of_their_own(data, where):
    first, second = random_model([3], 2, 4, seed=1), random_model([3], 4, 4, seed=3)
    network, (x, y) = dataclasses.replace(first, layers=(first.layers[0], second.layers[1])), data
    assert_same(*reference_and(network=network, x=x, y=y, **where), x)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(network, data, where, bad):
    engine, theta = make_engine(network=network, x=data[0], y=data[1], **where), network.parameters()
    for i in range(0, len(theta), 5):
        wrong = theta.copy()
        wrong[i] = bad
        assert not np.isfinite(engine.loss_and_gradient(wrong)[0])
        assert not np.isfinite(engine.residuals(wrong)).any()
        assert not np.isfinite(engine.predict(wrong, data[0])).any()
