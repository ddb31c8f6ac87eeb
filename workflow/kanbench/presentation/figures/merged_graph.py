"""The nodes and edges of a merged model, and which expert each came from. Nothing here draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Node = tuple[int, int]  # layer, position

SHARED = -1


@dataclass(frozen=True)
class MergedGraph:
    """A model as a graph.

    Attributes:
        width (list of int): Nodes of every layer.
        edges (list of (node, node)): Those that are not masked.
        groups (dict): `{node: group}` for the hidden nodes: which of the merged parts a node belongs to, counted from 0
            in the order of the layer before the output; `SHARED` for nodes with an identity edge. Empty where that
            cannot be told.
    """

    width: list[int]
    edges: list[tuple[Node, Node]]
    groups: dict[Node, int]

    def group(self, source: Node, target: Node) -> int | None:
        """The group of an edge; None where it cannot be told."""
        found = {self.groups[node] for node in (source, target) if node in self.groups}
        return max(found) if found else None

    def depths(self) -> list[int]:
        """The hidden layers of every group."""
        count = max(self.groups.values(), default=SHARED) + 1
        return [len({layer for (layer, _), found in self.groups.items() if found == group}) for group in range(count)]


def merged_graph(masks: Sequence[np.ndarray], experts: int | None = None) -> MergedGraph:
    """Read a merged model from the masks of its layers, each of shape (inputs, outputs).

    No edge leads from one expert to another: without the inputs, the nodes that pass them on by an identity edge, and
    the output, every connected component belongs to one expert; and every expert has as many nodes of the last hidden
    layer, in the order in which they were merged. An expert's node has edges from all nodes of the layer before, of
    which there are at least two; a node that passes on an input has one, from the input or another such node.

    Args:
        experts (int, optional): How many were merged; without it, those with one hidden layer are not found: their
            nodes are not connected.
    """
    width = [masks[0].shape[0], *(mask.shape[1] for mask in masks)]
    edges = [
        ((layer, int(i)), (layer + 1, int(j)))
        for layer, mask in enumerate(masks)
        for i, j in zip(*np.nonzero(mask), strict=True)
    ]
    hidden = [(layer, i) for layer in range(1, len(width) - 1) for i in range(width[layer])]
    shared: set[Node] = set()  # nodes with one edge, from an input or from such a node
    for layer, mask in enumerate(masks[:-1], start=1):
        for i in np.flatnonzero(np.count_nonzero(mask, axis=0) == 1) if width[0] > 1 else ():
            if layer == 1 or (layer - 1, int(np.flatnonzero(mask[:, i])[0])) in shared:
                shared.add((layer, int(i)))
    parts = _components([node for node in hidden if node not in shared], edges)
    groups = _groups(parts, width, experts)
    return MergedGraph(width, edges, groups | dict.fromkeys(shared, SHARED) if groups else {})


def _groups(parts: list[list[Node]], width: list[int], experts: int | None) -> dict[Node, int]:
    """The group of every node of the parts; empty where parts and experts do not fit."""
    last, nodes = len(width) - 2, width[-2]
    in_last = [[i for layer, i in part if layer == last] for part in parts]
    if not experts:
        found = sorted(zip(in_last, parts, strict=True))
        alone = any(len(part) == 1 for part in parts)
        return {} if alone or len(parts) < 2 else {n: g for g, (_, part) in enumerate(found) for n in part}
    if nodes % experts:
        return {}
    blocks = [{i * experts // nodes for i in found} for found in in_last]
    if any(len(block) != 1 for block in blocks):
        return {}
    return {node: group for part, (group,) in zip(parts, blocks, strict=True) for node in part}


def _components(nodes: list[Node], edges: list[tuple[Node, Node]]) -> list[list[Node]]:
    """The connected components among nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    position = {node: i for i, node in enumerate(nodes)}
    pairs = [(position[a], position[b]) for a, b in edges if a in position and b in position]
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(nodes), len(nodes)))
    count, labels = connected_components(graph, directed=False)
    return [[node for node, label in zip(nodes, labels, strict=True) if label == part] for part in range(count)]
