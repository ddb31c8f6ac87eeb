"""Attribution scores against pykan's own."""

import dataclasses

import numpy as np
import pytest
import torch

from kanbench.network.attribution import important_nodes, node_scores
from kanbench.network.evaluation import deviations
from kanbench.network.initialization import initialize
from kanbench.network.pykan import to_pykan

X = np.random.default_rng(0).uniform(-1, 1, (200, 2))


def pykans_scores(network, x):
    model = to_pykan(network)
    model.save_act = True
    model(torch.from_numpy(x))
    model.attribute()
    return [scores.double().numpy(force=True) for scores in model.node_scores[:-1]]  # the last are the outputs'


def without(network, edges):
    """The network without these edges, (layer, input, output); an output of None for all of them."""
    layers = list(network.layers)
    for number, i, j in edges:
        mask = layers[number].mask.copy()
        mask[i, slice(None) if j is None else j] = 0
        layers[number] = dataclasses.replace(layers[number], mask=mask)
    return dataclasses.replace(network, layers=tuple(layers))


@pytest.mark.parametrize("width", [[2, 5, 1], [2, 5, 4, 1], [2, 3, 2]], ids=str)
def test_scores_are_pykans(width):
    network = without(initialize(width, 5, seed=3), [(0, 0, 1)])
    ours, theirs = node_scores(deviations(network, X)), pykans_scores(network, X)
    assert [len(score) for score in ours] == width[:-1]
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-12, atol=1e-14)


def test_scores_are_those_of_the_sample_that_is_given():
    """pykan's are those of whatever was evaluated last."""
    network = initialize([2, 5, 1], 5)
    first = node_scores(deviations(network, X))
    node_scores(deviations(network, 3 * X[:7]))
    assert all(np.array_equal(a, b) for a, b in zip(node_scores(deviations(network, X)), first, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(node_scores(deviations(network, X[:100])), first, strict=True))


def test_a_node_that_nothing_leaves_has_no_score():
    inputs, hidden = node_scores(deviations(without(initialize([2, 5, 1], 5), [(1, 2, None), (0, 1, None)]), X))
    assert inputs[1] == hidden[2] == 0
    assert inputs[0] > 0


def test_importance_by_threshold_and_by_fraction():
    scores = [np.array([0.5, 0.1]), np.array([0.3, 0.2, 0.009])]
    important, threshold = important_nodes(scores, "threshold", 0.5, 0.01)
    assert [layer.tolist() for layer in important] == [[True, True], [True, True, False]]
    assert threshold == 0.01
    important, threshold = important_nodes(scores, "fraction", 0.4, 0.01)
    assert [layer.tolist() for layer in important] == [[True, False], [True, False, False]]
    assert threshold == pytest.approx(0.3)
    assert type(threshold) is float
    dead = [np.array([0.5, 0.0]), np.array([0.0, 0.2, 0.0])]
    important, _ = important_nodes(dead, "fraction", 0.8, 0.01)  # of equal scores the first
    assert [layer.tolist() for layer in important] == [[True, True], [True, True, False]]
    for fraction, count in [(0.01, 1), (0.5, 2), (0.6, 3), (0.99, 4)]:  # some and not all
        important, _ = important_nodes(scores, "fraction", fraction, 0.01)
        assert sum(int(layer.sum()) for layer in important) == count
