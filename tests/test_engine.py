"""The reference engine against finite differences and autograd of pykan's forward."""

import pytest
import torch

from kanbench.engine import make_engine
from kanbench.models import build_model, count_parameters

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(30, 2, dtype=torch.float64, generator=GENERATOR) * 2 - 1
Y = torch.rand(30, 1, dtype=torch.float64, generator=GENERATOR)


@pytest.fixture(params=[([2, 5, 1], 3, 3), ([2, 3, 4, 1], 6, 2)], ids=str)
def engine(request):
    return make_engine("reference", build_model(*request.param), X, Y)


def test_parameters_come_back_and_are_a_copy(engine):
    theta = engine.parameters()
    assert theta.shape == (count_parameters(engine.model),)
    before = engine.predict(X)
    theta += 0.1
    assert torch.equal(engine.predict(X), before)
    engine.set_parameters(theta)
    assert not torch.equal(engine.predict(X), before)
    assert torch.equal(engine.parameters(), theta)


def test_loss_and_residuals(engine):
    theta = engine.parameters()
    residuals = (engine.model(X) - Y).squeeze(1).detach()
    loss, _ = engine.loss_and_gradient(theta)
    assert torch.equal(engine.residuals(theta), residuals)
    assert loss == pytest.approx((residuals**2).sum().item() / 30, rel=1e-14)


def test_gradient_against_finite_differences(engine):
    theta, h = engine.parameters(), 1e-6
    _, gradient = engine.loss_and_gradient(theta)
    for i in range(0, len(theta), 7):
        shift = torch.zeros_like(theta)
        shift[i] = h
        above, below = (engine.loss_and_gradient(theta + sign * shift)[0] for sign in (1, -1))
        assert gradient[i].item() == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-8)


def test_jacobian_against_finite_differences_and_gradient(engine):
    theta, h = engine.parameters(), 1e-6
    residuals, jacobian = engine.residuals_and_jacobian(theta)
    assert jacobian.shape == (30, len(theta))
    for i in range(0, len(theta), 7):
        shift = torch.zeros_like(theta)
        shift[i] = h
        difference = (engine.residuals(theta + shift) - engine.residuals(theta - shift)) / (2 * h)
        torch.testing.assert_close(jacobian[:, i], difference, rtol=1e-6, atol=1e-8)
    _, gradient = engine.loss_and_gradient(theta)
    torch.testing.assert_close(2 / 30 * jacobian.T @ residuals, gradient, rtol=1e-12, atol=1e-15)


def test_evaluations_are_counted(engine):
    theta = engine.parameters()
    engine.predict(X)
    assert engine.n_evals == 0
    engine.residuals(theta)
    engine.loss_and_gradient(theta)
    engine.residuals_and_jacobian(theta)
    assert engine.n_evals == 3
