"""The reference engine against finite differences and pykan's forward; what engines refuse, and what they import."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from kanbench.engine import make_engine
from kanbench.errors import InputError
from kanbench.network.initialization import initialize
from kanbench.network.pykan import to_pykan
from support.models_at_random import as_array, jacobian_of, random_model, sample

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.uniform(-1, 1, (30, 2)), RANDOM.random((30, 1))


@pytest.fixture(params=[([2, 5, 1], 3, 3), ([2, 3, 4, 1], 6, 2)], ids=str)
def engine(request):
    return make_engine("reference", initialize(*request.param), X, Y)


def test_evaluations_are_pykans():
    """Of a network with parameters θ, whatever those of the engine's network are."""
    network = random_model([3, 2], 3, 6, seed=5)
    x, y = sample(network, 30, seed=1)
    engine, theta = make_engine("reference", network, x, y), network.parameters() + 0.1
    with torch.no_grad():
        output = to_pykan(network.with_parameters(theta))(torch.tensor(x)).numpy()
    before = engine.residuals(theta + 1)
    residuals = engine.residuals(theta)
    assert np.array_equal(residuals, (output - y)[:, 0])
    assert np.array_equal(engine.predict(theta, x), output)
    assert engine.loss_and_gradient(theta)[0] == pytest.approx(residuals @ residuals / 30, rel=1e-14)
    assert np.array_equal(engine.residuals(theta + 1), before)
    assert np.array_equal(engine.y, y[:, 0] - network.output_bias)


def test_gradient_against_finite_differences(engine):
    theta, h = engine.network.parameters(), 1e-6
    _, gradient = engine.loss_and_gradient(theta)
    for i in range(0, len(theta), 7):
        shift = np.zeros_like(theta)
        shift[i] = h
        above, below = (engine.loss_and_gradient(theta + sign * shift)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-8)


def test_jacobian_against_finite_differences_and_gradient(engine):
    theta, h = engine.network.parameters(), 1e-6
    linearization = engine.linearize(theta)
    residuals, jacobian = as_array(linearization.residuals), jacobian_of(linearization)
    assert jacobian.shape == (30, len(theta))
    for i in range(0, len(theta), 7):
        shift = np.zeros_like(theta)
        shift[i] = h
        difference = (engine.residuals(theta + shift) - engine.residuals(theta - shift)) / (2 * h)
        np.testing.assert_allclose(jacobian[:, i], difference, rtol=1e-6, atol=1e-8)
    _, gradient = engine.loss_and_gradient(theta)
    np.testing.assert_allclose(2 / 30 * jacobian.T @ residuals, gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["compiled", "torch", "reference"])
def test_evaluations_are_counted(name):
    network = initialize([2, 5, 1], 3)
    engine, theta = make_engine(name, network, X, Y), network.parameters()
    engine.predict(theta, X)
    assert engine.n_evals == 0
    engine.residuals(theta)
    engine.loss_and_gradient(theta)
    linearization = engine.linearize(theta)
    assert engine.n_evals == 3
    linearization.residuals_at(linearization.vjp(linearization.residuals))
    assert engine.n_evals == 4


@pytest.mark.parametrize("name", ["compiled", "torch"])
@pytest.mark.parametrize(
    ("network", "found", "allowed"),
    [
        (initialize([2, 3, 1], 4, k=6), "splines of order 6", "1 to 5"),
        (initialize([2, 3, 1], 4, dtype=np.float16), "float16", "float64, float32"),
    ],
)
def test_networks_that_are_refused(name, network, found, allowed):
    with pytest.raises(InputError) as error:
        make_engine(name, network, X, Y)
    assert (error.value.where, error.value.found, error.value.allowed) == (f"engine {name}", found, allowed)


@pytest.mark.parametrize("name", ["compiled", "torch", "reference"])
@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (X, Y, "(30, 2) and (30, 1)"),
        (X, np.hstack([Y, Y])[:20], "(30, 2) and (20, 2)"),
        (X, Y[:, 0], "(30, 2) and (30,)"),
        (X[:, :1], np.hstack([Y, Y]), "(30, 1) and (30, 2)"),
    ],
)
def test_samples_that_do_not_fit_the_network_are_refused(name, x, y, found):
    """What would be broadcast, too."""
    with pytest.raises(InputError) as error:
        make_engine(name, initialize([2, 3, 2], 4), x, y)
    assert error.value.found == f"samples of shapes {found}" and error.value.allowed == "(30, 2) and (30, 2)"


def test_the_protocols_need_no_torch():
    code = "import sys, kanbench.engine, kanbench.engine.numba_engine.lapack; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "kan", "pandas", "scipy.linalg"} & set(run.stdout.split())
