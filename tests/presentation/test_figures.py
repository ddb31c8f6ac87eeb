"""What figures show is what the frames and models have: read back from what was drawn, and computed another way."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from scipy.stats import qmc

from kanbench import load_checkpoint_metadata, load_run
from kanbench.network.initialization import initialize
from kanbench.network.merge import merge_networks
from kanbench.plan.figures import Figure
from kanbench.presentation.figures.make import draw
from kanbench.presentation.figures.merged_graph import merged_graph
from kanbench.presentation.figures.style import LOOKS, style
from kanbench.storage.derive import threshold_rows
from kanbench.storage.runs import open_run
from support.results import STAMP

POLY, SIN = "poisson_2d_poly", "poisson_2d_sin"
NAMES = {0: POLY, 1: SIN}
TARGETS = {
    0: lambda x, y: 2 * y * (1 - y) + 2 * x * (1 - x),
    1: lambda x, y: 2 * np.pi**2 * np.sin(np.pi * x) * np.sin(np.pi * y),
}
# By hand: over [-1, 1] the mean of x - x² is -1/3, that of its square 1/3 + 1/5, and that of sin² πx 1/2.
VARIANCES = {0: 2 * 4 * (1 / 3 + 1 / 5 - (1 / 3) ** 2), 1: (2 * np.pi**2) ** 2 / 4}


@pytest.fixture
def stored(tiny_results):
    """A section's run, opened anew."""
    return lambda section: open_run(section, STAMP, results_dir=tiny_results)


def drawn(stored, kind, dataset=None):
    with style():
        return draw(stored, Figure(kind, dataset))


def with_flops(stored):
    """The run with numbers of operations that are no multiple of its times."""
    for position, (name, frame) in enumerate(stored.frames.items()):
        stored.frames[name] = frame.assign(flops=(frame["epoch"] + 1) * 10 ** (6 + position))
    return stored


def line(axes, label):
    """The data of the line of this label, shape (2, n)."""
    return np.array(next(found.get_data() for found in axes.get_lines() if found.get_label() == label), dtype=float)


@pytest.mark.parametrize(
    ("kind", "column"),
    [("loss_epochs", "epoch"), ("loss_time", "time"), ("loss_evals", "n_evals"), ("loss_flops", "flops")],
)
@pytest.mark.parametrize("section", ["section2_1", "section2_2"])
def test_lines_are_the_columns_of_the_frames(stored, tiny_results, section, kind, column):
    given = with_flops(stored(section))
    results = given.frames
    metadata = load_checkpoint_metadata(section, STAMP, results_dir=tiny_results)
    panels = np.array(drawn(given, kind).axes).reshape(2, 3)
    for i, row in enumerate(panels):
        for axes, loss in zip(row, ("train_loss", "test_loss", "dense_mse"), strict=True):
            assert axes.get_yscale() == "log"
            assert axes.get_xscale() == ("linear" if column == "epoch" else "log")
            thresholds = [found for found in axes.get_lines() if found.get_label() == "threshold"]
            for (model_type, frame), marked in zip(results.items(), thresholds, strict=True):
                rows = frame[frame["dataset_idx"] == i]
                assert np.array_equal(line(axes, LOOKS[model_type].label), rows[[column, loss]].to_numpy().T)
                kept = metadata[model_type][i]["at_threshold"]
                assert marked.get_ydata() == [kept[loss]]
                assert marked.get_xdata() == rows.loc[rows["epoch"] == kept["epoch"], column].to_numpy()


def test_stages_are_where_grids_change(stored):
    figure = drawn(stored("section2_1"), "loss_epochs")
    stages = [found for found in figure.axes[0].get_lines() if found.get_linestyle() == ":"]
    assert [found.get_xdata()[0] for found in stages] == [2.5]  # two epochs on each of two grids
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "5"]
    evaluations = drawn(stored("section2_1"), "loss_evals").axes[0]
    lm = stored("section2_1").frames["lm"].query("dataset_idx == 0 and epoch in (2, 4)")
    ends = [np.array(found.get_data()) for found in evaluations.get_lines() if found.get_label() == "stages"]
    assert np.array_equal(ends[2], lm[["n_evals", "train_loss"]].to_numpy().T)


