"""Attribution scores: how much each node of a network contributes to the output.

pykan's attribution score (Liu et al., arXiv:2408.10205, section 4.1; `MultKAN.attribute`) is computed backwards from
the outputs, whose score is 1. Let E be the standard deviation of an edge's values over a sample, and N that of the sum
at its target node. The score of an edge is its target's score times E/N; the score of a node is the sum over its
outgoing edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kanbench.network.evaluation import Deviations
from kanbench.problems import Array

OFFSET = 1e-4  # as in pykan; avoids division by zero for dead nodes


def node_scores(deviations: Deviations) -> list[Array]:
    """The attribution scores of the input and hidden nodes.

    Args:
        deviations (lists of arrays): Standard deviations of edges and nodes over a sample; see
            `kanbench.network.evaluation.Activations`.

    Returns:
        list of arrays of shape (nodes,): One per layer, inputs first; the mean over the network's outputs.
    """
    edges, nodes = deviations
    score = np.eye(len(nodes[-1]))  # (outputs of the network, nodes)
    scores = []
    for edge, node in zip(reversed(edges), reversed(nodes), strict=True):
        score = score / (node + OFFSET) @ edge.T
        scores.append(score.mean(axis=0))
    return scores[::-1]


def important_nodes(
    scores: Sequence[Array], rule: str, fraction: float, threshold: float
) -> tuple[list[NDArray[np.bool_]], float]:
    """Select the important nodes.

    Args:
        scores (arrays of shape (nodes,)): Attribution scores, by layer.
        rule (str): `threshold`: nodes with a score of at least `threshold`. `fraction`: the given fraction of all
            nodes, those with the highest scores; at least one node, but not all.

    Returns:
        important (list of boolean arrays): Of the same shapes as `scores`.
        threshold (float): The lowest score that counts as important.
    """
    if rule == "threshold":
        return [score >= threshold for score in scores], threshold
    every = np.concatenate(scores)
    count = min(max(round(fraction * len(every)), 1), len(every) - 1)
    ranked = np.argsort(-every, kind="stable")  # among equal scores, the first nodes win
    important = np.zeros(len(every), dtype=bool)
    important[ranked[:count]] = True
    ends = np.cumsum([len(score) for score in scores])
    return np.split(important, ends[:-1]), float(every[ranked[count - 1]])
