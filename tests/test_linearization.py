"""Products with the Jacobian, from its rows, against the whole Jacobian of pykan's forward by autograd."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models_at_random import assert_near, random_model, sample

from kanbench.engine import make_engine, sparse
from kanbench.engine.compiled import CompiledEngine
from kanbench.engine.reference import ReferenceEngine
from kanbench.models import build_model, live_entries

TOLERANCE = 1e-12  # relative to the norm of what is compared


def linearizations(model, x, y):
    """That of pykan's forward, and ours, at θ moved a little."""
    reference, compiled = ReferenceEngine(copy.deepcopy(model), x, y), CompiledEngine(model, x, y)
    theta = reference.parameters() + 0.1
    return reference.linearize(theta), compiled.linearize(theta)


def assert_same_products(dense, ours, tolerance=TOLERANCE):
    generator = torch.Generator().manual_seed(1)
    n, n_parameters = dense.shape
    assert ours.shape == dense.shape
    step = torch.randn(n_parameters, generator=generator, dtype=torch.float64)
    weights = torch.randn(n, generator=generator, dtype=torch.float64)
    for value, expected in (
        (ours.residuals, dense.residuals),
        (ours.jacobian(), dense.jacobian),
        (ours.push(step), dense.push(step)),
        (ours.pull(weights), dense.pull(weights)),
        (ours.normal_matrix().tril(), (dense.jacobian.T @ dense.jacobian).tril()),
    ):
        assert_near(value, expected, tolerance)
    if ours.kept is not None:
        assert_near(ours.kernel_matrix().tril(), (dense.jacobian @ dense.jacobian.T).tril(), tolerance)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hidden=st.lists(st.integers(1, 11), min_size=1, max_size=3),
    k=st.integers(1, 5),
    grid=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 150),
    dense=st.sampled_from([0.3, 1.0]),
)
def test_products(hidden, k, grid, seed, n, dense):
    model = random_model(hidden, k, grid, seed, dense=dense)
    assume(live_entries(model)["act_fun.0.coef"].any())
    assert_same_products(*linearizations(model, *sample(model, n, seed)))


@pytest.mark.slow
def test_products_in_float32():
    """Rows are products, in float64, of float32 numbers."""
    model = random_model([4, 3], 3, 6, seed=2, dtype=torch.float32)
    x, y = sample(model, 100, 2, torch.float32)
    double = ReferenceEngine(copy.deepcopy(model).double(), x.double(), y.double())
    compiled = CompiledEngine(model, x, y)
    theta = compiled.parameters()
    assert_same_products(double.linearize(theta.double()), compiled.linearize(theta), tolerance=1e-5)


@pytest.mark.parametrize("setting", [{"sp_trainable": False}, {"sb_trainable": False}], ids=str)
def test_parameters_that_are_held_fixed_have_no_columns(setting):
    from kan import KAN

    model = KAN([2, 3, 1], grid=4, auto_save=False, symbolic_enabled=False, save_act=False, **setting).double()
    assert_same_products(*linearizations(model, *sample(model, 60, 3)))


def test_rows_that_are_not_kept(monkeypatch):
    """Neither they nor the first layer's inputs, when there are too many of them."""
    monkeypatch.setattr(sparse, "KEPT_ROWS", 0)
    monkeypatch.setattr(sparse, "ROWS_AT_ONCE", 70)
    monkeypatch.setattr("kanbench.engine.compiled.KEPT_INPUTS", 0)
    model = random_model([5], 3, 4, seed=4)
    dense, ours = linearizations(model, *sample(model, 333, 4))
    assert ours.kept is None and ours.shape[1] < 333
    assert_same_products(dense, ours)


def engine_with(threads, chunk=64):
    x, y = sample(build_model([2, 5, 1], 5), 1000, 1)
    engine = CompiledEngine(build_model([2, 5, 1], 5), x, y, threads)
    engine.chunk = chunk
    return engine


def test_chunks_of_samples():
    """What is summed in chunks is what is summed at once."""
    whole, chunks = engine_with(1, chunk=1000), engine_with(1)
    theta = whole.parameters() + 0.1
    loss, gradient = whole.loss_and_gradient(theta)
    chunks_loss, chunks_gradient = chunks.loss_and_gradient(theta)
    assert chunks_loss == pytest.approx(loss, rel=1e-14)
    assert_near(chunks_gradient, gradient, 1e-14)
    assert torch.equal(chunks.residuals(theta), whole.residuals(theta))


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_results_do_not_depend_on_the_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(sparse, "KEPT_ROWS", 0)
    one, many = engine_with(1), engine_with(threads)
    theta = one.parameters() + 0.1
    for _ in range(3):
        loss, gradient = many.loss_and_gradient(theta)
        assert loss == one.loss_and_gradient(theta)[0]
        assert torch.equal(gradient, one.loss_and_gradient(theta)[1])
        assert torch.equal(many.predict(many.x), one.predict(one.x))
        matrices = [engine.linearize(theta).normal_matrix().tril() for engine in (one, many)]
        assert torch.equal(*matrices)


def test_large_samples_need_no_jacobian():
    """30,000 samples × 1575 parameters are 378 MB; the rows at once, and JᵀJ as it is laid out, take 60."""
    import tracemalloc

    x = torch.rand(30_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    engine = make_engine("compiled", build_model([2, 5, 1], 100), x, x[:, :1] * x[:, 1:])
    theta = engine.parameters()
    tracemalloc.start()  # counts numpy's memory, not that of compiled code
    linearization = engine.linearize(theta)
    linearization.pull(linearization.push(theta))
    linearization.normal_matrix()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize(("grid", "dense"), [(3, True), (20, False)])
def test_both_ways_to_the_normal_matrix(grid, dense):
    model = build_model([2, 5, 1], grid)
    ours = CompiledEngine(model, *sample(model, 300, 1)).linearize(
        ReferenceEngine(model, *sample(model, 300, 1)).parameters()
    )
    assert ours.is_dense == dense
    size = ours.size
    sparse, whole = (products()[:size, :size] for products in (ours._sparse_products, ours._dense_products))
    assert_near(torch.from_numpy(sparse).tril(), torch.from_numpy(whole).tril(), TOLERANCE)


def test_the_dense_products_of_the_reference():
    model = build_model([2, 5, 1], 3)
    expected = ReferenceEngine(model, *sample(model, 300, 1)).linearize(
        ReferenceEngine(model, *sample(model, 300, 1)).parameters()
    )
    assert_near(expected.normal_matrix().tril(), (expected.jacobian.T @ expected.jacobian).tril(), TOLERANCE)
    assert_near(expected.kernel_matrix().tril(), (expected.jacobian @ expected.jacobian.T).tril(), TOLERANCE)
