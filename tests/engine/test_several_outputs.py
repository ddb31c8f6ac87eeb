"""Networks of several outputs: the engines against pykan's forward with torch's loss and autograd, and each other."""

import numpy as np
import pytest
import torch

from kanbench.engine import make_engine
from kanbench.engine.torch_engine.parameters import TrainedParameters
from kanbench.network.initialization import initialize
from kanbench.network.pykan import to_pykan
from kanbench.network.spline_network import PARTS
from kanbench.training.optimizers import make_optimizer
from support.models_at_random import (
    as_array,
    assert_float32,
    assert_near,
    assert_same,
    jacobian_of,
    random_model,
    reference_and,
    sample,
)

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
WIDTHS = [[2, 3, 2], [1, 4], [3, 4, 2, 3], [2, 5, 11]]  # the last with more outputs than a vector has lanes
ENGINES = ["compiled", "torch", "reference"]
OPTIMIZERS = {
    "adam": {"lr": 0.02},
    "lbfgs": {"lr": 1.0, "max_iter": 20, "max_eval": 25, "history_size": 10},
    "lm": {"damping": 0.1, "attempts": 10, "geodesic_acceleration": True, "scaling": "identity"},
}


@pytest.fixture(params=["compiled", "torch", pytest.param("torch on cuda", marks=NO_CUDA)])
def where(request):
    """Name and device of an engine, as arguments of `make_engine`."""
    name, _, device = request.param.partition(" on ")
    return {"name": name, "device": device or "cpu"}


def model_of(width, k, seed=4, **more):
    return random_model(width[1:-1], k, 6, seed, ends=(width[0], width[-1]), **more)


def of_pykan(network, x, y):
    """The output of pykan's model, torch's MSELoss with its gradient, and the Jacobian, row by row by autograd."""
    model = to_pykan(network)
    layers = [{part: getattr(layer, part) for part in PARTS} for layer in model.act_fun]
    trained = TrainedParameters(network, layers)

    def derivatives(value):
        return trained.flatten(torch.autograd.grad(value, trained.tensors, retain_graph=True, materialize_grads=True))

    output = model(torch.tensor(x))
    loss = torch.nn.MSELoss()(output, torch.tensor(y))
    rows = torch.stack([derivatives(value) for of_sample in output for value in of_sample])
    return output.detach().numpy(), loss.item(), derivatives(loss).numpy(), rows.numpy()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("width", WIDTHS, ids=str)
def test_what_pykan_and_torch_say(name, width):
    """All that is defined of the residuals: their order, their loss and their derivatives; to rounding errors."""
    network = model_of(width, 3)
    x, y = sample(network, 15, seed=1)
    output, loss, gradient, jacobian = of_pykan(network, x, y)
    engine, theta = make_engine(name, network, x, y), network.parameters()
    linearization = engine.linearize(theta)
    assert output.shape == y.shape and linearization.shape == jacobian.shape == (y.size, len(theta))
    assert np.array_equal(engine.y, (y - network.output_bias).ravel())
    found_loss, found_gradient = engine.loss_and_gradient(theta)
    assert found_loss == pytest.approx(loss, rel=1e-13)
    assert_near(found_gradient, gradient, 1e-12)
    assert_near(engine.predict(theta, x), output, 1e-12)
    for residuals in (engine.residuals(theta), as_array(linearization.residuals)):
        assert_near(residuals, (output - y).ravel(), 1e-12)
    assert_near(jacobian_of(linearization), jacobian, 1e-12)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("width", WIDTHS, ids=str)
def test_float64(where, width, k):
    """As of one output, see `test_agreement`: among random masks, nodes of different intervals, and samples outside."""
    network = model_of(width, k, seed=k)
    x, y = sample(network, 120, seed=2)
    assert_same(*reference_and(network=network, x=x, y=y, **where), x)


@pytest.mark.parametrize("width", WIDTHS[:3], ids=str)
def test_float32(where, width):
    """The tolerances are those of one output."""
    network = model_of(width, 3, dtype=np.float32)
    x, y = sample(network, 40, seed=3)
    assert_float32(network=network, x=x, y=y, tolerance=1e-5 if where["name"] == "compiled" else 5e-5, **where)


@pytest.mark.parametrize("name", ENGINES)
def test_finite_differences(name):
    """Central ones: their error is h² and rounding over h, some 1e-10 of numbers of the size of 1."""
    network, h = initialize([2, 3, 2], 4), 1e-5
    x = np.random.default_rng(0).uniform(-1, 1, (40, 2))
    engine, theta = make_engine(name, network, x, np.sin(3 * x)), network.parameters()
    gradient, jacobian = engine.loss_and_gradient(theta)[1], jacobian_of(engine.linearize(theta))
    for i in range(0, len(theta), 5):
        above, below = theta.copy(), theta.copy()
        above[i] += h
        below[i] -= h
        slope = (engine.loss_and_gradient(above)[0] - engine.loss_and_gradient(below)[0]) / (2 * h)
        assert gradient[i] == pytest.approx(slope, rel=1e-7, abs=1e-9)
        np.testing.assert_allclose(
            jacobian[:, i], (engine.residuals(above) - engine.residuals(below)) / (2 * h), atol=1e-8
        )


