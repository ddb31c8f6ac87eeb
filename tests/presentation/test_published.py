"""Ours against what others have published: the table, what is said of it, and which runs have it."""

import math
import re

import pandas as pd
import pytest

from kanbench.cli.main import main
from kanbench.plan.config import load_config, merge
from kanbench.plan.inputs import Pipeline
from kanbench.plan.naming import Run
from kanbench.plan.tables import PUBLISHED, tables_of
from kanbench.presentation.page.page import page
from kanbench.presentation.summary import details, first_screen
from kanbench.presentation.tables.findings import findings
from kanbench.problems.published import published_of
from support.planted import POLY, STAMP, run, store

F1, SINGULAR, EXP_SIN, MULTILEVEL = "initialization_f1", "feynman_08", "kan_paper_exp_sin", "multilevel"
MEAN_SQUARE = 1 / 9  # of x y on [-1, 1]²


def relative(l2):
    """The dense MSE on `F1` with this relative L2."""
    return l2**2 * MEAN_SQUARE


def table_of(replicates):
    found = findings(replicates)
    assert [table.name for table in found.tables] == ["optimizers", "summary", PUBLISHED]
    return found, found.tables[2].frame


def test_relative_l2_is_that_of_the_threshold_and_a_geometric_mean_over_seeds():
    seeds = {
        1: run({"lbfgs": {F1: relative(1e-3)}, "lm": {F1: [relative(1e-4), relative(1e-6), relative(1.0)]}}),
        2: run({"lbfgs": {F1: relative(4e-3)}, "lm": {F1: [relative(1e-2), relative(4e-6), relative(5.0)]}}),
    }
    found, frame = table_of(seeds)
    figures = published_of(F1)
    assert frame["published"].tolist() == [figure.value for figure in figures] == [2.1e-2, 5.4e-3, 2.5e-3]
    # the mean square is that of 10,000 Sobol points
    assert frame["lm"].tolist() == pytest.approx([2e-6] * 3, rel=1e-3)
    assert frame["lbfgs"].tolist() == pytest.approx([2e-3] * 3, rel=1e-3)
    assert frame["factor"].tolist() == pytest.approx([figure.value / 2e-6 for figure in figures], rel=1e-3)
    assert set(frame["dataset"]) == {F1} and set(frame["measure"]) == {"relative L2"}
    assert found.tables[2].latex().isascii()
    assert "Glorot" in frame["set_up"][1] and frame["source"][1] == "arXiv:2509.03417"


