"""Experts, their selection and weights, the merged model's training, and its control."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kanbench.network.evaluation import evaluate
from kanbench.network.initialization import initialize
from kanbench.plan.config import experts, merge
from kanbench.plan.settings import control_settings, expert_settings, merge_settings
from kanbench.training.experts import dependencies, train_expert
from kanbench.training.merge_kan import control_width, ensemble_weights, train_control, train_merged
from kanbench.training.selection import select_experts
from kanbench.training.trainer import make_data

SMALL = {
    "data": {"train_num": 150, "test_num": 100, "dense_num": 300},
    "experts": {"depths": [1, 2], "seeds": [1], "epochs": 15, "evaluate_every": 5},
    "merge_kan": {"n_selected": 3, "valid_num": 120, "grids": [5, 8], "epochs": 3},
}


def expert(valid_loss, dependencies="0,1"):
    return {"valid_loss": valid_loss, "dependencies": dependencies}


@pytest.mark.parametrize(
    ("pool", "n_selected", "selected"),
    [
        ([expert(3), expert(1), expert(2)], 2, [1, 2]),
        ([expert(1), expert(2), expert(9, "0"), expert(3)], 2, [0, 2]),  # one of every pattern
        ([expert(1), expert(2), expert(9, "0"), expert(3)], 3, [0, 1, 2]),  # then the best of the rest
        ([expert(5, "0"), expert(4, "1"), expert(3, ""), expert(9)], 2, [2, 1]),  # more patterns than places
        ([expert(float("nan")), expert(2), expert(1e9)], 2, [1, 2]),
        ([expert(1), expert(1), expert(1)], 2, [0, 1]),  # ties in the order of the experts
        ([expert(1)], 5, [0]),
    ],
)
def test_selection(pool, n_selected, selected):
    assert select_experts(pool, n_selected) == selected


def test_dependencies():
    network, x = initialize([3, 5, 1], 5), np.random.default_rng(0).uniform(-1, 1, (100, 3))
    assert dependencies(network, x, 0.01) == "0,1,2"
    assert dependencies(network, x, 100.0) == ""
    first, last = network.layers
    mask = first.mask * [[1], [0], [1]]  # nothing leaves the second input
    cut = dataclasses.replace(network, layers=(dataclasses.replace(first, mask=mask), last))
    assert dependencies(cut, x, 0.01) == "0,2"


@pytest.fixture(scope="module")
def small(config):
    return merge(config, SMALL)


@pytest.fixture(scope="module")
def trained(small):
    """All experts on one dataset: what is known of each, and the networks."""
    known, networks = [], []
    for numbers in experts(small):
        settings = expert_settings(small, 1, *numbers)
        training, expert = train_expert(settings, make_data(settings))
        known.append(expert)
        networks.append(training.final.network)
    return known, networks


def test_what_is_known_of_an_expert(small, trained):
    data = make_data(merge_settings(small, 1))
    assert [(e["depth"], e["k"], e["seed"]) for e in trained[0]] == [(1, 2, 1), (1, 3, 1), (2, 2, 1), (2, 3, 1)]
    for expert, network in zip(*trained, strict=True):
        assert expert["num_params"] == network.n_parameters
        assert expert["dependencies"] == "0,1"
        assert expert["steps"] == 15
        for sample in ("train", "test", "valid"):
            x, y = getattr(data, f"{sample}_input"), getattr(data, f"{sample}_label")
            assert np.square(evaluate(network, x) - y).mean() == pytest.approx(expert[f"{sample}_loss"], rel=1e-9)


def test_the_validation_sample_is_neither_of_training_nor_of_test(small):
    data = make_data(merge_settings(small, 1))
    assert len(data.valid_input) == 120
    assert (cdist(data.valid_input, np.vstack([data.train_input, data.test_input])) > 0).all()
    assert np.array_equal(make_data(expert_settings(small, 1, 1, 2, 1)).valid_input, data.valid_input)


def test_experts_end_when_they_stagnate(small):
    stagnation = {"experts": {"optimizer": "adam", "stagnation": {"epochs": 5, "tolerance": 0.999}}}
    settings = expert_settings(merge(small, stagnation), 1, 1, 3, 1)
    training, expert = train_expert(settings, make_data(settings))
    assert expert["steps"] == 10
    assert "decreased by less than 99.9 % in 5 epochs" in training.stopped


def test_least_squares_weights(small, trained):
    data, networks = make_data(merge_settings(small, 1)), trained[1]
    outputs = np.hstack([evaluate(network, data.valid_input) for network in networks])

    def loss(weights):
        return np.square(outputs @ np.array(weights)[:, None] - data.valid_label).mean()

    x, label = data.valid_input, data.valid_label[:, 0]
    weights = ensemble_weights(networks, x, label, "least_squares")
    wanted = np.linalg.solve(outputs.T @ outputs, outputs.T @ data.valid_label)[:, 0]
    np.testing.assert_allclose(weights, wanted, rtol=1e-6, atol=1e-8)
    mean = ensemble_weights(networks, x, label, "mean")
    assert mean == [0.25] * 4
    assert loss(weights) < min(loss(other) for other in [mean, *np.eye(4)])
    twice, once = (ensemble_weights([networks[0]] * count, x, label, "least_squares") for count in (2, 1))
    assert sum(twice) == pytest.approx(once[0])  # any split will do


def merged_with(small, trained, **over):
    settings = control_settings(merge(small, {"merge_kan": over}), 1)
    return settings, *train_merged(settings, trained[0], lambda i: trained[1][i], make_data(settings))


def test_the_merged_model_begins_as_the_ensemble(small, trained):
    known, _ = trained
    _, training, merging = merged_with(small, trained)
    assert merging["initial_dense_mse"] == pytest.approx(merging["ensemble_dense_mse"], rel=1e-6)
    assert merging["initial_num_params"] == training.untrained.row["num_params"]
    selected = [(e["depth"], e["k"], e["seed"]) for e in merging["selected"]]
    assert selected == [(known[i]["depth"], known[i]["k"], 1) for i in select_experts(known, 3)]
    assert [row["epoch"] for row in training.history] == [1, 2, 3, 4, 5, 6]
    assert [row["grid_size"] for row in training.history] == [5] * 3 + [8] * 3
    assert training.final.row["train_loss"] < training.untrained.row["train_loss"]
    network = training.final.network
    assert network.n_parameters == training.final.row["num_params"]
    assert merging["width"] == network.width and merging["k"] == network.order
    assert all(count >= 8 for counts in network.intervals for count in counts)


def test_the_mean_as_weights(small, trained):
    _, _, merging = merged_with(small, trained, weights="mean")
    assert [expert["weight"] for expert in merging["selected"]] == [1 / 3] * 3
    assert merging["initial_dense_mse"] == pytest.approx(merging["ensemble_dense_mse"], rel=1e-6)


def test_merging_in_stages(small, trained):
    _, at_once, _ = merged_with(small, trained)
    _, training, merging = merged_with(small, trained, intermediate_models=[2])
    assert len(merging["selected"]) == 3
    assert training.final.network.width[2:] == at_once.final.network.width[2:]  # in front inputs are handed on
    assert all(part["n_evals"] > 0 and part["flops"] > 0 and part["time"] > 0 for part in merging["via"])
    assert [row["grid_size"] for row in training.history] == [5] * 3 + [8] * 3
    assert training.history[-1]["num_params"] > training.history[0]["num_params"]
    assert training.untrained.row["train_loss"] < at_once.untrained.row["train_loss"]  # the parts have been trained


def test_the_first_stage_has_the_grid_that_it_says(small, trained):
    _, training, merging = merged_with(small, trained, grids=[7])
    assert merging["initial_dense_mse"] == pytest.approx(merging["ensemble_dense_mse"], rel=1e-6)
    assert all(count >= 7 for counts in training.final.network.intervals for count in counts)


def test_the_control_has_the_merged_models_size_and_work(small, trained):
    for budget in ("merged", "all"):
        settings, training, merging = merged_with(small, trained, control_budget=budget)
        merged = {**training.final.row, "width": merging["width"], "k": merging["k"], "via": merging["via"]}
        alone = train_control(settings, merged, trained[0], make_data(settings))
        width, row = alone.final.network.width, alone.final.row
        assert len(width) == len(merging["width"])
        assert row["grid_size"] == merged["grid_size"]
        assert row["num_params"] == pytest.approx(merged["num_params"], rel=0.15)
        work = merged["flops"] + (sum(expert["flops"] for expert in trained[0]) if budget == "all" else 0)
        assert row["flops"] == pytest.approx(work, rel=0.2)


def test_a_control_of_a_merged_model_whose_training_failed(small, trained):
    settings, training, merging = merged_with(small, trained)
    failed = {
        **training.untrained.row,
        "flops": 0,
        "width": merging["width"],
        "k": merging["k"],
        "via": merging["via"],
    }
    row = train_control(settings, failed, trained[0], make_data(settings)).final.row
    assert row["flops"] == pytest.approx(sum(expert["flops"] for expert in trained[0]), rel=0.2)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_control_width(depth):
    width = control_width(2, depth, 1, 25, 5000)
    assert len(width) == depth + 2
    hidden = width[1]

    def distance(hidden):
        return abs(initialize([2, *[hidden] * depth, 1], 20).n_parameters - 5000)

    assert distance(hidden) <= min(distance(hidden - 1), distance(hidden + 1))


def in_other_units(data, scale, offset):
    labels = ("train_label", "test_label", "dense_label", "valid_label")
    return dataclasses.replace(data, **{name: scale * getattr(data, name) + offset for name in labels})


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (-1e3, 0.0), (1.0, 1e4)], ids=str)
def test_merging_does_not_depend_on_the_units_of_the_target(small, scale, offset):
    """Of c f + d the same experts are selected, with the same weights, and merged."""
    outcomes = []
    for of in ((1.0, 0.0), (scale, offset)):
        known, networks = [], []
        for numbers in experts(small):
            settings = expert_settings(merge(small, {"experts": {"epochs": 5}}), 1, *numbers)
            training, expert = train_expert(settings, in_other_units(make_data(settings), *of))
            known.append(expert)
            networks.append(training.final.network)
        settings = merge_settings(small, 1)
        data = in_other_units(make_data(settings), *of)
        _, merging = train_merged(settings, known, networks.__getitem__, data)
        outcomes.append((known, merging))
    (known, merging), (others, other) = outcomes
    assert [e["dependencies"] for e in others] == [e["dependencies"] for e in known]
    keys = ("depth", "k", "seed")
    assert [[e[k] for k in keys] for e in other["selected"]] == [[e[k] for k in keys] for e in merging["selected"]]
    weights = [[expert["weight"] for expert in outcome["selected"]] for outcome in (other, merging)]
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-6)
    for loss in ("ensemble_dense_mse", "initial_dense_mse"):
        assert other[loss] == pytest.approx(scale**2 * merging[loss], rel=1e-3)
