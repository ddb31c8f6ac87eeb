"""The torch engine: trained networks, chunks, what is recorded and kept, and its basis functions; on every device."""

import numpy as np
import pytest
import torch
from kan.spline import B_batch

from kanbench.engine import make_engine
from kanbench.engine.torch_engine import engine as local_torch
from kanbench.engine.torch_engine.layers import Grid, silu, sum_by_index, sum_by_matmul
from kanbench.network.initialization import initialize
from kanbench.network.spline_network import SplineLayer
from kanbench.training.optimizers import make_optimizer
from support.models_at_random import as_array, assert_near, assert_same, random_model, reference_and, sample

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_CUDA)])
def device(request):
    return request.param


@pytest.fixture(params=[1, 3], ids=["one output", "three outputs"])
def network(request):
    return random_model([3, 2], 3, 6, seed=5, ends=(2, request.param))


@pytest.mark.parametrize(
    "optimizer", [("lbfgs", 1.0, 20, 25, 10), ("lm", 0.1, 10, True, "identity")], ids=lambda o: o[0]
)
def test_trained_networks(device, optimizer):
    name, *values = optimizer
    keys = {"lbfgs": ("lr", "max_iter", "max_eval", "history_size")}.get(
        name, ("damping", "attempts", "geodesic_acceleration", "scaling")
    )
    network = initialize([2, 4, 1], 5)
    x = np.random.default_rng(0).random((200, 2))
    y = np.sin(3 * x[:, [0]]) * x[:, [1]]
    engine = make_engine("torch", network, x, y, device=device)
    method = make_optimizer(name, **dict(zip(keys, values, strict=True)))
    theta = network.parameters()
    before, _ = engine.loss_and_gradient(theta)
    method.restart()
    for _ in range(5):
        theta = method.step(engine, theta)
    after, _ = engine.loss_and_gradient(theta)
    assert after < before / 100
    assert_same(*reference_and("torch", network.with_parameters(theta), x, y, device=device), x)


def test_chunks_make_no_difference(network, data, device, monkeypatch):
    whole = make_engine("torch", network, *data, device=device)
    monkeypatch.setitem(local_torch.CHUNK, device, 2000)
    parts = make_engine("torch", network, *data, device=device)
    assert 1 < parts.engine.chunk < 50 and 1 < parts.engine.jacobian_chunk < 50 < whole.engine.jacobian_chunk
    assert_same(whole, parts, data[0])


def test_a_jacobian_that_is_not_kept(network, device, monkeypatch):
    """Its products are those of the one that is, and stay those at θ."""
    x, y = sample(network, 300, seed=1)
    theta = network.parameters() + 0.1
    whole = make_engine("torch", network, x, y, device=device).linearize(theta)
    monkeypatch.setitem(local_torch.KEPT_JACOBIAN, device, 0)
    monkeypatch.setitem(local_torch.CHUNK, device, 2000)
    engine = make_engine("torch", network, x, y, device=device)
    streamed = engine.linearize(theta)
    assert engine.n_evals == 1 and engine.engine.jacobian_chunk < 50
    assert not hasattr(streamed.linearization, "whole")
    engine.residuals(theta + 1)
    step, weights = torch.ones(streamed.shape[1], device=device).double(), engine.engine.targets.flatten()
    assert streamed.shape == whole.shape
    for ours, expected in (
        (streamed.residuals, whole.residuals),
        (streamed.jvp(torch.eye(len(theta)).to(step)), whole.linearization.whole),
        (streamed.jvp(step), whole.jvp(step)),
        (streamed.vjp(weights), whole.vjp(weights)),
        (streamed.normal_matrix().tril(), whole.normal_matrix().tril()),
        (streamed.dual_gram().tril(), whole.dual_gram().tril()),
        (streamed.dual_gram(step * 2).tril(), 4 * whole.dual_gram().tril()),
        (streamed.column_squares(), whole.linearization.whole.square().sum(0)),
        (streamed.residuals_at(step), whole.residuals_at(step)),
    ):
        assert_near(as_array(ours), as_array(expected), 1e-13)


def test_results_outlive_the_next_evaluation(network, data, device):
    """On CUDA they are computed in the same memory every time."""
    engine, theta = make_engine("torch", network, *data, device=device), network.parameters()

    def evaluate(theta):
        linearization = engine.linearize(theta)
        tensors = (
            linearization.residuals,
            linearization.linearization.whole,
            linearization.residuals_at(theta_on_device * 0),
        )
        return [engine.residuals(theta), engine.loss_and_gradient(theta)[1], *map(as_array, tensors)], tensors

    theta_on_device = engine.linearize(theta).linearization.theta
    found, tensors = evaluate(theta)
    kept = [value.copy() for value in found]
    evaluate(theta + 0.1)
    for value, before in zip([*found[:2], *map(as_array, tensors)], kept, strict=True):
        assert np.array_equal(value, before)
    assert np.array_equal(engine.residuals(theta), kept[0])


