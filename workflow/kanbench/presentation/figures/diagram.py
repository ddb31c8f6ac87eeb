"""The merged model as a diagram of nodes and edges."""

from __future__ import annotations

import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kanbench.io.numbers import printed, subscript
from kanbench.plan.labels import problem_label
from kanbench.presentation.figures import style
from kanbench.presentation.figures.data import FigureUnavailableError, Note, index_of, model_of
from kanbench.presentation.figures.merged_graph import SHARED, MergedGraph, Node, merged_graph
from kanbench.storage.stored_run import StoredRun

# Dark and light colours alternate, so that neighbours differ in greyscale too.
COLOURS = (style.BLUE, style.ORANGE, style.BLACK, style.SKY, style.VERMILLION, style.PURPLE, style.GREEN, "#A6761D")


def merge_diagram_figure(stored: StoredRun, note: Note, dataset: str) -> Figure:
    """Draw the graph, inputs at the bottom and output at the top, in the colours of the experts they come from."""
    i, model_type = index_of(stored, dataset), stored.section.model_types[0]
    try:
        moment, model = model_of(stored, model_type, i)
    except FigureUnavailableError as reason:
        raise FigureUnavailableError(f"no merged model: {reason}") from None
    selected = selected_experts(stored, i)
    graph = merged_graph([layer.mask for layer in model.layers], len(selected) or None)
    if not graph.groups:
        note("it is not known which expert each node came from")
    names = group_names(stored, i, graph, note)
    figure = style.new_figure(3.7)
    axes = figure.add_subplot()
    places = positions(graph)
    colours = {group: COLOURS[group % len(COLOURS)] for group in range(len(names))} | {
        SHARED: style.GREY,
        None: style.GREY,
    }
    lines = [(places[a], places[b]) for a, b in graph.edges]
    of_edges = [colours[graph.group(a, b)] for a, b in graph.edges]
    axes.add_collection(LineCollection(lines, colors=of_edges, linewidths=0.35, alpha=0.8, zorder=1))
    alike: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for node, place in places.items():
        group = graph.groups.get(node)
        marker = "D" if group == SHARED else "s" if node[0] in (0, len(graph.width) - 1) else "o"
        alike.setdefault((marker, colours[group]), []).append(place)
    for (marker, colour), nodes in alike.items():
        axes.plot(*zip(*nodes, strict=True), marker=marker, markersize=3.5, color=colour, linestyle="none", zorder=2)
    in_last = sorted((node for node in graph.groups if node[0] == len(graph.width) - 2), reverse=True)
    first_of = {graph.groups[node]: places[node] for node in in_last}  # of every group, in the last hidden layer
    for group, (x, y) in sorted(first_of.items()):
        if group != SHARED:
            axes.text(x - 0.008, y, str(group + 1), ha="right", va="center")
    for input_ in range(graph.width[0]):
        x, y = places[0, input_]
        axes.text(x, y - 0.09, f"x{subscript(input_ + 1)}", ha="center", va="top")
    x, y = places[len(graph.width) - 1, 0]
    axes.text(x, y + 0.09, "output", ha="center", va="bottom")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.3, len(graph.width) - 1 + 0.3))
    axes.set_axis_off()
    axes.set_title(f"{problem_label(dataset)}: width {graph.width}, {len(graph.edges)} edges, {moment}")
    handles = [Line2D([], [], color=colours[g], marker="o", label=name) for g, name in enumerate(names)]
    if SHARED in graph.groups.values():
        handles.append(Line2D([], [], color=style.GREY, marker="D", label="passes on an input"))
    if handles:
        style.legend(figure, handles, 2, "lower")
    return figure


def positions(graph: MergedGraph) -> dict[Node, tuple[float, float]]:
    """Place the nodes: layers from the bottom up, with separate columns for every group."""
    count = max(graph.groups.values(), default=-1) + 1
    places: dict[Node, tuple[float, float]] = {}
    for layer, nodes in enumerate(graph.width):
        if layer in (0, len(graph.width) - 1) or not count:
            places |= {(layer, i): ((i + 0.5) / nodes, layer) for i in range(nodes)}
            continue
        # Nodes that pass an input through share the middle column.
        middle, columns = count // 2, count + (SHARED in graph.groups.values())
        for group in (*range(count), SHARED):
            members = [i for i in range(nodes) if graph.groups[layer, i] == group]
            column = middle if group == SHARED else group + (columns > count and group >= middle)
            for place, i in enumerate(members):
                places[layer, i] = ((column + 0.1 + 0.8 * (place + 0.5) / len(members)) / columns, layer)
    return places


def selected_experts(stored: StoredRun, dataset_idx: int) -> pd.DataFrame:
    """The selected experts of a dataset, best first; empty if no frame lists them."""
    frame = stored.compared.get("selected_experts", pd.DataFrame())
    if not {"dataset_idx", "depth", "k", "seed"} <= set(frame):
        return pd.DataFrame()
    rows = frame[frame["dataset_idx"] == dataset_idx]
    return rows.sort_values("rank") if "rank" in rows else rows


def group_names(stored: StoredRun, dataset_idx: int, graph: MergedGraph, note: Note) -> list[str]:
    """Name the groups: the experts by rank, if the groups match the frames' experts."""
    depths, selected = graph.depths(), selected_experts(stored, dataset_idx)
    summary = stored.compared.get("summary", pd.DataFrame())
    # With intermediate models, the parts are not in the experts' order.
    in_stages = "via_n_evals" in summary and (summary["via_n_evals"] > 0)[summary["dataset_idx"] == dataset_idx].any()
    if len(selected) and selected["depth"].tolist() == depths and not in_stages:
        weights = selected["weight"] if "weight" in selected else [None] * len(selected)
        rows = zip(depths, selected["k"], selected["seed"], weights, strict=True)
        return [
            f"{rank}: {_layers(depth)}, order {k}, seed {seed}" + ("" if w is None else f", weight {printed(w)}")
            for rank, (depth, k, seed, w) in enumerate(rows, start=1)
        ]
    if depths:
        note("it is not known which selected expert each part is: parts are numbered")
    return [f"part {group}: {_layers(depth)}" for group, depth in enumerate(depths, start=1)]


def _layers(depth: int) -> str:
    return f"{depth} layer{'s' if depth > 1 else ''}"
