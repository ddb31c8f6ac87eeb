"""Attribution scores against pykan's own."""

import pytest
import torch

from kanbench.attribution import important_nodes, node_scores
from kanbench.models import build_model

X = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pykans_scores(model, x):
    model.save_act = True
    model(x)
    model.attribute()
    model.save_act = False
    return model.node_scores[:-1]  # the last are the outputs'


@pytest.mark.parametrize("width", [[2, 5, 1], [2, 5, 4, 1], [2, 3, 2]], ids=str)
def test_scores_are_pykans(width):
    model = build_model(width, 5, seed=3)
    model.act_fun[0].mask.data[0, 1] = 0
    ours, theirs = node_scores(model, X), pykans_scores(model, X)
    assert [len(score) for score in ours] == width[:-1]
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their.double(), rtol=1e-12, atol=1e-14)


def test_scores_are_those_of_the_sample_that_is_given():
    """pykan's are those of whatever was evaluated last."""
    model = build_model([2, 5, 1], 5)
    first = node_scores(model, X)
    model.save_act = True
    model(3 * X[:7])
    assert all(torch.equal(a, b) for a, b in zip(node_scores(model, X), first, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(node_scores(model, X[:100]), first, strict=True))


def test_a_node_that_nothing_leaves_has_no_score():
    model = build_model([2, 5, 1], 5)
    model.act_fun[1].mask.data[2] = 0
    model.act_fun[0].mask.data[1] = 0
    inputs, hidden = node_scores(model, X)
    assert inputs[1] == hidden[2] == 0
    assert inputs[0] > 0


def test_importance_by_threshold_and_by_fraction():
    scores = [torch.tensor([0.5, 0.1]), torch.tensor([0.3, 0.2, 0.009])]
    important, threshold = important_nodes(scores, "threshold", 0.5, 0.01)
    assert [layer.tolist() for layer in important] == [[True, True], [True, True, False]]
    assert threshold == 0.01
    important, threshold = important_nodes(scores, "fraction", 0.4, 0.01)
    assert [layer.tolist() for layer in important] == [[True, False], [True, False, False]]
    assert threshold == pytest.approx(0.3)
    dead = [torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.2, 0.0])]
    important, _ = important_nodes(dead, "fraction", 0.8, 0.01)  # of equal scores the first
    assert [layer.tolist() for layer in important] == [[True, True], [True, True, False]]
    for fraction, count in [(0.01, 1), (0.5, 2), (0.6, 3), (0.99, 4)]:  # some and not all
        important, _ = important_nodes(scores, "fraction", fraction, 0.01)
        assert sum(int(layer.sum()) for layer in important) == count