@pytest.mark.parametrize("section", ["section2_1", "section2_2"])
def test_the_comparison_is_at_equal_compute_and_relative_to_the_variance(stored, section):
    given = with_flops(stored(section))
    reference = {"section2_1": "lbfgs", "section2_2": "baseline"}[section]
    figure = drawn(given, "comparison")
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["dense MSE /\nvariance of the target"] * 3
    for model_type, frame in given.frames.items():
        points = [line(axes, model_type)[0] for axes in figure.axes]
        for i in (0, 1):
            rows = frame[frame["dataset_idx"] == i]
            of_reference = given.frames[reference][given.frames[reference]["dataset_idx"] == i].set_index("epoch")
            for position, by in enumerate(("flops", "time")):
                limit = of_reference.loc[given.metadata[reference][i]["at_threshold"]["epoch"], by]
                within = [row["dense_mse"] for row in rows.to_dict("records") if row[by] <= limit]
                wanted = within[-1] / VARIANCES[i] if within else math.nan
                # the 200 points of the dense sample tell the variance to 3 %
                assert points[position][i] == pytest.approx(wanted, rel=0.03, nan_ok=True)
            assert points[2][i] == pytest.approx(rows["dense_mse"].iloc[-1] / VARIANCES[i], rel=0.03)
            assert points[3][i] == given.metadata[model_type][i]["at_threshold"]["time"]


def test_accuracy_against_parameters_with_the_slope_of_the_theory(stored):
    given = stored("section2_1")
    axes = drawn(given, "params").axes[1]
    for model_type, frame in given.frames.items():
        rows = frame.query("dataset_idx == 1 and epoch in (2, 4)")  # the last of either grid
        x, y = line(axes, model_type)
        assert np.array_equal(x, rows["num_params"])
        assert y == pytest.approx(rows["dense_mse"] / VARIANCES[1], rel=0.01)
    (x0, x1), (y0, y1) = line(axes, "slope")
    assert math.log(y1 / y0) / math.log(x1 / x0) == pytest.approx(-8)  # cubic splines: RMSE as G⁻⁴
    assert y0 == pytest.approx(np.prod([line(axes, m)[1][0] for m in given.frames]) ** (1 / 3))


def test_surfaces_are_the_models_and_their_errors(stored, tiny_results):
    kan = load_run("section2_1", STAMP, results_dir=tiny_results, load_models=True)[2]
    axes = drawn(stored("section2_1"), "surface", SIN).axes
    images = [np.asarray(found.images[0].get_array()) for found in axes if found.images]
    x, y = np.meshgrid(np.linspace(-1, 1, 101), np.linspace(-1, 1, 101))
    truth = TARGETS[1](x, y)
    assert images[0] == pytest.approx(truth, abs=1e-12)
    assert len(images) == 7
    for position, model_type in enumerate(("adam", "lbfgs", "lm")):
        points = torch.from_numpy(np.stack([x, y], axis=-1).reshape(-1, 2))
        value = kan[model_type][1]["at_threshold"](points).detach().numpy().reshape(101, 101)
        value_image, error_image = images[1 + 2 * position : 3 + 2 * position]
        assert value_image == pytest.approx(value, abs=1e-12)
        assert error_image == pytest.approx(np.abs(value - truth), abs=1e-12)
    assert axes[0].images[0].origin == "lower"
    assert (
        len({image.norm.vmax for found in axes for image in found.images}) == 2
    )  # one scale for values, one for errors


def test_slices_go_through_the_middle_and_through_the_peak(stored, tiny_results):
    kan = load_run("section2_1", STAMP, results_dir=tiny_results, load_models=True)[2]["lm"][1]["at_threshold"]
    panels = np.array(drawn(stored("section2_1"), "slices", SIN).axes).reshape(4, 2)
    along = np.linspace(-1, 1, 401)
    x, truth = line(panels[0, 1], "truth")
    assert np.array_equal(x, along)
    assert truth == pytest.approx(TARGETS[1](0, along), abs=1e-12)
    model = kan(torch.from_numpy(np.stack([np.zeros(401), along], axis=1))).detach().numpy()[:, 0]
    assert line(panels[0, 1], "lm")[1] == pytest.approx(model, abs=1e-12)
    assert line(panels[1, 1], "lm")[1] == pytest.approx(np.abs(model - truth), abs=1e-12)
    peak = line(panels[2, 0], "truth")[1]
    assert np.abs(peak).max() == pytest.approx(2 * np.pi**2, rel=1e-3)
    assert panels[1, 1].get_yscale() == "log"


def intervals_of(model):
    """Of every node. pykan stores rows of one length: what is beyond a node's own domain is padding."""
    rows = getattr(model, "intervals", None) or [[layer.num] * layer.in_dim for layer in model.act_fun]
    return [count for counts in rows for count in counts]


