"""Refinement keeps the function; knots go where the activations are; pykan's own procedure is pykan's."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline, make_interp_spline

from kanbench.io.kernel_cache import cache
from kanbench.network.evaluation import Activations, activations, evaluate
from kanbench.network.initialization import initialize
from kanbench.network.pykan import from_pykan, global_random_state_kept, to_pykan
from kanbench.network.refinement import KnotInsertion, PykanRefit, make_policy, refine_row, refit_row

X = np.random.default_rng(0).uniform(-1, 1, (200, 2))


@pytest.fixture(scope="module", autouse=True)
def compiled_code_is_kept():
    cache.open()


@settings(deadline=None, max_examples=60, derandomize=True)
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
def test_refinement_keeps_the_networks_output(width, k):
    network = initialize(width, 4, k)
    wide = 1.5 * X  # outside the domain too
    before, hidden = network.digest(), activations(network, X)[1]
    refined = KnotInsertion().refine(network, 17, Activations.of(network, X))
    assert refined.grid == 17
    for layer in refined.layers:
        assert all(t.shape == (17 + 1 + 2 * k,) for t in layer.knots)
        assert all(c.shape == (layer.outputs, 17 + k) for c in layer.coef)
    np.testing.assert_allclose(evaluate(refined, wide), evaluate(network, wide), rtol=0, atol=1e-14)
    assert (np.array([t[k] for t in refined.layers[1].knots]) <= hidden.min(axis=0)).all()
    assert network.digest() == before


def test_refinement_keeps_float32():
    network, x = initialize([2, 5, 1], 4, dtype=np.float32), X.astype(np.float32)
    refined = KnotInsertion().refine(network, 17, Activations.of(network, x))
    assert {row.dtype for layer in refined.layers for row in (*layer.knots, *layer.coef)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(evaluate(refined, x), evaluate(network, x), rtol=0, atol=1e-6)


def test_base_function_bias_and_fixed_parts_stay():
    network = dataclasses.replace(
        initialize([2, 3, 1], 4, base="identity"), output_bias=np.ones(1), fixed=frozenset({"scale_sp"})
    )
    on_x = Activations.of(network, X)
    for policy in (KnotInsertion(), PykanRefit(update_every=1)):
        for other in (policy.refine(network, 9, on_x), policy.update(network, on_x)):
            assert (other.base, other.fixed, other.output_bias) == ("identity", {"scale_sp"}, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "preserve"},
        {"policy": "pykan", "update_every": 5},
        {"policy": "updates", "update_every": 5, "start": 1, "stop": 50},
        {
            "policy": "importance",
            "approach": "adaptive_only",
            "rule": "fraction",
            "fraction": 0.5,
            "score_threshold": 0.01,
            "refinement_factor": 2.0,
        },
    ],
    ids=lambda settings: settings["policy"],
)
def test_a_policy_goes_on_from_its_state(settings):
    network, policy, other = initialize([2, 5, 1], 4), make_policy(**settings), make_policy(**settings)
    policy.begin(network, Activations.of(network, X))
    state = policy.state()
    other.resume(json.loads(json.dumps(state)))
    assert other.columns == policy.columns
    refined = policy.refine(network, 9, Activations.of(network, 2 * X))  # other scores, so that the columns change
    assert state == other.state()
    assert other.refine(network, 9, Activations.of(network, 2 * X)).intervals == refined.intervals
    assert other.columns == policy.columns


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm"])
@pytest.mark.parametrize("problem", ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"])
def test_the_test_loss_does_not_change_at_any_change_of_grid_of_a_training(make_trainer, model_type, problem):
    """To 1e-6 relative plus 1e-10 of the target's variance, on trained models."""
    trainer = make_trainer(model_type, problem, data={"dense_num": 100})
    losses = []
    refined = trainer._refined
    x, y = trainer.samples[1]

    def watched(grid):
        network = refined(grid)
        losses.append([np.square(evaluate(of, x) - y).mean() for of in (trainer._network, network)])
        return network

    trainer._refined = watched
    trainer.train(epochs=4)
    assert len(losses) == 5
    variance = y.var(ddof=1)
    for before, after in losses:
        assert abs(after - before) <= 1e-6 * before + 1e-10 * variance


def test_pykans_refinement_and_updates_are_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network, x = initialize([2, 5, 1], 3, dtype=np.float32), X.astype(np.float32)
    before = network.digest(), torch.get_rng_state(), np.random.get_state()[1].copy()
    theirs = to_pykan(network)
    theirs.save_act = True  # pykan refines from the activations that it saves
    policy = PykanRefit(update_every=5)
    assert [epoch for epoch in range(100) if policy.updates(epoch)] == [*range(0, 50, 5)]  # pykan stops at step 50
    assert not any(other.updates(epoch) for other in (PykanRefit(0), KnotInsertion()) for epoch in range(100))
    updated = policy.update(network, Activations.of(network, x))
    ours = policy.refine(updated, 6, Activations.of(updated, x))
    assert (network.digest(), ours.dtype, ours.grid) == (before[0], np.float32, 6)
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2])
    assert list(tmp_path.iterdir()) == []
    with global_random_state_kept():
        theirs.update_grid(torch.from_numpy(x))
        theirs(torch.from_numpy(x))
        theirs = from_pykan(theirs.refine(6))
    # least squares in float32
    np.testing.assert_allclose(evaluate(ours, x), evaluate(theirs, x), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.layers[1].knots, theirs.layers[1].knots, rtol=1e-3, atol=1e-4)


def test_a_refitted_row_is_uniform_and_near_the_splines_of_before():
    """Cubics are splines on any grid; other splines are met to what the new grid resolves."""
    t, samples = np.arange(-6.0, 7.0), np.sort(np.random.default_rng(2).uniform(-2.5, 2, 400))
    x = np.linspace(-3, 3, 9)  # on the domain, as many as there are coefficients
    cubic, other = make_interp_spline(x, x**3 - 2, t=t, k=3).c, np.random.default_rng(3).normal(size=9)
    knots, coef = refit_row(t, np.stack([cubic, other]), 3, 40, samples)
    assert len(knots) == 47 and coef.shape == (2, 43)
    np.testing.assert_allclose(np.diff(knots), (samples[-1] - samples[0]) / 40, rtol=1e-12)
    assert (knots[3], knots[-4]) == pytest.approx((samples[0], samples[-1]), rel=1e-12)
    at = np.linspace(samples[0], samples[-1], 300)
    new, old = BSpline(knots, coef.T, 3)(at), BSpline(t, other, 3)(at)
    np.testing.assert_allclose(new[:, 0], at**3 - 2, rtol=1e-11, atol=1e-11)
    assert 1e-6 < np.abs(new[:, 1] - old).max() < 5e-3


def test_refitting_refines_what_has_no_range():
    network = initialize([2, 2, 1], 4)
    x = np.column_stack([np.full(50, 0.3), np.linspace(-1, 1, 50)])
    refitted = make_policy("refit").refine(network, 9, Activations.of(network, x))
    assert refitted.intervals == [[9, 9], [9, 9]]
    np.testing.assert_allclose(evaluate(refitted, x), evaluate(network, x), atol=1e-3)
