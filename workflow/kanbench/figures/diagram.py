"""The merged model as a diagram of nodes and edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.figures.network import SHARED, Network, network
from kanbench.figures.source import LeftOutError, Source
from kanbench.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, legend, new_figure, number

# Of neighbours, one is dark and the other light, so that they differ in greyscale too.
COLOURS = (BLUE, ORANGE, BLACK, SKY, VERMILLION, PURPLE, GREEN, "#A6761D")
LOOK_OF_SHARED = {"color": GREY, "marker": "D"}


def merge_diagram_figure(source: Source, note, dataset: str) -> Figure:
    """Inputs below, the output above; nodes and edges in the colours of the experts that they came from."""
    i, model_type = source.index(dataset), source.section.model_types[0]
    checkpoint, model = source.model(model_type, i)
    if model is None:
        raise LeftOutError("no checkpoint of the merged model that pykan reads")
    graph = network([layer.mask.detach().numpy() for layer in model.act_fun])
    if not graph.groups:
        note("which expert a node came from cannot be told: there are edges between experts")
    names = group_names(source, i, graph, note)
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    places = positions(graph)
    colours = {group: COLOURS[group % len(COLOURS)] for group in range(len(names))} | {SHARED: GREY, None: GREY}
    lines = [(places[a], places[b]) for a, b in graph.edges]
    of_edges = [colours[graph.group(a, b)] for a, b in graph.edges]
    axes.add_collection(LineCollection(lines, colors=of_edges, linewidths=0.35, alpha=0.8, zorder=1))
    for node, (x, y) in places.items():
        group = graph.groups.get(node)
        marker = "D" if group == SHARED else "s" if node[0] in (0, len(graph.width) - 1) else "o"
        axes.plot(x, y, marker=marker, markersize=3.5, color=colours[group], zorder=2)
    for input_ in range(graph.width[0]):
        x, y = places[0, input_]
        axes.text(x, y - 0.09, f"x{input_ + 1}", ha="center", va="top")
    axes.text(*np.add(places[len(graph.width) - 1, 0], (0, 0.09)), "output", ha="center", va="bottom")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.3, len(graph.width) - 1 + 0.3))
    axes.set_axis_off()
    live = f"width {graph.width}, {len(graph.edges)} edges, {'final model' if checkpoint == 'final' else 'at the threshold'}"
    axes.set_title(f"{dataset}: {live}")
    handles = [Line2D([], [], color=colours[g], marker="o", label=name) for g, name in enumerate(names)]
    if SHARED in graph.groups.values():
        handles.append(Line2D([], [], color=GREY, marker="D", label="hands on an input"))
    if handles:
        legend(figure, handles, 3, "lower")
    return figure


def positions(graph: Network) -> dict:
    """Where nodes are: layers from below, the nodes of a group next to each other, in columns of their own."""
    count = max(graph.groups.values(), default=-1) + 1
    places = {}
    for layer, nodes in enumerate(graph.width):
        if layer in (0, len(graph.width) - 1) or not count:
            places |= {(layer, i): ((i + 0.5) / nodes, layer) for i in range(nodes)}
            continue
        columns = count + 1 if SHARED in graph.groups.values() else count  # the last for nodes that hand on inputs
        for group in (*range(count), SHARED):
            members = [i for i in range(nodes) if graph.groups[layer, i] == group]
            left = (count if group == SHARED else group) / columns
            for place, i in enumerate(members):
                places[layer, i] = (left + (0.1 + 0.8 * (place + 0.5) / len(members)) / columns, layer)
    return places


def group_names(source: Source, dataset_idx: int, graph: Network, note) -> list[str]:
    """What the groups are called: the experts by rank, if they are those that the frames list."""
    depths = graph.depths()
    selected = source.results.get("selected_experts", pd.DataFrame())
    if {"dataset_idx", "rank", "depth", "k", "seed"} <= set(selected):
        selected = selected[selected["dataset_idx"] == dataset_idx].sort_values("rank")
        if selected["depth"].tolist() == depths and not _in_stages(source, dataset_idx):
            weights = selected["weight"] if "weight" in selected else [None] * len(selected)
            rows = zip(selected["depth"], selected["k"], selected["seed"], weights, strict=True)
            return [
                f"{rank}: {depth} layers, order {k}, seed {seed}" + (f", weight {number(w)}" if w is not None else "")
                for rank, (depth, k, seed, w) in enumerate(rows, start=1)
            ]
    if depths:
        note("which of the selected experts a part is cannot be told; parts are numbered")
    return [f"part {group + 1}: {depth} hidden layers" for group, depth in enumerate(depths)]


def _in_stages(source: Source, dataset_idx: int) -> bool:
    """Whether models were merged on the way, in which case the order of the parts is another."""
    summary = source.results.get("summary", pd.DataFrame())
    if "via_n_evals" not in summary:
        return False
    return bool(summary.loc[summary["dataset_idx"] == dataset_idx, "via_n_evals"].gt(0).any())
