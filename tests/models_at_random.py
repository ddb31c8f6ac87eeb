"""Models and samples of every kind that the fast engines take, and what it means that two engines agree."""

import copy

import numpy as np
import torch
from hypothesis import HealthCheck, settings

from kanbench.engine import make_engine
from kanbench.models import build_model, with_intervals

TOLERANCE = 1e-12  # relative to the norm of what is compared
MODELS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BASE_FUNCTIONS = {"silu": torch.nn.SiLU(), "identity": torch.nn.Identity()}


def random_model(hidden, k, grid, seed, dtype=torch.float64, dense=0.7, base="silu"):
    """Random rows of knots, of 1 to `grid` intervals with padding, random masks and parameters."""
    model, random = build_model([2, *hidden, 1], grid, k, dtype=dtype), np.random.default_rng(seed)
    rows = []
    with torch.no_grad():
        for layer in model.act_fun:
            shape = layer.mask.shape
            mask = (random.random(shape) < dense) * random.choice([1, 1, 1, 0.5, -2], shape)
            mask[random.random(len(mask)) < 0.1] = 0
            knots = np.cumsum(random.uniform(0.1, 1, layer.grid.shape), axis=1)
            spans = random.uniform(1, 4, (len(knots), 1))
            knots = (knots - knots[:, [0]]) / (knots[:, [-1]] - knots[:, [0]]) * spans - spans * random.random()
            rows.append(random.integers(1, grid + 1, layer.in_dim))
            coef = random.normal(size=layer.coef.shape) * (np.arange(grid + k) < rows[-1][:, None] + k)[:, None]
            if random.random() < 0.5:  # pykan makes such
                layer.coef.data = layer.coef.data.permute(2, 0, 1).contiguous().permute(1, 2, 0)
            scales = random.normal(size=(2, *shape))
            values = zip((layer.mask, layer.grid, layer.coef, layer.scale_base, layer.scale_sp),
                         (mask, knots, coef, *scales), strict=True)  # fmt: skip
            for parameter, value in values:
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
            layer.base_fun = BASE_FUNCTIONS[base]
    return with_intervals(model, rows)


def sample(model, n, seed, dtype=torch.float64):
    """Inputs in and out of the first layer's knots, and at them, with labels."""
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.uniform(-4, 4, (n, 2))).to(dtype)
    knots = model.act_fun[0].grid
    for i in range(0, n, 3):
        x[i] = knots[torch.arange(2), torch.from_numpy(random.integers(0, knots.shape[1], 2))]
    return x, torch.from_numpy(random.normal(size=(n, 1))).to(dtype)


def reference_and(name, model, x, y):
    """The reference engine and another, each with its own copy of a model."""
    return make_engine("reference", copy.deepcopy(model), x, y), make_engine(name, model, x, y)


def assert_near(value, expected, tolerance):
    assert value.shape == expected.shape and value.dtype == expected.dtype
    assert (value - expected).norm() <= tolerance * expected.norm()


def assert_same(reference, engine, x):
    """All that engines compute, at θ moved a little.

    Within `TOLERANCE`; where a model amplifies rounding errors by more than that, within twice what one of three
    changes of θ in its last digits changes of pykan's own results.
    """
    theta = reference.parameters()
    assert torch.equal(engine.parameters(), theta)
    theta = theta + 0.1
    assert type(engine.loss_and_gradient(theta)[0]) is float
    reference.loss_and_gradient(theta)
    ours, expected = results(engine, theta, x[:7]), results(reference, theta, x[:7])
    assert engine.n_evals == reference.n_evals
    for (name, value), other in zip(
        engine.model.state_dict().items(), reference.model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    for value, other in zip(ours, expected, strict=True):
        assert value.shape == other.shape and value.dtype == other.dtype
    if all(distance(*pair) <= TOLERANCE for pair in zip(ours, expected, strict=True)):
        return
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (3, *theta.shape)))
    shaken = [results(reference, theta * (1 + torch.finfo(theta.dtype).eps * change), x[:7]) for change in signs]
    for value, other, *beside in zip(ours, expected, *shaken, strict=True):
        assert distance(value, other) <= max(TOLERANCE, *(2 * distance(near, other) for near in beside))


def results(engine, theta, x):
    """Loss, gradient, residuals, residuals and Jacobian, and predictions for x."""
    loss, gradient = engine.loss_and_gradient(theta)
    rest = (engine.residuals(theta), *engine.residuals_and_jacobian(theta), engine.predict(x))
    return torch.tensor(loss, dtype=theta.dtype), gradient, *rest


def distance(value, expected):
    """Relative to the norm of what is expected."""
    error, norm = (value - expected).norm().item(), expected.norm().item()
    return 0.0 if error == 0 else error / norm if norm else float("inf")


def assert_float32(name, model, x, y):
    """Against float64; pykan's own error in float32 shows how far rounding is amplified by the model."""
    exact = make_engine("reference", copy.deepcopy(model).double(), x.double(), y.double())
    pykan, engine = reference_and(name, model, x, y)
    theta = engine.parameters()
    for value, rounded, expected in zip(
        results(engine, theta, x), results(pykan, theta, x), results(exact, theta.double(), x.double()), strict=True
    ):
        assert value.dtype == torch.float32
        tolerance = max(1e-5, 3 * (rounded - expected).norm() / max(expected.norm(), 1e-300))
        assert_near(value.double(), expected, tolerance)
