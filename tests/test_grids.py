"""Refinement keeps the function; knots go where the activations are; pykan's own procedure is pykan's."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kan import KAN
from scipy.interpolate import BSpline

from kanbench.engine.torch_layers import layer_inputs
from kanbench.grids import Preserve, Pykan, refine_row
from kanbench.models import build_model, global_random_state_kept, predict

X = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@settings(deadline=None, max_examples=60)
@given(
    k=st.integers(1, 5),
    grid=st.integers(1, 12),
    more=st.integers(0, 30),
    low=st.floats(-5, 0),
    high=st.floats(0.1, 5),
    seed=st.integers(0, 2**31),
)
def test_refine_row_keeps_the_function_on_the_whole_line(k, grid, more, low, high, seed):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(-1.2, 1.2, grid + 1 + 2 * k)) + np.linspace(-0.5, 0.5, grid + 1 + 2 * k)
    c = rng.normal(size=(3, grid + k))
    samples = np.sort(rng.uniform(low, high, 50))
    new_t, new_c = refine_row(t, c, k, grid + more, samples)
    assert new_t.shape == (grid + more + 1 + 2 * k,)
    assert new_c.shape == (3, grid + more + k)
    assert set(t) <= set(new_t)  # the spaces are nested
    assert (np.diff(new_t) > 0).all()  # repeated knots would give pykan non-finite gradients
    x = np.linspace(t[0], t[-1], 500)[1:-1]

    def value(t, c):
        return np.nan_to_num(BSpline(t, c.T, k, extrapolate=False)(x))

    padded_t, padded_c = _with_support_as_domain(t, c, k)
    padded_new_t, padded_new_c = _with_support_as_domain(new_t, new_c, k)
    np.testing.assert_allclose(value(padded_new_t, padded_new_c), value(padded_t, padded_c), atol=1e-12)


def _with_support_as_domain(t, c, k):
    """scipy evaluates on [t_k, t_-k-1] only: k more knots and zero coefficients make that the whole support."""
    steps, zeros = np.arange(1, k + 1), np.zeros((len(c), k))
    return np.r_[t[0] - steps[::-1], t, t[-1] + steps], np.hstack([zeros, c, zeros])


def test_the_domain_grows_to_cover_the_activations():
    t = np.arange(-6.0, 7.0) / 3  # k = 3, G = 6, domain [-1, 1]
    new_t, new_c = refine_row(t, np.ones((1, 9)), 3, 10, np.linspace(-1.2, 1.5, 100))
    assert new_t[3] <= -1.2
    assert new_t[-4] >= 1.5
    assert new_c[0, 0] == new_c[0, -1] == 0  # what was added outside does not contribute


def test_knots_are_not_spent_where_no_activations_are():
    t = np.arange(-6.0, 7.0) / 3
    new_t, _ = refine_row(t, np.ones((1, 9)), 3, 20, np.linspace(0.4, 0.6, 100))
    added = np.setdiff1d(new_t, t)
    assert len(added) == 14
    assert ((added > 1 / 3) & (added < 2 / 3)).all()


@pytest.mark.parametrize("samples", [[0.1], [0.1, 0.1000001]], ids=str)
def test_knots_stay_apart_where_there_are_hardly_any_activations(samples):
    t = np.arange(-6.0, 7.0) / 3
    new_t, _ = refine_row(t, np.ones((1, 9)), 3, 100, np.array(samples))
    assert np.diff(new_t.astype(np.float32)).min() > 1e-7


def test_a_grid_cannot_become_coarser():
    with pytest.raises(ValueError, match="6 intervals cannot be refined to 5"):
        refine_row(np.arange(-6.0, 7.0) / 3, np.ones((1, 9)), 3, 5, np.array([0.0]))


@pytest.mark.parametrize(("width", "k"), [([2, 5, 1], 3), ([2, 3, 4, 1], 2)])
def test_refine_keeps_the_models_output(width, k):
    model = build_model(width, 4, k)
    wide = 1.5 * X  # outside the domain too
    before, hidden = model(wide), layer_inputs(model, X)[1]
    refined = Preserve().refine(model, 17, X)
    assert refined.grid == 17
    for layer in refined.act_fun:
        assert layer.grid.shape[1] == 17 + 1 + 2 * k
        assert layer.coef.shape[2] == 17 + k
        assert not layer.grid.requires_grad
    torch.testing.assert_close(refined(wide), before, rtol=0, atol=1e-14)
    assert (refined.act_fun[1].grid[:, k] <= hidden.min(dim=0).values).all()


def test_refine_keeps_float32():
    model = build_model([2, 5, 1], 4, dtype=torch.float32)
    before = model(X.float())
    refined = Preserve().refine(model, 17, X.float())
    assert refined.act_fun[0].coef.dtype == refined.act_fun[0].grid.dtype == torch.float32
    torch.testing.assert_close(refined(X.float()), before, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm"])
@pytest.mark.parametrize("problem", ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"])
def test_the_test_loss_does_not_change_at_any_change_of_grid_of_a_training(make_trainer, model_type, problem):
    """To 1e-6 relative plus 1e-10 of the target's variance, on trained models."""
    trainer = make_trainer(model_type, problem, data={"dense_num": 100})
    losses = []
    refine = trainer.policy.refine

    def test_loss(model):
        return (predict(model, trainer.dataset.test_input) - trainer.dataset.test_label).square().mean().item()

    def watched(model, grid, x):
        before = test_loss(model)
        refined = refine(model, grid, x)
        losses.append((before, test_loss(refined)))
        return refined

    trainer.policy.refine = watched
    trainer.train(epochs=4)
    assert len(losses) == 5
    variance = trainer.dataset.test_label.var().item()
    for before, after in losses:
        assert abs(after - before) <= 1e-6 * before + 1e-10 * variance


def test_pykans_refinement_and_updates_are_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = X.float()
    ours = build_model([2, 5, 1], 3, dtype=torch.float32)
    theirs = copy.deepcopy(ours)
    theirs.save_act = True  # pykan refines from the activations that it saves
    policy = Pykan(update_every=5)
    policy.update(ours, 0, x)
    policy.update(ours, 3, x)  # not a multiple: nothing happens
    ours = policy.refine(ours, 6, x)
    policy.update(ours, 50, x)  # pykan stops at step 50
    with global_random_state_kept():
        theirs.update_grid(x)
        theirs(x)
        theirs = theirs.refine(6)
    assert isinstance(ours, KAN)
    assert not ours.auto_save
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-3, atol=1e-4)  # least squares in float32
    torch.testing.assert_close(ours.act_fun[1].grid, theirs.act_fun[1].grid, rtol=1e-3, atol=1e-4)
    assert list(tmp_path.iterdir()) == []
