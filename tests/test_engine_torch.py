"""The torch engine against the reference engine, on models of every kind that it takes, on every device there is."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kan import KAN
from kan.spline import B_batch
from models_at_random import (
    BASE_FUNCTIONS,
    MODELS,
    assert_float32,
    assert_near,
    assert_same,
    random_model,
    reference_and,
    sample,
)

from kanbench.engine import local_torch, make_engine
from kanbench.engine.local_torch import TorchEngine
from kanbench.engine.torch_layers import Grid, silu, sum_by_index, sum_by_matmul
from kanbench.errors import InputError
from kanbench.models import build_model, intervals, live_entries
from kanbench.optimizers import make_optimizer

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_CUDA)])
def device(request):
    return request.param


@pytest.fixture
def model(device):
    return random_model([3, 2], 3, 6, seed=5).to(device)


@pytest.fixture
def data(model):
    return on_models_device(model, 50)


def on_models_device(model, n, seed=1, dtype=torch.float64):
    return [part.to(model.device) for part in sample(copy.deepcopy(model).to("cpu"), n, seed, dtype)]


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
def test_float64(device, hidden, k, grid, seed, n, base, dense):
    model = random_model(hidden, k, grid, seed, base=base, dense=dense).to(device)
    x, y = on_models_device(model, n, seed)
    assert_same(*reference_and("torch", model, x, y), x)


@pytest.mark.slow
@settings(MODELS, max_examples=15)
@given(
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    k=st.integers(1, 3),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_float32(device, hidden, k, grid, seed):
    model = random_model(hidden, k, grid, seed, torch.float32).to(device)
    assert_float32("torch", model, *on_models_device(model, 40, seed, torch.float32))


@pytest.mark.parametrize("settings", [{"base_fun": "zero"}, {"sp_trainable": False}, {"sb_trainable": False}], ids=str)
def test_settings_of_pykan(settings, model, data):
    model = KAN([2, 3, 1], grid=4, auto_save=False, symbolic_enabled=False, save_act=False, **settings).double()
    model.to(data[0].device)
    assert_same(*reference_and("torch", model, *data), data[0])


@pytest.mark.parametrize("optimizer", [("lbfgs", 1.0, 20, 25, 10), ("lm", 0.1, 10, True)], ids=lambda o: o[0])
def test_trained_models(device, optimizer):
    name, *values = optimizer
    keys = {"lbfgs": ("lr", "max_iter", "max_eval", "history_size")}.get(
        name, ("damping", "attempts", "geodesic_acceleration")
    )
    model = build_model([2, 4, 1], 5, device=device)
    x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    y = (3 * x[:, [0]]).sin() * x[:, [1]]
    engine, method = make_engine("torch", model, x, y), make_optimizer(name, **dict(zip(keys, values, strict=True)))
    method.restart(engine)
    before, _ = engine.loss_and_gradient(engine.parameters())
    for _ in range(5):
        method.step()
    after, _ = engine.loss_and_gradient(engine.parameters())
    assert after < before / 100
    assert_same(*reference_and("torch", model, x, y), x)


def test_chunks_make_no_difference(model, data, monkeypatch):
    whole = make_engine("torch", model, *data)
    monkeypatch.setitem(local_torch.CHUNK, data[0].device.type, 2000)
    parts = make_engine("torch", copy.deepcopy(model), *data)
    assert 1 < parts.chunk < 50 and 1 < parts.jacobian_chunk < 50 < whole.jacobian_chunk
    assert_same(whole, parts, data[0])


def test_a_jacobian_that_is_not_kept(model, device, monkeypatch):
    """Its products are those of the one that is, and stay those at θ."""
    x, y = on_models_device(model, 300)
    theta = make_engine("torch", model, x, y).parameters() + 0.1
    whole = make_engine("torch", copy.deepcopy(model), x, y).linearize(theta)
    monkeypatch.setitem(local_torch.KEPT_JACOBIAN, device, 0)
    monkeypatch.setitem(local_torch.CHUNK, device, 2000)
    engine = make_engine("torch", model, x, y)
    streamed = engine.linearize(theta)
    assert engine.n_evals == 1 and engine.jacobian_chunk < 50 and not hasattr(streamed, "jacobian")
    engine.residuals(theta + 1)
    step, weights = torch.ones_like(theta), y[:, 0]
    assert streamed.shape == whole.shape
    for ours, expected in (
        (streamed.residuals, whole.residuals),
        (streamed.push(step), whole.push(step)),
        (streamed.pull(weights), whole.pull(weights)),
        (streamed.normal_matrix().tril(), whole.normal_matrix().tril()),
    ):
        assert_near(ours, expected, 1e-13)


def test_results_outlive_the_next_evaluation(model, data):
    """On CUDA they are computed in the same memory every time."""
    engine = make_engine("torch", model, *data)
    theta = engine.parameters()
    found = [engine.residuals(theta), *engine.residuals_and_jacobian(theta), engine.loss_and_gradient(theta)[1]]
    kept = [value.clone() for value in found]
    for evaluate in (engine.residuals, engine.residuals_and_jacobian, engine.loss_and_gradient):
        evaluate(theta + 0.1)
    assert torch.equal(engine.parameters(), theta + 0.1)
    assert all(torch.equal(value, before) for value, before in zip(found, kept, strict=True))
    assert torch.equal(engine.residuals(theta), kept[0])


@NO_CUDA
def test_what_is_recorded_is_what_is_computed():
    model = random_model([3, 2], 3, 6, seed=5).to("cuda")
    x, y = on_models_device(model, 50)
    engines = [make_engine("torch", copy.deepcopy(model), x, y) for _ in range(2)]
    engines[1].most_recorded = engines[1].most_recorded_with_jacobian = 0
    theta = engines[0].parameters() + 0.1
    for evaluate in ("residuals", "residuals_and_jacobian", "loss_and_gradient"):
        for _ in range(2):
            ours, expected = (torch.utils._pytree.tree_leaves(getattr(engine, evaluate)(theta)) for engine in engines)
            for value, other in zip(ours, expected, strict=True):
                assert_near(torch.as_tensor(value), torch.as_tensor(other), 1e-14)
    assert len(engines[0].recorded) == 3 and not engines[1].recorded


def test_many_samples_in_float32(device):
    """Sums over all samples in float32 would be wrong by 1e-5 and more."""
    model = build_model([2, 5, 1], 5, dtype=torch.float32, device=device)
    x = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0)).to(device)
    y = (3 * x[:, [0]]).sin()
    engine = make_engine("torch", model, x, y)
    exact = make_engine("torch", copy.deepcopy(model).double(), x.double(), y.double())
    _, gradient = engine.loss_and_gradient(engine.parameters())
    assert_near(gradient.double(), exact.loss_and_gradient(exact.parameters())[1], 2e-6)


def test_large_grid_and_narrow_intervals(device):
    model = random_model([4], 3, 100, seed=3)
    with torch.no_grad():
        for layer in model.act_fun:
            layer.intervals = (100,) * layer.in_dim
            width = layer.grid[:, -1:] - layer.grid[:, :1]
            layer.grid[:, 1:-1] = layer.grid[:, :1] + width * torch.linspace(0.1, 0.9, layer.grid.shape[1] - 2) ** 9
    model.to(device)
    x, y = on_models_device(model, 50)
    assert_same(*reference_and("torch", model, x, y), x)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_basis_on_knots_that_coincide(device, k):
    """What pykan's nan_to_num leaves of the recursion."""
    knots = torch.tensor([[-1, -0.8, -0.5, -0.5, -0.1, 0, 0, 0, 0.3, 0.4, 0.7, 0.9, 1.0]], dtype=torch.float64)
    layer = build_model([1, 1], 12 - 2 * k, k).act_fun[0].to(device)
    layer.grid.data = knots.to(device)
    x = torch.cat([knots[0], torch.linspace(-1.2, 1.2, 101, dtype=torch.float64)])[:, None].to(device)
    grid = Grid(layer, silu)
    basis, number = grid.basis(grid.features(x)[0])
    dense = x.new_zeros(len(x), 1, 12 - k + 2 * (k + 1)).scatter_(2, number, basis)
    assert (dense[:, :, : k + 1] == 0).all() and (dense[:, :, -k - 1 :] == 0).all()
    assert_near(dense[:, :, k + 1 : -k - 1], B_batch(x, layer.grid, k), 1e-13)


