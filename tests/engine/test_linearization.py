"""Products with the Jacobian, from its rows, against the whole Jacobian of pykan's forward by autograd."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kanbench.engine import make_engine
from kanbench.engine.numba_engine import sparse
from kanbench.engine.torch_engine.cholesky import cholesky
from kanbench.engine.torch_engine.linearization import StreamedLinearization
from kanbench.network.initialization import initialize
from support.models_at_random import as_array, assert_near, jacobian_of, random_model, reference_and, sample

TOLERANCE = 1e-12  # relative to the norm of what is compared


def linearizations(network, x, y):
    """That of pykan's forward, and ours, at θ moved a little."""
    theta = network.parameters() + network.dtype.type(0.1)
    return [engine.linearize(theta) for engine in reference_and("compiled", network, x, y)]


def assert_same_products(dense, ours, tolerance=TOLERANCE):
    """Against products with the whole Jacobian of another linearization."""
    random, jacobian = np.random.default_rng(1), jacobian_of(dense)
    n, n_parameters = dense.shape
    assert ours.shape == dense.shape == jacobian.shape
    step, weights = random.normal(size=n_parameters), random.normal(size=n)
    for value, expected in (
        (ours.residuals, as_array(dense.residuals)),
        (jacobian_of(ours), jacobian),
        (ours.jvp(step), jacobian @ step),
        (ours.vjp(weights), jacobian.T @ weights),
        (np.tril(ours.normal_matrix()), np.tril(jacobian.T @ jacobian)),
    ):
        assert_near(value, expected, tolerance)
    if ours.linearization.kept:
        assert_near(np.tril(ours.dual_gram()), np.tril(jacobian @ jacobian.T), tolerance)
        scaled = jacobian * step
        assert_near(np.tril(ours.dual_gram(step)), np.tril(scaled @ scaled.T), tolerance)
        assert_near(ours.column_squares(), np.square(jacobian).sum(axis=0), tolerance)


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
    network = random_model(hidden, k, grid, seed, dense=dense)
    assume(network.layers[0].live.any())
    assert_same_products(*linearizations(network, *sample(network, n, seed)))


@pytest.mark.parametrize("n", [9, 120], ids=["dual", "primal"])
@pytest.mark.parametrize(
    ("ends", "hidden", "k"), [((2, 2), [3], 3), ((1, 4), [], 2), ((3, 3), [4, 2], 5), ((2, 11), [5], 3)]
)
def test_products_of_several_outputs(ends, hidden, k, n):
    """A row for every output of every sample; those of 9 samples are fewer than the parameters."""
    network = random_model(hidden, k, 6, seed=4, ends=ends)
    dense, ours = linearizations(network, *sample(network, n, 5))
    assert ours.shape[0] == n * ends[1]
    assert_same_products(dense, ours)


@pytest.mark.parametrize("dense", [0, np.inf], ids=["runs", "dense"])
def test_normal_matrix_from_runs_and_from_dense_rows(dense, monkeypatch):
    """Both ways give JᵀJ, for any grid; windows, targets and outputs do not fill vectors, and blocks are not full."""
    monkeypatch.setattr(sparse, "DENSE", dense)
    for hidden, k, grid in (([9, 3], 3, 4), ([5], 5, 20), ([1], 1, 1)):
        network = random_model(hidden, k, grid, seed=8, ends=(3, 2))
        reference, ours = linearizations(network, *sample(network, 75, 6))
        assert ours.linearization.places.dense == (dense > 0)
        assert_same_products(reference, ours)


@pytest.mark.parametrize(("grid", "dense"), [(3, True), (5, True), (20, False), (100, False)])
def test_coarse_grids_are_computed_from_dense_rows(grid, dense):
    network = initialize([2, 5, 1], grid)
    assert engine_with(1, network=network).linearize(network.parameters()).linearization.places.dense == dense