@pytest.mark.parametrize("name", ENGINES)
def test_an_output_alone(name):
    """A network of one layer is a network for each of its outputs: loss, residuals, gradient and Jacobian."""
    network = model_of([2, 3], 3, dense=1.0)
    x, y = sample(network, 30, seed=4)
    engine, theta = make_engine(name, network, x, y), network.parameters()
    losses, residuals = [], engine.residuals(theta).reshape(y.shape)
    jacobian = jacobian_of(engine.linearize(theta)).reshape(*y.shape, -1)
    for j in range(3):
        alone = network_of_output(network, j)
        part = make_engine(name, alone, x, y[:, [j]])
        losses.append(part.loss_and_gradient(alone.parameters())[0])
        assert_near(residuals[:, j], part.residuals(alone.parameters()), 1e-13)
        rows = jacobian[:, j]
        there = rows.any(axis=0)
        own = jacobian_of(part.linearize(alone.parameters()))
        assert_near(rows[:, there], own[:, own.any(axis=0)], 1e-13)
    assert engine.loss_and_gradient(theta)[0] == pytest.approx(np.mean(losses), rel=1e-13)


def network_of_output(network, j):
    """The network of output j of a network of one layer."""
    (layer,) = network.layers
    scales = (part[:, [j]] for part in (layer.scale_base, layer.scale_sp, layer.mask))
    coef = tuple(c[[j]] for c in layer.coef)
    one = type(layer)(layer.knots, coef, *scales, layer.order, layer.fixed_base)
    return type(network)((one,), network.output_bias[[j]], network.base, network.fixed)


def copied_outputs(network, count):
    """The network whose outputs are all copies of the one of a network."""
    *others, last = network.layers
    scales = (np.repeat(part, count, axis=1) for part in (last.scale_base, last.scale_sp, last.mask))
    coef = tuple(np.repeat(c, count, axis=0) for c in last.coef)
    wide = type(last)(last.knots, coef, *scales, last.order, last.fixed_base)
    return type(network)((*others, wide), np.repeat(network.output_bias, count), network.base, network.fixed)


@pytest.mark.parametrize("name", ENGINES)
def test_copies_of_one_output(name):
    """Have the loss of the one, and the hidden layer's gradient; and Gram matrices in proportion."""
    one, (x, y) = random_model([4], 3, 5, seed=2), sample(random_model([4], 3, 5, seed=2), 60, seed=2)
    three = copied_outputs(one, 3)
    single, copies = make_engine(name, one, x, y), make_engine(name, three, x, np.repeat(y, 3, axis=1))
    (loss, gradient), (same_loss, of_copies) = (e.loss_and_gradient(e.network.parameters()) for e in (single, copies))
    assert same_loss == pytest.approx(loss, rel=1e-13)
    hidden = sum(len(one.layers[0].part(part)) for part in PARTS)
    assert_near(of_copies[:hidden], gradient[:hidden], 1e-12)
    assert_near(of_copies[hidden:].sum(), gradient[hidden:].sum(), 1e-12)
    matrices = (as_array(e.linearize(e.network.parameters()).normal_matrix()) for e in (copies, single))
    assert_near(
        *(np.tril(matrix)[:hidden, :hidden] * factor for matrix, factor in zip(matrices, (1, 3), strict=True)), 1e-12
    )


@pytest.mark.parametrize(("optimizer", "steps", "below"), [("adam", 300, 1e-2), ("lbfgs", 15, 1e-4), ("lm", 15, 1e-6)])
@pytest.mark.parametrize("name", ["compiled", "torch"])
def test_trainings(name, optimizer, steps, below):
    """Of sin(2x) y and x² - y, whose mean square is 0.37, in few steps."""
    network = initialize([2, 4, 2], 5)
    x = np.random.default_rng(1).uniform(-1, 1, (200, 2))
    y = np.stack([np.sin(2 * x[:, 0]) * x[:, 1], x[:, 0] ** 2 - x[:, 1]], axis=1)
    engine, method, theta = (
        make_engine(name, network, x, y),
        make_optimizer(optimizer, **OPTIMIZERS[optimizer]),
        network.parameters(),
    )
    for _ in range(steps):
        theta = method.step(engine, theta)
    loss = engine.loss_and_gradient(theta)[0]
    assert loss < below
    assert np.square(engine.predict(theta, x) - y).mean() == pytest.approx(loss, rel=1e-9)