def test_only_what_is_trained_changes(model, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    engine, live = make_engine("torch", model, *data), live_entries(model)
    engine.set_parameters(engine.parameters() + 1)
    for name, value in model.state_dict().items():
        where = live.get(name, torch.zeros_like(value, dtype=torch.bool))
        assert torch.equal(value[~where], before[name][~where])
        assert torch.equal(value[where], before[name][where] + 1)
    assert any(count < layer.num for layer in model.act_fun for count in intervals(layer))


def test_predictions_follow_the_model(model, data):
    engine = make_engine("torch", model, *data)
    theta, before = engine.parameters(), engine.predict(data[0])
    assert torch.equal(engine.residuals(theta)[:, None], before - data[1])
    engine.set_parameters(theta + 0.1)
    after = engine.predict(data[0])
    assert not torch.equal(before, after)
    model.load_state_dict(model.state_dict() | {"act_fun.1.scale_sp": torch.zeros(3, 2, dtype=torch.float64)})
    assert not torch.equal(engine.predict(data[0]), after)


def test_changed_grids_are_read_again(device):
    model = build_model([2, 4, 1], 5, device=device)
    x, y = on_models_device(model, 50)
    reference, engine = reference_and("torch", model, x, y)
    reference.model.update_grid(x)
    for mine, its in zip(engine.model.act_fun, reference.model.act_fun, strict=True):
        mine.grid.data, mine.coef.data = its.grid.detach().clone(), its.coef.detach().clone()
    engine.grids_changed()
    assert_same(reference, engine, x)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(model, data, bad):
    engine = make_engine("torch", model, *data)
    theta = engine.parameters()
    for i in range(0, len(theta), 5):
        wrong = theta.clone()
        wrong[i] = bad
        assert not np.isfinite(engine.loss_and_gradient(wrong)[0])
        assert not torch.isfinite(engine.residuals(wrong)).any()


def test_the_same_again(model, data):
    engine = make_engine("torch", model, *data)
    theta = engine.parameters()
    (loss, gradient), (loss_again, gradient_again) = (engine.loss_and_gradient(theta) for _ in range(2))
    assert loss == loss_again and torch.equal(gradient, gradient_again)


def test_two_ways_to_sum_by_piece(device):
    """Each device uses one of them; both run on both."""
    random = torch.Generator().manual_seed(0)
    piece = torch.stack([torch.randint(0, 7, (100,), generator=random) + 7 * i for i in range(3)], 1).to(device)
    values = torch.randn(100, 3, 5, 2, generator=random, dtype=torch.float64).to(device)
    first = torch.tensor([0, 7, 14], device=device)
    expected = torch.stack([values[piece == number].sum(0) for number in range(21)])
    for sums in (sum_by_index, sum_by_matmul):
        assert_near(sums(piece, values, first, 7), expected, 1e-14)


def affine(model):
    model.node_bias[0].data[0] = 0.5


def other_base(model):
    model.act_fun[0].base_fun = torch.nn.Tanh()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (affine, "engine torch: found node_bias_0; allowed"),
        (other_base, "engine torch: found base function Tanh"),
        (lambda model: model.width[1].__setitem__(1, 1), "found multiplication nodes"),
        (lambda model: setattr(model.symbolic_fun[0].mask, "data", model.symbolic_fun[0].mask + 1), "found symbolic"),
        (lambda model: model.subnode_bias_0.requires_grad_(True), "found trainable subnode_bias_0"),
        (lambda model: setattr(model.act_fun[0], "k", 6), "found splines of order \\[6\\]"),
    ],
)
def test_models_that_are_refused(change, found):
    model = build_model([2, 3, 1], 4)
    data = sample(model, 10, seed=1)
    change(model)
    model.symbolic_enabled = True
    with pytest.raises(InputError, match=found):
        TorchEngine(model, *data)