@pytest.mark.parametrize("handed_on", [True, False])
def test_grids_of_nodes_are_those_of_stages_or_of_checkpoints(handed_on, tiny_results, tmp_path):
    """Without what the trainings handed on, only the checkpoints tell."""
    folder = tiny_results
    if not handed_on:
        folder = shutil.copytree(tiny_results, tmp_path / "results", ignore=lambda *_: ["trainings"])
    models = load_run("section2_2", STAMP, results_dir=folder, load_models=True)[2]
    panels = np.array(drawn(open_run("section2_2", STAMP, results_dir=folder), "grids").axes).reshape(2, 3)
    for i, row in enumerate(panels):
        for axes, model_type in zip(row, ("adaptive_only", "adaptive_regular", "baseline"), strict=True):
            first, last = (shown.tolist() for shown in axes.images[0].get_array())
            kept = {checkpoint: intervals_of(model) for checkpoint, model in models[model_type][i].items()}
            assert last == kept["final"]
            if handed_on:
                assert [label.get_text() for label in axes.get_yticklabels()] == ["grid 3", "grid 5"]
                assert set(first) <= {3, 6}
            else:
                assert first == kept["at_threshold"]
    numbers = {text.get_text() for text in panels[0, 0].texts}
    assert numbers <= {"3", "5"} and numbers


def test_selected_experts_are_filled(stored):
    given = stored("section2_3")
    experts = given.frames["experts"]
    for i, axes in enumerate(drawn(given, "experts").axes):
        rows = experts[experts["dataset_idx"] == i]
        for label, selected in (("selected and merged", True), ("not selected", False)):
            wanted = rows.loc[rows["selected"] == selected, "dense_mse"] / VARIANCES[i]
            assert sorted(line(axes, label)[1]) == pytest.approx(sorted(wanted), rel=0.03)
        where = dict(zip(*line(axes, "selected and merged")[::-1], strict=True))
        for error, x in where.items():
            row = rows.loc[(rows["dense_mse"] / error).sub(VARIANCES[i]).abs().idxmin()]
            assert axes.get_xticklabels()[round(x)].get_text() == f"{row['depth']}, {row['k']}"


def test_gains_are_ratios_of_the_summary(stored):
    given = stored("section2_3")
    summary = given.frames["summary"].set_index("dataset_idx")
    threshold, final = drawn(given, "gain").axes
    columns = {"best expert": "best_expert", "chosen expert": "chosen_expert", "ensemble": "ensemble"}
    for other, column in columns.items():
        wanted = summary[f"{column}_dense_mse"]
        assert line(threshold, other)[0] == pytest.approx(wanted / summary["merged_threshold_dense_mse"], rel=1e-12)
        assert line(final, other)[0] == pytest.approx(wanted / summary["merged_dense_mse"], rel=1e-12)
    control = summary["control_threshold_dense_mse"] / summary["merged_threshold_dense_mse"]
    assert line(threshold, "control")[0] == pytest.approx(control, rel=1e-12)
    assert threshold.get_xscale() == "log"


def test_the_merged_training_is_drawn(stored):
    given = stored("section2_3")
    history = given.frames["grid_history"]
    for i, axes in enumerate(drawn(given, "merge_history").axes):
        rows = history[history["dataset_idx"] == i]
        for label, loss in (("training loss", "train_loss"), ("test loss", "test_loss"), ("dense MSE", "dense_mse")):
            assert np.array_equal(line(axes, label), rows[["epoch", loss]].to_numpy().T)
        marked = next(found for found in axes.get_lines() if found.get_label() == "threshold")
        assert marked.get_xdata() == [given.metadata["merge_kan"][i]["at_threshold"]["epoch"]]


