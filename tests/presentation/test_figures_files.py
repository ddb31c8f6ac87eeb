"""Figures as files: the same bytes, no text cut or on top of another, and what a run lacks is left out, and said."""

import itertools
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from importlib import import_module
from math import pi
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from PIL import Image

from kanbench import problems
from kanbench.cli.main import main
from kanbench.network.checkpoints import write_checkpoint
from kanbench.network.initialization import initialize
from kanbench.network.merge import merge_networks
from kanbench.network.pykan import save_checkpoint, to_pykan
from kanbench.plan.config import ROOT
from kanbench.plan.figures import KINDS, Figure, figures_of
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.presentation.figures import diagram
from kanbench.presentation.figures.data import FigureUnavailableError, fits
from kanbench.presentation.figures.files import arrange, save
from kanbench.presentation.figures.make import draw, make_figures
from kanbench.presentation.figures.params import order_of
from kanbench.presentation.figures.style import (
    LOOKS,
    log_scale,
    looks,
    new_figure,
    style,
)
from kanbench.presentation.page import images
from kanbench.storage.runs import open_run
from kanbench.storage.stored_run import StoredRun
from support.old_formats import META, plain_frame, write
from support.results import STAMP

TINY_DATASETS = ["poisson_2d_poly", "poisson_2d_sin"]
ALIKE = ("loss_evals", "surface_poisson_2d_poly", "slices_poisson_2d_poly")  # others are laid out in the same way
FIGURES = [
    (section, figure)
    for section in SECTIONS
    for figure in figures_of(section, dict.fromkeys(TINY_DATASETS, 2))
    if figure.name not in ALIKE and (section != "section2_2" or figure.name in ("comparison", "grids"))
]


@pytest.mark.parametrize(("section", "figure"), FIGURES, ids=[f"{s} {f.name}" for s, f in FIGURES])
def test_no_text_is_cut_or_on_top_of_another(tiny_results, section, figure):
    given = open_run(section, STAMP, results_dir=tiny_results)
    for name, frame in given.frames.items():
        given.frames[name] = with_work(frame) if "epoch" in frame else frame
    assert_texts_have_their_place(given, figure)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        *(("section2_2", kind) for kind in ("comparison", "loss_epochs", "params", "grids")),
        *(("section2_3", kind) for kind in ("gain", "experts", "merge_history")),
    ],
)
def test_one_dataset_and_one_loss_have_their_place_too(tiny_results, section, kind):
    given = open_run(section, STAMP, results_dir=tiny_results)
    for name, frame in given.frames.items():
        columns = [] if kind in ("comparison", "params", "gain", "experts") else ["train_loss", "dense_mse"]
        part = frame[frame["dataset_idx"] == 1].drop(columns=columns, errors="ignore")
        given.frames[name] = with_work(part)
    assert_texts_have_their_place(given, Figure(kind))


def with_work(frame):
    """With operations and seconds that are the same on every machine: labels are made of them."""
    epoch = frame.get("epoch", 1)
    return frame.assign(flops=10**6 * epoch, time=1e-3 * epoch)


def assert_texts_have_their_place(given, figure):
    with style():
        canvas = draw(given, figure)
        arrange(canvas)
        renderer = canvas.canvas.get_renderer()
        canvas.draw(renderer)
        boxes = {text: text.get_window_extent(renderer) for text in visible_texts(canvas)}
    page = canvas.bbox
    assert boxes
    for text, box in boxes.items():
        assert text.get_fontsize() >= 7
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (first, box), (second, other) in itertools.combinations(boxes.items(), 2):
        assert not box.padded(-1).overlaps(other.padded(-1)), (first, second)
    assert canvas.get_figwidth() <= 7


def visible_texts(canvas):
    """All texts that are drawn: those of axes are not."""
    beyond = set()
    for axes in canvas.axes:
        for axis in (axes.xaxis, axes.yaxis):
            assert not axes.axison or not axis.get_visible()  # plain texts stand for it
            beyond |= set(axis.findobj(Text))
    found = [text for text in canvas.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in beyond]


