"""Initial networks are pykan's."""

import random
import sys

import numpy as np
import pytest
import torch
from kan import KAN, KANLayer
from kan.spline import B_batch

from kanbench.network.evaluation import edge_values, evaluate
from kanbench.network.initialization import LARGEST, initialize

CASES = [
    ([2, 5, 1], 3, 3, 4),
    ([2, 5, 1], 5, 3, 1),
    ([2, 5, 1], 100, 3, 2),
    ([3, 4, 2, 1], 20, 5, 3),
    ([1, 7, 1], 6, 2, 0),
]


def pykans(width, grid, k, seed):
    """pykan's model, with the global random state as before."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng([]):
        model = KAN(width=list(width), grid=grid, k=k, seed=seed, auto_save=False)
    np.random.set_state(numpy_state)
    random.setstate(python_state)
    return model


def exact_fit(x, y, grid, k):
    """pykan's `curve2coef` in float64, by singular values, rounded: LAPACK's gelsy, its default, truncates the rank."""
    basis = B_batch(x.double(), grid.double(), k).permute(1, 0, 2)
    solution = torch.linalg.lstsq(basis, y.double().permute(1, 0, 2), driver="gelsd").solution
    return solution.permute(0, 2, 1).to(y.dtype)


@pytest.mark.parametrize(("width", "grid", "k", "seed"), CASES, ids=str)
def test_initial_networks_are_pykans(monkeypatch, width, grid, k, seed):
    monkeypatch.setattr(sys.modules[KANLayer.__module__], "curve2coef", exact_fit)
    ours, theirs = initialize(width, grid, k, seed, np.float32), pykans(width, grid, k, seed)
    assert ours.width == width
    assert ours.intervals == [[grid] * nodes for nodes in width[:-1]]
    assert (ours.output_bias == 0).all()
    assert ours.base == theirs.base_fun_name
    for layer, their in zip(ours.layers, theirs.act_fun, strict=True):
        assert layer.order == k
        for part, expected in (
            (np.stack(layer.knots), their.grid),
            (layer.scale_base, their.scale_base),
            (layer.scale_sp, their.scale_sp),
            (layer.mask, their.mask),
        ):
            np.testing.assert_array_equal(part, expected.detach().numpy(), strict=True)
        coef, expected = np.stack(layer.coef), their.coef.detach().numpy()
        assert coef.dtype == np.float32
        np.testing.assert_allclose(coef, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_scales_are_pykans_for_any_number_of_inputs():
    for inputs in range(1, 65):
        ours, theirs = initialize([inputs, 3], 1, 1, inputs, np.float32).layers[0], pykans([inputs, 3], 1, 1, inputs)
        for part in ("scale_base", "scale_sp"):
            expected = getattr(theirs.act_fun[0], part).detach().numpy()
            np.testing.assert_array_equal(getattr(ours, part), expected, strict=True)


@pytest.mark.parametrize("grid", [3, 5])
def test_coefficients_are_pykans_own_where_those_are_right(grid):
    """pykan's own, in float32, differ by this much from call to call."""
    for layer, their in zip(
        initialize([2, 5, 1], grid, 3, 4, np.float32).layers, pykans([2, 5, 1], grid, 3, 4).act_fun, strict=True
    ):
        np.testing.assert_allclose(np.stack(layer.coef), their.coef.detach().numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("grid", "k"), [(3, 3), (100, 3), (20, 5)])
def test_the_first_splines_take_the_values_of_the_noise(grid, k):
    """As many noisy values as there are knots in the domain, and more coefficients: the fit is exact."""
    layer = initialize([2, 5, 1], grid, k, 6).layers[0]
    noise = (torch.rand(grid + 1, 2, 5, generator=torch.Generator().manual_seed(6)) - 0.5) * 0.3 / grid
    for i, (t, c) in enumerate(zip(layer.knots, layer.coef, strict=True)):
        basis = B_batch(torch.tensor(t[k : len(t) - k])[:, None], torch.tensor(t)[None], k)[:, 0].numpy()
        np.testing.assert_allclose(basis @ c.T, noise[:, i], rtol=0, atol=1e-7 * np.abs(c).max())


def test_the_initial_network_is_bitwise_the_same_every_time():
    def digest(i):
        kept = np.empty(7 * i + 1)  # moves what is allocated next
        return initialize([2, 5, 1], 3).digest(), kept

    assert len({digest(i)[0] for i in range(50)}) == 1


def test_float64_is_the_float32_network_converted():
    single, double = (initialize([2, 5, 1], 3, seed=4, dtype=dtype) for dtype in (np.float32, np.float64))
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert double.output_bias.dtype == np.float64
    assert double.astype(np.float32).digest() == single.digest()
    assert single.astype(np.float64).digest() == double.digest()


def test_nothing_global_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    width = [2, 5, 1]
    initialize(width, 3)
    assert width == [2, 5, 1]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("domain", [(0.0, 100.0), (100.0, 101.0), (-1e6, 1e6), (0.0, 1e-3), (0.0, 1.0)], ids=str)
def test_the_first_grid_spans_the_domain(domain):
    low, high = domain
    network = initialize([2, 5, 1], 6, domain=[domain, (-1, 1)])
    ours, usual = network.layers[0], initialize([2, 5, 1], 6).layers[0]
    np.testing.assert_allclose(ours.knots[0][3:-3], np.linspace(low, high, 7), rtol=1e-6, atol=1e-6 * (high - low))
    np.testing.assert_array_equal(ours.knots[1], usual.knots[1])
    assert ours.fixed_base.tolist() == [max(abs(low), abs(high)) > LARGEST, False]
    assert network.n_parameters == initialize([2, 5, 1], 6).n_parameters - 5 * ours.fixed_base[0]


@pytest.mark.parametrize("domain", [(0.0, 100.0), (100.0, 101.0), (-1e6, 1e6)], ids=str)
def test_splines_take_over_what_the_base_function_does(domain):
    """But for what splines on six intervals leave of a silu."""
    u = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    x = domain[0] + (u + 1) / 2 * (domain[1] - domain[0])
    usual, moved = initialize([2, 5, 1], 6), initialize([2, 5, 1], 6, domain=[domain] * 2)
    np.testing.assert_allclose(edge_values(moved, 0, x), edge_values(usual, 0, u), atol=1e-4)
    np.testing.assert_allclose(evaluate(moved, x), evaluate(usual, u), atol=1e-3)
    assert (moved.layers[0].scale_base == 0).all()
