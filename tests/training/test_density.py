"""Grids that differ from node to node: the function stays, pykan reads the network, padding is never trained."""

import itertools

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench.engine import make_engine
from kanbench.network.checkpoints import read_checkpoint, write_checkpoint
from kanbench.network.evaluation import Activations, evaluate
from kanbench.network.initialization import initialize
from kanbench.network.pykan import count_parameters, global_random_state_kept, load_checkpoint, to_pykan
from kanbench.network.refinement import AttributionRefinement, KnotInsertion, refine
from kanbench.network.typed_kan import default_dtype
from kanbench.training.optimizers import make_optimizer

X = np.random.default_rng(0).uniform(-1, 1, (300, 2))
Y = np.sin(3 * X[:, [0]]) * X[:, [1]]
BEYOND = 3 * X


@pytest.fixture(scope="module")
def trained():
    """A network after some steps, whose activations have left the grids."""
    return after_steps(initialize([2, 5, 1], 3), "lbfgs", 5)


def after_steps(network, optimizer, steps, engine="compiled"):
    settings = {
        "adam": {"lr": 0.1},
        "lbfgs": {"lr": 1.0, "max_iter": 20, "max_eval": 25, "history_size": 10},
        "lm": {"damping": 1e-3, "attempts": 10, "geodesic_acceleration": True, "scaling": "identity"},
    }[optimizer]
    optimizer, engine, theta = (
        make_optimizer(optimizer, **settings),
        make_engine(engine, network, X, Y),
        network.parameters(),
    )
    optimizer.restart()
    for _ in range(steps):
        theta = optimizer.step(engine, theta)
    return network.with_parameters(theta)


def relative_change(after, before, x):
    return np.abs(evaluate(after, x) - evaluate(before, x)).max() / np.abs(evaluate(before, x)).max()


@pytest.mark.parametrize("subset", list(itertools.product([False, True], repeat=7))[::9], ids=str)
def test_densifying_any_subset_of_nodes_keeps_the_function(trained, subset):
    sizes = [[20 if node else 3 for node in subset[:2]], [11 if node else 3 for node in subset[2:]]]
    refined = refine(trained, sizes, Activations.of(trained, X))
    assert refined.intervals == sizes
    assert relative_change(refined, trained, X) < 1e-12
    assert relative_change(refined, trained, BEYOND) < 1e-12
    edges = sum(5 * (n + 5) for n in sizes[0]) + sum(n + 5 for n in sizes[1])
    assert refined.n_parameters == edges


def test_a_second_refinement_starts_from_the_nodes_own_grids(trained):
    once = refine(trained, [[3, 12], [3, 7, 3, 3, 9]], Activations.of(trained, X))
    twice = refine(once, [[5, 5], [3, 20, 3, 3, 5]], Activations.of(once, X))
    assert twice.intervals == [[5, 12], [3, 20, 3, 3, 9]]
    assert relative_change(twice, trained, X) < 1e-12
    for node in (0, 2, 3, 4):  # those that were not refined
        for part in ("knots", "coef"):
            ours, theirs = (getattr(network.layers[1], part)[node] for network in (twice, once))
            np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("engine", ["compiled", "torch", "reference"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lm"])
def test_padding_is_never_trained(trained, optimizer, engine):
    before = refine(trained, [[3, 12], [3, 7, 20, 3, 9]], Activations.of(trained, X))
    after = after_steps(before, optimizer, 4, engine)
    assert relative_change(after, before, X) > 1e-6
    assert after.intervals == before.intervals
    for layer, theirs in zip(after.layers, to_pykan(after).act_fun, strict=True):
        for coef, count in zip(theirs.coef.detach(), layer.intervals, strict=True):
            assert (coef[:, count + 3 :] == 0).all()
            assert (coef[:, : count + 3] != 0).any()
    predicted = make_engine(engine, before, X, Y).predict(after.parameters(), X)
    np.testing.assert_allclose(predicted, evaluate(after, X), rtol=0, atol=1e-12 * np.abs(predicted).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pykan_reads_such_a_network(tmp_path, trained, dtype):
    network = refine(trained, [[3, 50], [100, 7, 20, 3, 9]], Activations.of(trained, X)).astype(dtype)
    x = torch.from_numpy(X.astype(dtype))
    write_checkpoint(network, str(tmp_path / "model"), x.numpy())
    with global_random_state_kept(), default_dtype(x.dtype):
        theirs = KAN.loadckpt(str(tmp_path / "model"))
    expected = to_pykan(network)(x)
    assert torch.equal(theirs(x), expected)
    ours = load_checkpoint(str(tmp_path / "model"))
    assert torch.equal(ours(x), expected)
    again = read_checkpoint(str(tmp_path / "model"))
    assert again.digest() == network.digest()
    assert again.intervals == [[3, 50], [100, 7, 20, 3, 9]]
    assert count_parameters(ours) == network.n_parameters < count_parameters(theirs)


def policy(approach, **over):
    settings = {"rule": "fraction", "fraction": 0.5, "score_threshold": 0.01, "refinement_factor": 2.0} | over
    return AttributionRefinement(approach, **settings)


def test_what_the_approaches_refine(trained):
    grids, counts = {}, set()
    for approach in ("baseline", "adaptive_only", "adaptive_regular"):
        network = policy(approach).refine(trained, 10, Activations.of(trained, X))
        grids[approach] = [*itertools.chain(*network.intervals)]
        counts.add(network.n_parameters)
    assert grids["baseline"] == [10] * 7
    assert sorted(grids["adaptive_only"]) == [3] * 3 + [10] * 4
    assert grids["adaptive_regular"] == [2 * n if n == 10 else 10 for n in grids["adaptive_only"]]
    assert len(counts) == 3
    policies = KnotInsertion(), policy("baseline")
    plain, baseline = (each.refine(trained, 10, Activations.of(trained, X)).digest() for each in policies)
    assert plain == baseline


def test_what_is_recorded(trained):
    only, baseline = policy("adaptive_only"), policy("baseline")
    for density in (only, baseline):
        density.begin(trained, Activations.of(trained, X))
    assert only.columns["important_neurons"] == 4
    assert 0 < only.columns["attribution_threshold"] < 10
    assert baseline.columns == {"attribution_threshold": 0.0, "important_neurons": 7, "total_neurons": 7}
    original = policy("adaptive_only", rule="threshold")
    original.begin(trained, Activations.of(trained, X))
    assert original.columns == {"attribution_threshold": 0.01, "important_neurons": 7, "total_neurons": 7}