def test_a_diagram_of_eight_experts_fits_its_page(tiny_results, monkeypatch):
    given = open_run("section2_3", STAMP, results_dir=tiny_results)
    depths, domain = [3, 2] * 4, [(-1, 1), (-1, 1)]
    experts = [initialize([2, *[2] * depth, 1], 3, seed=seed) for seed, depth in enumerate(depths)]
    merged = merge_networks(experts, [-0.00012] * 8, domain)
    monkeypatch.setattr(diagram, "model_of", lambda *_: ("at the threshold", merged))
    selected = {"rank": range(1, 9), "depth": depths, "k": 3, "seed": range(11, 19), "weight": -0.00012}
    given.frames["selected_experts"] = pd.DataFrame({"dataset_idx": 0, **selected})
    assert_texts_have_their_place(given, Figure("merge_diagram", "poisson_2d_poly"))


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_files_are_the_same_bytes_again(tiny_results, tmp_path, section):
    kinds = {"section2_1": ["comparison"], "section2_2": ["grids"], "section2_3": ["gain"]}[section]
    for folder in ("first", "second"):
        given = open_run(section, STAMP, results_dir=tiny_results)
        assert make_figures(given, tmp_path / folder, kinds) == kinds
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == sorted(f"{kind}.{suffix}" for kind in kinds for suffix in ("png", "pdf"))
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    pdf = (tmp_path / "first" / f"{kinds[0]}.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    assert b"/Subtype /Type3" not in pdf
    with Image.open(tmp_path / "first" / f"{kinds[0]}.png") as image:
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        assert 1300 < image.width <= 1400


def test_the_style_is_not_that_of_the_user(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        with style():
            figure = new_figure(1.0)
            figure.subplots().plot([1, 2])
            save(figure, str(tmp_path), "figure")
        assert matplotlib.rcParams["font.size"] == 30
    with Image.open(tmp_path / "figure.png") as image:
        assert not (np.asarray(image.convert("RGB")) == (255, 0, 0)).all(axis=2).any()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("model_types", [s.model_types for s in SECTIONS.values()] + [("mlp", "siren", "kan", "other")])
def test_model_types_differ_in_greyscale_too(model_types):
    drawn = looks(model_types)
    for first, second in itertools.combinations(drawn.values(), 2):
        assert first.marker != second.marker
        assert first.linestyle != second.linestyle
        if model_types in [section.model_types for section in SECTIONS.values()]:
            assert abs(lightness(first.color) - lightness(second.color)) > 20


def lightness(color):
    """L* of CIELAB, 0 for black and 100 for white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    luminance = float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_log_axes_survive_zeros_and_what_is_not_finite():
    with style():
        axes = Canvas().subplots()
        assert log_scale(axes.yaxis, [[0.0, -1.0, np.nan, np.inf, 1e-30], [1e-300]])
        low, high = axes.get_ylim()
        assert axes.get_yscale() == "log"
        assert 1e-330 < low < 1e-300 and 1e-30 < high < 1e-10
        empty = Canvas().subplots()
        assert not log_scale(empty.yaxis, [[0.0, np.nan], []])
        assert [text.get_text() for text in empty.texts] == ["no positive values"]
        assert log_scale(Canvas().subplots().yaxis, [[3.0]])
        assert log_scale(Canvas().subplots().yaxis, [[1e300, 1.7e308]])  # as squares of roots may be


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_figure_has_a_function_and_a_caption(kind):
    module, function = kind.draw.split(":")
    assert callable(getattr(import_module(f"kanbench.presentation.figures.{module}"), function))
    assert (ROOT / "workflow" / "report" / f"{kind.name}.rst").is_file()
    assert any(kind.of(section, {"poisson_2d_sin": 2}) for section in SECTIONS.values())


def test_losses_of_zero_and_nan_are_drawn_as_far_as_they_go(tiny_results):
    given = open_run("section2_1", STAMP, results_dir=tiny_results)
    lm = given.frames["lm"]
    lm.loc[lm["epoch"] >= 3, ["train_loss", "dense_mse"]] = [0.0, np.nan]
    given.frames["adam"] = given.frames["adam"].iloc[:0]  # its first epoch was not finite
    with style():
        for kind in ("loss_epochs", "params", "comparison", "surface_poisson_2d_sin"):
            figure = draw(
                given, next(f for f in figures_of("section2_1", dict.fromkeys(TINY_DATASETS, 2)) if f.name == kind)
            )
            arrange(figure)
            labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
            assert "Adam" not in labels
    figure = draw(given, Figure("loss_epochs"))
    line = next(found for found in figure.axes[0].get_lines() if found.get_label() == "LM")
    assert len(line.get_xdata()) == 4 and (line.get_ydata()[2:] == 0).all()


def run(caplog, *arguments):
    caplog.clear()
    with caplog.at_level(logging.INFO, "kanbench"):
        status = main(["figures", *map(str, arguments)])
    return status, [record.getMessage() for record in caplog.records]


@pytest.mark.slow
def test_an_old_run_has_the_figures_that_it_has_the_data_for(tmp_path, caplog, capsys):
    """Frames without evaluations, checkpoints, or a target that is known; the time follows from that of the grids."""
    write(tmp_path / "sec1_results", f"section2_1_{META['timestamp']}", attrs={"epochs": 2, "device": "cpu"})
    status, lines = run(caplog, "section2_1", "--results-dir", tmp_path, "--output", tmp_path / "figures")
    assert status == 0
    made = sorted(path.stem for path in (tmp_path / "figures").glob("*.png"))
    assert made == ["comparison", "loss_epochs", "loss_time", "params"]
    assert capsys.readouterr().out == f"section2_1_{META['timestamp']}: 4 figures in {tmp_path / 'figures'}\n"
    assert "loss_evals: left out: no frame has n_evals and a loss" in lines
    assert "loss_flops: left out: no frame has flops and a loss" in lines
    assert "comparison: no panel 'at equal flops': the frames do not have dense_mse, or no flops" in lines
    assert "params: no checkpoint with the order of the splines: the slope is that of order 3" in lines
    assert any(line.startswith("surface_sin: left out: the target of sin is not known") for line in lines)
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_the_workflow_gets_a_page_that_says_why(tmp_path, caplog):
    write(tmp_path, f"section2_1_{META['timestamp']}")
    given = ["--results-dir", tmp_path, "--output", tmp_path / "figures", "--only", "loss_evals", "--placeholders"]
    status, lines = run(caplog, "section2_1", *given)
    assert status == 0
    assert "follows from total_time" in lines[0]
    assert lines[1:] == ["loss_evals: left out: no frame has n_evals and a loss"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["loss_evals.pdf", "loss_evals.png"]


@pytest.mark.slow
def test_runs_of_section_1_are_drawn(tmp_path, caplog):
    types = ("mlp", "siren", "kan", "kan_pruning")
    write(tmp_path / "sec1_results", f"section1_1_{META['timestamp']}_e2", types, label="model_type")
    status, _ = run(caplog, "section1_1", "--results-dir", tmp_path, "--output", tmp_path / "out")
    assert status == 0
    made = {path.stem for path in (tmp_path / "out").glob("*.pdf")}
    assert made == {"comparison", "loss_epochs", "loss_time", "params"}


def test_a_summary_of_an_earlier_kind_has_fewer_gains(tiny_results, caplog):
    given = open_run("section2_3", STAMP, results_dir=tiny_results)
    given.frames["summary"] = given.frames["summary"].drop(
        columns=["control_dense_mse", "control_threshold_dense_mse", "merged_threshold_dense_mse"]
    )
    notes = []
    with style():
        figure = draw(given, Figure("gain"), notes.append)
    assert [axes.get_title() for axes in figure.axes] == ["merged model at the end"]
    assert any("control at the end" in note for note in notes)
    given = open_run("section2_3", STAMP, results_dir=tiny_results)
    del given.frames["summary"]
    with pytest.raises(FigureUnavailableError, match="summary"):
        draw(given, Figure("gain"))


def test_a_wrong_figure_is_one_line(tiny_results, caplog, capsys):
    status, _ = run(caplog, "section2_1", "--results-dir", tiny_results, "--only", "grids")
    assert status == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "only: " in error and "grids" in error and "comparison, loss_epochs, " in error


@pytest.fixture
def five_inputs(monkeypatch, tmp_path):
    """A run on a problem with five inputs, which is sin πx₁ + x₂ and does not depend on the others."""

    def target(x):
        return np.sin(pi * x[:, [0]]) + x[:, [1]]

    problem = problems.Problem("in_5d", target, ((-1, 1),) * 4 + ((0, 2),))
    monkeypatch.setitem(problems.PROBLEMS, "in_5d", problem)
    frame = plain_frame("lbfgs").query("dataset_idx == 0").assign(dataset_name="in_5d")
    folder = tmp_path / "sec1_results"
    folder.mkdir()
    run = Run("section2_1", STAMP, 2, str(tmp_path))
    frame.to_pickle(run.frame("lbfgs"))
    network = initialize([5, 2, 1], 3)
    write_checkpoint(network, run.checkpoint("lbfgs", 0, "at_threshold"), np.zeros((2, 5)))
    return open_run("section2_1", STAMP, results_dir=tmp_path), network


def test_many_inputs_have_slices_and_no_surface(five_inputs):
    given, network = five_inputs
    names = [figure.name for figure in figures_of("section2_1", given.inputs)]
    assert "slices_in_5d" in names and "surface_in_5d" not in names
    with style():
        panels = np.array(draw(given, Figure("slices", "in_5d")).axes).reshape(4, 3)
    x = np.linspace(-1, 1, 401)
    truth = [next(line.get_ydata() for line in axes.get_lines()) for axes in panels[0]]
    assert truth[0] == pytest.approx(np.sin(pi * x), abs=1e-12)
    assert truth[1] == pytest.approx(x, abs=1e-12)
    assert truth[2] == pytest.approx(np.zeros(401), abs=1e-12)
    points = torch.zeros(401, 5, dtype=torch.float64)
    points[:, 4] = 1.0  # the middle of its own interval
    points[:, 0] = torch.from_numpy(x)
    wanted = to_pykan(network)(points).detach().numpy()[:, 0]
    assert panels[0, 0].get_lines()[1].get_ydata() == pytest.approx(wanted, abs=1e-12)
    assert panels[0, 0].get_title() == "through the middle: x₂ = 0, x₃ = 0, …"


def test_models_that_do_not_fit_the_problem_are_left_out(five_inputs, monkeypatch):
    given, _ = five_inputs
    monkeypatch.setitem(problems.PROBLEMS, "in_5d", problems.Problem("in_5d", lambda x: x[:, [0]], ((-1, 1),) * 2))
    notes = []
    with pytest.raises(FigureUnavailableError, match="no checkpoint fits it"):
        fits(given, "in_5d", notes.append)
    assert notes == ["no lbfgs: its model has 5 inputs, the problem 2"]


def test_weights_of_other_models_are_left_out(tmp_path):
    frame = plain_frame("mlp", "model_type").assign(dataset_name="poisson_2d_sin")
    (tmp_path / "sec1_results").mkdir()
    frame.to_pickle(tmp_path / "sec1_results" / f"section1_1_{STAMP}_mlp.pkl")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "sec1_results" / f"section1_1_{STAMP}_mlp_0_final.pth")
    given, notes = open_run("section1_1", STAMP, results_dir=tmp_path), []
    with pytest.raises(FigureUnavailableError):
        draw(given, Figure("slices", "poisson_2d_sin"), notes.append)
    assert notes == ["no mlp: it has no checkpoint that pykan reads"]


def test_models_that_are_no_sum_of_splines_are_left_out(five_inputs):
    """Here one with a symbolic function. What would be drawn in its place is another state of the training."""
    given, network = five_inputs
    write_checkpoint(network, given.run.checkpoint("lbfgs", 0, "final"), np.zeros((2, 5)))
    model, base = to_pykan(network), given.run.checkpoint("lbfgs", 0, "at_threshold")
    model.fix_symbolic(0, 1, 0, "sin", fit_params_bool=False, verbose=False, log_history=False)
    save_checkpoint(model, base, torch.zeros(2, 5))
    notes = []
    with pytest.raises(FigureUnavailableError, match="no checkpoint fits it"):
        fits(open_run("section2_1", STAMP, results_dir=given.run.results), "in_5d", notes.append)
    assert len(notes) == 1 and notes[0].startswith(f"no lbfgs: {base}: found symbolic functions")


def test_a_look_is_for_every_model_type():
    assert {model_type for section in SECTIONS.values() for model_type in section.model_types} <= set(LOOKS)


def test_figures_of_frames_need_no_models(tiny_results, monkeypatch):
    monkeypatch.setattr(StoredRun, "network", None)
    given = open_run("section2_2", STAMP, results_dir=tiny_results)
    with style():
        for kind in ("comparison", "loss_epochs", "params", "grids"):
            draw(given, Figure(kind))
    assert order_of(given) == 3


@pytest.mark.slow
def test_every_folder_is_listed_once(tiny_results, tmp_path, monkeypatch):
    """Whatever is made of a run: it is opened, and then passed on."""
    listed = Counter()
    iterdir = Path.iterdir

    def counted(folder):
        listed[folder] += folder.is_relative_to(tiny_results)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", counted)
    monkeypatch.setattr(images, "_draw", lambda stored, figure, folder: draw_blank(tmp_path))
    where = ["--results-dir", str(tiny_results), "--output"]
    once = None
    commands = ["figures", "section2_3", "--only", "gain"], ["tables", "section2_3"], ["report", *SECTIONS], ["summary"]
    for command in commands:
        listed.clear()
        options = where[:2] if command == ["summary"] else [*where, str(tmp_path / command[0])]
        assert main([*command, *options]) == 0
        assert listed and max(listed.values()) == 1
        once = once or +listed
        assert +listed == once


def draw_blank(folder):
    Image.new("RGB", (20, 10), "white").save(folder / "blank.png")
    return folder / "blank.png"


@pytest.mark.slow
def test_results_are_shown_without_torch_and_pykan(tiny_results, tmp_path):
    """In a process of its own; the figures of models are among what is drawn."""
    output = [f"--output={tmp_path}"]
    commands = [
        ["figures", "section2_1", *output, "--only", "surface_poisson_2d_sin", "comparison"],
        ["figures", "section2_3", *output, "--only", "merge_diagram_poisson_2d_sin"],
        ["tables", "section2_2", *output],
        ["summary"],
        ["report", "section2_2", f"--output={tmp_path / 'report.html'}"],
    ]
    program = (
        "import json, sys\nfrom kanbench.cli.main import main\n"
        f"done = [main([*command, '--results-dir={tiny_results}']) for command in {commands}]\n"
        "print(json.dumps([done, [name for name in ('torch', 'kan') if name in sys.modules]]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout.splitlines()[-1]) == [[0] * len(commands), []]
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {"surface_poisson_2d_sin", "comparison", "merge_diagram_poisson_2d_sin"}