@NO_CUDA
def test_what_is_recorded_is_what_is_computed(network, data):
    engines = [make_engine("torch", network, *data, device="cuda") for _ in range(2)]
    engines[1].most_recorded = engines[1].most_recorded_with_jacobian = 0
    theta = network.parameters() + 0.1
    for _ in range(2):
        both = []
        for engine in engines:
            linearization = engine.linearize(theta)
            tensors = map(as_array, (linearization.residuals, linearization.linearization.whole))
            loss, gradient = engine.loss_and_gradient(theta)
            both.append([np.array(loss), gradient, engine.residuals(theta), *tensors])
        for ours, expected in zip(*both, strict=True):
            assert_near(ours, expected, 1e-14)
    assert len(engines[0].recorded) == 3 and not engines[1].recorded


def test_many_samples_in_float32(device):
    """Sums over all samples in float32 would be wrong by 1e-5 and more."""
    network = initialize([2, 5, 1], 5, dtype=np.float32)
    x = np.random.default_rng(0).random((200_000, 2), np.float32)
    y = np.sin(3 * x[:, [0]])
    engine = make_engine("torch", network, x, y, device=device)
    exact = make_engine("torch", network.astype(float), x.astype(float), y.astype(float), device=device)
    _, gradient = engine.loss_and_gradient(network.parameters())
    assert_near(gradient.astype(float), exact.loss_and_gradient(network.parameters().astype(float))[1], 2e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_basis_on_knots_that_coincide(device, k):
    """What pykan's nan_to_num leaves of the recursion."""
    knots = np.array([-1, -0.8, -0.5, -0.5, -0.1, 0, 0, 0, 0.3, 0.4, 0.7, 0.9, 1.0])
    ones = np.ones((1, 1))
    layer = SplineLayer((knots,), (np.zeros((1, 12 - k)),), ones, ones, ones, k)
    x = torch.tensor(np.concatenate([knots, np.linspace(-1.2, 1.2, 101)])[:, None], device=device)
    grid = Grid(layer, silu, torch.device(device))
    basis, number = grid.basis(grid.features(x)[0])
    dense = x.new_zeros(len(x), 1, 12 - k + 2 * (k + 1)).scatter_(2, number, basis)
    assert (dense[:, :, : k + 1] == 0).all() and (dense[:, :, -k - 1 :] == 0).all()
    expected = B_batch(x, torch.tensor(knots[None], device=device), k)
    assert_near(as_array(dense[:, :, k + 1 : -k - 1]), as_array(expected), 1e-13)


def test_parameters_are_those_of_the_call(network, data, device):
    """And nothing is left of them for the next."""
    engine, theta = make_engine("torch", network, *data, device=device), network.parameters()
    fresh = make_engine("torch", network, *data, device=device)
    prediction = fresh.predict(theta + 0.1, data[0])
    assert_near(engine.residuals(theta + 0.1), (prediction - data[1]).ravel(), 1e-14)
    linearization = engine.linearize(theta)
    offset = torch.full_like(linearization.linearization.theta, 0.1)
    assert np.array_equal(linearization.moved(offset), theta + 0.1)
    assert np.array_equal(as_array(linearization.residuals_at(offset)), fresh.residuals(theta + 0.1))
    engine.predict(theta, data[0])
    assert np.array_equal(engine.predict(theta + 0.1, data[0]), prediction)


def test_the_same_again(network, data, device):
    engine, theta = make_engine("torch", network, *data, device=device), network.parameters()
    (loss, gradient), (loss_again, gradient_again) = (engine.loss_and_gradient(theta) for _ in range(2))
    assert loss == loss_again and np.array_equal(gradient, gradient_again)


def test_two_ways_to_sum_by_span(device):
    """Each device uses one of them; both run on both."""
    random = torch.Generator().manual_seed(0)
    span = torch.stack([torch.randint(0, 7, (100,), generator=random) + 7 * i for i in range(3)], 1).to(device)
    values = torch.randn(100, 3, 5, 2, generator=random, dtype=torch.float64).to(device)
    first = torch.tensor([0, 7, 14], device=device)
    expected = torch.stack([values[span == number].sum(0) for number in range(21)])
    for sums in (sum_by_index, sum_by_matmul):
        assert_near(as_array(sums(span, values, first, 7)), as_array(expected), 1e-14)
