"""How much every node of a model contributes to its output.

pykan's attribution score (Liu et al., arXiv:2408.10205, section 4.1; `MultKAN.attribute`) walks back from the output.
An edge carries the standard deviation E of what it adds over a sample, a node the standard deviation N of the sum of
its edges; a node hands its score down to its edges in the ratio E/N, and a node's score is the sum over the edges that
leave it. An output's score is 1.
"""

from __future__ import annotations

import torch
from kan import KAN
from torch import Tensor

OFFSET = 1e-4  # pykan's, against the division by the standard deviation of a dead node


@torch.no_grad()
def node_scores(model: KAN, x: Tensor) -> list[Tensor]:
    """The attribution scores of the input and hidden nodes over the sample x, shape (n, d).

    Nothing is taken from, or left in, an earlier evaluation of the model.

    Returns
    -------
    list of Tensors of shape (nodes,)
        One per layer, inputs first. The mean over the outputs, where a model has several.
    """
    edges, nodes = [], []
    for layer in model.act_fun:
        x, _, post_activations, _ = layer(x)
        edges.append(post_activations.std(dim=0))  # (outputs, inputs)
        nodes.append(x.std(dim=0))
    score = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)  # (outputs of the model, nodes)
    scores = []
    for edge, node in zip(reversed(edges), reversed(nodes), strict=True):
        score = score / (node + OFFSET) @ edge
        scores.append(score.mean(dim=0))
    return scores[::-1]


def important_nodes(scores: list[Tensor], rule: str, fraction: float, threshold: float) -> tuple[list[Tensor], float]:
    """Which nodes are important.

    Parameters
    ----------
    scores : list of Tensors
        As `node_scores` returns them.
    rule : str
        `threshold`: the nodes whose score is at least `threshold`. `fraction`: this fraction of all nodes, those with
        the highest scores, but at least one node and not all of them.

    Returns
    -------
    important : list of boolean Tensors
        Of the shapes of `scores`.
    threshold : float
        The smallest score that counts as important.
    """
    if rule == "threshold":
        return [score >= threshold for score in scores], threshold
    every = torch.cat(scores)
    count = min(max(round(fraction * len(every)), 1), len(every) - 1)
    ranked = every.sort(descending=True, stable=True)  # of equal scores the first ones count
    important = torch.zeros_like(every, dtype=torch.bool)
    important[ranked.indices[:count]] = True
    return list(important.split([len(score) for score in scores])), ranked.values[count - 1].item()
