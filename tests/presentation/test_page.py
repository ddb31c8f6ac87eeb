"""The summary page: it says what tables say, holds all that it shows, and says what is missing."""

import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.plan.figures import figures_of
from kanbench.plan.sections import SECTIONS
from kanbench.presentation.matrix import shown as shown_matrix
from kanbench.presentation.page.dots import dots
from kanbench.presentation.page.page import page
from kanbench.presentation.tables.findings import findings, findings_of
from kanbench.presentation.tables.table import Table
from kanbench.presentation.templates import UNBROKEN, caption
from kanbench.storage.runs import find_run, open_run
from support.old_formats import VARIANTS
from support.planted import merged, run, some_run, store
from support.results import STAMP

VOID = {"meta", "img", "br", "link", "hr", "col", "input"}


class Page(HTMLParser):
    """The elements of a page, its text without scripts and styles, and whether every element is closed."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self.cells, self.open = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        data = data.replace(*reversed(UNBROKEN))
        if not {"script", "style"} & set(self.open):
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def one_line(text):
    return " ".join(text.split())


NAMES = ["poisson_2d_poly", "poisson_2d_sin"]


@pytest.fixture(scope="module")
def results(tiny_results, tmp_path_factory):
    """Finished runs of all sections, with blank images as figures: drawing is tested elsewhere."""
    results = tmp_path_factory.mktemp("report") / "results"
    for section, known in SECTIONS.items():
        shutil.copytree(tiny_results / known.folder, results / known.folder)
        folder = Path(find_run(section, results_dir=results).figure_folder)
        folder.mkdir(parents=True)
        for figure in figures_of(section, dict.fromkeys(NAMES, 2)):
            Image.new("RGB", (14, 7), "white").save(folder / f"{figure.name}.png")
    return results


@pytest.fixture(scope="module")
def whole(results):
    return page(timestamp=STAMP, epochs=2, results_dir=results)


def test_it_says_what_the_tables_say(whole, results):
    shown = Page(whole)
    for section in SECTIONS:
        stored = open_run(section, STAMP, results_dir=results)
        found = findings_of(stored)
        assert stored.name in shown.text
        for text in (found.question, found.sentence, *found.notes):
            assert one_line(text) in shown.text
        for table in found.tables:
            for rows in _tables(table.markdown()):
                assert_in_order([cell for row in rows for cell in row], shown.cells)


def assert_in_order(cells, every):
    assert any(every[i : i + len(cells)] == cells for i in range(len(every)))


def test_its_first_screen_is_what_the_terminal_says(whole, results, capsys):
    """Questions, answers and errors come before anything else, in the same words and numbers."""
    assert main(["summary", "--results-dir", str(results)]) == 0
    printed = capsys.readouterr().out
    first = Page(str(whole).split("<main>")[0] + "</body></html>")
    for section in SECTIONS:
        found = findings_of(open_run(section, STAMP, results_dir=results))
        for text in (found.question, found.sentence):
            assert one_line(text) in first.text
            assert one_line(text) in one_line(printed)
        for line in shown_matrix(found.matrix).lines:
            cells = [line.label, *line.errors, line.factor + (f" ({line.interval})" if line.interval else "")]
            assert_in_order(cells, first.cells)
            for error, is_best in zip(line.errors, line.best, strict=True):
                assert "*" * is_best + error in printed.split()
    assert len(first.all("article")) == len([svg for svg in first.all("svg") if svg["class"] == "dots"]) == 3


def test_the_points_of_the_first_figure_are_at_their_errors():
    matrix = findings({1: run({"adam": {"poisson_2d_sin": 0.1}, "lbfgs": {"poisson_2d_sin": 1e-5}})}).matrix
    drawn = dots(matrix, shown_matrix(matrix))
    at = {text: x for x, text in drawn.ticks}
    [low, high] = [x for x, _ in (drawn.ticks[0], drawn.ticks[-1])]
    decade = (high - low) / (exponent(drawn.ticks[-1][1]) - exponent(drawn.ticks[0][1]))
    assert len(at) == len(drawn.ticks) <= 7
    for point, error in zip(drawn.dots, [*matrix.rows[0].errors, *matrix.rows[1].errors], strict=True):
        wanted = low + decade * (math.log10(error) - exponent(drawn.ticks[0][1]))
        assert point.x == pytest.approx(wanted, abs=0.11)  # coordinates have one decimal
    assert {point.title.split(":")[0] for point in drawn.dots} == {
        f"{who}, {where}" for who in ("Adam", "L-BFGS") for where in ("sin", "all")
    }
    nothing = findings({1: run({"adam": {"poisson_2d_sin": math.nan}, "lbfgs": {"poisson_2d_sin": math.nan}})}).matrix
    assert dots(nothing, shown_matrix(nothing)) is None


def exponent(text):
    """-7 of 10⁻⁷"""
    digits = text.removeprefix("10").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    return {"1": 0, "10": 1}.get(text) if text in ("1", "10") else int(digits)


def test_what_it_says_of_the_set_up(whole):
    shown = Page(whole)
    for text in ("KAN [2, 2, 1], splines of order 3", "grids of 3 and 5 intervals, 2 epochs on each", "pykan 0.2.8"):
        assert text in shown.text
    for text in ("poisson_2d_poly and poisson_2d_sin (2 inputs)", "4 on every problem: 1 or 2 hidden layers"):
        assert text in shown.text
    for what in ("Model", "Seeds", "Engine", "Device", "Targets", "Time", "Versions"):
        assert f"{what} not recorded" not in shown.text


def _tables(markdown):
    """The tables of a text in Markdown: rows of cells, the heads first."""
    lots = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    for lines in map(str.splitlines, lots):
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        yield [cells[0], *cells[2:]]


def test_it_holds_all_that_it_shows(whole):
    shown = Page(whole)
    for _, attrs in shown.elements:
        assert attrs.get("src", "data:").startswith("data:")
        assert attrs.get("href", "#").startswith("#")
    assert not shown.all("link")
    assert "url(" not in whole
    assert "@import" not in whole
    images = shown.all("img")
    assert len(images) == sum(len(figures_of(section, dict.fromkeys(NAMES, 2))) for section in SECTIONS)
    assert len({image["alt"] for image in images}) == len(images)
    assert all(image["alt"].strip() for image in images)
    targets = {attrs["id"] for _, attrs in shown.elements if "id" in attrs}
    assert {attrs["href"][1:] for attrs in shown.all("a")} == targets
    assert targets == {f"{section}{part}" for section in SECTIONS for part in ("", "-notes")}


def test_figures_are_drawn_where_they_are_missing_or_out_of_date(results, tmp_path, monkeypatch):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    folder = copy / "figures" / f"section2_3_{STAMP}"
    drawn = []
    monkeypatch.setattr(
        "kanbench.presentation.page.images._draw", lambda _, figure, to: drawn.append(figure.kind) or spare
    )
    spare = tmp_path / "spare.png"
    Image.new("RGB", (20, 10), "white").save(spare)

    def sizes():
        drawn.clear()
        return {(image["width"], image["height"]) for image in Page(page(["section2_3"], results_dir=copy)).all("img")}

    assert sizes() == {("14", "7")}
    assert drawn == []
    (folder / "gain.png").unlink()
    assert sizes() == {("14", "7"), ("20", "10")}
    assert drawn == ["gain"]
    next(copy.glob("sec3_results/*_summary.pkl")).touch()
    assert sizes() == {("20", "10")}
    assert drawn == ["gain", "experts", "merge_history", "merge_diagram", "merge_diagram"]


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(whole, results, tmp_path):
    output = tmp_path / "one.html"
    assert main(["report", "--results-dir", str(results), "--output", str(output)]) == 0
    assert output.read_bytes() == whole.encode()


@pytest.fixture
def undrawn(monkeypatch, tmp_path_factory):
    """Whatever would be drawn is a blank image."""
    blank = tmp_path_factory.mktemp("blank") / "blank.png"
    Image.new("RGB", (20, 10), "white").save(blank)
    monkeypatch.setattr("kanbench.presentation.page.images._draw", lambda stored, figure, folder: blank)


@pytest.mark.usefixtures("undrawn")
def test_planted_data_decide_what_it_says_and_a_missing_section_is_said(tmp_path):
    for winner in ("adam", "lm"):
        frames = some_run(0)
        frames[winner]["dense_mse"] = 1e-12
        store(frames, tmp_path)
        assert main(["report", "--results-dir", str(tmp_path)]) == 0
        shown = Page((tmp_path / "report.html").read_text())
        label = {"adam": "Adam", "lm": "LM"}[winner]
        assert f"{label} (one seed only): at equal compute, it has an error " in shown.text
        assert "No results: there is no run of this section." in shown.text
        assert "Can experts be merged" in shown.text


@pytest.mark.usefixtures("undrawn")
def test_answers_by_flops_and_by_time_that_differ(tmp_path):
    """A flop takes ten times as long with adaptive_only, whose only epoch within the baseline's time is its first."""
    errors = {"adaptive_only": {"poisson_2d_sin": [9.0, 0.5, 0.5]}, "baseline": {"poisson_2d_sin": [3.0, 1.0, 2.0]}}
    frames = run(errors, "section2_2", {"adaptive_only": 2.0})
    for frame, flops in zip(frames.values(), (20, 100), strict=True):
        frame["flops"] = flops * frame["epoch"]
    store(frames, tmp_path)
    html = page(["section2_2"], results_dir=tmp_path)
    text = Page(html).text
    assert "Not decided: adaptive only has the lower error at equal flops, but baseline at equal time." in text
    assert "by flops the best is adaptive only" in text and "by time the best is baseline" in text
    assert "A flop takes 10 times as long with adaptive only as with baseline." in text
    assert html == page(["section2_2"], results_dir=tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_a_name_cannot_be_a_tag(tmp_path):
    evil = '<script>alert("1")</script>'
    frames = some_run(0)
    for frame in frames.values():
        frame["dataset_name"] = frame["dataset_name"].replace("poisson_2d_sin", evil)
    store(frames, tmp_path)
    html = page(["section2_1"], results_dir=tmp_path)
    assert evil not in html
    shown = Page(html)
    assert evil in shown.cells
    assert len(shown.all("script")) == 1
    table = Table("a", evil, pd.DataFrame({"dataset": [evil], "factor": [2.0]}), (evil,)).html()
    assert Page(table).cells == ["problem", "factor", evil, "2.0"]
    assert len(Page(table).all("script")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS[:1] + VARIANTS[3:4], ids=lambda variant: variant.__name__)
def test_runs_of_earlier_formats(variant, tmp_path):
    variant(tmp_path)
    shown = Page(page(["section2_1", "section2_2"], results_dir=tmp_path))
    assert "Missing in this run: LM." in shown.text
    assert "sin and poly" in shown.text
    assert "Versions not recorded" in shown.text
    assert "grids of 3 and 5 intervals, 2 epochs on each" in shown.text
    assert shown.all("img")[0]["alt"].startswith("Comparison of model types: all problems")
    assert "Figure left out: Slices of sin: the target of sin is not known" in shown.text


def test_a_summary_alone(tmp_path):
    columns = {"best_expert_dense_mse": 1.0, "merged_threshold_dense_mse": 0.5, "merged_dense_mse": 0.25}
    store(merged({"poisson_2d_sin": columns}), tmp_path)
    (tmp_path / "sec3_results" / f"section2_3_{STAMP}_e3_summary.pkl").rename(
        tmp_path / "sec3_results" / f"section2_3_{STAMP}_summary.pkl"
    )
    shown = Page(page(["section2_3"], results_dir=tmp_path))
    assert "it has an error 2.0 times lower than the best expert" in shown.text


def test_no_run_at_all_is_one_line(tmp_path, capsys):
    assert main(["report", "--results-dir", str(tmp_path)]) == 1
    assert f"kanbench: {tmp_path}: no runs (" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="section9"):
        page(["section9"], results_dir=tmp_path)


def test_captions():
    one, two = (caption("comparison", seeds) for seeds in ([1], [1, 2]))
    assert "<em>At equal flops</em>" in one
    assert "One seed: there is no interval" in one
    assert "Geometric mean of 2 seeds" in two
    assert "Geometric mean of 2 seeds" in caption("gain", [1, 2])
    assert "<sup>-2(k+1)</sup>" in caption("params", [1])
