"""The graph of a merged model: its nodes and edges, and the expert that each comes from. Nothing here draws."""

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
        width (list of int): Number of nodes of every layer.
        edges (list of (node, node)): Edges that are not masked.
        groups (dict): `{hidden node: group}`: the merged part that a node belongs to, numbered from 0 in the order of
            the last hidden layer; `SHARED` for nodes with an identity edge. Empty if the groups cannot be identified.
    """

    width: list[int]
    edges: list[tuple[Node, Node]]
    groups: dict[Node, int]

    def group(self, source: Node, target: Node) -> int | None:
        """The group of an edge; None if it cannot be identified."""
        found = {self.groups[node] for node in (source, target) if node in self.groups}
        return max(found) if found else None

    def depths(self) -> list[int]:
        """The number of hidden layers of every group."""
        count = max(self.groups.values(), default=SHARED) + 1
        return [len({layer for (layer, _), found in self.groups.items() if found == group}) for group in range(count)]


def merged_graph(masks: Sequence[np.ndarray], experts: int | None = None) -> MergedGraph:
    """Read a merged model from the masks of its layers, each of shape (inputs, outputs).

    No edge connects two experts. Without the inputs, the output, and the nodes with an identity edge, every connected
    component therefore belongs to one expert. Every expert has equally many nodes in the last hidden layer, in merging
    order. An expert's node has edges from all nodes of the expert's previous layer, at least two; a node that passes an
    input through has one, from the input or another such node.

    Args:
        experts (int, optional): Number of merged experts; without it, experts with one hidden layer are not found,
            because their nodes are not connected.
    """
    width = [masks[0].shape[0], *(mask.shape[1] for mask in masks)]
    edges = [
        ((layer, int(i)), (layer + 1, int(j)))
        for layer, mask in enumerate(masks)
        for i, j in zip(*np.nonzero(mask), strict=True)
    ]
    hidden = [(layer, i) for layer in range(1, len(width) - 1) for i in range(width[layer])]
    shared: set[Node] = set()  # nodes with a single incoming edge, from an input or another such node
    for layer, mask in enumerate(masks[:-1], start=1):
        for i in np.flatnonzero(np.count_nonzero(mask, axis=0) == 1) if width[0] > 1 else ():
            if layer == 1 or (layer - 1, int(np.flatnonzero(mask[:, i])[0])) in shared:
                shared.add((layer, int(i)))
    parts = _components([node for node in hidden if node not in shared], edges)
    groups = _groups(parts, width, experts)
    return MergedGraph(width, edges, groups | dict.fromkeys(shared, SHARED) if groups else {})


def _groups(parts: list[list[Node]], width: list[int], experts: int | None) -> dict[Node, int]:
    """Assign a group to every node of the parts; empty if parts and experts do not match."""
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
    """Find the connected components among nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    position = {node: i for i, node in enumerate(nodes)}
    pairs = [(position[a], position[b]) for a, b in edges if a in position and b in position]
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(nodes), len(nodes)))
    count, labels = connected_components(graph, directed=False)
    return [[node for node, label in zip(nodes, labels, strict=True) if label == part] for part in range(count)]
