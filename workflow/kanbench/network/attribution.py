"""How much every node of a network contributes to its output.

pykan's attribution score (Liu et al., arXiv:2408.10205, section 4.1; `MultKAN.attribute`) walks back from the output.
An edge carries the standard deviation E of what it adds over a sample, a node the standard deviation N of the sum of
its edges; a node hands its score down to its edges in the ratio E/N, and a node's score is the sum over the edges that
leave it. An output's score is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kanbench.network.evaluation import Deviations
from kanbench.problems import Array

OFFSET = 1e-4  # pykan's, against the division by the standard deviation of a dead node


def node_scores(deviations: Deviations) -> list[Array]:
    """The attribution scores of the input and hidden nodes.

    Args:
        deviations (lists of arrays): Of edges and nodes, over a sample; see `kanbench.network.evaluation.Activations`.

    Returns:
        list of arrays of shape (nodes,): One per layer, inputs first. The mean over the outputs, where a network has
            several.
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
    """Which nodes are important.

    Args:
        rule (str): `threshold`: the nodes whose score is at least `threshold`. `fraction`: this fraction of all nodes,
            those with the highest scores, but at least one node and not all of them.

    Returns:
        important (list of boolean arrays): Of the shapes of `scores`.
        threshold (float): The smallest score that counts as important.
    """
    if rule == "threshold":
        return [score >= threshold for score in scores], threshold
    every = np.concatenate(scores)
    count = min(max(round(fraction * len(every)), 1), len(every) - 1)
    ranked = np.argsort(-every, kind="stable")  # of equal scores the first ones count
    important = np.zeros(len(every), dtype=bool)
    important[ranked[:count]] = True
    ends = np.cumsum([len(score) for score in scores])
    return np.split(important, ends[:-1]), float(every[ranked[count - 1]])
