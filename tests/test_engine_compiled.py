"""The compiled engine against the reference engine, on models of every kind that it takes."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kan import KAN

from kanbench.engine import make_engine
from kanbench.engine.compiled import CompiledEngine
from kanbench.errors import InputError
from kanbench.models import Snapshot, build_model, intervals, live_entries, with_intervals

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


def engines(model, x, y):
    return make_engine("reference", copy.deepcopy(model), x, y), make_engine("compiled", model, x, y)


def assert_near(value, expected, tolerance):
    assert value.shape == expected.shape and value.dtype == expected.dtype
    assert (value - expected).norm() <= tolerance * expected.norm()


def assert_same(reference, compiled, x):
    """All that engines compute, at θ moved a little."""
    theta, tolerance = reference.parameters(), TOLERANCE
    assert torch.equal(compiled.parameters(), theta)
    theta = theta + 0.1
    loss, gradient = reference.loss_and_gradient(theta)
    compiled_loss, compiled_gradient = compiled.loss_and_gradient(theta)
    assert type(compiled_loss) is float and compiled_loss == pytest.approx(loss, rel=tolerance)
    assert_near(compiled_gradient, gradient, tolerance)
    assert_near(compiled.residuals(theta), reference.residuals(theta), tolerance)
    for value, expected in zip(
        compiled.residuals_and_jacobian(theta), reference.residuals_and_jacobian(theta), strict=True
    ):
        assert_near(value, expected, tolerance)
    assert_near(compiled.predict(x[:7]), reference.predict(x[:7]), tolerance)
    assert compiled.n_evals == reference.n_evals
    for (name, value), expected in zip(
        compiled.model.state_dict().items(), reference.model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name


@MODELS
@given(
    hidden=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    k=st.integers(1, 5),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    base=st.sampled_from(sorted(BASE_FUNCTIONS)),
    dense=st.sampled_from([0.3, 0.8, 1.0]),
)
def test_float64(hidden, k, grid, seed, n, base, dense):
    model = random_model(hidden, k, grid, seed, base=base, dense=dense)
    x, y = sample(model, n, seed)
    assert_same(*engines(model, x, y), x)


@pytest.mark.slow
@settings(MODELS, max_examples=15)
@given(
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    k=st.integers(1, 3),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_float32(hidden, k, grid, seed):
    """Against float64; pykan's own error in float32 shows how far rounding is amplified by the model."""
    model = random_model(hidden, k, grid, seed, torch.float32)
    x, y = sample(model, 40, seed, torch.float32)
    exact = make_engine("reference", copy.deepcopy(model).double(), x.double(), y.double())
    pykan, compiled = engines(model, x, y)
    theta = compiled.parameters()

    def results(engine, theta):
        loss, gradient = engine.loss_and_gradient(theta)
        rest = (engine.residuals(theta), *engine.residuals_and_jacobian(theta), engine.predict(x.to(theta)))
        return torch.tensor(loss, dtype=theta.dtype), gradient, *rest

    for value, rounded, expected in zip(
        results(compiled, theta), results(pykan, theta), results(exact, theta.double()), strict=True
    ):
        assert value.dtype == torch.float32
        tolerance = max(1e-5, 3 * (rounded - expected).norm() / max(expected.norm(), 1e-300))
        assert_near(value.double(), expected, tolerance)


@pytest.fixture
def model():
    return random_model([3, 2], 3, 6, seed=5)


@pytest.fixture
def data(model):
    return sample(model, 50, seed=1)


@pytest.mark.parametrize("settings", [{"base_fun": "zero"}, {"sp_trainable": False}, {"sb_trainable": False}], ids=str)
def test_settings_of_pykan(settings, data):
    model = KAN([2, 3, 1], grid=4, auto_save=False, symbolic_enabled=False, save_act=False, **settings).double()
    assert_same(*engines(model, *data), data[0])


