"""A merged model is the weighted sum of its experts."""

import pytest
import torch
from kan import KAN
from scipy.interpolate import BSpline

from kanbench.engine import make_engine
from kanbench.engine.torch_layers import layer_inputs
from kanbench.errors import InputError
from kanbench.grids import live_rows, refine_nodes
from kanbench.merging import merge
from kanbench.models import (
    build_model,
    count_parameters,
    default_dtype,
    global_random_state_kept,
    predict,
    save_checkpoint,
    trainable_parameters,
)

DOMAIN = ((-1, 1), (-1, 1))
X = torch.rand(10_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
WEIGHTS = [0.7, -0.3, 1.1, 0.4, -2.0, 0.6, 0.2, 0.9]


def expert(width=(2, 5, 5, 1), k=3, seed=0, grid=5, dtype=torch.float64):
    """A model that is no longer as pykan initialises it."""
    model = build_model(width, grid, k, seed=seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=dtype, generator=generator))
    return model


def without_input(model, i):
    model.act_fun[0].mask.data[i] = 0
    return model


def with_its_own_grid(model, seed):
    """Knots that no other model has."""
    model.update_grid(X[500 * seed : 500 * (seed + 1)])
    return model


def dense_in_places(model):
    sizes = [[5 + 3 * i for i in range(layer.in_dim)] for layer in model.act_fun]
    return refine_nodes(model, sizes, X[:500])


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


def relative_rms(model, models, weights, x=X):
    wanted = sum(weight * predict(m, x) for weight, m in zip(weights, models, strict=True))
    return ((predict(model, x) - wanted).square().mean() / wanted.square().mean()).sqrt().item()


@pytest.mark.parametrize("group", GROUPS)
def test_the_output_is_the_weighted_sum(group):
    models = GROUPS[group]
    merged = merge(models, WEIGHTS[: len(models)], DOMAIN)
    assert relative_rms(merged, models, WEIGHTS[: len(models)]) < 1e-12


@pytest.mark.parametrize("group", MIXED)
def test_orders_are_mixed_nearly_exactly(group):
    models = MIXED[group]
    merged = merge(models, WEIGHTS[: len(models)], DOMAIN)
    assert merged.k == max(model.k for model in models)
    assert relative_rms(merged, models, WEIGHTS[: len(models)]) < 1e-7


@pytest.mark.parametrize(("orders", "limit"), [((3, 3), 1e-6), ((2, 3), 1e-4)], ids=str)
def test_float32(orders, limit):
    models = [expert(k=k, seed=k + s, dtype=torch.float32) for s, k in enumerate(orders)]
    merged = merge(models, WEIGHTS[:2], DOMAIN)
    assert relative_rms(merged, models, WEIGHTS[:2], X.float()) < limit


def test_a_lower_order_is_the_same_piecewise_polynomial():
    """Against scipy: a quadratic spline, and what it becomes beside a cubic one."""
    quadratic = expert((1, 1, 1), k=2, seed=1)
    merged = merge([quadratic, expert((1, 1, 1), k=3, seed=2)], [1.0, 0.0], [(-1, 1)])
    layer, x = quadratic.act_fun[0], torch.linspace(-1, 1, 999, dtype=torch.float64)[:, None]
    t, c = live_rows(layer)[0]
    spline = torch.from_numpy(BSpline(t, c[0], 2)(x.numpy()))
    wanted = layer.scale_sp * spline + layer.scale_base * torch.nn.functional.silu(x)
    hidden, *_ = merged.act_fun[0](x)
    torch.testing.assert_close(hidden[:, [0]], wanted, rtol=1e-8, atol=1e-8)


def test_a_model_without_hidden_nodes_is_refused():
    with pytest.raises(InputError, match=r"merge: found a model without hidden nodes"):
        merge([expert((2, 1)), expert()], [1.0, 1.0], DOMAIN)


