"""Networks and samples of every kind that the fast engines take, and what it means that two engines agree."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import HealthCheck, settings

from kanbench.engine import make_engine
from kanbench.network.spline_network import SplineLayer, SplineNetwork

TOLERANCE = 1e-12  # relative to the norm of what is compared
MODELS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def random_model(hidden, k, grid, seed, dtype=np.float64, dense=0.7, base="silu", fixed=(), ends=(2, 1)):
    """Random knots of 1 to `grid` intervals for every node, random masks, parameters and output bias.

    `ends` are the numbers of inputs and outputs.
    """
    random, widths = np.random.default_rng(seed), pairwise([ends[0], *hidden, ends[1]])
    layers = [random_layer(random, inputs, outputs, k, grid, dense) for inputs, outputs in widths]
    return SplineNetwork(tuple(layers), random.normal(size=ends[1]), base, frozenset(fixed)).astype(dtype)


def random_layer(random, inputs, outputs, k, grid, dense):
    mask = (random.random((inputs, outputs)) < dense) * random.choice([1, 1, 1, 0.5, -2], (inputs, outputs))
    mask[random.random(inputs) < 0.1] = 0
    intervals = random.integers(1, grid + 1, inputs)
    knots = []
    for count in intervals:
        t, span = np.cumsum(random.uniform(0.1, 1, count + 1 + 2 * k)), random.uniform(1, 4)
        knots.append((t - t[0]) / (t[-1] - t[0]) * span - span * random.random())
    coef = [random.normal(size=(outputs, count + k)) for count in intervals]
    scales, fixed_base = random.normal(size=(2, inputs, outputs)), random.random(inputs) < 0.2
    return SplineLayer(tuple(knots), tuple(coef), *scales, mask, k, fixed_base)


def sample(network, n, seed):
    """Inputs in and out of the first layer's knots, and at them, with labels; in the network's precision."""
    random = np.random.default_rng(seed)
    x = random.uniform(-4, 4, (n, network.width[0])).astype(network.dtype)
    for i in range(0, n, 3):
        x[i] = [random.choice(t) for t in network.layers[0].knots]
    return x, random.normal(size=(n, network.width[-1])).astype(network.dtype)


def reference_and(name, network, x, y, **more):
    """The reference engine and another, for the same network; `more` goes to both."""
    return make_engine("reference", network, x, y, **more), make_engine(name, network, x, y, **more)


def as_array(value):
    """What a linearization gives, as a numpy array."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def jacobian_of(linearization):
    """J, shape (residuals, P): the products with the unit vectors."""
    n, n_parameters = linearization.shape
    if isinstance(linearization.residuals, torch.Tensor):
        return as_array(linearization.jvp(torch.eye(n_parameters).to(linearization.residuals)))
    columns = [linearization.jvp(unit) for unit in np.eye(n_parameters)]
    return np.stack(columns, axis=1) if columns else np.empty((n, 0))


def assert_near(value, expected, tolerance):
    assert value.shape == expected.shape and value.dtype == expected.dtype
    assert np.linalg.norm(value - expected) <= tolerance * np.linalg.norm(expected)


def assert_same(reference, engine, x):
    """All that engines compute, at θ moved a little.

    Within `TOLERANCE`; where a network amplifies rounding errors by more than that, within twice what one of three
    changes of θ in its last digits changes of pykan's own results.
    """
    theta = engine.network.parameters() + engine.network.dtype.type(0.1)
    assert type(engine.loss_and_gradient(theta)[0]) is float
    reference.loss_and_gradient(theta)
    assert np.array_equal(engine.y, reference.y)
    ours, expected = results(engine, theta, x[:7]), results(reference, theta, x[:7])
    assert engine.n_evals == reference.n_evals
    for value, other in zip(ours, expected, strict=True):
        assert value.shape == other.shape and value.dtype == other.dtype
    if all(distance(*pair) <= TOLERANCE for pair in zip(ours, expected, strict=True)):
        return
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (3, *theta.shape))
    shaken = [results(reference, theta * (1 + np.finfo(theta.dtype).eps * change), x[:7]) for change in signs]
    for value, other, *beside in zip(ours, expected, *shaken, strict=True):
        assert distance(value, other) <= max(TOLERANCE, *(2 * distance(near, other) for near in beside))


def results(engine, theta, x):
    """Loss, gradient, residuals, those of the linearization and its Jacobian, and predictions for x.

    And what nodes and edges carry on the training sample: hidden values, and deviations.
    """
    loss, gradient = engine.loss_and_gradient(theta)
    assert gradient.shape == theta.shape and gradient.dtype == engine.network.dtype
    linearization = engine.linearize(theta)
    linear = as_array(linearization.residuals), jacobian_of(linearization)
    activations = engine.activations(theta)
    edges, nodes = activations.deviations() if len(engine.y) > engine.network.width[-1] else ((), ())
    # In one vector: a deviation may be rounding errors of what does not vary.
    carried = np.concatenate([values.ravel() for values in (*activations.layer_inputs(), *edges, *nodes)])
    return np.array(loss), gradient, engine.residuals(theta), *linear, engine.predict(theta, x), carried.astype(float)


def distance(value, expected):
    """Relative to the norm of what is expected."""
    error, norm = np.linalg.norm(value - expected), np.linalg.norm(expected)
    return 0.0 if error == 0 else error / norm if norm else float("inf")


def assert_float32(name, network, x, y, tolerance=1e-5, **more):
    """Against float64; pykan's own error in float32 shows how far rounding is amplified by the network."""
    double = network.astype(float), x.astype(float), y.astype(float)
    exact, theta = make_engine("reference", *double), network.parameters()
    pykan, engine = reference_and(name, network, x, y, **more)
    engine_results, pykan_results = results(engine, theta, x), results(pykan, theta, x)
    assert {value.dtype for value in engine_results} == {np.dtype("float32"), np.dtype("float64")}
    assert engine.predict(theta, x).dtype == engine.residuals(theta).dtype == np.float32
    for value, rounded, expected in zip(
        engine_results, pykan_results, results(exact, theta.astype(float), double[1]), strict=True
    ):
        amplified = 3 * np.linalg.norm(rounded - expected) / max(np.linalg.norm(expected), 1e-300)
        assert np.linalg.norm(value - expected) <= max(tolerance, amplified) * np.linalg.norm(expected)
