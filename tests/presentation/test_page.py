"""The summary page: it says what tables say, holds all that it shows, and says what is missing."""

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
from kanbench.presentation.page.page import page
from kanbench.presentation.tables.findings import findings_of
from kanbench.presentation.tables.table import Table
from kanbench.presentation.templates import caption
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
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)
        if "td" in self.open:
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
        for text in (
            found.question,
            found.answer.text,
            *found.other_answers,
            *(s.answer for s in found.statements),
            *found.notes,
        ):
            assert one_line(text) in shown.text
        for table in found.tables:
            rows = _rows(table.markdown())
            is_turned = len(rows[0]) > 2 * (len(rows) - 1)
            rows = list(zip(*rows, strict=True)) if is_turned else rows
            cells = [cell for row in rows[1:] for cell in row]
            assert any(shown.cells[i : i + len(cells)] == cells for i in range(len(shown.cells)))
    for text in ("KAN [2, 2, 1], splines of order 3", "grids of 3 and 5 intervals, 2 epochs on each", "pykan 0.2.8"):
        assert text in shown.text
    for text in ("poisson_2d_poly and poisson_2d_sin (2 inputs)", "4 on every problem: 1 or 2 hidden layers"):
        assert text in shown.text
    for what in ("Model", "Seeds", "Engine", "Device", "Targets", "Time", "Versions"):
        assert f"{what} not recorded" not in shown.text


def _rows(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


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
    assert {attrs["href"][1:] for attrs in shown.all("a")} == targets == set(SECTIONS)


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
        assert f"At the end, {winner} has a " in shown.text
        assert f"Missing: {tmp_path}: no run section2_3_*" in shown.text
        assert "2.3 Can experts be merged" in shown.text


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
    by_flops = (
        "At equal compute by flops, adaptive_only has a 2.0 times lower error than baseline (one seed: not decided"
    )
    by_time = (
        "At equal compute by time, adaptive_only has a 9.0 times higher error than baseline (one seed: not decided"
    )
    assert 0 < text.index(by_flops) < text.index(by_time)
    assert "A flop takes 10 times as long with adaptive_only as with baseline." in text
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
    assert Page(table).cells == [evil, "2.0"]
    assert not Page(table).all("script")


@pytest.mark.parametrize("variant", VARIANTS[:1] + VARIANTS[3:4], ids=lambda variant: variant.__name__)
def test_runs_of_earlier_formats(variant, tmp_path):
    variant(tmp_path)
    shown = Page(page(["section2_1", "section2_2"], results_dir=tmp_path))
    assert "Missing in this run: lm." in shown.text
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
    assert "2 times lower" in shown.text.replace("2.0 times", "2 times")


def test_no_run_at_all_is_one_line(tmp_path, capsys):
    assert main(["report", "--results-dir", str(tmp_path)]) == 1
    assert f"kanbench: {tmp_path}: no run section2_1_" in capsys.readouterr().err
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