def test_only_the_experts_edges_are_trained():
    models = GROUPS["alike"]
    merged = merge(models, WEIGHTS[:4], DOMAIN)
    assert [nodes for nodes, _ in merged.width] == [2, 20, 20, 1]
    assert count_parameters(merged) == sum(count_parameters(model) for model in models)
    engine = make_engine("reference", merged, X[:100], X[:100, [0]])
    engine.set_parameters(engine.parameters() + 0.01)
    between = torch.block_diag(*[torch.ones(5, 5)] * 4) == 0
    assert torch.equal(merged.act_fun[1].mask == 0, between)
    assert (merged.act_fun[1].coef[between] == 0).all()


def test_shared_inputs_are_handed_on_once():
    merged = merge(GROUPS["depths"], WEIGHTS[:4], DOMAIN)
    assert [nodes for nodes, _ in merged.width] == [2, 10 + 2, 20, 20, 1]
    models = [without_input(expert(seed=5), 0), expert(DEEP, seed=6)]
    assert [nodes for nodes, _ in merge(models, [1.0, 1.0], DOMAIN).width] == [2, 5 + 1, 10, 10, 1]


def test_cross_edges_begin_at_zero_and_can_be_trained():
    models = GROUPS["depths"]
    absent, zero = (merge(models, WEIGHTS[:4], DOMAIN, cross_edges) for cross_edges in ("absent", "zero"))
    torch.testing.assert_close(predict(zero, X), predict(absent, X), rtol=1e-12, atol=1e-12)
    assert all((layer.mask == 1).all() for layer in zero.act_fun)
    assert count_parameters(zero) > 3 * count_parameters(absent)
    engine = make_engine("reference", zero, X[:100], X[:100, [0]])
    _, gradient = engine.loss_and_gradient(engine.parameters())
    assert (gradient != 0).sum() > count_parameters(absent)


def test_merged_models_are_merged_again():
    models = GROUPS["grids and depths"]
    pairs = [merge(models[i : i + 2], WEIGHTS[i : i + 2], DOMAIN) for i in range(0, 8, 2)]
    merged = merge(pairs, [0.5, 2.0, -1.0, 1.0], DOMAIN)
    factors = [w * f for w, f in zip(WEIGHTS, [0.5, 0.5, 2, 2, -1, -1, 1, 1], strict=True)]
    assert relative_rms(merged, models, factors) < 1e-12


def test_refinement_keeps_a_merged_model():
    merged = merge(MIXED["orders and depths"], WEIGHTS, DOMAIN)
    before = predict(merged, X)
    refine_nodes(merged, [[25] * layer.in_dim for layer in merged.act_fun], X[:1000])
    torch.testing.assert_close(predict(merged, X), before, rtol=1e-9, atol=1e-9)


def test_refined_rows_of_lower_order_cover_the_activations():
    """The outermost knots of such a row are very near each other, and no measure for where the next ones go."""
    experts = [with_large_activations(expert(k=k, seed=k)) for k in (2, 3)]
    merged = merge(experts, WEIGHTS[:2], DOMAIN)
    refine_nodes(merged, [[50] * layer.in_dim for layer in merged.act_fun], X[:1000])
    assert relative_rms(merged, experts, WEIGHTS[:2]) < 1e-7
    hidden = layer_inputs(merged, X[:1000])[1]
    assert hidden.abs().max() > 4
    for (t, _), activations in zip(live_rows(merged.act_fun[1]), hidden.T, strict=True):
        assert t[3] <= activations.min()
        assert activations.max() <= t[-4]


def with_large_activations(model):
    with torch.no_grad():
        model.act_fun[0].scale_base.mul_(6)
    return model


def test_pykan_reads_a_merged_model(tmp_path):
    models = MIXED["orders and depths"]
    merged = merge(models, WEIGHTS, DOMAIN)
    save_checkpoint(merged, str(tmp_path / "merged"), X[:10])
    with global_random_state_kept(), default_dtype(torch.float64):
        loaded = KAN.loadckpt(str(tmp_path / "merged"))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in merged.state_dict().items())
    torch.testing.assert_close(loaded(X[:500]), merged(X[:500]), rtol=1e-12, atol=1e-12)