def test_large_grid_and_narrow_intervals(data):
    model = random_model([4], 3, 100, seed=3)
    with torch.no_grad():
        for layer in model.act_fun:
            layer.intervals = (100,) * layer.in_dim
            width = layer.grid[:, -1:] - layer.grid[:, :1]
            layer.grid[:, 1:-1] = layer.grid[:, :1] + width * torch.linspace(0.1, 0.9, layer.grid.shape[1] - 2) ** 9
    assert_same(*engines(model, *data), data[0])


def test_only_what_is_trained_changes(model, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    engine, live = make_engine("compiled", model, *data), live_entries(model)
    engine.set_parameters(engine.parameters() + 1)
    for name, value in model.state_dict().items():
        where = live.get(name, torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(value[~where], before[name][~where])
        assert torch.equal(value[where], before[name][where] + 1)
    assert any(count < layer.num for layer in model.act_fun for count in intervals(layer))


def test_predictions_follow_the_model(model, data):
    engine = make_engine("compiled", model, *data)
    theta = engine.parameters()
    before = engine.predict(data[0])
    engine.set_parameters(theta + 0.1)
    after = engine.predict(data[0])
    assert not torch.equal(before, after)
    model.load_state_dict(Snapshot.of(model).state | {"act_fun.1.scale_sp": torch.zeros(3, 2, dtype=torch.float64)})
    assert not torch.equal(engine.predict(data[0]), after)
    engine.residuals(theta)
    assert torch.equal(engine.predict(data[0]), before)


def test_changed_grids_are_read_again(data):
    model = build_model([2, 4, 1], 5)
    reference, compiled = engines(model, *data)
    for engine in (reference, compiled):
        engine.model.update_grid(data[0])
        engine.grids_changed()
    for part in ("grid", "coef"):
        for mine, its in zip(compiled.model.act_fun, reference.model.act_fun, strict=True):
            getattr(mine, part).data.copy_(getattr(its, part))  # lstsq need not return the same twice
    compiled.grids_changed()
    assert_same(reference, compiled, data[0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(model, data, bad):
    engine = make_engine("compiled", model, *data)
    theta = engine.parameters()
    for i in range(0, len(theta), 5):
        wrong = theta.clone()
        wrong[i] = bad
        assert not np.isfinite(engine.loss_and_gradient(wrong)[0])
        assert not torch.isfinite(engine.residuals(wrong)).any()


@pytest.mark.slow
def test_same_in_every_process():
    program = """
import torch
from kanbench.engine import make_engine
from kanbench.models import build_model
x = torch.linspace(-1, 1, 200, dtype=torch.float64).reshape(100, 2)
engine = make_engine("compiled", build_model([2, 5, 1], 5), x, x[:, :1].sin())
loss, gradient = engine.loss_and_gradient(engine.parameters())
text = f"{loss.hex()} {gradient.numpy().tobytes().hex()}"
"""
    here = {}
    exec(program, here)
    elsewhere = subprocess.run([sys.executable, "-c", program + "print(text)"], capture_output=True, check=True)
    assert elsewhere.stdout.decode().strip() == here["text"]


def affine(model):
    model.node_bias[0].data[0] = 0.5


def symbolic(model):
    model.symbolic_fun[0].mask.data[0, 0] = 1
    model.symbolic_enabled = True


def trained_bias(model):
    model.subnode_bias_0.requires_grad_(True)


def other_base(model):
    model.act_fun[0].base_fun = torch.nn.Tanh()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (affine, "found node_bias_0; allowed"),
        (symbolic, "found symbolic functions"),
        (trained_bias, "found trainable subnode_bias_0"),
        (other_base, "found base function Tanh"),
        (lambda model: model.width[1].__setitem__(1, 1), "found multiplication nodes"),
        (lambda model: setattr(model.act_fun[0], "k", 6), "found splines of order \\[6\\]"),
    ],
)
def test_models_that_are_refused(data, change, found):
    model = build_model([2, 3, 1], 4)
    change(model)
    with pytest.raises(InputError, match=found):
        CompiledEngine(model, *data)