def test_rows_of_several_outputs_that_are_not_kept(monkeypatch):
    """Parts of them are those of whole samples."""
    monkeypatch.setattr(sparse, "KEPT_ROWS", 0)
    monkeypatch.setattr(sparse, "ROWS_AT_ONCE", 71)
    network = random_model([5], 3, 4, seed=4, ends=(2, 3))
    dense, ours = linearizations(network, *sample(network, 120, 4))
    parts = list(ours.linearization._parts())
    assert not ours.linearization.kept and parts == [(start, min(start + 69, 360)) for start in range(0, 360, 69)]
    assert_same_products(dense, ours)


@pytest.mark.slow
def test_products_in_float32():
    """Rows are products, in float64, of float32 numbers."""
    network = random_model([4, 3], 3, 6, seed=2, dtype=np.float32)
    x, y = sample(network, 100, 2)
    double = make_engine("reference", network.astype(float), x.astype(float), y.astype(float))
    theta = network.parameters()
    compiled = make_engine("compiled", network, x, y).linearize(theta)
    assert_same_products(double.linearize(theta.astype(float)), compiled, tolerance=1e-5)


@pytest.mark.parametrize("fixed", [{"scale_sp"}, {"scale_base"}], ids=min)
def test_parameters_that_are_held_fixed_have_no_columns(fixed):
    network = random_model([3], 3, 4, seed=6, fixed=fixed)
    assert_same_products(*linearizations(network, *sample(network, 60, 3)))


def test_rows_that_are_not_kept(monkeypatch):
    """Neither they nor the first layer's inputs, when there are too many of them."""
    monkeypatch.setattr(sparse, "KEPT_ROWS", 0)
    monkeypatch.setattr(sparse, "ROWS_AT_ONCE", 70)
    monkeypatch.setattr("kanbench.engine.numba_engine.engine.KEPT_INPUTS", 0)
    network = random_model([5], 3, 4, seed=4)
    dense, ours = linearizations(network, *sample(network, 333, 4))
    assert not ours.linearization.kept and ours.shape[1] < 333
    assert_same_products(dense, ours)


NETWORK = initialize([2, 5, 1], 5)
X, Y = sample(NETWORK, 1000, 1)


def engine_with(threads, chunk=64, network=NETWORK):
    engine = make_engine("compiled", network, X, Y, threads)
    engine.engine.chunk = chunk
    return engine


def test_chunks_of_samples():
    """What is summed in chunks is what is summed at once."""
    whole, chunks, theta = engine_with(1, chunk=1000), engine_with(1), NETWORK.parameters() + 0.1
    loss, gradient = whole.loss_and_gradient(theta)
    chunks_loss, chunks_gradient = chunks.loss_and_gradient(theta)
    assert chunks_loss == pytest.approx(loss, rel=1e-14)
    assert_near(chunks_gradient, gradient, 1e-14)
    assert np.array_equal(chunks.residuals(theta), whole.residuals(theta))


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("grid", [5, 20])
def test_results_do_not_depend_on_the_number_of_threads(threads, grid, monkeypatch):
    monkeypatch.setattr(sparse, "KEPT_ROWS", 0)
    network = initialize([2, 5, 1], grid)
    one, many = engine_with(1, network=network), engine_with(threads, network=network)
    theta = network.parameters() + 0.1
    for _ in range(3):
        loss, gradient = many.loss_and_gradient(theta)
        assert loss == one.loss_and_gradient(theta)[0]
        assert np.array_equal(gradient, one.loss_and_gradient(theta)[1])
        assert np.array_equal(many.predict(theta, X), one.predict(theta, X))
        matrices = [np.tril(engine.linearize(theta).normal_matrix()) for engine in (one, many)]
        assert np.array_equal(*matrices)