def test_nodes_of_a_merged_network_are_given_to_their_experts():
    """Depths 2, 1, 1 and 3 with two nodes each: known from how `merge` puts them together."""
    depths, domain = (2, 1, 1, 3), [(-1, 1), (-1, 1)]
    models = [initialize([2, *[2] * depth, 1], 3, seed=seed) for seed, depth in enumerate(depths)]
    merged = merge_networks(models, [0.1, 0.2, 0.3, 0.4], domain)
    graph = merged_graph([layer.mask for layer in merged.layers], len(depths))
    assert graph.width == [2, 4, 6, 8, 1]
    assert graph.depths() == [2, 1, 1, 3]
    assert [graph.groups[3, i] for i in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [graph.groups[1, i] for i in range(4)] == [-1, -1, 3, 3]  # inputs that are handed on, and the deepest
    from_inputs, to_output, handing_on = 2 * 2, 2, 2 + 2
    assert len(graph.edges) == sum(from_inputs + (depth - 1) * 4 + to_output for depth in depths) + handing_on
    assert merged_graph([layer.mask for layer in merged.layers], 3).groups == {}  # 8 nodes, 3 experts
    crossed = merge_networks(models, [0.1, 0.2, 0.3, 0.4], domain, "zero")
    assert merged_graph([layer.mask for layer in crossed.layers], len(depths)).groups == {}


def test_the_diagram_has_every_edge_and_a_colour_per_expert(stored, tiny_results):
    given = stored("section2_3")
    model = load_run("section2_3", STAMP, results_dir=tiny_results, load_models=True)[2]["merge_kan"][0]["at_threshold"]
    figure = drawn(given, "merge_diagram", POLY)
    edges = figure.axes[0].collections[0]
    assert len(edges.get_segments()) == sum(int((layer.mask != 0).sum()) for layer in model.act_fun)
    selected = given.frames["selected_experts"].query("dataset_idx == 0")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    for row, label in zip(selected.itertuples(), labels, strict=False):
        layers = "1 layer" if row.depth == 1 else f"{row.depth} layers"
        assert label.startswith(f"{row.rank}: {layers}, order {row.k}, seed {row.seed}, weight ")
    assert len({to_hex(color) for color in edges.get_colors()}) == len(labels)


def with_seeds(stored, factors):
    """The run with copies of its frames, whose losses are multiplied by the factors, as those of other seeds."""
    losses = ["train_loss", "test_loss", "dense_mse", "time"]

    def scaled(frame, factor):
        there = [column for column in losses if column in frame]
        return frame.assign(**{column: frame[column] * factor for column in there})

    copies = {seed: {n: scaled(f, factor) for n, f in stored.frames.items()} for seed, factor in factors.items()}
    return replicated(stored, {1: stored.frames, **copies})


def replicated(stored, replicates):
    """The run with other replicates than its folder has."""
    vars(stored)["replicates"] = replicates
    return stored


def test_seeds_are_geometric_means_with_bands(stored):
    plain = stored("section2_1").frames["lm"].query("dataset_idx == 0")
    given = with_seeds(stored("section2_1"), {2: 10.0, 3: 0.5})
    axes = drawn(given, "loss_epochs").axes[2]
    mean = 5 ** (1 / 3)  # of 1, 10 and 0.5
    assert line(axes, "LM")[1] == pytest.approx(mean * plain["dense_mse"].to_numpy(), rel=1e-12)
    band = axes.collections[2].get_paths()[0].vertices
    at_first = band[band[:, 0] == 1][:, 1]
    assert at_first.min() == pytest.approx(0.5 * plain["dense_mse"].iloc[0], rel=1e-12)
    assert at_first.max() == pytest.approx(10 * plain["dense_mse"].iloc[0], rel=1e-12)
    comparison = next(axes for axes in drawn(given, "comparison").axes if axes.get_title() == "at the end")
    points, (start, end) = line(comparison, "lm")[0], comparison.collections[2].get_segments()[0][:, 0]
    assert (start / points[0], end / points[0]) == pytest.approx((0.5 / mean, 10 / mean), rel=1e-12)


def test_other_seeds_have_thresholds_of_their_own(stored):
    given = stored("section2_1")
    other = given.frames["lm"].assign(test_loss=lambda frame: frame["epoch"])  # best at once
    replicated(given, {1: given.frames, 2: {**given.frames, "lm": other}, 3: {**given.frames, "lm": other}})
    assert (threshold_rows(other)["epoch"] == 1).all()
    marked = [found for found in drawn(given, "loss_epochs").axes[0].get_lines() if found.get_label() == "threshold"]
    assert marked[2].get_xdata() == [1]  # the median of its own and 1, 1


def test_the_variance_is_that_of_the_target():
    """By another sample, of scipy's."""
    from kanbench.problems.target_scale import target_scale

    points = qmc.scale(qmc.Sobol(2, seed=1).random(2**14), [-1, -1], [1, 1]).T
    for i, name in NAMES.items():
        assert target_scale(name).variance == pytest.approx(TARGETS[i](*points).var(), rel=2e-3)
        assert target_scale(name).variance == pytest.approx(VARIANCES[i], rel=2e-3)


def test_frames_that_are_drawn_stay_as_they_are(stored):
    given = stored("section2_1")
    before = {name: frame.copy() for name, frame in given.frames.items()}
    for kind in ("comparison", "loss_time", "params"):
        drawn(given, kind)
    for name, frame in given.frames.items():
        pd.testing.assert_frame_equal(frame, before[name])
        assert frame.attrs == before[name].attrs
