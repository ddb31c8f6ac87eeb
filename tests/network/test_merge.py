"""A merged network is the weighted sum of its experts."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from kan import KAN
from scipy.interpolate import BSpline
from scipy.linalg import block_diag

from kanbench.engine import make_engine
from kanbench.errors import InputError
from kanbench.network.checkpoints import write_checkpoint
from kanbench.network.evaluation import Activations, activations, base_function, evaluate
from kanbench.network.initialization import initialize
from kanbench.network.merge import merge_networks
from kanbench.network.pykan import global_random_state_kept, to_pykan
from kanbench.network.refinement import PykanRefit, refine
from kanbench.network.typed_kan import default_dtype

DOMAIN = ((-1, 1), (-1, 1))
X = np.random.default_rng(0).uniform(-1, 1, (10_000, 2))
WEIGHTS = [0.7, -0.3, 1.1, 0.4, -2.0, 0.6, 0.2, 0.9]


def expert(width=(2, 5, 5, 1), k=3, seed=0, grid=5, dtype=np.float64):
    """A network that is no longer as pykan initialises it."""
    network, random = initialize(width, grid, k, seed, dtype), np.random.default_rng(seed)
    theta = network.parameters()
    changed = network.with_parameters(theta + 0.3 * random.normal(size=theta.shape).astype(dtype))
    return dataclasses.replace(changed, output_bias=random.normal(size=width[-1]).astype(dtype))


def with_first_layer(network, **changes):
    first, *others = network.layers
    return dataclasses.replace(network, layers=(dataclasses.replace(first, **changes), *others))


def without_input(network, i):
    mask = network.layers[0].mask.copy()
    mask[i] = 0
    return with_first_layer(network, mask=mask)


def with_its_own_grid(network, seed):
    """Knots that no other network has."""
    return PykanRefit(update_every=1).update(network, Activations.of(network, X[500 * seed : 500 * (seed + 1)]))


def dense_in_places(network):
    sizes = [[5 + 3 * i for i in range(layer.inputs)] for layer in network.layers]
    return refine(network, sizes, Activations.of(network, X[:500]))


DEEP = (2, 5, 5, 5, 1)
GROUPS = {
    "alike": [expert(seed=s) for s in range(4)],
    "depths": [expert(seed=1), expert(DEEP, seed=2), expert(seed=3), expert(DEEP, seed=4)],
    "very different depths": [expert((2, 4, 1), seed=1), expert((2, 3, 3, 3, 3, 1), seed=2)],
    "grids": [with_its_own_grid(expert(seed=s), s) for s in range(4)],
    "grids and depths": [with_its_own_grid(expert((2, 5, 5, *[5] * (s % 2), 1), seed=s), s) for s in range(8)],
    "density": [dense_in_places(expert(seed=1)), expert(DEEP, seed=2), dense_in_places(expert(seed=3))],
    "inputs": [without_input(expert(seed=1), 0), without_input(expert(DEEP, seed=2), 1), expert(DEEP, seed=3)],
    "an input that none uses": [without_input(expert(seed=1), 0), without_input(expert(seed=2), 0)],
    "order 2": [expert(k=2, seed=1), expert(DEEP, k=2, seed=2)],
    "several outputs": [expert((2, 5, 3), seed=1), expert((2, 4, 3, 3), seed=2)],
}
MIXED = {
    "orders": [expert(k=2, seed=1), expert(k=3, seed=2), expert(k=2, seed=3), expert(k=3, seed=4)],
    "orders and depths": [expert((2, 5, 5, *[5] * (s % 2), 1), k=2 + s // 2 % 2, seed=s) for s in range(8)],
    "orders, grids, inputs": [
        with_its_own_grid(expert(k=2, seed=1), 1),
        without_input(expert(DEEP, k=2, seed=2), 1),
        with_its_own_grid(expert(DEEP, k=3, seed=3), 3),
    ],
    "orders 1 to 5": [expert((2, 3, 1), k=k, seed=k) for k in (2, 3, 4, 5)],
}


def relative_rms(merged, networks, weights, x=X):
    wanted = sum(weight * evaluate(network, x) for weight, network in zip(weights, networks, strict=True))
    return np.sqrt(np.square(evaluate(merged, x) - wanted).mean() / np.square(wanted).mean())


@pytest.mark.parametrize("group", GROUPS)
def test_the_output_is_the_weighted_sum(group):
    experts = GROUPS[group]
    merged = merge_networks(experts, WEIGHTS[: len(experts)], DOMAIN)
    assert relative_rms(merged, experts, WEIGHTS[: len(experts)]) < 1e-12


@pytest.mark.parametrize("group", MIXED)
def test_orders_are_mixed_nearly_exactly(group):
    experts = MIXED[group]
    merged = merge_networks(experts, WEIGHTS[: len(experts)], DOMAIN)
    assert merged.order == max(network.order for network in experts)
    assert relative_rms(merged, experts, WEIGHTS[: len(experts)]) < 1e-7


@pytest.mark.parametrize(("orders", "limit"), [((3, 3), 1e-6), ((2, 3), 1e-4)], ids=str)
def test_float32(orders, limit):
    experts = [expert(k=k, seed=k + s, dtype=np.float32) for s, k in enumerate(orders)]
    merged = merge_networks(experts, WEIGHTS[:2], DOMAIN)
    assert merged.dtype == merged.output_bias.dtype == np.float32
    assert relative_rms(merged, experts, WEIGHTS[:2], X.astype(np.float32)) < limit


def test_a_lower_order_is_the_same_piecewise_polynomial():
    """Against scipy: a quadratic spline, and what it becomes beside a cubic one."""
    quadratic = expert((1, 1, 1), k=2, seed=1)
    merged = merge_networks([quadratic, expert((1, 1, 1), k=3, seed=2)], [1.0, 0.0], [(-1, 1)])
    layer, x = quadratic.layers[0], np.linspace(-1, 1, 999)[:, None]
    spline = BSpline(layer.knots[0], layer.coef[0][0], 2)(x)
    wanted = layer.scale_sp * spline + layer.scale_base * base_function("silu", x)
    np.testing.assert_allclose(activations(merged, x)[1][:, [0]], wanted, rtol=1e-8, atol=1e-8)


def test_a_network_without_hidden_nodes_is_refused():
    with pytest.raises(InputError, match=r"merge: found a model without hidden nodes"):
        merge_networks([expert((2, 1)), expert()], [1.0, 1.0], DOMAIN)


def test_networks_of_different_outputs_are_refused():
    with pytest.raises(InputError, match=r"merge: found models with 1 and 3 outputs"):
        merge_networks([expert((2, 5, 3)), expert()], [1.0, 1.0], DOMAIN)


def test_only_the_experts_edges_are_trained():
    experts = GROUPS["alike"]
    merged = merge_networks(experts, WEIGHTS[:4], DOMAIN)
    assert merged.width == [2, 20, 20, 1]
    assert merged.n_parameters == sum(network.n_parameters for network in experts)
    between = block_diag(*[np.ones((5, 5))] * 4) == 0
    layer = merged.with_parameters(merged.parameters() + 0.01).layers[1]
    np.testing.assert_array_equal(layer.mask == 0, between)
    assert (np.stack(layer.coef)[between] == 0).all()


def test_every_node_keeps_its_own_grid():
    """Rows are not padded to the longest."""
    experts = GROUPS["density"]
    merged = merge_networks(experts, WEIGHTS[:3], DOMAIN)
    assert sorted(merged.intervals[-1]) == sorted(itertools.chain(*(network.intervals[-1] for network in experts)))
    hidden = experts[0].layers[-1]
    kept = {t.tobytes(): c for t, c in zip(merged.layers[-1].knots, merged.layers[-1].coef, strict=True)}
    for t, c in zip(hidden.knots, hidden.coef, strict=True):
        if len(t) > 5 + 1 + 6:  # others have this grid too
            np.testing.assert_allclose(kept[t.tobytes()], c, rtol=1e-12, atol=1e-12)


def test_shared_inputs_are_passed_on_once():
    merged = merge_networks(GROUPS["depths"], WEIGHTS[:4], DOMAIN)
    assert merged.width == [2, 10 + 2, 20, 20, 1]
    experts = [without_input(expert(seed=5), 0), expert(DEEP, seed=6)]
    assert merge_networks(experts, [1.0, 1.0], DOMAIN).width == [2, 5 + 1, 10, 10, 1]


def test_cross_edges_begin_at_zero_and_can_be_trained():
    experts = GROUPS["depths"]
    absent, zero = (merge_networks(experts, WEIGHTS[:4], DOMAIN, cross_edges) for cross_edges in ("absent", "zero"))
    np.testing.assert_allclose(evaluate(zero, X), evaluate(absent, X), rtol=1e-12, atol=1e-12)
    assert all((layer.mask == 1).all() for layer in zero.layers)
    assert zero.n_parameters > 3 * absent.n_parameters
    engine = make_engine("reference", zero, X[:100], X[:100, [0]])
    _, gradient = engine.loss_and_gradient(zero.parameters())
    assert (gradient != 0).sum() > absent.n_parameters


def test_merged_networks_are_merged_again():
    experts = GROUPS["grids and depths"]
    pairs = [merge_networks(experts[i : i + 2], WEIGHTS[i : i + 2], DOMAIN) for i in range(0, 8, 2)]
    merged = merge_networks(pairs, [0.5, 2.0, -1.0, 1.0], DOMAIN)
    factors = [w * f for w, f in zip(WEIGHTS, [0.5, 0.5, 2, 2, -1, -1, 1, 1], strict=True)]
    assert relative_rms(merged, experts, factors) < 1e-12


def test_refinement_keeps_a_merged_network():
    merged = merge_networks(MIXED["orders and depths"], WEIGHTS, DOMAIN)
    refined = refine(merged, [[25] * layer.inputs for layer in merged.layers], Activations.of(merged, X[:1000]))
    np.testing.assert_allclose(evaluate(refined, X), evaluate(merged, X), rtol=1e-9, atol=1e-9)


def test_refined_rows_of_lower_order_cover_the_activations():
    """The outermost knots of such a row are very near each other, and no measure for where the next ones go."""
    experts = [with_large_activations(expert(k=k, seed=k)) for k in (2, 3)]
    merged = merge_networks(experts, WEIGHTS[:2], DOMAIN)
    merged = refine(merged, [[50] * layer.inputs for layer in merged.layers], Activations.of(merged, X[:1000]))
    assert relative_rms(merged, experts, WEIGHTS[:2]) < 1e-7
    hidden = activations(merged, X[:1000])[1]
    assert np.abs(hidden).max() > 4
    for t, values in zip(merged.layers[1].knots, hidden.T, strict=True):
        assert t[3] <= values.min()
        assert values.max() <= t[-4]


def with_large_activations(network):
    return with_first_layer(network, scale_base=6 * network.layers[0].scale_base)


def test_pykan_reads_a_merged_network(tmp_path):
    merged = merge_networks(MIXED["orders and depths"], WEIGHTS, DOMAIN)
    write_checkpoint(merged, str(tmp_path / "merged"), X[:10])
    with global_random_state_kept(), default_dtype(torch.float64):
        loaded = KAN.loadckpt(str(tmp_path / "merged"))
    model, x = to_pykan(merged), torch.from_numpy(X[:500])
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(loaded(x), model(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(loaded(x).detach().numpy(), evaluate(merged, X[:500]), rtol=1e-12, atol=1e-12)


def test_experts_on_a_large_domain(tmp_path):
    """Inputs that are passed on keep to their splines, whatever the depth at which they are used."""
    domain = [(0.0, 100.0), (-1.0, 1.0)]
    experts = [initialize(width, 5, k, seed=7, domain=domain) for width, k in (([2, 3, 1], 3), ([2, 3, 3, 1], 3))]
    merged = merge_networks(experts, [0.25, 0.75], domain)
    x = np.random.default_rng(0).random((300, 2)) * [100, 2] - [0, 1]
    expected = 0.25 * evaluate(experts[0], x) + 0.75 * evaluate(experts[1], x)
    np.testing.assert_allclose(evaluate(merged, x), expected, atol=1e-12)
    assert [layer.fixed_base[:2].tolist() for layer in merged.layers[:2]] == [[True, False]] * 2
    assert not any(layer.fixed_base[2:].any() for layer in merged.layers)