def test_large_samples_need_no_jacobian():
    """30,000 samples × 1575 parameters are 378 MB; the rows at once, and JᵀJ as it is laid out, take 60."""
    import tracemalloc

    x, network = np.random.default_rng(0).uniform(-1, 1, (30_000, 2)), initialize([2, 5, 1], 100)
    engine, theta = make_engine("compiled", network, x, x[:, :1] * x[:, 1:]), network.parameters()
    tracemalloc.start()  # counts numpy's memory, not that of compiled code
    linearization = engine.linearize(theta)
    linearization.vjp(linearization.jvp(theta))
    linearization.normal_matrix()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("n", [60, 300], ids=["dual", "primal"])
def test_memory_is_used_again_but_not_at_the_same_time(n):
    """A linearization stays what it is beside others; one that begins with used memory is as one with new memory."""
    network = initialize([2, 5, 1], 5)
    theta, sample_of_it = network.parameters(), sample(network, n, 1)
    engine = make_engine("compiled", network, *sample_of_it)

    def gram(linearization):
        return np.tril(linearization.normal_matrix() if n > len(theta) else linearization.dual_gram())

    first = engine.linearize(theta)
    before = gram(first)
    second = engine.linearize(theta + 1)
    assert first.linearization.memory is not second.linearization.memory
    gram(second)
    assert np.array_equal(gram(first), before)
    memory = second.linearization.memory
    del second
    third = engine.linearize(theta - 1)
    assert third.linearization.memory is memory
    new = make_engine("compiled", network, *sample_of_it).linearize(theta - 1)
    assert np.array_equal(gram(third), gram(new))
    assert np.array_equal(third.vjp(third.residuals), new.vjp(new.residuals))


@pytest.mark.parametrize("name", ["compiled", "torch", "reference"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_around_theta(name, dtype):
    """Of a linearization of every kind: the residuals beside θ, and θ moved, in the precision of the network."""
    network = random_model([4], 3, 5, seed=7, dtype=dtype)
    x, y = sample(network, 80, 7)
    engine, theta = make_engine(name, network, x, y), network.parameters()
    linearization = engine.linearize(theta)
    offset = linearization.vjp(linearization.residuals) * 1e-3
    moved = linearization.moved(offset)
    assert moved.dtype == dtype
    assert np.array_equal(moved, theta + as_array(offset).astype(dtype))
    beside = linearization.residuals_at(offset)
    assert type(beside) is type(offset) and beside.dtype == linearization.residuals.dtype
    assert np.array_equal(as_array(beside), engine.residuals(moved).astype(float))
    assert as_array(linearization.residuals).dtype == np.float64


@pytest.mark.parametrize("name", ["compiled", "torch", "reference"])
@pytest.mark.parametrize("n", [20, 300], ids=["dual", "primal"])
def test_damped_systems(name, n):
    """(M + λI) x = b for both Gram matrices, solved by numpy; and a matrix that is not definite."""
    network = initialize([2, 5, 1], 3)
    x, y = sample(network, n, 1)
    linearization = make_engine(name, network, x, y).linearize(network.parameters())
    jacobian, r = jacobian_of(linearization), linearization.residuals
    for gram, matrix, b in (
        (jacobian.T @ jacobian, linearization.normal_matrix, linearization.vjp(r)),
        (jacobian @ jacobian.T, linearization.dual_gram, r),
    ):
        assert_near(np.tril(as_array(matrix())), np.tril(gram), TOLERANCE)
        found = as_array(linearization.cholesky(matrix(), 0.1)(b))
        expected = np.linalg.solve(gram + 0.1 * np.eye(len(gram)), as_array(b))
        assert_near(found, expected, 1e-9)
        assert linearization.cholesky(matrix(), -1e3) is None


def test_cholesky_of_tensors_is_that_of_arrays():
    """On a CPU, to the bit."""
    a = np.random.default_rng(0).normal(size=(60, 50))
    gram, b = a.T @ a, a[0]
    found = as_array(StreamedLinearization.cholesky(torch.tensor(gram), 0.1)(torch.tensor(b)))
    assert np.array_equal(found, cholesky(gram.copy(), 0.1)(b))
