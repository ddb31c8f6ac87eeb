"""Grids that differ from node to node: the function stays, pykan reads the model, padding is never trained."""

import itertools

import pytest
import torch
from kan import KAN

from kanbench.engine import make_engine
from kanbench.grids import ByImportance, Preserve, live_rows, refine_nodes
from kanbench.models import (
    Snapshot,
    build_model,
    count_parameters,
    default_dtype,
    global_random_state_kept,
    intervals,
    load_checkpoint,
    save_checkpoint,
)
from kanbench.optimizers import make_optimizer

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(300, 2, dtype=torch.float64, generator=GENERATOR) * 2 - 1
Y = (3 * X[:, [0]]).sin() * X[:, [1]]
BEYOND = 3 * X


@pytest.fixture(scope="module")
def trained():
    """A model after some steps, whose activations have left the grids."""
    model = build_model([2, 5, 1], 3)
    return after_steps(model, "lbfgs", 5)


def after_steps(model, optimizer, steps, engine="compiled"):
    settings = {
        "adam": {"lr": 0.1},
        "lbfgs": {"lr": 1.0, "max_iter": 20, "max_eval": 25, "history_size": 10},
        "lm": {"damping": 1e-3, "attempts": 10, "geodesic_acceleration": True},
    }[optimizer]
    trainer = make_optimizer(optimizer, **settings)
    trainer.restart(make_engine(engine, model, X, Y))
    for _ in range(steps):
        trainer.step()
    return model


def copy_of(model):
    return Snapshot.of(model).restore()


def relative_change(after, before):
    return ((after - before).abs().max() / before.abs().max()).item()


@pytest.mark.parametrize("subset", list(itertools.product([False, True], repeat=7))[::9], ids=str)
def test_densifying_any_subset_of_nodes_keeps_the_function(trained, subset):
    model = copy_of(trained)
    before = model(X), model(BEYOND)
    sizes = [[20 if node else 3 for node in subset[:2]], [11 if node else 3 for node in subset[2:]]]
    refined = refine_nodes(model, sizes, X)
    assert [intervals(layer) for layer in refined.act_fun] == [tuple(layer) for layer in sizes]
    assert relative_change(refined(X), before[0]) < 1e-12
    assert relative_change(refined(BEYOND), before[1]) < 1e-12
    edges = sum(5 * (n + 5) for n in sizes[0]) + sum(n + 5 for n in sizes[1])
    assert count_parameters(refined) == edges


def test_a_second_refinement_starts_from_the_nodes_own_grids(trained):
    model = copy_of(trained)
    before = model(X)
    refine_nodes(model, [[3, 12], [3, 7, 3, 3, 9]], X)
    rows = live_rows(model.act_fun[1])
    refine_nodes(model, [[5, 5], [3, 20, 3, 3, 5]], X)
    assert [intervals(layer) for layer in model.act_fun] == [(5, 12), (3, 20, 3, 3, 9)]
    assert relative_change(model(X), before) < 1e-12
    for node in (0, 2, 3, 4):  # those that were not refined
        for ours, theirs in zip(live_rows(model.act_fun[1])[node], rows[node], strict=True):
            assert (ours == theirs).all()


@pytest.mark.parametrize("engine", ["compiled", "torch", "reference"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lm"])
def test_padding_is_never_trained(trained, optimizer, engine):
    model = refine_nodes(copy_of(trained), [[3, 12], [3, 7, 20, 3, 9]], X)
    before = model(X).detach()
    after_steps(model, optimizer, 4, engine)
    assert relative_change(model(X), before) > 1e-6
    for layer in model.act_fun:
        for coef, count in zip(layer.coef, intervals(layer), strict=True):
            assert (coef[:, count + 3 :] == 0).all()
            assert (coef[:, : count + 3] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pykan_reads_such_a_model(tmp_path, trained, dtype):
    model = refine_nodes(copy_of(trained), [[3, 50], [100, 7, 20, 3, 9]], X).type(dtype)
    x = X.to(dtype)
    save_checkpoint(model, str(tmp_path / "model"), x)
    with global_random_state_kept(), default_dtype(dtype):
        theirs = KAN.loadckpt(str(tmp_path / "model"))
    assert torch.equal(theirs(x), model(x))
    ours = load_checkpoint(str(tmp_path / "model"))
    assert torch.equal(ours(x), model(x))
    assert [intervals(layer) for layer in ours.act_fun] == [(3, 50), (100, 7, 20, 3, 9)]
    assert count_parameters(ours) == count_parameters(model) < count_parameters(theirs)


def policy(approach, **over):
    return ByImportance(approach, **{"rule": "fraction", "fraction": 0.5, "threshold": 0.01, "density": 2.0} | over)


def test_what_the_approaches_refine(trained):
    grids, counts = {}, set()
    for approach in ("baseline", "adaptive_only", "adaptive_regular"):
        density = policy(approach)
        model = density.refine(copy_of(trained), 10, X)
        grids[approach] = [count for layer in model.act_fun for count in intervals(layer)]
        counts.add(count_parameters(model))
    assert grids["baseline"] == [10] * 7
    assert sorted(grids["adaptive_only"]) == [3] * 3 + [10] * 4
    assert grids["adaptive_regular"] == [2 * n if n == 10 else 10 for n in grids["adaptive_only"]]
    assert len(counts) == 3
    preserved = Preserve().refine(copy_of(trained), 10, X)
    baseline = policy("baseline").refine(copy_of(trained), 10, X)
    assert torch.equal(preserved(X), baseline(X))


def test_what_is_recorded(trained):
    only, baseline = policy("adaptive_only"), policy("baseline")
    for density in (only, baseline):
        density.begin(trained, X)
    assert only.columns["important_neurons"] == 4
    assert 0 < only.columns["attribution_threshold"] < 10
    assert baseline.columns == {"attribution_threshold": 0.0, "important_neurons": 7, "total_neurons": 7}
    original = policy("adaptive_only", rule="threshold")
    original.begin(trained, X)
    assert original.columns == {"attribution_threshold": 0.01, "important_neurons": 7, "total_neurons": 7}