def with_grids(frames, sizes):
    """Frames whose epochs are of these grids."""
    for frame in frames.values():
        frame["grid_size"] = [sizes[(epoch - 1) * len(sizes) // frame["epoch"].max()] for epoch in frame["epoch"]]
    return frames


def test_a_figure_of_a_grid_is_the_last_of_that_grid():
    losses = [1e-2, 1e-4, 1e-6, 9e-8, 1e-8, 1e-10]  # test losses are the dense MSEs in planted runs
    frames = with_grids(run({"lbfgs": {EXP_SIN: 1.0}, "lm": {EXP_SIN: losses}}), [5, 10, 20])
    frames["lbfgs"]["grid_size"] = 5
    found, frame = table_of({1: frames})
    assert frame["lm"].tolist()[:3] == pytest.approx([1e-2, 3e-4, 1e-5])
    assert frame["lm"].isna().tolist() == [False] * 3 + [True] * 2
    assert frame["lbfgs"].tolist()[0] == 1.0
    better, worse = found.published
    assert better == "Better than 2 of 3 published figures, by factors of 1.1 to 1.9 (geometric mean 1.4)."
    assert worse == ("Not better: kan_paper_exp_sin, [2, 1, 1], 3000 samples, G = 5: test RMSE 0.01 against 0.00677.")


def test_the_training_error_is_that_of_the_end():
    frames = run({"lbfgs": {MULTILEVEL: [1e-5, 1e-6, 2e-5]}, "lm": {MULTILEVEL: [1e-5, 1e-6, 5e-5]}})
    found, frame = table_of({1: frames})
    assert frame["lbfgs"].tolist() == [2e-5] * 4 and frame["lm"].tolist() == [5e-5] * 4
    assert frame["factor"].tolist() == pytest.approx([3.67e-5 / 2e-5, 16.5, 82.5, 127])
    assert "230 parameters" in frame["set_up"][0]
    assert found.published[0].startswith("Better than 4 of 4 published figures, by factors of 1.8 to 130")


def test_singular_problems_are_apart():
    frames = run({"lbfgs": {F1: relative(1e-1), SINGULAR: 1e9}, "lm": {F1: relative(1e-1), SINGULAR: 1e-12}})
    found, _ = table_of({1: frames})
    none, named, apart = found.published
    assert none == "Better than 0 of 3 published figures."
    assert named.count("initialization_f1") == 3
    assert apart == (
        "Counted separately, because the target is singular on its domain (feynman_08): better than 2 of 2."
    )


def test_nothing_is_said_where_nothing_is_measured():
    frames = run({"lbfgs": {F1: math.nan}, "lm": {F1: math.nan}})
    found, frame = table_of({1: frames})
    assert found.published == () and frame["factor"].isna().all()


def test_only_section_2_1_on_problems_with_published_figures_has_the_table():
    assert tables_of("section2_1", [POLY]) == ("optimizers", "summary")
    assert tables_of("section2_1", [POLY, F1]) == ("optimizers", "summary", PUBLISHED)
    assert tables_of("section2_1_initialization", [F1])[2:] == (PUBLISHED,)
    assert tables_of("section2_2", [F1]) == ("density", "summary")
    found = findings({1: run({"lbfgs": {POLY: 1.0}, "lm": {POLY: 0.5}})})
    assert len(found.tables) == 2 and found.published == ()
    config = load_config()
    for datasets, has in (([POLY], False), ([F1], True)):
        pipeline = Pipeline(merge(config, {"datasets": datasets, "model": {"width": ["d", 5, 1]}}), STAMP)
        made = pipeline.run("section2_1")
        promised = [path for path in pipeline.results("section2_1") if f"/{PUBLISHED}." in path]
        assert promised == [f"{made.table_folder}/{PUBLISHED}.{s}" for s in ("csv", "tex", "md", "html") if has]
        assert (promised[-1:] == list(pipeline.table_reports(made))[-1:]) == has
        if has:
            assert pipeline.table_reports(made)[promised[-1]]["caption"] == "../report/published.rst"


SAID = "Better than 3 of 3 published figures, by factors of 250 to 2,100 (geometric mean 660)."


def test_it_is_written_and_in_the_summary(tmp_path, capsys):
    made = store(run({"lbfgs": {F1: relative(1e-3)}, "lm": {F1: relative(1e-5)}}), tmp_path)
    assert main(["tables", "section2_1", "--results-dir", str(tmp_path)]) == 0
    folder = tmp_path / "tables" / made.name
    assert {path.name for path in folder.glob("published.*")} == {
        f"published.{s}" for s in ("csv", "tex", "md", "html")
    }
    assert pd.read_csv(folder / "published.csv")["lm"].tolist() == pytest.approx([1e-5] * 3, rel=1e-3)
    capsys.readouterr()
    assert main(["summary", "section2_1", "--results-dir", str(tmp_path)]) == 0
    assert SAID in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow  # figures are drawn
def test_it_is_on_the_page(tmp_path):
    store(run({"lbfgs": {F1: relative(1e-3)}, "lm": {F1: relative(1e-5)}}), tmp_path)
    html = page(["section2_1"], results_dir=tmp_path)
    assert SAID in html and "Comparison with published results" in html and "arXiv:2509.03417" in html


@pytest.mark.slow
def test_a_page_without_published_figures_says_nothing_of_them(tmp_path):
    frames = run({"lbfgs": {POLY: 1.0}, "lm": {POLY: 0.5}})
    store(frames, tmp_path)
    assert not re.search("published", page(["section2_1"], results_dir=tmp_path), re.IGNORECASE)
    found = findings({1: frames})
    assert "published" not in first_screen(Run("section2_1", STAMP, 3), found) + details(found)
