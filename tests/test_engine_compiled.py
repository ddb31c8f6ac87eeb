"""The compiled engine against the reference engine, on models of every kind that it takes."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kan import KAN
from models_at_random import BASE_FUNCTIONS, MODELS, assert_float32, assert_same, random_model, reference_and, sample

from kanbench.engine import make_engine
from kanbench.engine.compiled import CompiledEngine
from kanbench.errors import InputError
from kanbench.models import Snapshot, build_model, intervals, live_entries


def engines(model, x, y):
    return reference_and("compiled", model, x, y)


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
    model = random_model(hidden, k, grid, seed, torch.float32)
    assert_float32("compiled", model, *sample(model, 40, seed, torch.float32))


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
